"""What a reward head costs: joint training beside DPO alone, and a head alone on cached states beside an unfrozen model."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from preftune.bench.alternate import Row, alternate
from preftune.bench.training import LEARNING_RATE, engine_training, unshared_tokens
from preftune.data.chat import marker_id
from preftune.preference.alignment import AlignmentObjective, Pair, parameter_groups
from preftune.preference.frozen import HeadObjective, StatePair, head_group
from preftune.preference.heads import PreferenceModel
from preftune.preference.reference import cache_pairs
from preftune.preference.scoring import score_trees
from preftune.settings.alignment import AlignmentSettings
from preftune.training.trees import Tree

# The sides' weights drift apart from the second step on, as they are meant to, at a learning rate of 1e-6.
TOLERANCE = 1e-2


def head_settings(count: int, **changes: Any) -> AlignmentSettings:
    """The paper's heads: separable loss, SwiGLU pooler; every weight trains, unless `changes` say otherwise."""
    training = {"steps": 1, "batch": count, "learning_rate": LEARNING_RATE}
    values = {"dph": "separable", "policy": "dpo", "training": training}
    return AlignmentSettings.model_validate(values | changes)


class Side:
    """A step of the engine under some alignment settings; returns the loss called `logged`."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: Any,
        pairs: Sequence[Tree],
        reference: Tensor,
        settings: AlignmentSettings,
        logged: str,
    ) -> None:
        torch.manual_seed(0)
        own = copy.deepcopy(model)
        made = PreferenceModel(own, tokenizer)
        if settings.dph != "none":
            made = PreferenceModel.with_new_head(own, tokenizer, pooler=settings.pooler)
        objective = AlignmentObjective(made.train(), pairs, reference, settings)
        self.training = engine_training(
            parameter_groups(made, settings), objective, settings.training, made.device
        )
        self.rows = {pair.name: row for pair, row in zip(pairs, reference, strict=True)}
        self.needs_reference, self.logged = settings.needs_reference, logged

    def __call__(self, batch: Sequence[Tree]) -> list[float]:
        """One update."""
        examples = [Pair(tree, self.rows[tree.name] if self.needs_reference else None) for tree in batch]
        return [self.training.update(examples, 1)[self.logged]]


class HeadSide:
    """A step of a head alone, on states that were computed before."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: Any, pairs: Sequence[Tree], settings: AlignmentSettings
    ) -> None:
        torch.manual_seed(0)
        made = PreferenceModel.with_new_head(copy.deepcopy(model), tokenizer, pooler=settings.pooler)
        assert made.head is not None  # it was just made
        objective = HeadObjective(made.head, cache_pairs(made, pairs), settings, 0)
        groups = [head_group(made.head, settings)]
        self.training = engine_training(groups, objective, settings.training, made.device)
        self.pairs: dict[str, StatePair] = {
            name: objective.draw(i, 1) for i, name in enumerate(objective.pairs.names)
        }

    def __call__(self, batch: Sequence[Tree]) -> list[float]:
        """One update; returns the DPH loss."""
        return [self.training.update([self.pairs[tree.name] for tree in batch], 1)["dph_loss"]]


def close_answers(pairs: Sequence[Tree], tokenizer: Any) -> list[Tree]:
    """The pairs with `<|im_end|>`, where heads read, as the last token of both answers."""
    marker = marker_id(tokenizer)
    return [
        replace(pair, branches=tuple([*branch[:-1], marker] for branch in pair.branches)) for pair in pairs
    ]


def compare_alignment(
    model: PreTrainedModel, tokenizer: Any, pairs: Sequence[Tree], batches: Sequence[Sequence[Tree]]
) -> list[Row]:
    """Both comparisons on the same batches; `theirs` is DPO alone, then the unfrozen model with the same head."""
    scores = score_trees(PreferenceModel(copy.deepcopy(model), tokenizer), pairs, description="reference")
    reference = torch.from_numpy(scores.log_probabilities).float().view(-1, 2)
    size = len(batches[0])
    alone, joint = head_settings(size, dph="none"), head_settings(size)
    unfrozen, frozen = head_settings(size, policy="none"), head_settings(size, policy="none", freeze="model")

    def work(batch: Sequence[Tree]) -> float:
        return sum(map(unshared_tokens, batch))

    return [
        alternate(
            f"joint DPH and DPO step, SmolLM2-135M, {size} pairs",
            "DPO alone, same engine",
            "tokens/s",
            1 / 1.05,
            batches,
            Side(model, tokenizer, pairs, reference, alone, "policy_loss"),
            Side(model, tokenizer, pairs, reference, joint, "policy_loss"),
            work,
            TOLERANCE,
        ),
        alternate(
            f"DPH step, SmolLM2-135M frozen, states cached, {size} pairs",
            "the same, unfrozen",
            "tokens/s",
            20.0,
            batches,
            Side(model, tokenizer, pairs, reference, unfrozen, "dph_loss"),
            HeadSide(model, tokenizer, pairs, frozen),
            work,
            TOLERANCE,
        ),
    ]
