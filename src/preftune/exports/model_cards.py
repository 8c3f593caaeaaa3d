"""A Hugging Face model card for each trained model, from its record, the registries and the files of its scores."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from preftune.exports.licences import hub_licence
from preftune.exports.loading import describe_loading
from preftune.exports.models import Model, base_path, list_models
from preftune.exports.scores import Score, evaluations, read_scores
from preftune.exports.sections import (
    ARXIV,
    describe_citation,
    describe_data,
    describe_licences,
    describe_limits,
    describe_model,
    describe_origin,
    describe_scores,
    describe_settings,
    describe_training,
    is_embedded,
)
from preftune.exports.sources import Source, Sources, hub_location, registry
from preftune.provenance.records import Record
from preftune.provenance.store import Store

_METRICS = {
    "matthews": "matthews_correlation", "pearson": "pearsonr", "spearman": "spearmanr", "text_perplexity": "perplexity",
    "BLEU-1": "bleu", "BLEU-2": "bleu", "BLEU-3": "bleu", "BLEU-4": "bleu", "ROUGE-L": "rouge",
}  # fmt: skip
"""The hub's identifiers of our measures, where they are not our own names in lower case."""


def write_model_cards(store: Store) -> dict[str, str]:
    """The text of each card by its path below the folder of cards, `models/<paper>/<run>-seed-<n>.md`."""
    evaluated, sources = evaluations(store), Sources(store)
    return {
        f"models/{model.paper}/{model.name}.md": write_card(
            store, sources.of(model.record), model, evaluated.get(model.output["path"], [])
        )
        for model in list_models(store)
    }


def write_card(store: Store, sources: Sequence[Source], model: Model, steps: Sequence[Record]) -> str:
    """The text of one card; `sources` is what the model was made from, `steps` are those that evaluated it."""
    scores = read_scores(store, steps)
    front = _front_matter(store, model, sources, scores).to_yaml(line_break="\n")
    parts = (
        describe_model(store, sources, model),
        describe_loading(store, sources, model),
        describe_data(sources),
        describe_licences(sources),
        describe_scores(sources, scores),
        describe_settings(model),
        describe_training(model),
        describe_origin(store, model),
        describe_limits(),
        describe_citation(model),
    )
    return str(ModelCard(f"---\n{front}\n---\n\n" + "\n\n".join(parts) + "\n"))


def _front_matter(
    store: Store, model: Model, sources: Sequence[Source], scores: Sequence[Score]
) -> ModelCardData:
    base = list(_bases(store, model, sources))
    demo = ["demo-scale"] if is_embedded(sources) else []
    return ModelCardData(
        model_name=model.name,
        base_model=base or None,
        base_model_relation=("adapter" if model.is_adapter else "finetune") if base else None,
        datasets=sorted({source.hub for source in sources if source.kind == "dataset" and source.hub})
        or None,
        library_name=model.loader,
        pipeline_tag=_task(model),
        language="en",
        tags=["preftune", model.paper, model.record.rule, f"arxiv:{ARXIV[model.paper]}", *demo],
        eval_results=[_eval_result(model, sources, score) for score in scores if math.isfinite(score.value)]
        or None,
        **asdict(hub_licence(sources)),
    )


def _bases(store: Store, model: Model, sources: Sequence[Source]) -> Iterator[str]:
    """The repositories of what it is derived from: its language model first, then encoders, but not a mere table of tokens."""
    name = (base_path(store, model.record) or "").rsplit("/", 1)[-1]
    yield from (source.hub for source in sources if source.name == name and source.hub)
    for source in sources:
        if source.hub and source.kind == "model" and registry("models")[source.name]["kind"] == "encoder":
            yield source.hub


def _task(model: Model) -> str:
    return "image-to-text" if model.is_captioner else "text-generation"


def _eval_result(model: Model, sources: Sequence[Source], score: Score) -> EvalResult:
    """One score; rows that are not fetched from a public data set are never given its name alone."""
    name = score.dataset or ("coco" if model.paper == "context_peft" else score.task)
    kinds = {source.kind for source in sources}
    rows = "embedded" if "embedded" in kinds else "given" if "given" in kinds else ""
    place = hub_location(name, score.split)
    return EvalResult(
        task_type=_task(model),
        task_name=score.task,
        dataset_type=f"{rows}/{name}" if rows else place.repo or name,
        dataset_name=f"{name} ({rows} rows)" if rows else name,
        dataset_config=score.task if rows else place.configuration or score.task,
        dataset_split=(score.split if rows else place.split) or None,
        dataset_args={"n": score.n} if score.n is not None else None,
        metric_type=_METRICS.get(score.metric, score.metric.lower()),
        metric_name=f"{score.metric} ({score.system})" if score.system else score.metric,
        metric_value=score.value,
    )
