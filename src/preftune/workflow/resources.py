"""What a job asks for before it runs: host memory, wall time and GPUs; and the hours of computing that a plan will take.

All of it is counted from the plan: STAGES says how for each rule. A profile's set-resources overrides it.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

from preftune.workflow import captioning_work, language_work, pretraining_work
from preftune.workflow.jobs import Job
from preftune.workflow.plan import Plan
from preftune.workflow.sizes import Sizes
from preftune.workflow.work import (
    DOWNLOAD,
    ITEM_BYTES,
    ITEM_SECONDS,
    ITEMS_HELD,
    PICTURE_SECONDS,
    ROW_SECONDS,
    SHOWN_BYTES,
    Work,
)

GPU_RATE = 0.3 * 312e12
"""Operations a second of one GPU: 30 % of an A100's in bfloat16, where well-tuned trainings reach 40 to 60 %. A newer card is
faster; nothing has been measured yet."""
BUSY = 500e6
"""Parameters below which a GPU is used less, in proportion: the kernels of narrow layers leave most of it idle."""
CPU_RATE = 60e9
"""Operations a second of one CPU thread in float32 (measured: 20 to 80 thousand million, the lower ones on a loaded machine)."""
CPU_BFLOAT16 = 2
"""How much faster bfloat16 is on a CPU that has it (measured: 2.0 to 2.8 on avx512_bf16); on another one it is slower by far."""
START, GPU_START = 2, 15
"""Seconds until a job computes, on a CPU and on a GPU: what it imports; and CUDA's context with its compiled kernels."""
READING = 200e6
"""Bytes a second in which a model comes from the disk."""
MARGIN, DELAY = 2, 300
"""The time that is asked for, to the time that is predicted; and seconds beside it for a slow node, or a last checkpoint."""
STEP = 15
"""Minutes that the time asked for is a multiple of."""
LONGEST = 1440
"""Minutes that a stage asks for at most if it continues from a checkpoint: a day, which most sites allow."""
LIBRARIES, ON_CPU, ON_GPU = 0.6e9, 2e9, 3e9
"""Bytes of host memory: Python with its libraries; a pass of 4,096 tokens beside it; or CUDA's own libraries and context."""
GENERATED_BYTES = 8_000
"""A generated scene or row on the disk: a picture of the scene is most of it."""
SPARE = 1.25
"""The memory that is asked for, to the memory that is predicted."""


@dataclass(frozen=True)
class Stage:
    """How the jobs of a rule are counted, where they compute, and whether one that was stopped continues from a checkpoint.

    place: one thread of a CPU (`thread`), the config's device, or every GPU of a training (`devices`).
    """

    work: Callable[[Sizes, Job], Work]
    place: Literal["thread", "device", "devices"] = "thread"
    resumes: bool = False


def _fetch_model(sizes: Sizes, job: Job) -> Work:
    """A hub's files stay as they are; what a package holds is stored as float32, and a local folder is not downloaded."""
    name, kind = job.settings["name"], job.settings["kind"]
    n, stated = sizes.parameters(name), sizes.model_bytes(name)
    download = 0 if kind == "local" else stated
    disk = stated if kind == "hub" else 4 * n
    return Work(0, n, download / DOWNLOAD, 12 * n, disk, download=download)


def _fetch_dataset(sizes: Sizes, job: Job) -> Work:
    """What is fetched stays; a hub's rows are compressed."""
    name = job.settings["name"]
    download = sizes.dataset_bytes(job)
    seconds = download / DOWNLOAD + ROW_SECONDS * sizes.raw_rows([name])
    return Work(seconds=seconds, bytes=1e9, disk=download, download=download)


def _fetch_prompts(sizes: Sizes, job: Job) -> Work:
    """An archive of code: small, whatever it holds."""
    return Work(bytes=1e8, disk=SHOWN_BYTES, download=SHOWN_BYTES)


