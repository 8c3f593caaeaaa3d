"""What the workflow makes: tables, figures, scores and the report, and the part of them that was asked for."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preftune.provenance.digest import ROOT
from preftune.tables import cells
from preftune.tables.cells import ALIGNMENT_TABLES, CAPTIONING_TABLES, COST_TABLES, MULTITASK_TABLES
from preftune.workflow.checks import select_names
from preftune.workflow.config import validate_config
from preftune.workflow.plan import Plan
from preftune.workflow.registry import Run

PAPER_TABLES = tuple(
    table
    for tables in cells.TABLES.values()
    for table in tables
    if table not in (*ALIGNMENT_TABLES, *CAPTIONING_TABLES, *COST_TABLES, *MULTITASK_TABLES)
)
CAPTION_SCORES = ("perplexity", "validation", "text", "captions")
TABLE_KINDS = ("csv", "md", "tex", "audit.json")


def load_plan(raw: dict[str, Any], files: list[str]) -> Plan:
    """The validated plan of a raw config; `files` are the config files that Snakemake read, for the error messages."""
    source = files[-1] if files else "config"
    path = Path(source)
    name = (
        path.relative_to(ROOT).as_posix()
        if path.is_absolute() and path.is_relative_to(ROOT)
        else path.as_posix()
    )
    return Plan(validate_config(dict(raw), name), name)


@dataclass(frozen=True)
class Targets:
    """Paths of everything that the plan can make."""

    plan: Plan

    @property
    def results(self) -> str:
        """The scale's results folder."""
        return self.plan.config.results

    def scores_of(self, run: Run) -> list[str]:
        """Score files of a run, for every seed; a multi-task run has a folder of them."""
        if run.stage == "multitask":
            return [f"{self.results}/{run.paper}/multitask/{run.name}/seed-{seed}" for seed in run.seeds]
        folders = [f"{self.results}/{run.paper}/scores/{run.name}/seed-{seed}" for seed in run.seeds]
        if run.paper == "dph":
            names = [
                f"{task}.{kind}"
                for task in self.plan.config.dph.evaluation.tasks
                for kind in ("json", "parquet")
            ]
        else:
            names = [f"{name}.{kind}" for name in CAPTION_SCORES for kind in ("json", "parquet")]
        return [f"{folder}/{name}" for folder in folders for name in names]

    def scores(self, paper: str) -> list[str]:
        """What stands for the scores of every run of a paper: the record of a folder (dph), or a file of each of its jobs."""
        names = ("run.json",) if paper == "dph" else ("perplexity.json", "captions.json")
        return [f"{folder}/{name}" for folder in self.score_words(paper) for name in names]

    def score_words(self, paper: str) -> list[str]:
        """What a table is given: the folder of every run and seed. The files one by one are more than a command line takes."""
        return [
            f"{self.results}/{paper}/scores/{run.name}/seed-{seed}"
            for run in self.plan.scored_runs(paper)
            for seed in run.seeds
        ]

    def multitask(self) -> list[str]:
        """Score folders of the multi-task experiment."""
        return [path for run in self.plan.runs("context_peft", "multitask") for path in self.scores_of(run)]

    def drift(self) -> list[str]:
        """What alignment did to the language model, for the runs that are measured."""
        runs = [self.plan.run(name) for name in self.plan.dph.drift.runs]
        return [
            f"{self.results}/dph/drift/{run.name}/seed-{seed}/drift.json"
            for run in runs
            for seed in run.seeds
        ]

    def best_of(self) -> list[str]:
        """What the heads choose among sampled answers, for the runs that are measured."""
        runs = [self.plan.run(name) for name in self.plan.dph.best_of.runs]
        return [
            f"{self.results}/dph/best_of/{run.name}/seed-{seed}/best_of.json"
            for run in runs
            for seed in run.seeds
        ]

    def references(self) -> list[str]:
        """What the SFT model of each seed says of the pairs."""
        run = self.plan.reference_run
        return [f"{self.results}/dph/reference/{run.name}/seed-{seed}" for seed in run.seeds]

    def models(self, paper: str) -> list[str]:
        """Model folders of every trained run of a paper."""
        runs = self.plan.runs(paper, "sft", "alignment", "captioning")
        return [f"{self.results}/{paper}/models/{run.name}/seed-{seed}" for run in runs for seed in run.seeds]

    def grid_records(self) -> list[str]:
        """Records of the captioners that are points of a grid."""
        folder = f"{self.results}/context_peft/models"
        runs = self.plan.grid_captioners
        return [f"{folder}/{run.name}/seed-{seed}/run.json" for run in runs for seed in run.seeds]

    def curves(self, paper: str) -> list[str]:
        """Model folders whose training curves are drawn."""
        runs = self.plan.curves(paper)
        return [f"{self.results}/{paper}/models/{run.name}/seed-{seed}" for run in runs for seed in run.seeds]

    def captions(self) -> list[str]:
        """Generated captions of the first seed of every captioning run that stands for itself."""
        runs = self.plan.main_captioners
        return [f"{self.results}/context_peft/captions/{run.name}/seed-{run.seeds[0]}.jsonl" for run in runs]

    def gallery(self) -> list[str]:
        """The captions that gallery and report show beside their images."""
        shown = set(self.plan.gallery_runs)
        return [path for path in self.captions() if path.split("/")[-2] in shown]

    def tables(self, paper: str, names: list[str] | None = None) -> list[str]:
        """Files of a paper's tables."""
        chosen = self.plan.tables[paper] if names is None else names
        return [f"{self.results}/{paper}/tables/{table}.{kind}" for table in chosen for kind in TABLE_KINDS]

    def figures(self, paper: str) -> list[str]:
        """Files of a paper's figures."""
        return [
            f"{self.results}/{paper}/figures/{figure}.{kind}"
            for figure in self.plan.figures[paper]
            for kind in ("png", "pdf")
        ]

    def second_opinions(self) -> list[str]:
        """lm-eval's comparison with our scorer."""
        runs = [self.plan.run(name) for name in self.plan.dph.second_opinion.runs]
        return [f"{self.results}/dph/second_opinion/{run.name}/seed-{run.seeds[0]}.json" for run in runs]

    def submissions(self) -> list[str]:
        """Files for the GLUE server: of the first seed of each run that is asked for, one a score."""
        runs = [self.plan.run(name) for name in self.plan.dph.submission.runs]
        return [
            f"{self.results}/dph/submission/{run.name}/seed-{run.seeds[0]}/submission-{score}.zip"
            for run in runs
            for score in self.plan.server_scores(run.name)
        ]

    def report_inputs(self) -> list[str]:
        """Everything that the report shows."""
        papers = [file for paper in self.plan.papers for file in (*self.tables(paper), *self.figures(paper))]
        return papers + self.second_opinions() + self.submissions() if self.plan.trains else papers

    def audited(self) -> list[str]:
        """Everything that is made before the audit."""
        views = [f"{self.results}/{name}" for name in ("report.html", "ro-crate-metadata.json", "cards")]
        return [*views, *self.report_inputs()]

    def selected(self) -> list[str]:
        """What was asked for: everything, or a part by paper, table or run."""
        only = self.plan.config.only
        papers = [only.paper] if only.paper else list(self.plan.papers)
        if only.runs:
            names = [run.name for paper in papers for run in self.plan.runs(paper)]
            chosen = select_names(only.runs, names, "run")
            return [path for name in chosen for path in self.scores_of(self.plan.run(name))]
        if only.tables:
            known = [table for paper in papers for table in self.plan.tables[paper]]
            wanted = set(select_names(only.tables, known, "table"))
            return [
                file
                for paper in papers
                for file in self.tables(paper, [t for t in self.plan.tables[paper] if t in wanted])
            ]
        if only.paper:
            submissions = self.submissions() if only.paper == "dph" and self.plan.trains else []
            return [*self.tables(only.paper), *self.figures(only.paper), *submissions]
        return [f"{self.results}/audit.json", *self.audited()]
