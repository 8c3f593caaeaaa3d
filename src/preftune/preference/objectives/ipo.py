"""Identity Preference Optimisation."""

from torch import Tensor

from preftune.preference.checks import check_beta, check_pairs


def ipo_loss(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    beta: float = 0.1,
) -> Tensor:
    """IPO: the log-ratio's margin is regressed onto 1 / (2 beta) instead of being pushed ever further.

    h = (log pi(y_w) - log pi(y_l)) - (log pi_ref(y_w) - log pi_ref(y_l))
    L = (h - 1 / (2 beta))^2

    Args:
        policy_chosen_logps, policy_rejected_logps: log-probability of the answer under the policy, in nats,
            the mean over its tokens `[pairs]`. The paper writes whole answers; its results were computed
            with means, as its authors told the maintainers of TRL, so that beta suits answers of any length.
        reference_chosen_logps, reference_rejected_logps: the same under the reference model `[pairs]`.
        beta: strength of the pull towards the reference, above 0; the paper's tau.

    Returns:
        The mean loss over the pairs, an fp32 scalar.

    Raises:
        PreftuneError: beta is out of range, or the tensors are not non-empty vectors of one length.

    Source: Azar et al. (2023), arXiv 2310.12036, eq. 17.
    """
    tensors = (policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps)
    check_pairs("IPO loss", *tensors)
    check_beta("IPO loss", beta)
    policy_ratio = policy_chosen_logps.float() - policy_rejected_logps.float()
    reference_ratio = reference_chosen_logps.float() - reference_rejected_logps.float()
    return (policy_ratio - reference_ratio - 1 / (2 * beta)).square().mean()
