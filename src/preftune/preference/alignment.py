"""The alignment objective on one forward pass over prompts with both answers:

    L = a_dph L_dph + a_penalty L_penalty + a_policy L_policy

with L_dph the reward head's loss and L_policy the language model's, cDPO in the paper.

Source: Hadji-Kyriacou and Arandjelovic (2024), arXiv 2405.20053: joint training of the language model and its
heads; the anchors that take cDPO's place are those of the authors' follow-up code.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from preftune.errors import PreftuneError
from preftune.models.policy import is_adapter, start_policy, trainable_parameters
from preftune.preference.frozen import head_group
from preftune.preference.heads import PreferenceModel, PreferenceOutput
from preftune.preference.objectives.registry import POLICY_LOSSES, AnswerLogps
from preftune.preference.terms import add_up, flip_labels, reward_terms, summarise
from preftune.settings.alignment import AlignmentSettings
from preftune.training.divergence import token_divergences
from preftune.training.objective import Logged, TreeExample
from preftune.training.trees import Tree


def start_alignment(
    base: Path | None,
    checkpoint: Path,
    settings: AlignmentSettings,
    seed: int,
    device: torch.device | str,
    dtype: torch.dtype,
) -> PreferenceModel:
    """The SFT checkpoint made trainable as `freeze` says, with a new head unless dph is none."""
    language_model, tokenizer = start_policy(
        checkpoint, base, settings.freeze, settings.lora, seed, device, dtype
    )
    if settings.dph == "none":
        return PreferenceModel(language_model, tokenizer)
    torch.manual_seed(seed)
    return PreferenceModel.with_new_head(
        language_model, tokenizer, pooler=settings.pooler, dropout=settings.reward_dropout
    )


def save_alignment(model: PreferenceModel, checkpoint: Path, folder: Path) -> None:
    """Write what became of the checkpoint; a fresh adapter on a whole one is added into it: a whole model again."""
    if not is_adapter(checkpoint):
        model.merge_adapter()
    model.save_pretrained(folder)


def parameter_groups(model: PreferenceModel, settings: AlignmentSettings) -> list[dict[str, Any]]:
    """Optimiser groups: the language model's trainable part, and the head with its own decay and rate."""
    groups: list[dict[str, Any]] = []
    if trained := trainable_parameters(model.language_model):
        groups.append({"params": trained})
    if model.head is not None:
        groups.append(head_group(model.head, settings))
    return groups


@dataclass(frozen=True)
class Pair(TreeExample):
    """A prompt with its preferred and its dispreferred answer; `reference` [2]: their reference log-probabilities."""

    reference: Tensor | None


class AlignmentObjective:
    """The weighted losses' mean over the pairs of the global batch.

    Args:
        pairs: the preference mix: trees of two branches, the preferred answer first.
        reference: log-probabilities `[pairs, 2]` under the reference model; None where no loss needs it.
        seed: of the pairs whose labels are flipped, where the settings ask for it.
    """

    def __init__(
        self,
        model: PreferenceModel,
        pairs: Sequence[Tree],
        reference: Tensor | None,
        settings: AlignmentSettings,
        seed: int = 0,
    ) -> None:
        if settings.needs_reference and reference is None:
            raise PreftuneError(
                f"policy: {settings.policy} needs reference log-probabilities; run compute_reference and pass its folder."
            )
        self.model = model
        self.pairs = pairs
        self.reference = reference if settings.needs_reference else None
        self.settings = settings
        self.flipped = flip_labels(len(pairs), settings.flipped, seed)
        self.start = StartingPoint(model) if settings.policy == "kl" else None

    def __len__(self) -> int:
        return len(self.pairs)

    def draw(self, index: int, step: int) -> Pair:
        """The pair and what the reference model says of it."""
        pair = Pair(self.pairs[index], self.reference[index] if self.reference is not None else None)
        return _exchange(pair) if self.flipped[index] else pair

    def units(self, example: Pair) -> int:
        """One pair."""
        return 1

    def split(self, examples: Sequence[Pair], budget: int) -> list[list[int]]:
        """As the reader counts."""
        return self.model.reader.split([pair.tree for pair in examples], budget)

    def loss(self, examples: Sequence[Pair], units: int) -> tuple[Tensor, Logged]:
        """This micro-batch's part of the mean over `units` pairs, and of what is logged."""
        # Where no loss reads log-probabilities, the language-model head is left out.
        output = self.model(
            [pair.tree for pair in examples], log_probabilities=self.settings.policy in POLICY_LOSSES
        )
        terms, logged = alignment_terms(output, examples, self.settings)
        if self.start is not None:
            divergence = self.start.divergence(output)
            terms.append(self.settings.policy_weight * divergence)
            logged["policy_loss"] = divergence.detach()
        return add_up(terms, logged, len(examples) / units)


