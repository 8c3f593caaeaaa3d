"""What a trained model scored, read from the files that the steps which evaluated it have written."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preftune.exports.sources import registry
from preftune.files import read_json
from preftune.provenance.records import PAPERS, Record
from preftune.provenance.store import Store

_METRICS = re.compile(r"^(perplexity|text_perplexity|bits_per_character|accuracy)$")


@dataclass(frozen=True)
class Score:
    """One number of one task: `system` says which of a model's scores it is (log, reward, ...), where it has several."""

    task: str
    split: str
    metric: str
    value: float
    n: int | None
    system: str = ""
    dataset: str = ""


def list_score_files(results: Path) -> list[Path]:
    """Every file of scores that cards can show."""
    folders = [results / paper / part for paper in PAPERS for part in ("scores", "multitask")]
    found = [
        path for folder in folders for path in folder.rglob("*.json") if not path.name.endswith("run.json")
    ]
    return sorted(
        path for path in found if not any(part.startswith(".") for part in path.relative_to(results).parts)
    )


def evaluations(store: Store) -> dict[str, list[Record]]:
    """The steps that evaluated each model, by the path of the model."""
    found: dict[str, list[Record]] = {}
    for step in sorted(store.steps, key=lambda one: one.made):
        if step.rule.startswith("evaluate_"):
            for model in dict.fromkeys(_models(store, step)):
                found.setdefault(model, []).append(step)
    return found


def _models(store: Store, step: Record) -> Iterator[str]:
    """The models that a step evaluated: its own input, or that of the step that wrote the captions which it scored.

    A model that others are compared with is another input.
    """
    makers = [store.maker(item["path"]) for item in step.facts["inputs"].get("captions", ())]
    for one in (step, *makers):
        for item in one.facts["inputs"].get("model", ()) if one is not None else ():
            yield str(item["path"])


def read_scores(store: Store, steps: Iterable[Record]) -> list[Score]:
    """Every number in the score files of these steps that lie in the results folder, by file, system and metric."""
    return [score for step in steps for path in _files(store, step) for score in _read(store, path)]


def _files(store: Store, step: Record) -> Iterator[str]:
    """The score files of a step that are here."""
    for output in sorted(step.outputs(), key=lambda output: str(output["path"])):
        names = [f"{output['path']}/{file}" for file in sorted(output["files"])] or [output["path"]]
        for name in names:
            if name.endswith(".json") and store.locate(name).is_file():
                yield name


def _read(store: Store, path: str) -> Iterator[Score]:
    content = read_json(store.locate(path))
    if not isinstance(content, dict):
        return
    task, split = (
        str(content.get("task") or path.rsplit("/", 1)[-1].removesuffix(".json")),
        str(content.get("split", "")),
    )
    dataset = str(content.get("dataset") or registry("tasks").get(task, {}).get("dataset", ""))
    for system, metric, value in sorted(_numbers(content)):
        yield Score(task, split, metric, value, _count(content), system, dataset)
    for medium in ("image", "text"):
        answers = content.get(medium)
        if isinstance(answers, dict) and isinstance(answers.get("model"), dict):
            own = answers["model"]
            yield Score(
                f"{medium} questions", split, str(content.get("metric", "score")), own["score"], _count(own)
            )


def _count(content: dict[str, Any]) -> int | None:
    """How many items a score is the mean of."""
    return next(
        (int(content[key]) for key in ("n", "n_captions", "n_passages") if isinstance(content.get(key), int)),
        None,
    )


def _numbers(content: dict[str, Any]) -> Iterator[tuple[str, str, float]]:
    """System, metric and value: of `metrics`, and of the top level what is known to be a measure."""
    for name, value in (content.get("metrics") or {}).items():
        if isinstance(value, dict):
            yield from ((name, metric, float(one)) for metric, one in value.items() if _is_number(one))
        elif _is_number(value):
            yield "", name, float(value)
    for name, value in content.items():
        if _METRICS.match(name) and _is_number(value):
            yield "", name, float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
