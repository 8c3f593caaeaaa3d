"""The alignment objective: a_dph L_dph + a_dpo L_cdpo on one forward pass over [chosen; rejected].

Source: Hadji-Kyriacou and Arandjelovic (2024), arXiv 2405.20053: joint training of the language model and its
heads.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from preftune.errors import PreftuneError
from preftune.preference.data import PreferencePair, collate_pairs
from preftune.preference.heads import PreferenceModel, PreferenceOutput
from preftune.preference.losses import contrastive_dph_loss, dpo_loss, separable_dph_loss
from preftune.settings import AlignmentSettings
from preftune.training.checkpoints import load_policy, trainable_parameters

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
                "weight_decay": settings.head_weight_decay,
                "lr": rate,
            }
        )
    return groups


class AlignmentObjective:
    """Loss and logged values of a batch of pair indices, for `preftune.training.loop.fit`.

    Args:
        pairs: the preference mix.
        reference: log-probabilities `[pairs, 2]` under the reference model; None when DPO is off.
    """

    def __init__(
        self,
        model: PreferenceModel,
        pairs: Sequence[PreferencePair],
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

    def __call__(self, indices: Sequence[int]) -> tuple[Tensor, dict[str, float]]:
        """The scalar loss of these pairs and what is logged about them."""
        model = self.model
        batch = collate_pairs([self.pairs[i] for i in indices], model.tokenizer.pad_token_id, model.device)
        # Without DPO no log-probability is needed, so the logits are not computed at all.
        completion_mask = batch.completion_mask if self.settings.dpo else None
        output = model(batch.input_ids, batch.attention_mask, completion_mask)
        reference = None
        if self.settings.dpo and self.reference is not None:
            reference = self.reference[list(indices)].to(model.device)  # [pairs, 2]
        return alignment_loss(output, reference, self.settings)


def alignment_loss(
    output: PreferenceOutput, reference: Tensor | None, settings: AlignmentSettings
) -> tuple[Tensor, dict[str, float]]:
    """Total objective and logged values of a forward pass over [chosen; rejected] rows.

    Args:
        output: of `2 * pairs` rows, the chosen ones first.
        reference: reference log-probabilities `[pairs, 2]`, when DPO is on.

    Returns:
        The scalar loss, and the logged means over the pairs: dph_loss, chosen_reward, rejected_reward,
        margin, accuracy (with a head), dpo_loss and the implicit rewards beta (log pi - log pi_ref) with
        their margin and accuracy (with DPO).
    """
    losses: list[Tensor] = []
    logged: dict[str, float] = {}
    if settings.dph != "none":
        (rewards,) = output.rewards.values()
        chosen, rejected = rewards.chunk(2)  # each [pairs]
        loss = DPH_LOSSES[settings.dph](chosen, rejected, settings.label_smoothing)
        losses.append(settings.dph_weight * loss)
        logged |= {"dph_loss": float(loss.detach())} | _summary("", chosen, rejected)
    if settings.dpo and reference is not None and output.token_log_probabilities is not None:
        logps = output.token_log_probabilities.sum(dim=1)  # [2 * pairs]
        chosen, rejected = logps.chunk(2)
        reference_chosen, reference_rejected = reference.unbind(dim=1)
        loss = dpo_loss(
            chosen,
            rejected,
            reference_chosen,
            reference_rejected,
            settings.beta,
            settings.dpo_label_smoothing,
        )
        losses.append(settings.dpo_weight * loss)
        logged["dpo_loss"] = float(loss.detach())
        implicit = (
            settings.beta * (chosen - reference_chosen),
            settings.beta * (rejected - reference_rejected),
        )
        logged |= _summary("implicit_", *implicit)
    return torch.stack(losses).sum(), logged


def _summary(prefix: str, chosen: Tensor, rejected: Tensor) -> dict[str, float]:
    chosen, rejected = chosen.detach(), rejected.detach()
    return {
        f"{prefix}chosen_reward": float(chosen.mean()),
        f"{prefix}rejected_reward": float(rejected.mean()),
        f"{prefix}margin": float((chosen - rejected).mean()),
        f"{prefix}accuracy": float((chosen > rejected).float().mean()),
    }