def alignment_terms(
    output: PreferenceOutput, examples: Sequence[Pair], settings: AlignmentSettings
) -> tuple[list[Tensor], Logged]:
    """Weighted terms and logged values of a forward pass over pairs, each a mean over the pairs.

    Returns:
        Scalars, and the logged means: those of `reward_terms` (with a head), policy_loss, and where there is a reference
        the implicit rewards beta (log pi - log pi_ref) with their margin and accuracy.
    """
    terms: list[Tensor] = []
    logged: Logged = {}
    if settings.dph != "none":
        (rewards,) = output.rewards.values()
        terms, logged = reward_terms(*_by_pair(rewards), settings)
    if settings.policy in POLICY_LOSSES:
        logps = _answer_logps(output, examples)
        loss = POLICY_LOSSES[settings.policy](logps, settings)
        terms.append(settings.policy_weight * loss)
        logged["policy_loss"] = loss.detach()
        if settings.needs_reference:
            chosen, rejected = (
                settings.beta * (own - reference)
                for own, reference in zip(logps.answers, logps.references, strict=True)
            )
            logged |= summarise("implicit_", chosen, rejected)
    return terms, logged


class StartingPoint:
    """The language model as the stage found it, for the divergence from it: the anchor that can replace cDPO.

    Only the weights that train are kept twice; they are exchanged for a pass without gradients.
    """

    def __init__(self, model: PreferenceModel) -> None:
        self.model = model
        self.parameters = trainable_parameters(model.language_model)
        self.weights = [parameter.detach().clone() for parameter in self.parameters]
        head = model.causal_lm.get_output_embeddings()
        self.head = copy.deepcopy(head) if any(p.requires_grad for p in head.parameters()) else head

    def divergence(self, output: PreferenceOutput) -> Tensor:
        """(KL_w + KL_l) / 2, the mean over the pairs; KL(pi_ref || pi_theta) of an answer is the sum over its tokens.

        Source: the follow-up code of the DPH authors, which weighs it with 0.2.
        """
        layout, head = output.layout, self.model.causal_lm.get_output_embeddings()
        with torch.no_grad(), self._restored():
            reference = self.model.reader.states(layout)[layout.predictors]
        values = token_divergences(
            output.hidden[layout.predictors], reference, head, self.head, layout.predictor
        )
        return layout.sum_by_branch(values).mean()

    @contextmanager
    def _restored(self) -> Iterator[None]:
        """The starting weights in place inside the block, without dropout."""
        training = self.model.training
        self._exchange()
        self.model.eval()
        try:
            yield
        finally:
            self.model.train(training)
            self._exchange()

    def _exchange(self) -> None:
        for place, parameter in enumerate(self.parameters):
            parameter.data, self.weights[place] = self.weights[place], parameter.data
        # Autocast keeps its casts by parameter, whatever the parameter holds by now.
        torch.clear_autocast_cache()


def _exchange(pair: Pair) -> Pair:
    """The pair with its answers in each other's place."""
    reference = None if pair.reference is None else pair.reference.flip(0)
    return Pair(replace(pair.tree, branches=tuple(pair.tree.branches[::-1])), reference)


def _by_pair(values: Tensor) -> tuple[Tensor, Tensor]:
    """Values of branches `[2 * pairs]` as those of preferred and of dispreferred answers, each `[pairs]`."""
    chosen, rejected = values.view(-1, 2).unbind(dim=1)
    return chosen, rejected


def _answer_logps(output: PreferenceOutput, examples: Sequence[Pair]) -> AnswerLogps:
    chosen, rejected = _by_pair(output.log_probabilities)
    reference_chosen = reference_rejected = None
    if examples[0].reference is not None:
        stored = torch.stack([pair.reference for pair in examples if pair.reference is not None])
        reference_chosen, reference_rejected = stored.to(chosen.device).unbind(dim=1)
    lengths = [[len(branch) for branch in pair.tree.branches] for pair in examples]
    tokens = torch.tensor(lengths, device=chosen.device)  # [pairs, 2]
    return AnswerLogps(chosen, rejected, reference_chosen, reference_rejected, tokens[:, 0], tokens[:, 1])
