"""The registries in `config/`: runs (with sweeps expanded), models, data sets and tasks."""

import csv
import itertools
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from preftune.errors import PreftuneError
from preftune.workflow.config import did_you_mean

PAPER_STAGES = {"dph": ("base", "released", "sft", "alignment"), "context_peft": ("captioning", "multitask")}
STAGES = tuple(stage for stages in PAPER_STAGES.values() for stage in stages)
_COLUMNS = ("scale", "run", "paper", "stage", "parent", "overrides", "sweep", "seeds")
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True)
class Run:
    """One training run (or the untouched base model): what differs from the defaults of its stage."""

    name: str
    paper: str
    stage: str
    parent: str
    overrides: dict[str, Any]
    seeds: tuple[int, ...]
    source: str

    @property
    def parents(self) -> tuple[str, ...]:
        """The runs that it starts from: none, one, or several joined by `+`."""
        return tuple(self.parent.split("+")) if self.parent else ()


def read_runs(path: Path, scale: str) -> dict[str, Run]:
    """The runs of one scale, by name, in the file's order; sweeps are expanded into one run per combination."""
    runs: dict[str, Run] = {}
    with path.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream, delimiter="\t")
        if tuple(reader.fieldnames or ()) != _COLUMNS:
            raise PreftuneError(f"{path}: the header must be {' '.join(_COLUMNS)} (tab-separated).")
        for number, row in enumerate(reader, start=2):
            if row["scale"] == scale:
                for run in _expand(row, f"{path.name}, row {number}"):
                    if run.name in runs:
                        raise PreftuneError(
                            f"{run.source}: run {run.name} stands twice at scale {scale}: rename one."
                        )
                    runs[run.name] = run
    for run in runs.values():
        for parent in run.parents:
            if parent not in runs:
                raise PreftuneError(
                    f"{run.source}: run {run.name} has an unknown parent {parent}{did_you_mean(parent, runs)}"
                )
    return runs


def _expand(row: dict[str, str], source: str) -> list[Run]:
    overrides = _json(row, "overrides", dict, source)
    sweep = _json(row, "sweep", dict, source)
    seeds = tuple(_json(row, "seeds", list, source))
    if row["stage"] not in STAGES:
        raise PreftuneError(f"{source}: unknown stage {row['stage']}{did_you_mean(row['stage'], STAGES)}")
    known = PAPER_STAGES.get(row["paper"])
    if known is None:
        raise PreftuneError(
            f"{source}: unknown paper {row['paper']}{did_you_mean(row['paper'], PAPER_STAGES)}"
        )
    if row["stage"] not in known:
        raise PreftuneError(
            f"{source}: paper {row['paper']} has no stage {row['stage']}: its stages are {', '.join(known)}."
        )
    if not seeds or not all(isinstance(seed, int) for seed in seeds):
        raise PreftuneError(f"{source}: seeds must be a JSON list of whole numbers, such as [0, 1, 2].")
    expanded = []
    for values in itertools.product(*(_values(source, key, sweep[key]) for key in sweep)):
        chosen = dict(zip(sweep, values, strict=True))
        name = _name(row["run"], chosen, source)
        expanded.append(
            Run(name, row["paper"], row["stage"], row["parent"], overrides | chosen, seeds, source)
        )
    return expanded


def _values(source: str, key: str, values: Any) -> list[Any]:
    if not isinstance(values, list) or not values:
        raise PreftuneError(f"{source}: the sweep over {key} must be a non-empty JSON list of values.")
    return values


def _json(row: dict[str, str], column: str, kind: type, source: str) -> Any:
    try:
        value = json.loads(row[column] or "{}")
    except json.JSONDecodeError as error:
        raise PreftuneError(
            f"{source}: column {column} is not valid JSON ({error.msg}): correct it."
        ) from error
    if not isinstance(value, kind):
        raise PreftuneError(
            f"{source}: column {column} must be a JSON {'object' if kind is dict else 'list'}."
        )
    return value


def _name(template: str, chosen: dict[str, Any], source: str) -> str:
    """Fill `{last_part_of_key}` placeholders: 0.1 becomes 010 (hundredths), other values stand as they are."""
    words = {key.rsplit(".", 1)[-1]: _word(value) for key, value in chosen.items()}
    missing = set(_PLACEHOLDER.findall(template)) ^ set(words)
    if missing:
        raise PreftuneError(
            f"{source}: the run's name {template} and its sweep disagree on {', '.join(sorted(missing))}: name each swept key once."
        )
    return _PLACEHOLDER.sub(lambda match: words[match.group(1)], template)


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return (
            f"{round(value * 100):03d}"
            if value >= 0.01 or value == 0
            else f"{value:.0e}".replace("e-0", "e-")
        )
    return str(value).lower().replace("_", "-")


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Refuses a key that stands twice, of which YAML would keep the last without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.YAMLError(f"line {key.start_mark.line + 1}: {key.value} stands twice")
            seen.add(key.value)
        return super().construct_mapping(node, deep)  # type: ignore[no-any-return]


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping; a damaged file, or one with a key that stands twice, is an error that names it."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except FileNotFoundError as error:
        raise PreftuneError(f"{path} does not exist: restore it from git.") from error
    except yaml.YAMLError as error:
        raise PreftuneError(
            f"{path} is not valid YAML ({str(error).splitlines()[0]}): correct it."
        ) from error
    if not isinstance(content, dict):
        raise PreftuneError(f"{path} must be a mapping of names.")
    return content


def apply_overrides(section: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """A copy of a section with dotted keys replaced, e.g. {"adapter.rank": 64}."""
    merged = json.loads(json.dumps(section))
    for dotted, value in overrides.items():
        *parents, last = dotted.split(".")
        place = merged
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return merged
