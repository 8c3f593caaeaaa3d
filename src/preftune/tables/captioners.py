"""Captioning runs by their settings, which say what is compared with what; light, because the workflow reads it at parse time."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ConfigDict, Field

from preftune.settings.adapters import AdapterSettings
from preftune.settings.base import Settings
from preftune.settings.report import TableSettings


class CaptionerSettings(Settings):
    """What tables and figures read of a captioning run's settings; the other keys of those may stand beside it."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)

    encoder: str
    adapter: AdapterSettings
    connector: str
    train_fraction: float
    views: int | None
    learning_rate: float
    steps: int

    @classmethod
    def of(cls, run: Mapping[str, Any]) -> dict[str, Any]:
        """Plain JSON of what is read of a run's resolved settings, defaults of the adapter left out."""
        training = {key: run["training"][key] for key in ("learning_rate", "steps")}
        own = AdapterSettings.model_validate(run["adapter"]).model_dump(mode="json", exclude_defaults=True)
        return {key: run[key] for key in ("encoder", "connector", "train_fraction", "views")} | {
            "adapter": own,
            **training,
        }

    def method(self) -> "CaptionerSettings":
        """The settings without those that a grid goes over: two runs of one method have them in common."""
        return self.model_copy(update={"train_fraction": 1.0, "learning_rate": 0.0, "steps": 0})

    def change(self, **adapter: Any) -> "CaptionerSettings":
        """The settings with some of the adapter's changed."""
        return self.model_copy(update={"adapter": self.adapter.model_copy(update=adapter)})


Captioners = Mapping[str, CaptionerSettings]


@dataclass(frozen=True)
class Method:
    """Runs that differ in learning rate and in the part of the training images alone.

    name: the first of them that reads all images, at the learning rate of its scale.
    candidates: part of the images, ascending -> runs among which the learning rate is chosen, ascending in it.
    """

    name: str
    candidates: dict[float, tuple[str, ...]]

    @property
    def runs(self) -> list[str]:
        """Every candidate."""
        return [run for runs in self.candidates.values() for run in runs]


def find_methods(captioners: Captioners) -> list[Method]:
    """Every method, in the order of the runs. With all images only runs of as many steps as the first count: Full FT over 24
    epochs is another budget, not another learning rate.
    """
    groups: dict[str, list[str]] = {}
    for run, settings in captioners.items():
        groups.setdefault(settings.method().model_dump_json(), []).append(run)
    return [_method(runs, captioners) for runs in groups.values()]


def _method(runs: list[str], captioners: Captioners) -> Method:
    name = next((run for run in runs if captioners[run].train_fraction == 1), runs[0])
    found: dict[float, list[str]] = {}
    for run in sorted(runs, key=lambda run: captioners[run].learning_rate):
        settings = captioners[run]
        if settings.train_fraction < 1 or settings.steps == captioners[name].steps:
            found.setdefault(settings.train_fraction, []).append(run)
    return Method(name, {part: tuple(found[part]) for part in sorted(found)})


def main_runs(captioners: Captioners) -> list[str]:
    """The runs that stand for themselves: without the points of the grids over learning rates and parts of the images."""
    methods = find_methods(captioners)
    points = {run for method in methods for run in method.runs}
    names = {method.name for method in methods}
    return [run for run in captioners if run in names or run not in points]


class CaptioningTableSettings(TableSettings):
    """What the tables need that compare captioning runs."""

    captioners: dict[str, CaptionerSettings] = Field(
        default_factory=dict, description="settings of each run, by its name"
    )
