"""How much a plan reads and how long it is, before any of it is there: models, questions, examples, images.

Numbers of rows are the official ones of config/datasets.yaml, or those of the embedded data, as far as the config's limits
let them through. Lengths are means: no tokenizer is asked, so a prediction from them may be off by a half.
"""

from collections.abc import Iterable
from functools import cached_property
from statistics import mean
from typing import get_args

from preftune.errors import PreftuneError
from preftune.settings.captioning import Split
from preftune.workflow.jobs import Job
from preftune.workflow.outputs import list_prepared
from preftune.workflow.plan import Plan
from preftune.workflow.work import TEXT_BYTES

QUESTION_TOKENS = {
    "race": 400,
    "boolq": 170,
    "hellaswag": 120,
    "hellaswag-choice": 200,
    "mmlu": 330,
    "squad-v2": 220,
    "squad-answerable": 220,
    "squad-unanswerable": 220,
    "pairs": 720,
}
"""Tokens of a question with all its candidates, by template: means over 400 public rows each, worded as chats, by SmolLM2's
tokenizer, rounded up; of MMLU and SQuAD from the length of their passages."""
SHORT_TOKENS = 80
"""The same for all other templates, whose means are between 36 and 109: sentences, pairs of sentences, short choices."""
EMBEDDED_TOKENS = 45
"""The same for the embedded rows, whatever the template."""
CANDIDATES = 3
"""Candidates of a question: 2 to 6, mostly 2 or 4."""
CAPTION_TOKENS = 14
CAPTIONS = 5
"""A caption of COCO, and how many an image has."""
VISUAL_QUESTION_TOKENS = 30
PACKED = 0.5
"""Bytes of a hub's compressed rows, to those of their text."""
LOCAL_IMAGES = 200
"""Images of a split that comes from a folder of one's own and of which the config states neither number nor limit."""


