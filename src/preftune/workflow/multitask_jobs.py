"""Jobs of the multi-task experiment: questions, training or joining, evaluation."""

from collections.abc import Callable
from functools import cache, cached_property

from preftune.errors import PreftuneError
from preftune.workflow.captioning_jobs import CaptioningJobs
from preftune.workflow.config import MultitaskSection
from preftune.workflow.jobs import Job

# Folders that the tasks read.
_READS = {
    "captions": {"features", "captions"},
    "text-questions": {"questions"},
    "visual-questions": {"features", "questions"},
}


class MultitaskJobs(CaptioningJobs):
    """Every job between the prepared images and the scores of the multi-task runs."""

    @property
    def multitask(self) -> MultitaskSection:
        """The experiment's section of the config."""
        section = self.context_peft.multitask
        if section is None:
            raise PreftuneError(f"{self.source}: the section context_peft.multitask is left out: add it.")
        return section

    @property
    def question_dataset(self) -> str:
        """The data set of the questions about images: the scenes are COCO's stand-in."""
        layout = self.multitask.questions.format
        return "coco" if layout == "scenes" else layout

    def question_folders(self) -> dict[str, str]:
        """Folders that the preparation of the questions reads, below the results folder, by the script's option."""
        questions = self.multitask.questions
        folders = {} if questions.format == "gqa" else {"captions": "context_peft/data/captions"}
        if questions.text is not None:
            folders["texts"] = f"dph/data/{questions.text.dataset}"
        return folders

    @property
    def question_images(self) -> str | None:
        """The folder of the questions' images, where it is another than theirs: COCO's are fetched once, for the captions."""
        folder = self.raw("context_peft", "coco")
        apart = self.multitask.questions.format == "vqav2" and folder != self.raw("context_peft", "vqav2")
        return folder if apart else None

    @cache
    def prepare_questions(self) -> Job:
        questions = self.multitask.questions
        parents = self._raw_parents("context_peft", self.question_dataset)
        if questions.format != "gqa":  # its images are not COCO's
            parents += (self.prepare_captions(),)
        if questions.text is not None:
            parents += (self.prepare_dataset(questions.text.dataset),)
        return self.job("prepare_questions", questions.model_dump(mode="json"), parents=parents)

    def multitask_folders(self, name: str, evaluated: bool = False) -> dict[str, str]:
        """Folders of data that a run's training reads, or its evaluation, below context_peft's, by the scripts' option."""
        tasks = _READS if evaluated else self.settings(name)["tasks"]
        folders = {
            "features": f"features/{self.encoder(name)}",
            "captions": "data/captions",
            "questions": "data/questions",
        }
        return {key: path for key, path in folders.items() if any(key in _READS[task] for task in tasks)}

    def _multitask_data(self, name: str, evaluated: bool = False) -> tuple[Job, ...]:
        jobs: dict[str, Callable[[], Job]] = {
            "features": lambda: self.compute_features(self.encoder(name)),
            "captions": self.prepare_captions,
            "questions": self.prepare_questions,
        }
        return tuple(jobs[key]() for key in self.multitask_folders(name, evaluated))

    @cache
    def train_multitask(self, name: str, seed: int) -> Job:
        """The job that trains a run, or joins its parents."""
        settings = {key: value for key, value in self.settings(name).items() if key != "encoder"}
        parents = (self.captioner_base, *self._multitask_data(name))
        parents += tuple(self.train_multitask(*parent) for parent in self.parents(self.run(name), seed))
        return self.job("train_multitask", settings, seed=seed, parents=parents)

    @cache
    def evaluate_multitask(self, name: str, seed: int) -> Job:
        settings = self.multitask.evaluation.model_dump(mode="json")
        parents = (self.train_multitask(name, seed), *self._multitask_data(name, evaluated=True))
        return self.job("evaluate_multitask", settings, parents=parents)

    @cached_property
    def multitask_scores(self) -> tuple[Job, ...]:
        """Every evaluation of the experiment."""
        runs = self.runs("context_peft", "multitask")
        return tuple(self.evaluate_multitask(run.name, seed) for run in runs for seed in run.seeds)

    def tabulate_multitask(self) -> Job:
        """The experiment's table."""
        runs = [run.name for run in self.runs("context_peft", "multitask")]
        settings = self.table_settings("context_peft", runs, alone=self._trained_alone())
        return self.job("tabulate_multitask", settings, parents=self.multitask_scores)

    def _trained_alone(self) -> dict[str, str]:
        """For each task the run that was trained on it and on nothing else."""
        runs = [run for run in self.runs("context_peft", "multitask") if not run.parents]
        tasks = {run.name: self.settings(run.name)["tasks"] for run in runs}
        return {own[0]: name for name, own in reversed(tasks.items()) if len(own) == 1}
