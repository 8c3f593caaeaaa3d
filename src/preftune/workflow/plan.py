"""The plan: settings, seed and identity of every job of one scale, computed when the Snakefile is parsed."""

from collections.abc import Callable
from functools import cache, cached_property
from typing import Any

from preftune.provenance.digest import ROOT
from preftune.report import catalogue
from preftune.tables import cells
from preftune.tables.captioners import CaptionerSettings, find_methods, main_runs
from preftune.workflow.checks import check_plan
from preftune.workflow.config import Config
from preftune.workflow.jobs import Job
from preftune.workflow.language_jobs import LanguageJobs
from preftune.workflow.multitask_jobs import MultitaskJobs
from preftune.workflow.registry import Run

TABLES = {paper: ("claims", *tables) for paper, tables in cells.TABLES.items()}
FIGURES = {paper: tuple(figures) for paper, figures in catalogue.FIGURES.items()}
SCORE_FIGURES = ("task_scores",)
"""Figures of the DPH paper that are drawn from scores alone."""
REGISTRIES = ("config/cells.tsv", "config/claims.tsv")
# More captions than these under one image nobody reads.
GALLERY = (
    "none",
    "bitfit-af-specific",
    "lora-8-af-agnostic",
    "lora-8-af-specific",
    "lora-64-af-specific",
    "full-ft",
)


