"""The sections of a model card, each from the record of a training and from the registries."""

from collections.abc import Iterable, Sequence
from typing import Any

import yaml

from preftune.exports.licences import list_limits
from preftune.exports.models import Model, scale_of
from preftune.exports.scores import Score
from preftune.exports.sources import Source
from preftune.exports.values import setting_pairs
from preftune.provenance.digest import ROOT
from preftune.provenance.store import Store

KINDS = {
    "train_sft": "a language model, tuned on prompts with their right answers (supervised fine-tuning)",
    "train_alignment": "a language model with a reward head, aligned with preference pairs",
    "train_heads": "a reward head on a language model that stays as it was",
    "train_language_model": "a language model, pre-trained on plain text",
    "train_captioner": "a captioner: a language model that reads image features through a connector, with adapters",
    "train_multitask": "a captioner that answers questions about texts and images as well",
}
ARXIV = {"dph": "2405.20053", "context_peft": "2312.08900"}
CITATION = ROOT / "CITATION.cff"
_LIMITS = """It is one run of a reproduction, made to compare methods under equal conditions, and not a product:

- It is not for answering people, for advice, or for any decision about them: nobody has checked its answers for truth, \
bias or harm.
- A reward or a likelihood says how it ranks texts. It does not say that a text is true, safe or liked.
- Its scores hold for the items and prompts that they were measured with. At small scales these are few, and the models \
far smaller than the papers'.
- Whoever uses it is bound by the licences of its base model and of its data, which stand above."""


def is_embedded(sources: Iterable[Source]) -> bool:
    """Whether rows that this project draws take part: such a model is of demo scale, whatever its size."""
    return any(source.kind == "embedded" for source in sources)


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', '/') for cell in line)} |" for line in lines)


def _cite(arxiv: str) -> dict[str, Any]:
    """What CITATION.cff says of a paper."""
    references = yaml.safe_load(CITATION.read_text(encoding="utf-8"))["references"]
    return next(one for one in references if one["notes"] == f"arXiv {arxiv}")


def describe_model(store: Store, sources: Sequence[Source], model: Model) -> str:
    """Title, what it is, and at which scale it was made."""
    number = ARXIV[model.paper]
    kind = KINDS.get(model.record.rule, f"what rule {model.record.rule} trained")
    text = (
        f"# {model.name}\n\nThis is {kind}: run `{model.run}`, {model.seed.replace('-', ' ')}, of the results folder "
        f"`{store.prefix}` of preftune, which reproduces [{_cite(number)['title']}](https://arxiv.org/abs/{number}). This card "
        f"shows what the record of its training says; nothing in it was written by hand.\n\nScale: **{scale_of(store)}**."
    )
    if is_embedded(sources):
        text += (
            " It is a demo-scale model: trained and scored on rows that the project draws itself, to show that the workflow "
            "works. It is not the paper's model, and its numbers say nothing of the paper's."
        )
    return text


def describe_data(sources: Sequence[Source]) -> str:
    """Base models and data, each with its licence."""
    rows = [
        (source.name, source.kind, source.origin or "not in the registries", source.licence)
        for source in sources
    ]
    text = "## What it was made from\n\n" + _table(("Name", "Kind", "Origin", "Licence"), rows)
    if is_embedded(sources):
        text += (
            "\n\nEmbedded data are drawn by rules of this project in the columns of public data sets. They are not those data "
            "sets, and scores on them say nothing of scores on those."
        )
    return text


def describe_licences(sources: Sequence[Source]) -> str:
    """What the licences of the parts forbid."""
    limits = [f"- {limit}" for limit in list_limits(sources)]
    said = (
        "Parts with limits:\n\n" + "\n".join(limits)
        if limits
        else "No part forbids commercial use or passing it on."
    )
    return f"## Licences\n\nNo licence covers the whole: each part keeps its own (files LICENSE and NOTICE). {said}"


def describe_settings(model: Model) -> str:
    """Every setting of the training."""
    rows = [(key, f"`{value}`") for key, value in setting_pairs(model.record.facts["settings"])]
    return "## Settings\n\n" + _table(
        ("Setting", "Value"), [*rows, ("seed", f"`{model.record.facts['seed']}`")]
    )


def describe_training(model: Model) -> str:
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


def describe_origin(store: Store, model: Model) -> str:
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
    rows += [
        (name, facts[key])
        for name, key in (("fingerprint", "fingerprint"), ("hash of the record", "sha256"))
        if key in facts
    ]
    return "## Provenance\n\n" + _table(("What", "Value"), rows)


def describe_scores(sources: Sequence[Source], scores: Sequence[Score]) -> str:
    """Every number of its score files."""
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
        if is_embedded(sources)
        else ""
    )
    text = f"## Scores\n\nAs the score files state them, of n items each; no interval is given here, the tables have them.{said}\n\n"
    return text + _table(("Task", "Split", "Scored by", "Metric", "Value", "n"), rows)


def describe_limits() -> str:
    """What it is not for."""
    return f"## What it is not for\n\n{_LIMITS}"


def describe_citation(model: Model) -> str:
    """The paper's entry for BibTeX, from CITATION.cff."""
    number = ARXIV[model.paper]
    paper = _cite(number)
    authors = " and ".join(f"{one['family-names']}, {one['given-names']}" for one in paper["authors"])
    entry = [
        f"@article{{arxiv{number.replace('.', '-')},",
        f"  title = {{{paper['title']}}},",
        f"  author = {{{authors}}},",
        f"  journal = {{arXiv preprint arXiv:{number}}},",
        f"  year = {{{paper['year']}}}",
        "}",
    ]
    return "\n".join(["## Citation", "", "```bibtex", *entry, "```"])
