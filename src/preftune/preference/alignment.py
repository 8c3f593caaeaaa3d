"""The alignment objective: a_dph L_dph + a_dpo L_cdpo on one forward pass over prompts with both answers.

Source: Hadji-Kyriacou and Arandjelovic (2024), arXiv 2405.20053: joint training of the language model and its
heads.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from preftune.errors import PreftuneError
from preftune.models.policy import load_policy, trainable_parameters
from preftune.preference.heads import PreferenceModel, PreferenceOutput
from preftune.preference.losses import contrastive_dph_loss, dpo_loss, separable_dph_loss
from preftune.settings import AlignmentSettings
from preftune.training.objective import Example, Logged
from preftune.training.trees import Tree

DPH_LOSSES = {"separable": separable_dph_loss, "contrastive": contrastive_dph_loss}


def start_alignment(
    base: Path | None,
    checkpoint: Path,
    settings: AlignmentSettings,
    seed: int,
    device: torch.device | str,
    dtype: torch.dtype,
) -> PreferenceModel:
    """The SFT checkpoint made trainable (its adapter or all of it), with a new head unless dph is none."""
    if settings.dph == "none" and not settings.dpo:
        raise PreftuneError(
            "This alignment run has neither dph nor dpo; switch one of them on in its settings."
        )
    language_model, tokenizer = load_policy(checkpoint, base, device, dtype, trainable=True)
    if settings.dph == "none":
        return PreferenceModel(language_model, tokenizer)
    torch.manual_seed(seed)
    return PreferenceModel.with_new_head(
        language_model, tokenizer, pooler=settings.pooler, dropout=settings.reward_dropout
    )


def parameter_groups(model: PreferenceModel, settings: AlignmentSettings) -> list[dict[str, Any]]:
    """Optimiser groups: the language model's trainable part, and the head with its own decay and rate."""
    groups: list[dict[str, Any]] = [{"params": trainable_parameters(model.language_model)}]
    if model.head is not None:
        rate = settings.head_learning_rate or settings.training.learning_rate
        groups.append(
            {
                "params": trainable_parameters(model.head),
                "decay": settings.head_weight_decay,
                "decay_to": "zero",
                "lr": rate,
            }
        )
    return groups


@dataclass(frozen=True)
class Pair(Example):
    """A prompt with its preferred and its dispreferred answer; `reference` [2]: their reference log-probabilities."""

    reference: Tensor | None


class AlignmentObjective:
    """The weighted losses' mean over the pairs of the global batch.

    Args:
        pairs: the preference mix: trees of two branches, the preferred answer first.
        reference: log-probabilities `[pairs, 2]` under the reference model; None when DPO is off.
    """

    def __init__(
        self,
        model: PreferenceModel,
        pairs: Sequence[Tree],
        reference: Tensor | None,
        settings: AlignmentSettings,
    ) -> None:
        if settings.dpo and reference is None:
            raise PreftuneError(
                "DPO needs reference log-probabilities; run compute_reference and pass its folder."
            )
        self.model = model
        self.pairs = pairs
        self.reference = reference
        self.settings = settings

    def __len__(self) -> int:
        return len(self.pairs)

    def draw(self, index: int, step: int) -> Pair:
        """The pair and what the reference model says of it."""
        return Pair(self.pairs[index], self.reference[index] if self.reference is not None else None)

    def units(self, example: Pair) -> int:
        """One pair."""
        return 1

    def split(self, trees: Sequence[Tree], budget: int) -> list[list[int]]:
        """As the reader counts."""
        return self.model.reader.split(trees, budget)

    def loss(self, examples: Sequence[Pair], units: int) -> tuple[Tensor, Logged]:
        """This micro-batch's part of the mean over `units` pairs, and of what is logged."""
        # Without DPO no log-probability is needed, so the language-model head is left out.
        output = self.model([pair.tree for pair in examples], log_probabilities=self.settings.dpo)
        reference = None
        if self.settings.dpo:
            reference = torch.stack([pair.reference for pair in examples if pair.reference is not None])
        loss, logged = alignment_loss(output, reference, self.settings)
        share = len(examples) / units
        return share * loss, {name: share * value for name, value in logged.items()}


def alignment_loss(
    output: PreferenceOutput, reference: Tensor | None, settings: AlignmentSettings
) -> tuple[Tensor, Logged]:
    """Total objective and logged values of a forward pass over trees of two branches, chosen and rejected.

    Args:
        output: of `2 * pairs` branches.
        reference: reference log-probabilities `[pairs, 2]`, when DPO is on.

    Returns:
        The scalar loss, and the logged means over the pairs: dph_loss, chosen_reward, rejected_reward,
        margin, accuracy (with a head), dpo_loss and the implicit rewards beta (log pi - log pi_ref) with
        their margin and accuracy (with DPO).
    """
    losses: list[Tensor] = []
    logged: Logged = {}
    if settings.dph != "none":
        (rewards,) = output.rewards.values()
        chosen, rejected = rewards.view(-1, 2).unbind(dim=1)  # each [pairs]
        loss = DPH_LOSSES[settings.dph](chosen, rejected, settings.label_smoothing)
        losses.append(settings.dph_weight * loss)
        logged |= {"dph_loss": loss.detach()} | _summary("", chosen, rejected)
    if settings.dpo and reference is not None:
        chosen, rejected = output.log_probabilities.view(-1, 2).unbind(dim=1)
        reference_chosen, reference_rejected = reference.to(chosen.device).unbind(dim=1)
        loss = dpo_loss(
            chosen,
            rejected,
            reference_chosen,
            reference_rejected,
            settings.beta,
            settings.dpo_label_smoothing,
        )
        losses.append(settings.dpo_weight * loss)
        logged["dpo_loss"] = loss.detach()
        implicit = (
            settings.beta * (chosen - reference_chosen),
            settings.beta * (rejected - reference_rejected),
        )
        logged |= _summary("implicit_", *implicit)
    return torch.stack(losses).sum(), logged


def _summary(prefix: str, chosen: Tensor, rejected: Tensor) -> Logged:
    chosen, rejected = chosen.detach(), rejected.detach()
    return {
        f"{prefix}chosen_reward": chosen.mean(),
        f"{prefix}rejected_reward": rejected.mean(),
        f"{prefix}margin": (chosen - rejected).mean(),
        f"{prefix}accuracy": (chosen > rejected).float().mean(),
    }
