"""A Hugging Face model card for each trained model, from its record, the registries and the files of its scores."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from preftune.exports.scores import Score, evaluations, read_scores
from preftune.exports.sources import UNKNOWN, Source, Sources, dataset_source
from preftune.exports.values import setting_pairs
from preftune.provenance.records import Record
from preftune.provenance.store import Store

KINDS = {
    "train_sft": "a language model, tuned on prompts with their right answers (supervised fine-tuning)",
    "train_alignment": "a language model with a reward head, aligned with preference pairs",
    "train_heads": "a reward head on a language model that stays as it was",
    "train_captioner": "a captioner: a language model that reads image features through a connector, with adapters",
    "train_multitask": "a captioner that answers questions about texts and images as well",
}
PAPERS = {
    "dph": (
        "Would I Lie To You? Inference Time Alignment of Language Models using Direct Preference Heads",
        "2405.20053",
    ),
    "context_peft": ("Context-PEFT: Efficient Multi-Modal, Multi-Task Fine-Tuning", "2312.08900"),
}
_HUB_LICENCES = ("apache-2.0", "mit", "bsd-3-clause", UNKNOWN)
_LIBRARIES = {"adapter_config.json": "peft", "config.json": "transformers"}
_LIMITS = """It is one run of a reproduction, made to compare methods under equal conditions, and not a product:

- It is not for answering people, for advice, or for any decision about them: nobody has checked its answers for truth, \
bias or harm.
- A reward or a likelihood says how it ranks texts. It does not say that a text is true, safe or liked.
- Its scores hold for the items and prompts that they were measured with. At small scales these are few, and the models \
far smaller than the papers'.
- Whoever uses it is bound by the licences of its base model and of its data, which stand above."""


@dataclass(frozen=True)
class Model:
    """One trained model: its step, the folder that holds it, and its name in the paper's part of the results."""

    record: Record
    output: dict[str, Any]
    paper: str
    run: str
    seed: str

    @property
    def name(self) -> str:
        """Run and seed."""
        return f"{self.run}-{self.seed}"


def list_models(store: Store) -> list[Model]:
    """Every trained model of a results folder, by its path."""
    found = []
    for record in sorted(store.steps, key=lambda one: one.made):
        parts = record.made.removeprefix(f"{store.prefix}/").split("/")
        if record.rule.startswith("train_") and len(parts) == 4:
            found.append(Model(record, next(iter(record.outputs())), parts[0], *parts[2:]))
    return found


def write_model_cards(store: Store) -> dict[str, str]:
    """The text of each card by its path below the folder of cards, `models/<paper>/<run>-seed-<n>.md`."""
    evaluated, sources = evaluations(store), Sources(store)
    return {
        f"models/{model.paper}/{model.name}.md": _card(
            store, sources, model, evaluated.get(model.output["path"], [])
        )
        for model in list_models(store)
    }


def _card(store: Store, known: Sources, model: Model, steps: Sequence[Record]) -> str:
    sources, scores = known.of(model.record), read_scores(store, steps)
    front = _front_matter(model, sources, scores).to_yaml(line_break="\n")
    parts = (_title(store, model), _data(sources), _settings(model), _training(model), _origin(store, model),
             _scores(sources, scores), f"## What it is not for\n\n{_LIMITS}")  # fmt: skip
    return str(ModelCard(f"---\n{front}\n---\n\n" + "\n\n".join(parts) + "\n"))


def _front_matter(model: Model, sources: Sequence[Source], scores: Sequence[Score]) -> ModelCardData:
    base = [source for source in sources if source.kind == "model"]
    licence = _licences(sources)
    known = licence.lower() in _HUB_LICENCES
    return ModelCardData(
        model_name=model.name,
        base_model=[source.hub or source.name for source in base] or None,
        license=licence.lower() if known else "other",
        license_name=None if known else licence,
        datasets=[source.hub or source.name for source in sources if source.kind == "dataset"] or None,
        library_name=_library(model),
        language="en",
        tags=["preftune", model.paper, model.record.rule, *(f"arxiv:{PAPERS[model.paper][1]}",)],
        eval_results=[_eval_result(model, sources, score) for score in scores] or None,
    )


def _licences(sources: Iterable[Source]) -> str:
    """The licences of all that a model was made from: no registry states one of what comes of them together."""
    return " and ".join(sorted({source.licence for source in sources})) or UNKNOWN


def _library(model: Model) -> str:
    return next((name for file, name in _LIBRARIES.items() if file in model.output["files"]), "preftune")


