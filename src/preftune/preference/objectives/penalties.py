"""L2 penalties on rewards. They fix what the contrastive DPH loss leaves free: a shift common to all rewards."""

from torch import Tensor

from preftune.preference.checks import check_pairs


def each_reward_penalty(chosen_rewards: Tensor, rejected_rewards: Tensor) -> Tensor:
    """Pulls every reward to zero: mean over the pairs of r_w^2 + r_l^2.

    It shrinks the margin too: the contrastive loss plus lambda times this has its optimum below
    log((1-eps)/eps), and a finite one also for eps = 0.

    Args:
        chosen_rewards: rewards r_w of the preferred answers `[pairs]`.
        rejected_rewards: rewards r_l of the dispreferred answers `[pairs]`.

    Returns:
        An fp32 scalar, in squared nats.

    Raises:
        PreftuneError: the tensors are not two non-empty vectors of one length.

    Source: the follow-up code of the DPH paper's authors, which weights it with lambda = 0.1.
    """
    check_pairs("reward penalty each", chosen_rewards, rejected_rewards)
    return (chosen_rewards.float().square() + rejected_rewards.float().square()).mean()


def sum_reward_penalty(chosen_rewards: Tensor, rejected_rewards: Tensor) -> Tensor:
    """Pulls the middle of each pair to zero and leaves its margin free: mean over the pairs of (r_w + r_l)^2.

    Arguments, result, errors and source as `each_reward_penalty`.
    """
    check_pairs("reward penalty sum", chosen_rewards, rejected_rewards)
    return (chosen_rewards.float() + rejected_rewards.float()).square().mean()
