"""Optimisers and schedules: LaProp as the DPH paper's code defines it, AdamW, decay to zero or to the start.

Source: the released code of Hadji-Kyriacou and Arandjelovic (2024), arXiv 2405.20053, `src/optimizer/laprop.py`; LaProp is
Ziyin et al. (2020), arXiv 2002.04839; decay to the start is Duchi et al. (2009), arXiv 0907.1815, as cited there.
"""

import math
from typing import Any

import torch
from torch import Tensor

from preftune.settings.training import TrainingSettings


class LaProp(torch.optim.Optimizer):
    """Adam with the gradient normalised before it enters the momentum, and the learning rate inside the momentum.

        v <- b2 v + (1 - b2) g^2                 g^ = g sqrt(1 - b2^t) / (sqrt(v) + eps)
        c <- b1 c + (1 - b1) lr_t                m <- b1 m + (1 - b1) lr_t g^
        theta <- theta - m lr_t / c

    eps is added before the bias correction. Decay is `Decay`'s.
    """

    def __init__(
        self, params: Any, lr: float, betas: tuple[float, float] = (0.9, 0.95), eps: float = 1e-8
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if params:
                self._update(params, group)

    def _update(self, params: list[Tensor], group: dict[str, Any]) -> None:
        (beta1, beta2), lr = group["betas"], group["lr"]
        group["t"] = group.get("t", 0) + 1
        group["c"] = beta1 * group.get("c", 0.0) + (1 - beta1) * lr
        for p in params:
            if not self.state[p]:
                self.state[p].update(m=torch.zeros_like(p), v=torch.zeros_like(p))
        m, v = ([self.state[p][name] for p in params] for name in ("m", "v"))
        gradients = [p.grad for p in params if p.grad is not None]
        torch._foreach_mul_(v, beta2)
        torch._foreach_addcmul_(v, gradients, gradients, 1 - beta2)
        scale = torch._foreach_sqrt(v)
        torch._foreach_add_(scale, group["eps"])
        normalised = torch._foreach_div(gradients, list(scale))
        torch._foreach_mul_(m, beta1)
        torch._foreach_add_(m, normalised, alpha=(1 - beta1) * lr * math.sqrt(1 - beta2 ** group["t"]))
        if group["c"] > 0:  # c is 0 only while the learning rate has been 0
            torch._foreach_add_(params, m, alpha=-lr / group["c"])


class Decay:
    """Decoupled weight decay, theta <- theta - lr lambda (theta - target), applied before an optimiser's step.

    An optimiser's group says lambda in `decay` and the target in `decay_to`: "zero", or "start" for the values that the
    parameters had when this object was made (prior regularisation). `starts` holds those; a checkpoint must keep them.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer
        self.starts = [
            [p.detach().clone() for p in group["params"]]
            if group["decay"] and group["decay_to"] == "start"
            else []
            for group in optimizer.param_groups
        ]

    @torch.no_grad()
    def step(self) -> None:
        """Pull every parameter towards its target by its group's present lr * decay."""
        for group, starts in zip(self.optimizer.param_groups, self.starts, strict=True):
            strength = group["lr"] * group["decay"]
            if strength and starts:
                torch._foreach_lerp_(group["params"], starts, strength)
            elif strength:
                torch._foreach_mul_(group["params"], 1 - strength)


def make_optimizer(
    groups: list[dict[str, Any]], settings: TrainingSettings
) -> tuple[torch.optim.Optimizer, Decay]:
    """The optimiser of `settings` over parameter groups, and their decay.

    A group may carry its own `lr`, `decay` and `decay_to`; `adam` is AdamW without any decay.
    """
    defaults = {
        "lr": settings.learning_rate,
        "decay": settings.weight_decay,
        "decay_to": settings.decay_to,
    }
    never = {"decay": 0.0} if settings.optimizer == "adam" else {}
    groups = [defaults | group | never for group in groups]
    if settings.optimizer == "laprop":
        optimizer: torch.optim.Optimizer = LaProp(groups, settings.learning_rate, settings.betas)
    else:
        # torch's own decay stays off: `Decay` does the same, and knows the start.
        optimizer = torch.optim.AdamW(groups, betas=settings.betas, weight_decay=0.0, fused=True)
    return optimizer, Decay(optimizer)


def schedule_factor(step: int, settings: TrainingSettings) -> float:
    """Learning-rate factor of a step t counted from 1: min(t / warm, decay), the decay from 1 at `warmup_steps` to
    `final_ratio` at `cooldown_steps` (default: the last step), constant after it.

    Cosine: rho + (1 - rho) (1 + cos(pi x)) / 2 with x the elapsed part of the decay; linear: 1 - (1 - rho) x.
    """
    warm = settings.warmup_steps
    rise = min(1.0, step / warm) if warm else 1.0
    if settings.schedule == "constant":
        return rise
    end = settings.cooldown_steps or settings.steps
    x = min(1.0, max(0.0, (step - warm) / max(1, end - warm)))
    rho = settings.final_ratio
    fall = 1.0 - x if settings.schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * x))
    return min(rise, rho + (1.0 - rho) * fall)
