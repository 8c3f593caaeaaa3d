"""Odds Ratio Preference Optimisation."""

import torch
import torch.nn.functional as F
from torch import Tensor

from preftune.preference.checks import check_at_least_zero, check_pairs
from preftune.preference.objectives.sft import sft_loss


def orpo_loss(chosen_logps: Tensor, rejected_logps: Tensor, odds_weight: float = 0.1) -> Tensor:
    """ORPO: the likelihood of the preferred answer, and that its odds exceed those of the other one.

    log p(y) = log pi(y) / |y|,  log odds(y) = log p(y) - log(1 - p(y))
    L = -log p(y_w) - alpha log sig(log odds(y_w) - log odds(y_l))

    Args:
        chosen_logps, rejected_logps: log-probability of the answer, in nats, the mean over its tokens
            `[pairs]`.
        odds_weight: alpha, the weight of the odds ratio beside the likelihood's weight of 1, at least 0 (the
            paper's lambda).

    Returns:
        The mean loss over the pairs, an fp32 scalar in nats.

    Raises:
        PreftuneError: alpha is out of range, or the tensors are not non-empty vectors of one length.

    Source: Hong et al. (2024), arXiv 2403.07691, eqs. 4, 6 and 7; alpha 0.1 beside a likelihood weight of 1.0
    is the choice of the DPH paper's authors in their follow-up code.
    """
    check_pairs("ORPO loss", chosen_logps, rejected_logps)
    check_at_least_zero("ORPO loss", "odds_weight", odds_weight)
    log_odds_ratio = _log_odds(chosen_logps.float()) - _log_odds(rejected_logps.float())
    return sft_loss(chosen_logps) - odds_weight * F.logsigmoid(log_odds_ratio).mean()


def _log_odds(logps: Tensor) -> Tensor:
    """log p - log(1 - p) of log-probabilities."""
    # A sure answer (log p rounds to 0) has infinite odds, and a gradient that is not a number.
    logps = logps.clamp(max=-torch.finfo(torch.float32).eps)
    return logps - torch.log(-torch.expm1(logps))
