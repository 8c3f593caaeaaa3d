"""The training loop of every stage: global batches, packed micro-batches, several devices, exact resume.

All that a step does follows from (seed, step, rank) and the size of its passes: its examples, its random draws, its
learning rate. So a checkpoint needs no generator states, and a run that was killed and resumed ends with the same bytes
as one that was not.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from preftune.errors import PreftuneError
from preftune.models.devices import computing_in, is_out_of_memory
from preftune.processes import leads, rank, world_size
from preftune.progress import say, track
from preftune.settings.training import TrainingSettings
from preftune.training import distributed
from preftune.training.batches import TOKENS_PER_PASS, epoch_order, share_of_rank
from preftune.training.checkpoints import Checkpoints
from preftune.training.costs import optimizer_bytes
from preftune.training.interruption import InterruptedTraining, StopRequest, watch_signals
from preftune.training.metrics import MetricsLog
from preftune.training.objective import Logged, Objective
from preftune.training.optimizers import make_optimizer, schedule_factor
from preftune.training.validation import BestWeights, Validation


@dataclass(frozen=True)
class Place:
    """Where and how a training runs.

    Attributes:
        device: this process's device.
        compute: type of the arithmetic; with bfloat16, fp32 weights are computed with under autocast.
        seed: of order and random draws.
        metrics: the JSON Lines file to write.
        checkpoints: where the state is kept; None: nowhere, a stop loses it.
        name: for progress lines and mirrors.
    """

    device: torch.device
    compute: torch.dtype
    seed: int
    metrics: Path
    name: str
    checkpoints: Checkpoints | None = None


def fit(
    groups: list[dict[str, Any]],
    objective: Objective[Any],
    settings: TrainingSettings,
    place: Place,
    warn: Callable[[str], None] = print,
    validation: Validation | None = None,
) -> dict[str, Any]:
    """Minimise an objective over parameter groups (`params`, and optionally `lr`, `decay`, `decay_to`).

    Each step adds one row {step, loss, learning_rate, gradient_norm, ...} to the metrics. The global batch is
    `settings.batch` examples whatever the micro-batches and the number of processes.

    Returns:
        Facts for the record: steps, examples, tokens, first_loss, last_loss, training_seconds, tokens_per_second,
        tokens_per_pass, skipped_steps, attempts, processes, optimizer_state_bytes; with `validation` best_step and best_<name>.

    Raises:
        InterruptedTraining: a signal told it to stop; the state is in a checkpoint.
        PreftuneError: the loss was NaN or infinite `nonfinite_limit` times, or one example does not fit into memory.
    """
    if place.checkpoints is not None and leads():
        place.checkpoints.tidy()
    return Training(groups, objective, settings, place, warn, validation).run()


class Training:
    """A training in progress; `fit` runs one from its start to its end."""

    def __init__(
        self,
        groups: list[dict[str, Any]],
        objective: Objective[Any],
        settings: TrainingSettings,
        place: Place,
        warn: Callable[[str], None],
        validation: Validation | None = None,
    ) -> None:
        self.objective, self.settings, self.place, self.warn = objective, settings, place, warn
        self.validation = None if validation is None else BestWeights(validation, settings.steps)
        self.optimizer, self.decay = make_optimizer(groups, settings)
        self.peaks = [group["lr"] for group in self.optimizer.param_groups]
        self.parameters = [tensor for group in self.optimizer.param_groups for tensor in group["params"]]
        self.order = epoch_order(len(objective), settings.batch, settings.steps, place.seed)
        self.budget = settings.tokens_per_pass or TOKENS_PER_PASS[place.device.type]
        self.done, self.started, self.saved = 0, time.monotonic(), time.monotonic()
        self.facts: dict[str, Any] = {"tokens": 0, "skipped_steps": 0, "attempts": []}

    def run(self) -> dict[str, Any]:
        """Resume where there is something to resume, then take the steps that are left."""
        text = self._resume()
        self.facts["attempts"].append({"first_step": self.done + 1})
        log = MetricsLog(self.place.metrics if leads() else None, text, self.place.name)
        left = range(self.done + 1, self.settings.steps + 1)
        try:
            with watch_signals() as request:
                for step in track(left, self.place.name, total=self.settings.steps, done=self.done):
                    stop, due = self._step(step, log, request)
                    self.done = step
                    # The last state too: what follows, saving the model, may fail.
                    if stop or due or step == self.settings.steps:
                        self._save(log)
                    if stop and step < self.settings.steps:
                        raise self._interrupted(request)
        finally:
            log.close()
        if self.validation is not None:
            self.facts |= self.validation.restore(self.parameters)
        return self._result()

    def _step(self, step: int, log: MetricsLog, request: StopRequest) -> tuple[bool, bool]:
        """One optimiser step; whether a process was told to stop, and whether a checkpoint is due: all processes agree."""
        start = time.monotonic()
        rate = schedule_factor(step, self.settings)
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = peak * rate
        examples = [self.objective.draw(index, step) for index in self.order[step - 1]]
        due = leads() and start - self.saved >= 60 * self.settings.checkpoint_minutes
        totals = self.update(examples, step, {"stop": float(request.signal is not None), "due": float(due)})
        agreed = totals.pop("stop") > 0, totals.pop("due") > 0
        loss, norm = totals.pop("loss"), totals.pop("gradient_norm")
        if not math.isfinite(norm):
            self._skip(step, loss, [example.name for example in examples], log)
        tokens = sum(example.tokens for example in examples)
        self.facts["tokens"] += tokens
        if math.isfinite(norm):
            self.facts.setdefault("first_loss", loss)
            self.facts["last_loss"] = loss
        seconds = time.monotonic() - start
        row = {"step": step, "loss": loss, "learning_rate": self.settings.learning_rate * rate}
        found = {} if self.validation is None else self.validation.look(step, self.parameters)
        log.write(
            row | {"gradient_norm": norm} | totals | found,
            {"seconds": seconds, "tokens_per_second": tokens / seconds},
        )
        return agreed

    def update(
        self, examples: Sequence[Any], step: int, flags: Mapping[str, float] | None = None
    ) -> dict[str, float]:
        """One update of the parameters on a global batch; all processes call it with the same examples.

        Returns:
            What the objective logs, loss, gradient_norm before clipping (NaN where loss or gradient is not finite, and
            nothing was changed), and the sums of the processes' `flags`.
        """
        units = sum(self.objective.units(example) for example in examples)
        lengths = [example.tokens for example in examples]
        own = share_of_rank(lengths, rank(), world_size())
        budget = self.budget
        logged = self._backward([examples[i] for i in own], units, step)
        totals = self._add_up(logged | {"halved": float(self.budget < budget), **(flags or {})})
        if totals.pop("halved"):
            self.budget = distributed.smallest(self.budget, self.place.device)
        totals["gradient_norm"] = self._apply_gradients() if math.isfinite(totals["loss"]) else math.nan
        self.optimizer.zero_grad(set_to_none=True)
        return totals

    def _backward(self, examples: Sequence[Any], units: int, step: int) -> Logged:
        """Gradients of these examples in micro-batches of at most `budget` tokens, halved until they fit into memory."""
        while True:
            try:
                return self._accumulate(examples, units, step)
            except (MemoryError, RuntimeError) as error:  # torch.OutOfMemoryError is a RuntimeError
                if not is_out_of_memory(error):
                    raise
                lack = error
            self.optimizer.zero_grad(set_to_none=True)
            if self.place.device.type == "cuda":
                torch.cuda.empty_cache()
            longest = max(examples, key=lambda example: example.tokens)
            if self.budget <= longest.tokens and len(self._split(examples)) == len(examples):
                raise PreftuneError(
                    f"example {longest.name} alone ({longest.tokens} tokens) does not fit into the memory of "
                    f"{self.place.device}: set gradient_checkpointing: true, lower max_tokens, or take a larger device."
                ) from lack
            self.budget //= 2
            self.warn(f"step {step}: not enough memory, passes of at most {self.budget} tokens from here on")

    def _accumulate(self, examples: Sequence[Any], units: int, step: int) -> Logged:
        seed = np.random.SeedSequence([self.place.seed, step, rank()]).generate_state(1, np.uint64)
        torch.manual_seed(int(seed[0]))
        totals: Logged = {"loss": 0.0}
        for places in self._split(examples):
            with computing_in(self.place.device, self.place.compute):
                loss, logged = self.objective.loss([examples[i] for i in places], units)
            loss.backward()
            for name, value in ({"loss": loss.detach()} | logged).items():
                totals[name] = totals.get(name, 0.0) + value
        return totals

    def _split(self, examples: Sequence[Any]) -> list[list[int]]:
        return self.objective.split(examples, self.budget)

    def _add_up(self, values: Logged) -> dict[str, float]:
        names = sorted(values)
        sums = distributed.add_up([float(values[name]) for name in names], self.place.device)
        return dict(zip(names, sums, strict=True))

    def _apply_gradients(self) -> float:
        """Gradients of all processes, clipping, decay, optimiser; returns the norm before clipping, NaN if not finite."""
        distributed.add_up_gradients(self.parameters)
        limit = math.inf if self.settings.clip_norm is None else self.settings.clip_norm
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters, limit))
        if math.isfinite(norm):
            self.decay.step()
            self.optimizer.step()
            return norm
        return math.nan

    def _skip(self, step: int, loss: float, names: list[str], log: MetricsLog) -> None:
        self.facts["skipped_steps"] += 1
        bad, limit = self.facts["skipped_steps"], self.settings.nonfinite_limit
        what = f"step {step}: the loss is {loss} or its gradient is not finite (examples {', '.join(names)})"
        if bad < limit:
            self.warn(f"{what}; the step is skipped ({bad} of at most {limit - 1})")
            return
        self._save(log)  # the weights are still those of the last good step
        kept = "nothing was kept" if self.place.checkpoints is None else "the last good state is kept"
        raise PreftuneError(
            f"{what}; nonfinite_limit is {limit}: lower learning_rate, or look at these rows; {kept}."
        )

    def _save(self, log: MetricsLog) -> None:
        now = {"last_step": self.done, "seconds": round(time.monotonic() - self.started, 3)}
        self.facts["attempts"][-1].update(now)
        if self.place.checkpoints is not None and leads():
            state = {
                "parameters": [parameter.detach() for parameter in self.parameters],
                "optimizer": self.optimizer.state_dict(),
                "starts": self.decay.starts,
                "budget": self.budget,
                "facts": self.facts,
                "best": None if self.validation is None else self.validation.best,
                "metrics": log.text,
            }
            self.place.checkpoints.save(self.done, state)
        distributed.wait()
        self.saved = time.monotonic()

    def _resume(self) -> str:
        """Take over the newest good checkpoint; returns the metrics up to it."""
        found = self.place.checkpoints.load(self.place.device) if self.place.checkpoints is not None else None
        if found is None:
            return ""
        self.done, state, warnings = found
        for sentence in warnings:
            self.warn(sentence)
        if not state:
            return ""
        with torch.no_grad():
            for parameter, value in zip(self.parameters, state["parameters"], strict=True):
                parameter.copy_(value)
        self.optimizer.load_state_dict(state["optimizer"])
        self.decay.starts = state["starts"]
        self.budget, self.facts = state["budget"], state["facts"]
        if self.validation is not None:
            self.validation.take_over(state["best"])
        say(f"{self.place.name} continues after step {self.done} of {self.settings.steps}")
        return str(state["metrics"])

    def _interrupted(self, request: StopRequest) -> InterruptedTraining:
        kept = "its state is kept, the same command goes on from there"
        if self.place.checkpoints is None:
            kept = "nothing was kept"
        signal = request.signal or "another process"
        return InterruptedTraining(
            f"{self.place.name} was told to stop ({signal}) after step {self.done} of {self.settings.steps}: {kept}."
        )

    def _result(self) -> dict[str, Any]:
        attempts = self.facts["attempts"]
        attempts[-1].update(last_step=self.done, seconds=round(time.monotonic() - self.started, 3))
        seconds = sum(attempt.get("seconds", 0.0) for attempt in attempts)
        return self.facts | {
            "steps": self.settings.steps,
            "examples": self.settings.steps * self.settings.batch,
            "training_seconds": round(seconds, 3),
            "tokens_per_second": round(self.facts["tokens"] / seconds, 1) if seconds else None,
            "tokens_per_pass": self.budget,
            "processes": world_size(),
            "optimizer_state_bytes": optimizer_bytes(self.optimizer),
        }
