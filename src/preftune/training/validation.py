"""Validation during a training, and the weights that it found best."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from preftune.errors import PreftuneError


@dataclass(frozen=True)
class Validation:
    """What is measured during a training, so that the weights with the least of it are kept instead of the last.

    Attributes:
        every: steps between two measurements; the last step is always measured.
        name: of the measured quantity in the metrics.
        measure: computes it from the weights as they are; it must draw nothing at random.
    """

    every: int
    name: str
    measure: Callable[[], float]


class BestWeights:
    """The weights with the least measured value so far: {step, value, parameters}, part of a training's checkpoints."""

    def __init__(self, validation: Validation, steps: int) -> None:
        self.validation, self.steps = validation, steps
        self.best: dict[str, Any] | None = None

    def look(self, step: int, parameters: Sequence[Tensor]) -> dict[str, float]:
        """What is measured after this step, if anything; the weights are kept where it is the least so far."""
        check = self.validation
        if step % check.every and step != self.steps:
            return {}
        value = check.measure()
        if math.isfinite(value) and (self.best is None or value < self.best["value"]):
            kept = [parameter.detach().cpu().clone() for parameter in parameters]
            self.best = {"step": step, "value": value, "parameters": kept}
        return {check.name: value}

    def take_over(self, best: dict[str, Any] | None) -> None:
        """Go on with what a checkpoint holds, which was loaded onto the device."""
        if best is not None:
            best = best | {"parameters": [tensor.cpu() for tensor in best["parameters"]]}
        self.best = best

    def restore(self, parameters: Sequence[Tensor]) -> dict[str, Any]:
        """Put the best weights in the place of the last ones; returns the facts best_step and best_<name>.

        Raises:
            PreftuneError: no measured value was a finite number.
        """
        name = self.validation.name
        if self.best is None:
            raise PreftuneError(
                f"{name} was never a finite number: lower learning_rate, or look at the validation rows."
            )
        with torch.no_grad():
            for parameter, value in zip(parameters, self.best["parameters"], strict=True):
                parameter.copy_(value)
        return {"best_step": self.best["step"], f"best_{name}": self.best["value"]}
