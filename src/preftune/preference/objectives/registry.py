"""Objectives by the names that settings give them."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from preftune.errors import PreftuneError
from preftune.preference.checks import check_pairs
from preftune.preference.losses import contrastive_dph_loss, dpo_loss, separable_dph_loss
from preftune.preference.objectives.ipo import ipo_loss
from preftune.preference.objectives.orpo import orpo_loss
from preftune.preference.objectives.penalties import each_reward_penalty, sum_reward_penalty
from preftune.preference.objectives.sft import sft_loss
from preftune.preference.objectives.simpo import simpo_loss
from preftune.settings.alignment import AlignmentSettings


@dataclass(frozen=True)
class AnswerLogps:
    """What policy losses read of a batch of pairs; every tensor is `[pairs]`.

    chosen, rejected: log-probability of the whole answer under the policy, in nats, the sum over its tokens,
        `<|im_end|>` included.
    reference_chosen, reference_rejected: the same under the reference model; None where no loss needs it.
    chosen_tokens, rejected_tokens: tokens of the answers, `<|im_end|>` included; at least 1.

    Raises:
        PreftuneError: the tensors are not non-empty vectors of one length.
    """

    chosen: Tensor
    rejected: Tensor
    reference_chosen: Tensor | None
    reference_rejected: Tensor | None
    chosen_tokens: Tensor
    rejected_tokens: Tensor

    def __post_init__(self) -> None:
        tensors = [value for value in vars(self).values() if value is not None]
        check_pairs("log-probabilities of answers", *tensors)

    @property
    def answers(self) -> tuple[Tensor, Tensor]:
        """Of whole answers under the policy: chosen, rejected."""
        return self.chosen, self.rejected

    @property
    def references(self) -> tuple[Tensor, Tensor]:
        """Of whole answers under the reference model: chosen, rejected."""
        if self.reference_chosen is None or self.reference_rejected is None:
            raise PreftuneError(
                "This policy loss needs reference log-probabilities; run compute_reference and pass its folder."
            )
        return self.reference_chosen, self.reference_rejected

    def per_token(self, logps: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Means over the tokens of sums over them: chosen, rejected; fp32."""
        chosen, rejected = logps
        return chosen.float() / self.chosen_tokens, rejected.float() / self.rejected_tokens


PolicyLoss = Callable[[AnswerLogps, AlignmentSettings], Tensor]
RewardLoss = Callable[[Tensor, Tensor, float], Tensor]
RewardPenalty = Callable[[Tensor, Tensor], Tensor]


def _dpo(logps: AnswerLogps, settings: AlignmentSettings) -> Tensor:
    return dpo_loss(*logps.answers, *logps.references, settings.beta, settings.policy_label_smoothing)


def _ipo(logps: AnswerLogps, settings: AlignmentSettings) -> Tensor:
    policy, reference = logps.per_token(logps.answers), logps.per_token(logps.references)
    return ipo_loss(*policy, *reference, settings.beta)


def _simpo(logps: AnswerLogps, settings: AlignmentSettings) -> Tensor:
    return simpo_loss(*logps.per_token(logps.answers), settings.beta, settings.target_margin)


def _orpo(logps: AnswerLogps, settings: AlignmentSettings) -> Tensor:
    return orpo_loss(*logps.per_token(logps.answers), settings.odds_weight)


def _sft(logps: AnswerLogps, settings: AlignmentSettings) -> Tensor:
    return sft_loss(logps.per_token(logps.answers)[0])


POLICY_LOSSES: dict[str, PolicyLoss] = {
    "dpo": _dpo,
    "ipo": _ipo,
    "simpo": _simpo,
    "orpo": _orpo,
    "sft": _sft,
}
"""`AlignmentSettings.policy` -> mean loss over the pairs; `kl` needs states: `preftune.training.divergence`."""

REWARD_LOSSES: dict[str, RewardLoss] = {"separable": separable_dph_loss, "contrastive": contrastive_dph_loss}
"""`AlignmentSettings.dph` -> mean loss of chosen rewards, rejected rewards and label smoothing."""

REWARD_PENALTIES: dict[str, RewardPenalty] = {"each": each_reward_penalty, "sum": sum_reward_penalty}
"""`AlignmentSettings.reward_penalty` -> mean penalty of chosen and rejected rewards."""
