"""What a choice among sampled answers is worth, question by question. Light, because tables read it too."""

import pandas as pd

COLUMNS = ("task", "document", "sample", "text", "tokens", "ended", "reward", "right", "greedy")
QUANTITIES = ("random", "greedy", "chosen", "oracle", "disagree")


def judge_choices(answers: pd.DataFrame) -> pd.DataFrame:
    """One row a question, sorted by task and document, from answers with the columns of `COLUMNS`.

    Returns:
        task, document; random: share of the samples that are right, which is what a choice by chance is right with; greedy:
        whether the greedy answer is right; chosen: whether the sample with the highest reward is (of equal rewards, the one
        sampled first); oracle: whether any sample is; disagree: whether some are and others are not.
    """
    ordered = answers.sort_values(["task", "document", "sample"], kind="stable", ignore_index=True)
    ordered = ordered.assign(right=ordered["right"].astype(float))
    greedy, sampled = ordered[ordered["greedy"]], ordered[~ordered["greedy"]]
    questions = sampled.groupby(["task", "document"])
    best = sampled.loc[questions["reward"].idxmax()].set_index(["task", "document"])
    judged = pd.DataFrame(
        {
            "random": questions["right"].mean(),
            "greedy": greedy.set_index(["task", "document"])["right"],
            "chosen": best["right"],
            "oracle": questions["right"].max(),
            "disagree": questions["right"].max() - questions["right"].min(),
        }
    )
    return judged.reset_index()


def summarise_choices(answers: pd.DataFrame) -> dict[str, dict[str, float]]:
    """The mean of each quantity, and the number of prompts, by task."""
    judged = judge_choices(answers).groupby("task")
    means, counts = judged[list(QUANTITIES)].mean(), judged.size()
    return {
        str(task): {"prompts": int(counts[task])}
        | {name: float(means.loc[task, name]) for name in QUANTITIES}
        for task in means.index
    }
