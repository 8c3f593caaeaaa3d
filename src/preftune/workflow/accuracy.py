"""How far predictions are off: what published records measured, beside what is predicted for the same jobs."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from preftune.errors import PreftuneError
from preftune.provenance.digest import ROOT
from preftune.workflow.jobs import Job
from preftune.workflow.registry import read_yaml
from preftune.workflow.resources import Forecast, stage_of
from preftune.workflow.state import list_stages
from preftune.workflow.targets import load_plan

_SECTIONS = {"datasets": "glue-cola", "sft_mix": "sft-mix", "preference_mix": "preference-mix"}
"""Sections of the config by which other jobs are counted, and the prepared data whose record holds them as they were."""


@dataclass(frozen=True)
class Comparison:
    """Of one stage, or of all.

    Attributes:
        jobs: those of the plan.
        done: those with a record, of which all that follows is.
        predicted, measured: hours.
        predicted_disk, measured_disk: bytes of their outputs.
    """

    jobs: int = 0
    done: int = 0
    predicted: float = 0
    measured: float = 0
    predicted_disk: float = 0
    measured_disk: float = 0

    def __add__(self, other: "Comparison") -> "Comparison":
        return Comparison(*(a + b for a, b in zip(_values(self), _values(other), strict=True)))

    @property
    def ratio(self) -> float:
        """Predicted hours to measured ones."""
        return self.predicted / self.measured


def _values(one: Comparison) -> tuple[Any, ...]:
    return tuple(vars(one).values())


def compare_published(configfile: str, folder: Path, values: Mapping[str, Any]) -> dict[str, Comparison]:
    """Compare by stage, in the workflow's order; `values` are config values that the file leaves open.

    What was published may be older than the config: each job is predicted from the settings in its own record. A record of
    a run that the config no longer has is passed over; a folder without records is a PreftuneError.
    """
    records = _read_records(folder)
    raw = {**read_yaml(ROOT / configfile), **values}
    plan = load_plan(raw | {"dph": raw["dph"] | _sections(folder)}, [configfile])
    forecast, found = Forecast(plan), dict[str, Comparison]()
    made = {stage.output: stage.job for stage in list_stages(plan)}
    for job in made.values():
        _add(found, job, Comparison(jobs=1))
    for paths, record in records.items():
        for own in [made[path] for path in paths if path in made][:1]:
            _add(found, own, _compare(forecast, own, record))
    return found


def _read_records(folder: Path) -> dict[tuple[str, ...], dict[str, Any]]:
    """Records by their job's outputs as the workflow names them; each output of a job has a copy of its record."""
    found = {}
    for path in sorted([*folder.rglob("run.json"), *folder.rglob("*.run.json")]):
        record = json.loads(path.read_text())
        paths = [output["path"] for output in record["outputs"].values()]
        found[(*paths, *(f"{path}/run.json" for path in paths))] = record
    if not found:
        raise PreftuneError(f"{folder} holds no records: publish results there (make publish).")
    return found


def _sections(folder: Path) -> dict[str, Any]:
    """Sections of the config as they were when a folder was published."""
    paths = {key: folder / "dph" / "data" / name / "run.json" for key, name in _SECTIONS.items()}
    return {key: json.loads(path.read_text())["settings"] for key, path in paths.items() if path.is_file()}


def _add(found: dict[str, Comparison], job: Job, one: Comparison) -> None:
    name = stage_of(job.rule)
    found[name] = found.get(name, Comparison()) + one


def _compare(forecast: Forecast, job: Job, record: Mapping[str, Any]) -> Comparison:
    needs = forecast.count(replace(job, settings=record["settings"]))
    size = sum(output["bytes"] for output in record["outputs"].values())
    return Comparison(0, 1, needs.hours, record["time"]["wall_seconds"] / 3600, needs.disk, size)
