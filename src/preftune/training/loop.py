"""One plain training loop for every stage: seeded order, schedule, clipping, metrics as JSON Lines."""

import json
import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from preftune.errors import PreftuneError
from preftune.progress import track
from preftune.settings import TrainingSettings

LossOf = Callable[[list[int]], tuple[Tensor, dict[str, float]]]


def epoch_order(count: int, batch: int, steps: int, seed: int) -> list[list[int]]:
    """Indices of each step's examples: a fresh seeded permutation per epoch, cut into full batches, cycled."""
    if count < 1:
        raise PreftuneError(
            "The training data hold no example: check the mix's counts of skipped and dropped rows."
        )
    generator = np.random.default_rng(seed)
    stream: list[int] = []
    while len(stream) < batch * steps:
        stream.extend(int(index) for index in generator.permutation(count))
    return [stream[step * batch : (step + 1) * batch] for step in range(steps)]


def schedule_factor(step: int, settings: TrainingSettings) -> float:
    """Learning-rate factor of a step counted from 1: linear warm-up, then constant, linear or cosine decay to 0."""
    if step <= settings.warmup_steps:
        return step / settings.warmup_steps
    if settings.schedule == "constant":
        return 1.0
    span = max(1, settings.steps - settings.warmup_steps)
    done = min(1.0, (step - settings.warmup_steps - 1) / span)
    return 1.0 - done if settings.schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))


def make_optimizer(groups: list[dict[str, Any]], settings: TrainingSettings) -> torch.optim.Optimizer:
    """Adam (no decay) or AdamW over parameter groups; a group may carry its own `lr` and `weight_decay`."""
    if settings.optimizer == "adam":
        return torch.optim.Adam(groups, lr=settings.learning_rate, betas=settings.betas)
    return torch.optim.AdamW(
        groups, lr=settings.learning_rate, betas=settings.betas, weight_decay=settings.weight_decay
    )


def fit(
    parameters: Iterable[Tensor] | list[dict[str, Any]],
    loss_of: LossOf,
    count: int,
    settings: TrainingSettings,
    seed: int,
    metrics_path: Path,
    description: str,
) -> dict[str, Any]:
    """Minimise `loss_of` over seeded batches of `count` examples.

    `loss_of(indices)` returns the scalar loss to back-propagate, already normalised over the global batch, and the
    values to log. Each step adds one row {step, loss, learning_rate, gradient_norm, seconds, ...} to `metrics_path`.
    Returns {steps, examples, first_loss, last_loss}. A NaN or infinite loss stops with the step and its examples.
    """
    given = list(parameters)
    groups: list[dict[str, Any]] = given if given and isinstance(given[0], dict) else [{"params": given}]  # type: ignore[assignment, list-item]
    optimizer = make_optimizer(groups, settings)
    peaks = [group["lr"] for group in optimizer.param_groups]
    tensors = [tensor for group in optimizer.param_groups for tensor in group["params"]]
    order = epoch_order(count, settings.batch, settings.steps, seed)
    losses: list[float] = []
    with metrics_path.open("w", encoding="utf-8") as metrics:
        for step, indices in enumerate(track(order, description), start=1):
            start = time.monotonic()
            factor = schedule_factor(step, settings)
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * factor
            loss, logged = loss_of(indices)
            losses.append(_finite(loss, step, indices))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            limit = math.inf if settings.clip_norm is None else settings.clip_norm
            norm = float(torch.nn.utils.clip_grad_norm_(tensors, limit))
            optimizer.step()
            row = {"step": step, "loss": losses[-1], "learning_rate": settings.learning_rate * factor,
                   "gradient_norm": norm, "seconds": round(time.monotonic() - start, 4)}  # fmt: skip
            metrics.write(json.dumps(row | logged) + "\n")
            metrics.flush()
    return {
        "steps": settings.steps,
        "examples": settings.steps * settings.batch,
        "first_loss": losses[0],
        "last_loss": losses[-1],
    }


def _finite(loss: Tensor, step: int, indices: list[int]) -> float:
    value = float(loss.detach())
    if not math.isfinite(value):
        raise PreftuneError(
            f"The loss is {value} at step {step} (examples {indices}): lower learning_rate, or look at these rows."
        )
    return value
