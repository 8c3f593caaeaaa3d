"""The plan: settings, seed and identity of every job of one scale, computed when the Snakefile is parsed."""

from functools import cache
from typing import Any

from preftune.workflow.captioning_jobs import CaptioningJobs
from preftune.workflow.checks import check_plan
from preftune.workflow.config import Config
from preftune.workflow.jobs import Job
from preftune.workflow.language_jobs import LanguageJobs


class Plan(LanguageJobs, CaptioningJobs):
    """Everything that the Snakefile needs to know about one scale."""

    def __init__(self, config: Config, source: str) -> None:
        super().__init__(config, source)
        check_plan(self)

    def train(self, name: str, seed: int) -> Job:
        """The job that makes a run's model; for a base run the fetched model itself."""
        if self.run(name).paper == "dph":
            return self.train_language(name, seed)
        return self.train_captioner(name, seed)

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
