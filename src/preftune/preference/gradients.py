"""Where the gradient of each alignment loss goes, at each level of freezing: its norm in every part of the model.

Source: Hadji-Kyriacou and Arandjelovic (2024), arXiv 2405.20053: the heads' loss reaches the shared backbone and
passes by the language-model head; cDPO reaches the backbone through the language-model head and passes by the heads.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor, nn

from preftune.models.devices import computing_in
from preftune.models.freezing import matrix_layers, transformer_blocks
from preftune.preference.alignment import AlignmentObjective, start_alignment
from preftune.preference.heads import PreferenceModel
from preftune.settings.alignment import AlignmentSettings
from preftune.settings.training import FreezingLevel, TrainingSettings
from preftune.training.batches import TOKENS_PER_PASS
from preftune.training.trees import Tree

LOSSES: dict[str, dict[str, str]] = {
    "separable": {"dph": "separable", "policy": "none"},
    "contrastive": {"dph": "contrastive", "policy": "none"},
    "dpo": {"dph": "none", "policy": "dpo"},
    "joint": {"dph": "separable", "policy": "dpo"},
    "kl": {"dph": "none", "policy": "kl"},
}
"""Name of a loss -> the alignment settings that make it."""

PARTS = ("head", "pooler", "blocks", "norms", "embeddings", "lm_head", "adapter")
"""w of the reward heads; their pooler f; attention and feed-forward layers; norms; token (and position) embeddings;
output embedding, where it is not the token embedding itself; LoRA matrices."""


def list_parts(model: PreferenceModel) -> dict[str, list[nn.Parameter]]:
    """Every parameter of the model, once, in its part of `PARTS`; a tied output embedding is among the embeddings."""
    parts: dict[str, list[nn.Parameter]] = {part: [] for part in PARTS}
    if model.head is not None:
        parts["head"] += model.head.heads.parameters()
        parts["pooler"] += model.head.pooler.parameters()
    causal_lm = model.causal_lm
    blocks = list(transformer_blocks(causal_lm))
    matrices = {id(p) for block in blocks for layer in matrix_layers(block) for p in layer.parameters(False)}
    inside = {id(parameter) for block in blocks for parameter in block.parameters()}
    inputs, outputs = (
        {id(parameter) for parameter in embedding.parameters()}
        for embedding in (causal_lm.get_input_embeddings(), causal_lm.get_output_embeddings())
    )
    for name, parameter in causal_lm.named_parameters():
        key = id(parameter)
        if "lora_" in name:
            part = "adapter"
        elif key in matrices:
            part = "blocks"
        elif key in outputs - inputs:
            part = "lm_head"
        else:
            part = "norms" if key in inside or parameter.dim() == 1 else "embeddings"
        parts[part].append(parameter)
    return parts


def has_tied_head(model: PreferenceModel) -> bool:
    """Whether the output embedding's matrix is the token embedding's."""
    causal_lm = model.causal_lm
    return causal_lm.get_output_embeddings().weight is causal_lm.get_input_embeddings().weight


def differentiate(objective: AlignmentObjective) -> dict[str, float | None]:
    """Euclidean norm of the gradient of the mean loss over all pairs, by part; None where no gradient arrives.

    The model is read in eval mode, without dropout, and its parameters keep their gradients.
    """
    model = objective.model
    model.eval()
    model.zero_grad(set_to_none=True)
    examples = [objective.draw(i, 1) for i in range(len(objective))]
    for group in objective.split(examples, TOKENS_PER_PASS[model.device.type]):
        loss, _ = objective.loss([examples[i] for i in group], len(examples))
        if loss.requires_grad:  # it does not where all that it reaches is frozen
            loss.backward()
    return {part: _norm(parameters) for part, parameters in list_parts(model).items()}


def measure_gradients(
    base: Path | None,
    checkpoint: Path,
    pairs: Sequence[Tree],
    reference: Tensor,
    seed: int,
    device: torch.device,
    dtype: torch.dtype,
) -> Iterator[dict[str, Any]]:
    """Norms of each loss of `LOSSES` in each part, at every level of freezing, from the SFT checkpoint with a new head.

    The divergence (kl) is at its minimum there: what it reaches gets zero, up to rounding.

    Args:
        pairs: of the preference mix. reference: their reference log-probabilities [pairs, 2].

    Yields:
        loss, freeze, part, norm (None: no gradient arrives), trainable (parameters of the part that are not frozen),
        and tied: whether the output embedding is the token embedding, so that lm_head is empty and counted there.
    """
    for freeze in get_args(FreezingLevel):
        model = start_alignment(
            base, checkpoint, _settings("separable", freeze, len(pairs)), seed, device, dtype
        )
        trainable = {
            part: sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
            for part, parameters in list_parts(model).items()
        }
        for loss in LOSSES:
            # What is frozen is the model's; settings that freeze all refuse the losses that then train nothing.
            objective = AlignmentObjective(model, pairs, reference, _settings(loss, "none", len(pairs)))
            with computing_in(device, dtype):
                norms = differentiate(objective)
            for part, norm in norms.items():
                yield {
                    "loss": loss,
                    "freeze": freeze,
                    "part": part,
                    "norm": norm,
                    "trainable": trainable[part],
                    "tied": has_tied_head(model),
                }


def _settings(loss: str, freeze: str, pairs: int) -> AlignmentSettings:
    training = TrainingSettings(steps=1, batch=pairs, learning_rate=1.0)  # nothing is trained
    return AlignmentSettings.model_validate({**LOSSES[loss], "freeze": freeze, "training": training})


def _norm(parameters: Sequence[nn.Parameter]) -> float | None:
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    return float(nn.utils.get_total_norm(gradients)) if gradients else None
