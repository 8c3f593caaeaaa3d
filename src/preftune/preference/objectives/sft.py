"""The likelihood of the preferred answers as an anchor."""

from torch import Tensor

from preftune.preference.checks import check_pairs


def sft_loss(chosen_logps: Tensor) -> Tensor:
    """Negative log-likelihood of the preferred answers: every answer counts alike, whatever its length.

    L = -log pi(y_w) / |y_w|

    Args:
        chosen_logps: log-probability of the preferred answer, in nats, the mean over its tokens `[pairs]`.

    Returns:
        The mean loss over the pairs, an fp32 scalar in nats per token.

    Raises:
        PreftuneError: the tensor is not a non-empty vector.

    Source: the follow-up code of the DPH paper's authors, where it is ORPO with an odds-ratio weight of 0.
    """
    check_pairs("SFT loss", chosen_logps)
    return -chosen_logps.float().mean()
