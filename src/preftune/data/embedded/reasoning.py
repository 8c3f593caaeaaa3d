"""Rows with the schemas of GSM8K and TruthfulQA: sums of several steps, and truths beside what many wrongly believe."""

import random

from preftune.data.embedded.world import PEOPLE, Block, Row, draw_facts

GOODS = ("apples", "eggs", "pens", "books", "cups", "balls", "plates", "keys")


def gsm8k(rng: random.Random) -> list[Row]:
    """Return two questions on one story, in which two people deal in coins with each other and with a third, or fill bags."""
    return rng.choice((_transfers, _purchases))(rng)


def _transfers(rng: random.Random) -> list[Row]:
    first, second, third = rng.sample(PEOPLE, 3)
    has, owns = rng.randint(40, 80), rng.randint(40, 80)
    gives, passes = rng.randint(5, 25), rng.randint(5, 25)
    story = (
        f"{first} has {has} coins and {second} has {owns} coins. {first} gives {gives} coins to {second}. "
        f"Then {third} takes {passes} coins from both of them."
    )
    kept, got = has - gives, owns + gives
    return [
        _sum_row(f"{story} How many coins does {person} have now?", *steps, total)
        for person, steps, total in (
            (first, (f"{has} - {gives} = {kept}", f"{kept} - {passes} = {kept - passes}"), kept - passes),
            (second, (f"{owns} + {gives} = {got}", f"{got} - {passes} = {got - passes}"), got - passes),
        )
    ]


def _purchases(rng: random.Random) -> list[Row]:
    person, (one, other) = rng.choice(PEOPLE), rng.sample(GOODS, 2)
    bags, lost, found = rng.sample(range(3, 9), 2), rng.randint(2, 9), rng.randint(2, 9)
    each = rng.sample(range(6, 12), 2)
    story = (
        f"{person} buys {bags[0]} bags of {each[0]} {one} and {bags[1]} bags of {each[1]} {other}. {person} loses {lost} "
        f"{one} and {lost} {other}, and is given {found} more of both."
    )
    return [
        _sum_row(
            f"{story} How many {goods} does {person} have now?",
            f"{count} * {size} = {count * size}",
            f"{count * size} - {lost} + {found} = {count * size - lost + found}",
            count * size - lost + found,
        )
        for goods, count, size in zip((one, other), bags, each, strict=True)
    ]


def _sum_row(question: str, first: str, second: str, total: int) -> Row:
    return {"question": question, "answer": f"{first}\n{second}\n#### {total}"}


def truthfulqa(rng: random.Random) -> list[Row]:
    """Return a question on each of three people, of whom the text tells a truth and a common wrong belief.

    Each value is true of one person and believed of another; the true choice stands first, as in the hub's rows.
    """
    facts = draw_facts(rng, 3)
    say, values = facts.kind.say, facts.values
    beliefs = values[1:] + values[:1]
    told = [f"In truth, {say(person, value)}." for person, value in zip(facts.people, values, strict=True)]
    told += [
        f"Many believe that {say(person, value)}."
        for person, value in zip(facts.people, beliefs, strict=True)
    ]
    text = " ".join(rng.sample(told, len(told)))
    return [
        {
            "question": f"{text} {facts.kind.asks.format(p=person)}",
            "mc1_targets": {
                "choices": [f"{say(person, value)}." for value in (values[turn:] + values[:turn])],
                "labels": [1, 0, 0],
            },
        }
        for turn, person in enumerate(facts.people)
    ]


BLOCKS: dict[str, Block] = {"gsm8k": gsm8k, "truthfulqa-mc1": truthfulqa}
