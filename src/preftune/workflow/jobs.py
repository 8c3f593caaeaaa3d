"""Jobs: settings, seed and identity of every step, and what all stages share: runs, models, raw rows.

A job's identity is a hash of its code digest, its own slice of the config, the registry files that it reads and the
identities of the jobs that it builds on. It is a parameter of the rule (so any change reruns exactly what depends on
it) and is stored in the job's `run.json` (so that a lost `.snakemake` folder hides nothing).
"""

import hashlib
import json
import shlex
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from preftune.errors import PreftuneError
from preftune.fetching.pins import Pins, describe_pins, read_pins
from preftune.files import sha256_file
from preftune.provenance.digest import ROOT, code_digest
from preftune.provenance.record import hash_settings
from preftune.settings.alignment import AlignmentSettings
from preftune.settings.base import Settings
from preftune.settings.released import ReleasedSettings
from preftune.settings.report import OTHER_MODEL
from preftune.settings.sft import SftSettings
from preftune.workflow.config import (
    CaptioningSection,
    Config,
    ContextPeftSection,
    DphSection,
    MultitaskRun,
    TrainedConfig,
    did_you_mean,
    relative_to_root,
    validate,
)
from preftune.workflow.registry import Run, apply_overrides, read_runs, read_yaml

_STAGE_SCHEMAS: dict[str, type[Settings]] = {
    "sft": SftSettings,
    "alignment": AlignmentSettings,
    "captioning": CaptioningSection,
    "multitask": MultitaskRun,
}


PAPER_MODELS = {"dph": "lovelace-medium-alpha1", "context_peft": "cpeft-lm-150m"}
"""The language model of each paper: numbers of another one are not comparable with the paper's, only their order is."""
SHARED = ("fetch_model", "fetch_dataset", "fetch_prompts", "generate_language_data", "generate_scenes")
"""Rules below resources/: what they make is the same for every scale, so the scale's threads and device do not count."""


@cache
def _file_hash(file: str) -> str:
    return sha256_file(ROOT / file)


@cache
def _pins() -> Pins:
    return read_pins()


@dataclass(frozen=True)
class Job:
    """One job's settings, seed and identity."""

    rule: str
    settings: dict[str, Any]
    seed: int
    identity: str
    parents: tuple["Job", ...] = ()
    files: tuple[str, ...] = ()
    threads: int = 1
    device: str = "cpu"

    def options(self, device: str) -> str:
        """The words that every step's command line carries, quoted for a shell."""
        settings = json.dumps(self.settings, sort_keys=True, separators=(",", ":"))
        device = "cpu" if self.rule in SHARED else device
        return f"--settings {shlex.quote(settings)} --seed {self.seed} --device {device} --identity {self.identity}"