def _eval_result(model: Model, sources: Sequence[Source], score: Score) -> EvalResult:
    """One score; rows that are not fetched from a public data set are never given its name alone."""
    name = score.dataset or ("coco" if model.paper == "context_peft" else score.task)
    kinds = {source.kind for source in sources}
    rows = "embedded" if "embedded" in kinds else "given" if "given" in kinds else ""
    return EvalResult(
        task_type="text-generation" if model.paper == "dph" else "image-to-text",
        task_name=score.task,
        dataset_type=f"{rows}/{name}" if rows else dataset_source(name).hub or name,
        dataset_name=f"{name} ({rows} rows)" if rows else name,
        dataset_config=score.task,
        dataset_split=score.split or None,
        dataset_args={"n": score.n} if score.n is not None else None,
        metric_type=score.metric.lower(),
        metric_name=f"{score.metric} ({score.system})" if score.system else score.metric,
        metric_value=score.value,
    )


def _is_embedded(sources: Iterable[Source]) -> bool:
    return any(source.kind == "embedded" for source in sources)


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', '/') for cell in line)} |" for line in lines)


def _title(store: Store, model: Model) -> str:
    title, number = PAPERS[model.paper]
    kind = KINDS.get(model.record.rule, f"what rule {model.record.rule} trained")
    return (
        f"# {model.name}\n\nThis is {kind}: run `{model.run}`, {model.seed.replace('-', ' ')}, of the results folder "
        f"`{store.prefix}` of preftune, which reproduces [{title}](https://arxiv.org/abs/{number}). This card shows what the "
        "record of its training says; nothing in it was written by hand."
    )


def _data(sources: Sequence[Source]) -> str:
    """Base models and data, each with its licence."""
    rows = [
        (source.name, source.kind, source.origin or "not in the registries", source.licence)
        for source in sources
    ]
    text = "## What it was made from\n\n" + _table(("Name", "Kind", "Origin", "Licence"), rows)
    if _is_embedded(sources):
        text += (
            "\n\nEmbedded data are drawn by rules of this project in the columns of public data sets. They are not those data "
            "sets, and scores on them say nothing of scores on those."
        )
    return text


def _settings(model: Model) -> str:
    rows = [(key, f"`{value}`") for key, value in setting_pairs(model.record.facts["settings"])]
    return "## Settings\n\n" + _table(
        ("Setting", "Value"), [*rows, ("seed", f"`{model.record.facts['seed']}`")]
    )


def _training(model: Model) -> str:
    """What the training took."""
    facts = model.record.facts
    own, energy, hardware = facts["facts"], facts["energy"], facts["hardware"]
    parameters = own.get("trainable_parameters") or (own.get("parameters") or {}).get("trainable")
    watt_hours = energy["watt_hours"]
    rows = [
        ("steps", own.get("steps")),
        ("examples", own.get("examples")),
        ("tokens", own.get("tokens")),
        ("seconds of training", own.get("training_seconds")),
        ("trainable parameters", parameters),
        ("number type", own.get("dtype")),
        ("last loss", own.get("last_loss")),
        ("energy", f"{watt_hours} Wh ({energy['method']})" if watt_hours is not None else f"not measured ({energy['method']})"),
        ("hardware", f"{(hardware['gpu'] or {}).get('name') or hardware['cpu']}, {facts['threads']} threads"),
    ]  # fmt: skip
    return "## Training\n\n" + _table(
        ("What", "Value"), [(name, value) for name, value in rows if value is not None]
    )


def _origin(store: Store, model: Model) -> str:
    """What code made it, when, and the hashes that it can be checked with."""
    facts, code = model.record.facts, model.record.facts["code"]
    packages = facts["environment"]["packages"]
    rows = [
        ("commit", f"{code['commit']}{' with uncommitted changes' if code['dirty'] else ''}"),
        ("code digest", code["digest"]),
        ("environment", ", ".join(f"{name} {packages[name]}" for name in sorted(packages))),
        ("made", f"{facts['time']['start']} to {facts['time']['end']}"),
        ("folder", model.output["path"]),
        ("content hash", model.output["sha256"]),
        ("record", store.public(model.record.path)),
    ]
    if "sha256" in facts:
        rows.append(("hash of the record", facts["sha256"]))
    return "## Provenance\n\n" + _table(("What", "Value"), rows)


def _scores(sources: Sequence[Source], scores: Sequence[Score]) -> str:
    if not scores:
        return "## Scores\n\nThe results folder holds no scores of it."
    rows = [
        (
            score.task,
            score.split,
            score.system,
            score.metric,
            f"{score.value:.4g}",
            "" if score.n is None else score.n,
        )
        for score in scores
    ]
    said = (
        " Tasks bear the names of public data sets whose rows they do not hold."
        if _is_embedded(sources)
        else ""
    )
    text = f"## Scores\n\nAs the score files state them, of n items each; no interval is given here, the tables have them.{said}\n\n"
    return text + _table(("Task", "Split", "Scored by", "Metric", "Value", "n"), rows)
