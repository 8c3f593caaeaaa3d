"""Jobs of the DPH paper: mixes, training, reference, evaluation."""

from functools import cache, cached_property
from typing import Any

from preftune.settings.alignment import REFERENCED
from preftune.workflow.jobs import Job
from preftune.workflow.registry import Run
from preftune.workflow.wording_jobs import WordingJobs

FETCHED = ("base", "released")
"""Stages of runs whose model is a fetched one as it is."""


class LanguageJobs(WordingJobs):
    """Every job between the raw rows and the scores of the language models."""

    @cached_property
    def evaluation_datasets(self) -> list[str]:
        """Data sets behind the evaluated tasks."""
        return sorted({self.tasks[task]["dataset"] for task in self.config.dph.evaluation.tasks})

    @cache
    def mix_datasets(self, mix: str) -> list[str]:
        """Data sets behind a training mix."""
        names = getattr(self.dph, mix).tasks
        return sorted({self.tasks[name]["dataset"] if name in self.tasks else name for name in names})

    @cache
    def prepare_mix(self, mix: str) -> Job:
        parents = tuple(self.prepare_dataset(dataset) for dataset in self.mix_datasets(mix))
        settings = getattr(self.dph, mix).model_dump(mode="json")
        return self.job(f"prepare_{mix}", settings, parents=(*parents, self.fetch_model(self.config.dph.model)),
                        facts=self.words(tuple(settings["tasks"]), self.templates))  # fmt: skip

    def base_model(self, name: str) -> str:
        """The fetched model that a run is, or that it or what it continues was trained from."""
        return str(self.settings(name).get("model", self.config.dph.model))

    def reference_of(self, name: str) -> str:
        """The run against whose scores a run's implicit reward is read: what it was aligned from; empty where there is none."""
        run = self.run(name)
        return run.parent if run.stage in ("alignment", "released") else ""

    @cache
    def train_language(self, name: str, seed: int) -> Job:
        """The job that makes a language model: fetched, fine-tuned or aligned."""
        run, settings = self.run(name), self.settings(name)
        if run.stage in FETCHED:
            return self.fetch_model(self.base_model(name))
        if run.stage == "alignment":
            return self._train_alignment(run, settings, seed)
        sources: tuple[Job, ...] = (self.fetch_model(self.config.dph.model), self.prepare_mix("sft_mix"))
        if run.parent:
            sources += (self.train_language(run.parent, self.parent_seed(run, seed)),)
        return self.job("train_sft", settings, seed=seed, parents=sources)

    def _train_alignment(self, run: Run, settings: dict[str, Any], seed: int) -> Job:
        start = (run.parent, self.parent_seed(run, seed))
        parents: tuple[Job, ...] = (self.train_language(*start), self.prepare_mix("preference_mix"))
        if self.needs_reference(run.name) or self.is_frozen(run.name):
            parents += (self.compute_reference(*start),)
        rule = "train_heads" if self.is_frozen(run.name) else "train_alignment"
        return self.job(rule, settings, seed=seed, parents=parents)

    @cache
    def is_frozen(self, name: str) -> bool:
        """Whether a run trains a head alone, on states that are computed once."""
        return self.settings(name).get("freeze") == "model"

    def needs_reference(self, name: str) -> bool:
        """Whether an alignment run's objective reads reference log-probabilities."""
        return self.settings(name)["policy"] in REFERENCED

    @cache
    def keeps_states(self, name: str) -> bool:
        """Whether other runs train a head alone on this run's model."""
        return any(run.parent == name and self.is_frozen(run.name) for run in self.runs("dph", "alignment"))

    @cache
    def compute_reference(self, run: str, seed: int) -> Job:
        settings = self.dph.reference.model_dump() | {"states": self.keeps_states(run)}
        parents = (self.train_language(run, seed), self.prepare_mix("preference_mix"))
        return self.job("compute_reference", settings, parents=parents)

    @property
    def evaluation_options(self) -> dict[str, Any]:
        """How candidates are scored; the template set is a file of the job."""
        return self.config.dph.evaluation.model_dump(mode="json", exclude={"templates"})

    @cache
    def evaluate_tasks(self, name: str, seed: int) -> Job:
        """Scores of a run: from its own passes, or its head's on the states of the run that it started from."""
        run = self.run(name)
        states = self.keeps_states(name) and not self.scores_texts
        settings = self.evaluation_options | {"states": states}
        words = self.words(self.config.dph.evaluation.tasks, self.evaluation_templates)
        parents: tuple[Job, ...] = (self.train_language(name, seed),)
        if self.reference_of(name):
            parents += (self.evaluate_tasks(run.parent, self.parent_seed(run, seed)),)
        if name in self.scored_by_heads:
            return self.job("evaluate_heads", settings, parents=parents, facts=words)
        parents += tuple(self.prepare_dataset(dataset) for dataset in self.evaluation_datasets)
        parents += (self.fetch_prompts(),) if self.scored_set.content.source else ()
        return self.job("evaluate_tasks", settings, parents=parents, facts=words)

    @cached_property
    def scored_by_heads(self) -> list[str]:
        """Runs whose rewards are read from the states of the SFT model; as plain texts every run is scored by itself."""
        return [run.name for run in self.runs("dph") if self.is_frozen(run.name) and not self.scores_texts]

    @cached_property
    def drift_datasets(self) -> list[str]:
        """Data sets that the measurement of drift reads."""
        drift = self.dph.drift
        answers = {self.tasks[task]["dataset"] for task in drift.answer_tasks}
        return sorted(answers | {drift.text_dataset, drift.prompt_dataset})

    @cache
    def evaluate_drift(self, name: str, seed: int) -> Job:
        """What alignment did to a run's language model, against the SFT model that it started from."""
        run = self.run(name)
        settings = self.dph.drift.model_dump(mode="json", exclude={"runs"})
        parents: tuple[Job, ...] = (self.train_language(name, seed),)
        if run.stage == "alignment":
            parents += (self.train_language(run.parent, self.parent_seed(run, seed)),)
        parents += tuple(self.prepare_dataset(dataset) for dataset in self.drift_datasets)
        words = self.words(self.dph.drift.answer_tasks, self.templates)
        return self.job("evaluate_drift", settings, parents=parents, facts=words)

    @cached_property
    def best_of_datasets(self) -> list[str]:
        """Data sets whose questions are answered by best of n."""
        return sorted({self.tasks[task]["dataset"] for task in self.dph.best_of.tasks})

    @cache
    def evaluate_best_of(self, name: str, seed: int) -> Job:
        """What a run's scores choose among the run's own answers; the seed also draws these."""
        settings = self.dph.best_of.model_dump(mode="json", exclude={"runs"})
        parents: tuple[Job, ...] = (self.train_language(name, seed),)
        if not self.is_frozen(name):  # else its language model is the reference itself
            run = self.run(name)
            parents += (self.train_language(run.parent, self.parent_seed(run, seed)),)
        parents += tuple(self.prepare_dataset(dataset) for dataset in self.best_of_datasets)
        words = self.words(self.dph.best_of.tasks, self.chat_templates)
        return self.job("evaluate_best_of", settings, seed=seed, parents=parents, facts=words)

    def compute_gradients(self) -> Job:
        """Gradient flow, from the first SFT run's model."""
        run = self.reference_run
        parents = (
            self.train_language(run.name, run.seeds[0]),
            self.prepare_mix("preference_mix"),
            self.compute_reference(run.name, run.seeds[0]),
        )
        return self.job("compute_gradients", self.dph.gradients.model_dump(), parents=parents)

    @cached_property
    def reference_run(self) -> Run:
        """The SFT run that alignment starts from: the last one of the scale."""
        return self.runs("dph", "sft")[-1]

    def compute_overlap(self) -> Job:
        """Questions of the evaluation that also stand in the mixes' training data."""
        train = sorted({*self.dph.sft_mix.tasks, *self.dph.preference_mix.tasks} & set(self.tasks))
        settings = {"train": train, "evaluation": list(self.config.dph.evaluation.tasks),
                    "limit": self.config.dph.evaluation.limit}  # fmt: skip
        parents = tuple(self.prepare_dataset(name) for name in self.overlap_datasets)
        words = self.words((*train, *self.config.dph.evaluation.tasks), self.templates)
        return self.job("compute_overlap", settings, parents=parents, facts=words)

    @cached_property
    def overlap_datasets(self) -> list[str]:
        """Data sets of the evaluation and of the tasks of both mixes."""
        mixes = {*self.dph.sft_mix.tasks, *self.dph.preference_mix.tasks}
        tasks = [task for name, task in self.tasks.items() if name in mixes]
        return sorted({task["dataset"] for task in tasks} | set(self.evaluation_datasets))

    def evaluate_second_opinion(self, run: str, seed: int) -> Job:
        """lm-eval's scores of a run beside ours."""
        settings = self.dph.second_opinion.model_dump(mode="json", exclude={"runs"})
        datasets = (self.prepare_dataset(dataset) for dataset in self.second_opinion_datasets)
        parents = (self.train_language(run, seed), *datasets)
        opinion = self.dph.second_opinion
        words = self.words(opinion.chats, self.templates) + self.words(opinion.texts, "lm-eval")
        return self.job("evaluate_second_opinion", settings, parents=parents, facts=words)

    @cached_property
    def second_opinion_datasets(self) -> list[str]:
        """Data sets behind the tasks that lm-eval scores too."""
        opinion = self.dph.second_opinion
        return sorted({self.tasks[task]["dataset"] for task in (*opinion.chats, *opinion.texts)})

    @cached_property
    def hidden_tasks(self) -> list[str]:
        """Tasks whose labels the GLUE server alone knows."""
        return [name for name, task in self.tasks.items() if task["suite"] == "glue-test"]

    @cached_property
    def submission_datasets(self) -> list[str]:
        """Data sets behind them."""
        return sorted({self.tasks[task]["dataset"] for task in self.hidden_tasks})

    def server_scores(self, name: str) -> list[str]:
        """Scores of a run that a file for the GLUE server is made of: `reward` only with a head."""
        aligned = self.run(name).stage == "alignment" and not self.scores_texts
        return ["log", "reward"] if aligned and self.settings(name)["dph"] != "none" else ["log"]

    @cache
    def evaluate_submission(self, name: str, seed: int) -> Job:
        """Scores of a run on the hidden test splits; the server needs an answer to every row, so no long one is left out."""
        settings = self.evaluation_options | {
            "tasks": self.hidden_tasks,
            "limit": self.dph.submission.limit,
            "long": "truncate",
        }
        parents = (
            self.train_language(name, seed),
            *(self.prepare_dataset(dataset) for dataset in self.submission_datasets),
        )
        words = self.words(tuple(self.hidden_tasks), self.evaluation_templates)
        return self.job("evaluate_submission", settings, parents=parents, facts=words)

    def export_glue_submission(self, name: str, seed: int, score: str) -> Job:
        """A file for the GLUE server; of whole test splits of real rows it must hold the official counts."""
        config = self.dph
        whole = config.submission.limit is None and config.datasets.limit_evaluation is None
        counts = {task: self.datasets[row["dataset"]]["counts"][row["split"]]
                  for task, row in self.tasks.items() if task in self.hidden_tasks}  # fmt: skip
        settings = {"score": score, "counts": counts if whole and self.config.data != "embedded" else None}
        return self.job("export_glue_submission", settings, parents=(self.evaluate_submission(name, seed),))