class Jobs:
    """Runs and their settings, and the jobs that fetch or generate what everything starts from."""

    def __init__(self, config: Config, source: str) -> None:
        self.config = config
        self.source = source
        self.registry = {
            name: replace(run, seeds=run.seeds[: config.only.seeds])
            for name, run in read_runs(ROOT / config.runs, config.scale).items()
        }
        self.models = read_yaml(ROOT / config.models)
        self.datasets = read_yaml(ROOT / "config/datasets.yaml")
        self.tasks = read_yaml(ROOT / "config/tasks.yaml")
        if unknown := sorted(set(config.local_datasets) - set(self.datasets)):
            raise PreftuneError(
                f"{source}: local_datasets: unknown data set {unknown[0]}{did_you_mean(unknown[0], self.datasets)}"
            )
        self._jobs: dict[tuple[Any, ...], Job] = {}

    @property
    def trains(self) -> bool:
        """Whether this scale holds both papers with their trainings; else it scores released models of the DPH paper alone."""
        return isinstance(self.config, TrainedConfig)

    @property
    def papers(self) -> tuple[str, ...]:
        """The papers that this scale holds."""
        return ("dph",) if self.config.context_peft is None else ("dph", "context_peft")

    @property
    def dph(self) -> DphSection:
        """The DPH paper's section of the config, of a scale that trains."""
        if not isinstance(self.config.dph, DphSection):
            raise PreftuneError(
                f"{self.source}: the scale {self.config.scale} trains nothing: take another config."
            )
        return self.config.dph

    @property
    def context_peft(self) -> ContextPeftSection:
        """The Context-PEFT paper's section of the config."""
        if self.config.context_peft is None:
            raise PreftuneError(f"{self.source}: the section context_peft is left out: take another config.")
        return self.config.context_peft

    def runs(self, paper: str, *stages: str) -> list[Run]:
        """Runs of one paper, in the registry's order, optionally only of some stages."""
        return [
            run
            for run in self.registry.values()
            if run.paper == paper and (not stages or run.stage in stages)
        ]

    def run(self, name: str) -> Run:
        """One run by name."""
        if name not in self.registry:
            raise PreftuneError(
                f"{self.config.runs}: no run {name} at scale {self.config.scale}{did_you_mean(name, self.registry)}"
            )
        return self.registry[name]

    @cache
    def settings(self, name: str) -> dict[str, Any]:
        """A run's resolved settings: the defaults of its stage with the row's overrides."""
        run = self.run(name)
        if run.stage == "base":
            return {}
        if run.stage == "released":
            return validate(ReleasedSettings, run.overrides, f"config/{run.source}").model_dump(mode="json")
        schema = _STAGE_SCHEMAS[run.stage]
        section = getattr(getattr(self.config, run.paper), run.stage, None)
        if section is None:
            raise PreftuneError(
                f"config/{run.source}: run {name} needs the section {run.paper}.{run.stage}, which {self.source} leaves out: "
                "add it, or take the run out."
            )
        merged = apply_overrides(
            section.model_dump(mode="json", include=set(schema.model_fields)), run.overrides
        )
        return validate(schema, merged, f"config/{run.source}").model_dump(mode="json")

    def scored_runs(self, paper: str) -> list[Run]:
        """Runs of the paper's own tables and figures: the multi-task experiment has a table to itself."""
        return [run for run in self.runs(paper) if run.stage != "multitask"]

    def table_settings(self, paper: str, runs: list[str], **more: Any) -> dict[str, Any]:
        """Settings of a table of a paper about some runs."""
        tolerance = {} if self.config.tolerance is None else {"tolerance": self.config.tolerance}
        return {
            "paper": paper,
            "scale": self.config.scale,
            "data": self.data_of(paper),
            "runs": runs,
            **tolerance,
            **more,
        }

    def parents(self, run: Run, seed: int) -> list[tuple[str, int]]:
        """Each parent that a run continues, and its seed: the same one where the parent has it, else its seeds in turn."""
        seeds = {parent: self.run(parent).seeds for parent in run.parents}
        return [(parent, seed if seed in own else own[seed % len(own)]) for parent, own in seeds.items()]

    def parent_seed(self, run: Run, seed: int) -> int:
        """The seed of the only parent."""
        ((_, own),) = self.parents(run, seed)
        return own

    def raw(self, paper: str, dataset: str = "") -> str:
        """The folder of raw rows: generated, the user's own, or fetched."""
        if self.is_local(dataset):
            return str(relative_to_root(str(self.config.data_root), ROOT))
        if self.config.data == "embedded":
            return f"{self.config.resources}/data/{'language' if paper == 'dph' else 'scenes'}"
        return f"{self.config.resources}/data/hub/{self.fetched_name(dataset)}"

    def is_local(self, dataset: str) -> bool:
        """Whether the user has placed a data set by hand: all of them, or those that the config names."""
        placed = self.config.local_datasets
        return self.config.data == "local" or dataset in placed or self.fetched_name(dataset) in placed

    def counts_as(self, dataset: str) -> str:
        """How a data set's rows are counted: fetched ones (hub) are all that there are, others (files) as many as there are."""
        return "hub" if self.config.data == "hub" and not self.is_local(dataset) else "files"

    def fetched_name(self, dataset: str) -> str:
        """The registry's row that is fetched for a data set: COCO's captions are split by Karpathy, or as in 2017."""
        karpathy = dataset == "coco" and self.trains and self.context_peft.captions.karpathy is not None
        return "coco-karpathy" if karpathy else dataset

    @property
    def label(self) -> str:
        """What tables print after `data:`."""
        data = {"embedded": "embedded", "local": "real (local files)", "hub": "real (hub)"}[self.config.data]
        if self.config.local_datasets:
            data += f", local: {', '.join(self.config.local_datasets)}"
        return (
            f"{data}, authors' loader bugs on"
            if self.trains and self.dph.preference_mix.faithful_bugs
            else data
        )

    def data_of(self, paper: str) -> str:
        """The same in a table or figure of one paper: a language model that is not the paper's is named."""
        section = getattr(self.config, paper)
        if self.config.scale != "paper" or section.model == PAPER_MODELS[paper]:
            return self.label
        return f"{self.label}, {OTHER_MODEL} ({section.model})"

    def job(self, rule: str, settings: dict[str, Any], *, seed: int = 0, parents: tuple[Job, ...] = (),
            files: tuple[str, ...] = (), facts: str = "") -> Job:  # fmt: skip
        """A job; `files` are registry files whose content counts, `facts` a hash of the parts of others that do."""
        named = tuple(parent.identity for parent in parents)
        key = (rule, hash_settings(settings), seed, named, files, facts)
        if key not in self._jobs:
            parts: list[Any] = [code_digest(rule), settings, seed]
            parts += [] if rule in SHARED else [self.config.threads, self.config.device]
            parts += [named, [_file_hash(file) for file in files], facts]
            identity = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
            self._jobs[key] = Job(
                rule, settings, seed, identity, parents, files, self.config.threads, self.config.device
            )
        return self._jobs[key]

    @cache
    def fetch_model(self, model: str) -> Job:
        source = self.models[model]["source"]
        return self.job("fetch_model", {"name": model, **source}, facts=self._pinned(source, "model"))

    @cache
    def fetch_dataset(self, dataset: str) -> Job:
        kinds = ("pypi",) if self.config.data == "embedded" else ("hub", "urls")
        sources = self.datasets[dataset]["sources"]
        kind = next((kind for kind in kinds if kind in sources), None)
        if kind is None:
            raise PreftuneError(
                f"config/datasets.yaml: {dataset} has no source of kind {' or '.join(kinds)}: place its files below a folder and "
                f"set data_root to it, with local_datasets: [{dataset}] or data: local."
            )
        source = {"kind": kind, "files": {} if kind == "pypi" else sources.get("files", {}), **sources[kind]}
        return self.job("fetch_dataset", {"name": dataset, **source}, facts=self._pinned(source, "dataset"))

    def _pinned(self, source: dict[str, Any], repo_type: str) -> str:
        """A hash of what config/pins.json says of a source; empty where it says nothing."""
        said = describe_pins(source, repo_type, _pins())
        return hash_settings(said) if said else ""

    def generate_language_data(self) -> Job:
        size = self.config.language_data.model_dump() if self.config.language_data else {}
        return self.job("generate_language_data", size, parents=(self.fetch_dataset("dialogues"),))

    def generate_scenes(self) -> Job:
        return self.job("generate_scenes", self.config.scenes.model_dump() if self.config.scenes else {})

    def _raw_parents(self, paper: str, dataset: str) -> tuple[Job, ...]:
        if self.config.data == "embedded":
            return (self.generate_language_data() if paper == "dph" else self.generate_scenes(),)
        return () if self.is_local(dataset) else (self.fetch_dataset(self.fetched_name(dataset)),)

    @cache
    def prepare_dataset(self, dataset: str) -> Job:
        settings = self.config.dph.datasets.model_dump()
        # Whose rows they are and what they weigh changes none of them; where they came from is the fetch's affair, but a commit
        # also names the folder of a Hugging Face cache of one's own.
        row = {
            key: value
            for key, value in self.datasets[dataset].items()
            if key not in ("licence", "bytes", "sources")
        }
        named = ("files", "hub") if self.is_local(dataset) else ("files",)
        row["sources"] = {
            key: value for key, value in self.datasets[dataset]["sources"].items() if key in named
        }
        return self.job("prepare_dataset", settings, parents=self._raw_parents("dph", dataset),
                        facts=hash_settings(row))  # fmt: skip