class Plan(LanguageJobs, MultitaskJobs):
    """Everything that the Snakefile needs to know about one scale."""

    def __init__(self, config: Config, source: str) -> None:
        super().__init__(config, source)
        check_plan(self)

    @cached_property
    def fetched_models(self) -> list[str]:
        """Every model that is fetched."""
        names = {self.base_model(run.name) for run in self.runs("dph")}
        if self.trains:
            names |= {self.fetched_language_model, *self.encoders}
        return sorted(names)

    @cached_property
    def tables(self) -> dict[str, tuple[str, ...]]:
        """Tables of each paper; where nothing is trained those of the suites that are scored."""
        if self.trains:
            return TABLES
        suites = {self.tasks[task]["suite"] for task in self.config.dph.evaluation.tasks}
        return {"dph": tuple(table for table in TABLES["dph"] if table in suites)}

    @cached_property
    def figures(self) -> dict[str, tuple[str, ...]]:
        """Figures of each paper; where nothing is trained those of scores."""
        return FIGURES if self.trains else {"dph": SCORE_FIGURES}

    def train(self, name: str, seed: int) -> Job:
        """The job that makes a run's model; for a base run the fetched model itself."""
        if self.run(name).paper == "dph":
            return self.train_language(name, seed)
        multitask = self.run(name).stage == "multitask"
        return self.train_multitask(name, seed) if multitask else self.train_captioner(name, seed)

    @cache
    def scores(self, paper: str) -> tuple[Job, ...]:
        """Every score job of one paper."""
        jobs: list[Job] = []
        for run in self.scored_runs(paper):
            for seed in run.seeds:
                if paper == "dph":
                    jobs.append(self.evaluate_tasks(run.name, seed))
                else:
                    jobs += [
                        self.evaluate_captioner(run.name, seed),
                        self.evaluate_captions(run.name, seed),
                    ]
        return tuple(jobs)

    def aggregate_scores(self, paper: str) -> Job:
        """The index that every table and figure of a paper waits for."""
        return self.job("aggregate_scores", {}, parents=self.scores(paper))

    def tabulate(self, rule: str, paper: str) -> Job:
        """A table of one paper."""
        settings = self.table_settings(paper, [run.name for run in self.scored_runs(paper)])
        if (rule, paper) == ("tabulate_claims", "context_peft"):
            settings["captioners"] = self.captioners
        return self.job(rule, settings, parents=self.scores(paper), files=REGISTRIES)

    def tabulate_captioning(self) -> Job:
        """The tables that are made from the captioning runs of a scale."""
        settings = self.table_settings("context_peft", list(self.captioners), captioners=self.captioners)
        return self.job("tabulate_captioning", settings, parents=self.scores("context_peft"))

    def tabulate_costs(self) -> Job:
        """The table of what captioning runs cost."""
        runs = [run.name for run in self.main_captioners]
        settings = self.table_settings("context_peft", runs, captioners=self.captioners)
        decoded = [self.evaluate_captioner(run.name, run.seeds[0]) for run in self.main_captioners]
        return self.job("tabulate_costs", settings, parents=(*self.trainings("context_peft"), *decoded))

    def tabulate_alignment(self) -> Job:
        """The tables of what alignment brings and costs."""
        runs = [run.name for run in self.runs("dph")]
        settings = self.table_settings("dph", runs, mix_tasks=self.mix_tasks, settings=self.run_facts)
        parents = (
            *self.scores("dph"),
            *self.drift,
            *self.best_of,
            self.compute_gradients(),
            self.compute_overlap(),
        )
        return self.job("tabulate_alignment", settings, parents=parents, files=REGISTRIES)

    @cached_property
    def drift(self) -> tuple[Job, ...]:
        """Every measurement of drift."""
        runs = [self.run(name) for name in self.dph.drift.runs]
        return tuple(self.evaluate_drift(run.name, seed) for run in runs for seed in run.seeds)

    @cached_property
    def second_opinions(self) -> tuple[Job, ...]:
        """Every comparison with lm-eval's scores."""
        runs = [self.run(name) for name in self.dph.second_opinion.runs]
        return tuple(self.evaluate_second_opinion(run.name, run.seeds[0]) for run in runs)

    @cached_property
    def submissions(self) -> tuple[Job, ...]:
        """Every file for the GLUE server."""
        runs = [self.run(name) for name in self.dph.submission.runs]
        return tuple(
            self.export_glue_submission(run.name, run.seeds[0], score)
            for run in runs
            for score in self.server_scores(run.name)
        )

    @cached_property
    def best_of(self) -> tuple[Job, ...]:
        """Every measurement of best of n."""
        runs = [self.run(name) for name in self.dph.best_of.runs]
        return tuple(self.evaluate_best_of(run.name, seed) for run in runs for seed in run.seeds)

    @cached_property
    def run_facts(self) -> dict[str, dict[str, Any]]:
        """What tables and figures read of the settings of each alignment run."""
        keys = ("dph", "policy", "pooler", "label_smoothing", "freeze", "flipped")
        runs = [run.name for run in self.runs("dph", "alignment")]
        return {name: {key: self.settings(name)[key] for key in keys} for name in runs}

    @cached_property
    def captioners(self) -> dict[str, dict[str, Any]]:
        """What tables and figures read of the settings of each captioning run."""
        runs = [run.name for run in self.runs("context_peft", "captioning")]
        return {name: CaptionerSettings.of(self.settings(name)) for name in runs}

    @cached_property
    def captioner_settings(self) -> dict[str, CaptionerSettings]:
        """The same, validated."""
        return {name: CaptionerSettings.model_validate(one) for name, one in self.captioners.items()}

    @cached_property
    def main_captioners(self) -> list[Run]:
        """The captioning runs that tables list and figures draw one by one, without the points of grids."""
        return [self.run(name) for name in main_runs(self.captioner_settings)]

    @cached_property
    def grid_captioners(self) -> list[Run]:
        """The captioning runs that are points of a grid over learning rates and parts of the images."""
        grids = [own for method in find_methods(self.captioner_settings) if len(own := method.runs) > 1]
        return [self.run(name) for own in grids for name in own]

    @cached_property
    def gallery_runs(self) -> list[str]:
        """The runs whose captions stand under the images of gallery and report."""
        names = [run.name for run in self.main_captioners]
        return [name for name in GALLERY if name in names] or names[: len(GALLERY)]

    @cached_property
    def mix_tasks(self) -> list[str]:
        """Tasks on whose data sets alignment trains."""
        trained = set(self.mix_datasets("preference_mix"))
        return [
            name for name, task in self.tasks.items() if {task["dataset"], task.get("derived_from")} & trained
        ]

    def curves(self, paper: str) -> list[Run]:
        """Runs whose training curves are drawn: of the DPH paper's many those whose cost is measured, of the other's no grids."""
        if paper == "dph":
            return [self.run(name) for name in self.dph.drift.runs]
        return self.main_captioners

    def plot(self, rule: str, paper: str) -> Job:
        """A figure of one paper."""
        settings: dict[str, Any] = {
            "scale": self.config.scale,
            "data": self.data_of(paper),
            "runs": [run.name for run in self.scored_runs(paper)],
        }
        if rule in _FACTS:
            name, value = _FACTS[rule]
            settings[name] = value(self)
        parents = _PARENTS[rule](self, paper) if rule in _PARENTS else self.scores(paper)
        return self.job(rule, settings, parents=parents, files=("config/cells.tsv",))

    @cached_property
    def encoder_names(self) -> dict[str, str]:
        """The paper's encoders and those that stand for them at this scale."""
        default = self.context_peft.captioning.encoder
        others = [name for name in self.encoders if name != default]
        return dict(zip(("Swin-Tiny", "Swin-Large"), [default, *others], strict=False))

    def trainings(self, paper: str) -> tuple[Job, ...]:
        """The trainings whose curves are drawn."""
        return tuple(self.train(run.name, seed) for run in self.curves(paper) for seed in run.seeds)

    def report(self) -> Job:
        """The report over everything."""
        kinds = ("scores", "claims") if self.trains else ("scores",)
        tables = [self.tabulate(f"tabulate_{kind}", paper) for kind in kinds for paper in self.papers]
        figures = [
            self.plot(f"plot_{name}", paper) for paper, names in self.figures.items() for name in names
        ]
        if self.trains:
            tables += [self.tabulate_alignment(), self.tabulate_captioning(), self.tabulate_costs()]
            tables.append(self.tabulate_multitask())
            tables += self.submissions
            tables += self.second_opinions
        settings = {"scale": self.config.scale, "data": self.label}
        files = ("workflow/report/report.html.j2", "docs/deviations.md")
        return self.job("export_report", settings, parents=(*tables, *figures), files=files)

    def audit(self) -> Job:
        """The audit of everything."""
        config = self.config.model_dump(mode="json", exclude={"only", "gpus", "steps_per_gpu"})
        if self.config.only.seeds is not None:  # the others were not asked for
            config["only"] = {"seeds": self.config.only.seeds}
        parents = (self.report(), self.export_crate(), self.export_cards())
        return self.job("audit_results", {"config": config, "source": self.source}, parents=parents)

    def export_crate(self) -> Job:
        """The results as an RO-Crate."""
        rules = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "workflow/rules").glob("*.smk"))
        files = ("Snakefile", *rules, "CITATION.cff", "LICENSE", "config/models.yaml", "config/datasets.yaml")
        return self.job("export_crate", {}, parents=(self.report(),), files=files)

    def export_cards(self) -> Job:
        """The cards of models and data sets."""
        files = ("config/models.yaml", "config/datasets.yaml", "config/tasks.yaml")
        return self.job("export_cards", {}, parents=(self.report(),), files=files)


