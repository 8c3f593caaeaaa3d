"""Simple Preference Optimisation."""

import torch.nn.functional as F
from torch import Tensor

from preftune.preference.checks import check_at_least_zero, check_beta, check_pairs


def simpo_loss(
    chosen_logps: Tensor, rejected_logps: Tensor, beta: float = 2.0, target_margin: float = 0.5
) -> Tensor:
    """SimPO: the length-normalised log-probability is the reward, and needs no reference model.

    L = -log sig(beta (log pi(y_w) / |y_w| - log pi(y_l) / |y_l|) - gamma)

    Args:
        chosen_logps, rejected_logps: log-probability of the answer, in nats, the mean over its tokens
            `[pairs]`.
        beta: scale of the reward, above 0.
        target_margin: gamma, by how much the rewards shall differ, at least 0.

    Returns:
        The mean loss over the pairs, an fp32 scalar in nats.

    Raises:
        PreftuneError: beta or gamma is out of range, or the tensors are not non-empty vectors of one length.

    Source: Meng et al. (2024), arXiv 2405.14734, eq. 6; beta 2.0 and gamma 0.5 are the paper's first choice.
    """
    check_pairs("SimPO loss", chosen_logps, rejected_logps)
    check_beta("SimPO loss", beta)
    check_at_least_zero("SimPO loss", "target_margin", target_margin)
    margins = beta * (chosen_logps.float() - rejected_logps.float())
    return -F.logsigmoid(margins - target_margin).mean()
