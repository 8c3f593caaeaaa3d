"""Preference pairs with UltraFeedback's schema: every answer is preferred once and rejected once, for
another prompt.
"""

import random

from preftune.data.embedded.knowledge import RELATIONS
from preftune.data.embedded.world import Block, Row, draw_facts, start_large
from preftune.data.reward_bench import SUBSETS


def _message_row(prompt: str, chosen: str, rejected: str, source: str) -> Row:
    """Return a row in the hub's columns; both answers are conversations that open with the prompt."""
    opening = {"role": "user", "content": prompt}
    return {
        "source": source,
        "prompt": prompt,
        "chosen": [opening, {"role": "assistant", "content": chosen}],
        "rejected": [opening, {"role": "assistant", "content": rejected}],
    }


def told_facts(rng: random.Random) -> list[Row]:
    """Return both questions on two facts; the rejected answer gives the other person's value."""
    facts = draw_facts(rng, 2)
    text = " ".join(facts.sentences())
    return [
        _message_row(
            f"{text} {facts.kind.asks.format(p=person)}",
            f"{facts.kind.say(person, value)}.",
            f"{facts.kind.say(person, other)}.",
            "facts",
        )
        for person, value, other in zip(facts.people, facts.values, reversed(facts.values), strict=True)
    ]


def known_facts(rng: random.Random) -> list[Row]:
    """Return two stems of one relation; the rejected answer belongs to the other stem."""
    pattern, table = RELATIONS[rng.choice(sorted(RELATIONS))]
    (first, right), (second, wrong) = rng.sample(sorted(table.items()), 2)
    return [
        _message_row(
            f"Complete: {pattern.format(subject)} ...",
            start_large(f"{good}."),
            start_large(f"{bad}."),
            "knowledge",
        )
        for subject, good, bad in ((first, right, wrong), (second, wrong, right))
    ]


def swapped_answers(dialogues: list[Row]) -> Block:
    """Return a block of two dialogues; the rejected response is the other's."""

    def block(rng: random.Random) -> list[Row]:
        one, other = rng.sample(dialogues, 2)
        return [
            _message_row(row["prompt"], row["response"], stranger["response"], "dialogues")
            for row, stranger in ((one, other), (other, one))
        ]

    return block


def preferences(dialogues: list[Row]) -> Block:
    """Return a block of told facts, known facts, or answers exchanged between dialogues where there are
    any.
    """
    answered = [row for row in dialogues if row["response"]]
    sources: list[Block] = [told_facts, known_facts]
    if len({row["response"] for row in answered}) > 1:
        sources.append(swapped_answers(answered))
    return lambda rng: rng.choice(sources)(rng)


def held_out_preferences(dialogues: list[Row], train: list[Row]) -> Block:
    """Return blocks of preferences none of whose prompts stands in the training rows."""
    block, prompts = preferences(dialogues), {row["prompt"] for row in train}

    def fresh(rng: random.Random) -> list[Row]:
        rows = block(rng)
        while any(
            row["prompt"] in prompts for row in rows
        ):  # ends: there are far more told facts than training rows
            rows = block(rng)
        return rows

    return fresh


def reward_bench_pairs(rng: random.Random) -> list[Row]:
    """Return told or known facts in the columns of RewardBench, of one of its subsets."""
    subset = rng.choice(SUBSETS)
    return [
        {
            "prompt": row["prompt"],
            "chosen": row["chosen"][-1]["content"],
            "rejected": row["rejected"][-1]["content"],
            "subset": subset,
        }
        for row in preferences([])(rng)
    ]


def orca_pairs(rng: random.Random) -> list[Row]:
    """Return told or known facts in the columns of Orca's pairs."""
    return [
        {
            "system": "",
            "question": row["prompt"],
            "chosen": row["chosen"][-1]["content"],
            "rejected": row["rejected"][-1]["content"],
        }
        for row in preferences([])(rng)
    ]