# What some figures are told beside scale, data and runs, and what they are drawn from other than the scores.
_FACTS: dict[str, tuple[str, Callable[[Plan], Any]]] = {
    "plot_encoders": ("encoders", lambda plan: plan.encoder_names),
    "plot_label_noise": ("settings", lambda plan: plan.run_facts),
    "plot_margins": ("settings", lambda plan: plan.run_facts),
    "plot_reliability": ("settings", lambda plan: plan.run_facts),
    "plot_alignment_cost": ("mix_tasks", lambda plan: plan.mix_tasks),
    "plot_pareto": ("captioners", lambda plan: plan.captioners),
    "plot_equal_data": ("captioners", lambda plan: plan.captioners),
    "plot_gallery": ("runs", lambda plan: plan.gallery_runs),
    "plot_best_of": ("runs", lambda plan: list(plan.dph.best_of.runs)),
}
_PARENTS: dict[str, Callable[[Plan, str], tuple[Job, ...]]] = {
    "plot_training_curves": lambda plan, paper: plan.trainings(paper),
    "plot_alignment_cost": lambda plan, paper: (*plan.scores(paper), *plan.drift),
    "plot_accuracy_against_kl": lambda plan, paper: (*plan.scores(paper), *plan.drift),
    "plot_best_of": lambda plan, paper: plan.best_of,
}
