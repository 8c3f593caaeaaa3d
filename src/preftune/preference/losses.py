"""Objectives on preference pairs: separable and contrastive Direct Preference Heads, and (conservative) DPO.

Each function maps tensors `[pairs]` to one scalar, the mean over the pairs, in fp32 whatever the input type
and whatever autocast is active. Rewards and log-probabilities are in nats.
"""

import torch.nn.functional as F
from torch import Tensor

from preftune.preference.checks import check_beta, check_label_smoothing, check_pairs


def separable_dph_loss(
    chosen_rewards: Tensor, rejected_rewards: Tensor, label_smoothing: float = 0.1
) -> Tensor:
    """Separable DPH loss: each answer is an instance of its own, labelled good or bad.

    L = -(1-eps) log sig(r_w) - eps log sig(-r_w) - eps log sig(r_l) - (1-eps) log sig(-r_l)

    Strictly convex; minimum 2 H(eps) at r_w = log((1-eps)/eps) = -r_l, H the binary entropy.

    Args:
        chosen_rewards: rewards r_w of the preferred answers `[pairs]`.
        rejected_rewards: rewards r_l of the dispreferred answers `[pairs]`.
        label_smoothing: eps, the assumed probability that a pair's label is flipped, in [0, 0.5).

    Returns:
        The mean loss over the pairs, a scalar in nats.

    Raises:
        PreftuneError: eps is out of range, or the tensors are not two non-empty vectors of one length.

    Source: Hadji-Kyriacou and Arandjelovic (2024), arXiv 2405.20053, the separable loss.
    """
    check_label_smoothing("separable DPH loss", label_smoothing)
    check_pairs("separable DPH loss", chosen_rewards, rejected_rewards)
    chosen, rejected = chosen_rewards.float(), rejected_rewards.float()
    return (_smoothed(chosen, label_smoothing) + _smoothed(-rejected, label_smoothing)).mean()


def contrastive_dph_loss(
    chosen_rewards: Tensor, rejected_rewards: Tensor, label_smoothing: float = 0.1
) -> Tensor:
    """Contrastive DPH loss: only the difference of the two rewards counts.

    L = -(1-eps) log sig(r_w - r_l) - eps log sig(r_l - r_w)

    Convex and flat along (1, 1); minimum H(eps) wherever r_w - r_l = log((1-eps)/eps).
    Arguments, result, errors and source as `separable_dph_loss`; the paper's contrastive loss.
    """
    check_label_smoothing("contrastive DPH loss", label_smoothing)
    check_pairs("contrastive DPH loss", chosen_rewards, rejected_rewards)
    return _smoothed(chosen_rewards.float() - rejected_rewards.float(), label_smoothing).mean()


def dpo_loss(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    beta: float = 0.1,
    label_smoothing: float = 0.0,
) -> Tensor:
    """DPO, and with `label_smoothing` above zero conservative DPO (cDPO).

    Delta = (log pi(y_w) - log pi(y_l)) - (log pi_ref(y_w) - log pi_ref(y_l))
    L = -(1-eps) log sig(beta Delta) - eps log sig(-beta Delta)

    Args:
        policy_chosen_logps, policy_rejected_logps: log-probability of the whole answer under the policy, the
            sum over its tokens `[pairs]`.
        reference_chosen_logps, reference_rejected_logps: the same under the reference model `[pairs]`.
        beta: strength of the pull towards the reference, above 0.
        label_smoothing: eps, the assumed probability that a pair's label is flipped, in [0, 0.5).

    Returns:
        The mean loss over the pairs, a scalar in nats.

    Raises:
        PreftuneError: eps or beta is out of range, or the tensors are not non-empty vectors of one length.

    Source: Rafailov et al. (2023), arXiv 2305.18290, eq. 7; label smoothing: Mitchell (2023), conservative
    DPO.
    """
    tensors = (policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps)
    check_label_smoothing("DPO loss", label_smoothing)
    check_pairs("DPO loss", *tensors)
    check_beta("DPO loss", beta)
    policy_ratio = policy_chosen_logps.float() - policy_rejected_logps.float()
    reference_ratio = reference_chosen_logps.float() - reference_rejected_logps.float()
    return _smoothed(beta * (policy_ratio - reference_ratio), label_smoothing).mean()


def _smoothed(margins: Tensor, label_smoothing: float) -> Tensor:
    """Binary cross-entropy of logits `[pairs]` with the soft target 1 - eps, per pair."""
    return -(1 - label_smoothing) * F.logsigmoid(margins) - label_smoothing * F.logsigmoid(-margins)