def _generate(sizes: Sizes, job: Job) -> Work:
    seconds = PICTURE_SECONDS * sum(job.settings.values())
    return Work(seconds=seconds, bytes=1e9, disk=GENERATED_BYTES * sum(job.settings.values()))


def _show_scores(sizes: Sizes, job: Job) -> Work:
    """A table or a figure."""
    return replace(_read_scores(sizes, job), disk=SHOWN_BYTES)


def _show_all(sizes: Sizes, job: Job) -> Work:
    return replace(_read_all(sizes, job), disk=SHOWN_BYTES)


def _read_scores(sizes: Sizes, job: Job) -> Work:
    """Every candidate or caption of the scores that it is made from."""
    return _read_items(sizes, job.parents)


def _read_all(sizes: Sizes, job: Job) -> Work:
    return _read_items(sizes, (*sizes.plan.scores("dph"), *sizes.plan.scores("context_peft")))


def _read_items(sizes: Sizes, jobs: Iterable[Job]) -> Work:
    items = sum(sizes.score_rows.get(job.rule, 0) for job in jobs)
    return Work(seconds=ITEM_SECONDS * items, bytes=ITEM_BYTES * min(items, ITEMS_HELD))


STAGES = {
    "fetch_model": Stage(_fetch_model),
    "fetch_dataset": Stage(_fetch_dataset),
    "fetch_prompts": Stage(_fetch_prompts),
    "generate_language_data": Stage(_generate),
    "generate_scenes": Stage(_generate),
    "prepare_dataset": Stage(language_work.prepare_dataset),
    "prepare_sft_mix": Stage(language_work.prepare_mix),
    "prepare_preference_mix": Stage(language_work.prepare_mix),
    "prepare_captions": Stage(captioning_work.prepare_captions),
    "prepare_questions": Stage(captioning_work.prepare_questions),
    "prepare_corpus": Stage(pretraining_work.prepare_corpus),
    "train_language_model": Stage(pretraining_work.train_language_model, "devices", resumes=True),
    "train_sft": Stage(language_work.train_sft, "devices", resumes=True),
    "train_alignment": Stage(language_work.train_alignment, "devices", resumes=True),
    "train_heads": Stage(language_work.train_heads, resumes=True),
    "train_captioner": Stage(captioning_work.train_captioner, "devices", resumes=True),
    "train_multitask": Stage(captioning_work.train_multitask, "devices", resumes=True),
    "compute_overlap": Stage(language_work.compute_overlap),
    "compute_reference": Stage(language_work.compute_reference, "device"),
    "compute_gradients": Stage(language_work.compute_gradients, "device"),
    "compute_features": Stage(captioning_work.compute_features, "device"),
    "compute_attention": Stage(captioning_work.compute_attention, "device"),
    "evaluate_tasks": Stage(language_work.evaluate_tasks, "device"),
    "evaluate_submission": Stage(language_work.evaluate_tasks, "device"),
    "evaluate_heads": Stage(language_work.evaluate_heads),
    "evaluate_drift": Stage(language_work.evaluate_drift, "device"),
    "evaluate_best_of": Stage(language_work.evaluate_best_of, "device"),
    "evaluate_second_opinion": Stage(language_work.evaluate_second_opinion, "device"),
    "evaluate_captioner": Stage(captioning_work.evaluate_captioner, "device"),
    "evaluate_captions": Stage(captioning_work.evaluate_captions),
    "evaluate_multitask": Stage(captioning_work.evaluate_multitask, "device"),
    "aggregate": Stage(_show_scores),
    "tabulate": Stage(_show_scores),
    "plot": Stage(_show_scores),
    "export": Stage(_show_all),
    "audit": Stage(_show_all),
}
"""By rule, or by its first word where the rules of a kind are counted alike."""


def stage_of(rule: str) -> str:
    """The row of STAGES that counts a rule."""
    return rule if rule in STAGES else rule.partition("_")[0]