class Sizes:
    """What the jobs of one plan are counted by."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.config = plan.config
        self.language = self.parameters(plan.config.dph.model)

    @cached_property
    def captioner(self) -> int:
        """Parameters of the captioning runs' language model."""
        return self.parameters(self.plan.context_peft.model)

    @cached_property
    def mix_tokens(self) -> dict[str, float]:
        """Mean tokens of an example of each mix."""
        return {mix: self._mean_tokens(mix) for mix in ("sft_mix", "preference_mix")}

    def parameters(self, model: str) -> int:
        """Number of a model's parameters, as the registry states it."""
        return self._stated(model, "parameters")

    def positions(self, job: Job) -> int:
        """Positions that a picture takes among a job's tokens, by the encoder whose features it reads or makes."""
        return self._stated(self._encoder(job), "positions")

    def width(self, job: Job) -> int:
        """Width of a picture's features, by the same encoder."""
        return self._stated(self._encoder(job), "width")

    def _encoder(self, job: Job) -> str:
        """The encoder that a job reads features of, itself or through its parents; the default one where it reads none."""
        if job.rule == "compute_features":
            return str(job.parents[0].settings["name"])
        for parent in job.parents:
            if parent.rule in ("compute_features", "train_captioner", "train_multitask"):
                return self._encoder(parent)
        return self.plan.context_peft.captioning.encoder

    def _stated(self, model: str, key: str) -> int:
        stated = self.plan.models[model].get(key)
        if not isinstance(stated, int) or stated < 1:
            raise PreftuneError(
                f"{self.config.models}: model {model} has no number of {key}: add the key {key}, by which memory and time of "
                "its jobs are counted."
            )
        return stated

    def model_bytes(self, model: str) -> int:
        """Bytes of a model's download: as stated, or four a parameter."""
        return int(self.plan.models[model].get("bytes", 4 * self.parameters(model)))

    def dataset_bytes(self, job: Job) -> float:
        """Bytes that a job fetches of a data set: as the registry states them, else those of its rows, compressed."""
        name, archives = job.settings["name"], job.settings.get("archives", {})
        stated = [one["bytes"] or 0 for one in archives.values()]
        stated += self.plan.datasets[name].get("bytes", {}).values()
        return sum(stated) or PACKED * self._raw_bytes(name)

    def _raw_bytes(self, dataset: str) -> float:
        return TEXT_BYTES * self.dataset_tokens(dataset) * self.raw_rows([dataset])

    def rows(self, dataset: str, split: str) -> int:
        """Prepared rows of a split; of a split without an official count a tenth of the training rows."""
        known = self._counts(dataset)
        count = known.get(split, known.get("train", 0) // 10)
        if self.config.language_data is not None:
            own = self.config.language_data
            count = own.train if split == "train" else own.evaluation
        limits = self.config.dph.datasets
        limit = limits.limit_train if split == "train" else limits.limit_evaluation
        return count if limit is None else min(count, limit)

    def dataset_of(self, job: Job) -> str:
        """The data set that a job prepares."""
        return self._datasets[job.identity]

    @cached_property
    def _datasets(self) -> dict[str, str]:
        return {self.plan.prepare_dataset(name).identity: name for name in list_prepared(self.plan)}

    def dataset_tokens(self, dataset: str) -> int:
        """Mean tokens of a data set's row: of the first task that asks it."""
        tasks = (name for name, task in self.plan.tasks.items() if task["dataset"] == dataset)
        return self.tokens(next(tasks, dataset))

    def passage_tokens(self, dataset: str, most: int) -> int:
        """Mean tokens of a data set's passage, cut at the most that are read of one."""
        return min(most, self.dataset_tokens(dataset))

    def kept_rows(self, datasets: Iterable[str]) -> dict[str, int]:
        """Rows of all prepared splits of each data set, as far as the config's limits let them through."""
        kept = {}
        for dataset in datasets:
            splits = self._counts(dataset) or {"train": 0, "validation": 0}
            kept[dataset] = sum(self.rows(dataset, split) for split in splits)
        return kept

    def text_bytes(self, datasets: Iterable[str]) -> float:
        """Bytes of the prepared rows of data sets."""
        kept = self.kept_rows(datasets)
        return sum(TEXT_BYTES * self.dataset_tokens(name) * rows for name, rows in kept.items())

    def raw_rows(self, datasets: Iterable[str]) -> int:
        """Rows of all splits of some data sets, as they are fetched."""
        if self.config.language_data is not None:
            own = self.config.language_data
            return sum(own.train + 2 * own.evaluation for _ in datasets)
        return sum(sum(self._counts(dataset).values()) for dataset in datasets)

    def _counts(self, dataset: str) -> dict[str, int]:
        """Official rows of each split, as far as the registry states them."""
        return dict(self.plan.datasets[dataset].get("counts", {}))

    def tokens(self, task: str) -> int:
        """Mean tokens of a task's question; of a data set of dialogues those of a short one."""
        if self.config.language_data is not None:
            return EMBEDDED_TOKENS
        row = self.plan.tasks.get(task)
        return SHORT_TOKENS if row is None else QUESTION_TOKENS.get(row["template"], SHORT_TOKENS)

    def questions(self, tasks: Iterable[str], limit: int | None) -> list[tuple[int, int]]:
        """Of each task the questions that are scored, and the mean tokens of one."""
        counts = []
        for task in tasks:
            rows = self.rows(self.plan.tasks[task]["dataset"], self.plan.tasks[task]["split"])
            counts.append((rows if limit is None else min(rows, limit), self.tokens(task)))
        return counts

    def _mean_tokens(self, mix: str) -> float:
        """Mean tokens of a mix's example, drawn evenly over its groups of tasks: as its questions', which overrates SFT's.

        Longer ones than max_tokens are left out, so that no mean exceeds it.
        """
        settings = getattr(self.plan.dph, mix)
        groups: dict[str, list[int]] = {}
        for name in settings.tasks:
            group = self.plan.tasks.get(name, {}).get("group", name)
            groups.setdefault(group, []).append(min(self.tokens(name), settings.max_tokens))
        # The k-th of the copies in a row has those before it in its prompt.
        copies = getattr(settings, "copies", 1)
        return mean(mean(lengths) for lengths in groups.values()) * (copies + 1) / 2

    def images(self, split: Split) -> int:
        """Captioned images of a split; those of COCO where the config states no other number."""
        data = self.plan.context_peft.captions
        if self.config.scenes is not None:
            count = getattr(self.config.scenes, split)
        elif self.config.data == "hub":
            coco = self._counts("coco")
            count = data.expected.get(split, coco.get(split, coco["validation"]))
        else:
            cut = data.validation_fraction if split == "validation" and split not in data.splits else 1
            count = data.expected.get(split, round(cut * LOCAL_IMAGES))
        return min(count, data.limit.get(split, count))

    @cached_property
    def all_images(self) -> int:
        """Captioned images of all splits."""
        return sum(self.images(split) for split in get_args(Split))

    @cached_property
    def visual_questions(self) -> int:
        """Questions about images that a multi-task run answers; an embedded scene has six."""
        asked = self.plan.multitask.evaluation.questions
        if self.config.scenes is not None:
            return min(6 * self.config.scenes.test, asked or 6 * self.config.scenes.test)
        return asked or self._counts(self.plan.question_dataset)["validation"]

    @cached_property
    def score_rows(self) -> dict[str, int]:
        """Rows that tables read of one score job, by its rule: candidates, or captions."""
        evaluation = self.config.dph.evaluation
        asked = sum(rows for rows, _ in self.questions(evaluation.tasks, evaluation.limit))
        if not self.plan.trains:
            return {"evaluate_tasks": CANDIDATES * asked}
        hidden = self.plan.dph.submission
        submitted = sum(rows for rows, _ in self.questions(self.plan.hidden_tasks, hidden.limit))
        shown = sum(self.evaluated_images(split) for split in ("validation", "test"))
        candidates = CANDIDATES * asked
        return {
            "evaluate_tasks": candidates,
            "evaluate_heads": candidates,
            "evaluate_submission": CANDIDATES * submitted,
            "evaluate_captioner": CAPTIONS * shown + self.plan.context_peft.evaluation.text.passages,
            "evaluate_captions": self.evaluated_images("test"),
            "evaluate_multitask": self._multitask_rows(),
        }

    def _multitask_rows(self) -> int:
        if self.plan.context_peft.multitask is None:
            return 0
        return CAPTIONS * self.images("test") + 2 * self.visual_questions

    def evaluated_images(self, split: Split) -> int:
        """Images of a split that a captioner is evaluated on."""
        limit = self.plan.context_peft.evaluation.limit
        return min(self.images(split), limit or self.images(split))