@dataclass(frozen=True)
class Needs:
    """What one job needs.

    Attributes:
        memory: MB of host memory to ask for.
        runtime: minutes of wall time to ask for.
        hours: predicted hours of computing, times the GPUs that it holds, if any; of a GPU that steps share, its own part.
        gpus: their number.
        disk: bytes of what it leaves behind.
        scratch: bytes of its checkpoints while it runs.
        download: bytes that it fetches.
        beside: predicted hours in which it leaves a shared GPU to the steps beside it.
    """

    memory: int
    runtime: int
    hours: float
    gpus: int
    disk: float = 0
    scratch: float = 0
    download: float = 0
    beside: float = 0

    @property
    def wall(self) -> float:
        """Predicted hours from its start to its end."""
        return self.hours / max(self.gpus, 1) + self.beside


class Forecast:
    """What the jobs of one plan need, each counted once."""

    def __init__(self, plan: Plan) -> None:
        self.config = plan.config
        self.sizes = Sizes(plan)
        self._known: dict[str, Needs] = {}

    def of(self, job: Job) -> Needs:
        """What a job needs, however often it has been tried."""
        if job.identity not in self._known:
            self._known[job.identity] = self.count(job)
        return self._known[job.identity]

    def count(self, job: Job) -> Needs:
        """What a job needs, counted anew."""
        stage = STAGES[stage_of(job.rule)]
        work, gpus = stage.work(self.sizes, job), self.config.training_gpus
        gpus = {"thread": 0, "device": min(gpus, 1), "devices": gpus}[stage.place]
        rate, start = CPU_RATE * (1 if stage.place == "thread" else self.config.threads), START
        rate *= CPU_BFLOAT16 if (job.settings or {}).get("dtype") == "bfloat16" else 1
        base = LIBRARIES + (ON_CPU if stage.place != "thread" else 0)
        if gpus:
            rate, start = GPU_RATE * min(1, work.parameters / BUSY) * gpus, GPU_START
            base = LIBRARIES + ON_GPU
        seconds = start + 4 * work.parameters / READING + work.seconds + work.operations / rate
        minutes = math.ceil((DELAY + MARGIN * seconds) / 60 / STEP) * STEP
        # Each process of a training holds the model and the data.
        memory = math.ceil(SPARE * (base + work.bytes) * max(gpus, 1) / 1e9) * 1000
        runtime = min(minutes, LONGEST) if stage.resumes else minutes
        beside = self._share(seconds - work.operations / rate) / 3600 if gpus else 0.0
        hours = (seconds / 3600 - beside) * max(gpus, 1)
        return Needs(memory, runtime, hours, gpus, work.disk, work.scratch, work.download, beside)

    def _share(self, idle: float) -> float:
        """Of the seconds in which a step does not use its GPU, those that the steps beside it use: they start, load and decode at
        the same time, while their operations are taken to follow on one another.
        """
        return idle * (1 - 1 / self.config.steps_per_gpu)

    def describe(self, jobs: Iterable[Job]) -> str:
        """`about 1,234 GPU hours (train_captioner 980, train_alignment 204, compute_features 11)`: in all, and the three largest."""
        hours: dict[str, float] = {}
        for job in jobs:
            if self.of(job).gpus or not self.config.training_gpus:
                hours[job.rule] = hours.get(job.rule, 0) + self.of(job).hours
        largest = sorted(hours.items(), key=lambda item: -item[1])[:3]
        unit = "GPU hours" if self.config.training_gpus else "hours of computing on the CPU"
        stages = ", ".join(f"{rule} {format_hours(own)}" for rule, own in largest)
        return f"about {format_hours(sum(hours.values()))} {unit}{f' ({stages})' if stages else ''}"


def format_hours(hours: float, digits: int = 1) -> str:
    """1,227, or with some digits below ten: 4.3."""
    return f"{hours:,.0f}" if hours >= 10 else f"{hours:.{digits}f}"
