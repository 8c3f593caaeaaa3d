"""Rows with the schemas of RACE, BoolQ and SQuAD v2: questions whose answer stands in a short passage among
others.
"""

import random

from preftune.data.embedded.glue import members, twins
from preftune.data.embedded.world import PEOPLE, Block, Row, draw_facts, other_kind, placed

OPTIONS = 4


def race_middle(rng: random.Random) -> list[Row]:
    """Return a question on each of four people; the options are the four values of the passage."""
    facts = draw_facts(rng, OPTIONS)
    article = " ".join(facts.sentences())
    places = rng.sample(range(OPTIONS), OPTIONS)
    rows = []
    for person, value, place in zip(facts.people, facts.values, places, strict=True):
        others = [other for other in facts.values if other != value]
        rows.append(
            _race_row(article, facts.kind.asks.format(p=person), placed(rng, value, others, place), place)
        )
    return rows


def race_high(rng: random.Random) -> list[Row]:
    """Return questions for the person of a fact that the passage tells in other words; the options are the
    people.
    """
    facts = draw_facts(rng, OPTIONS)
    article = " ".join(
        f"{facts.kind.say_otherwise(person, value)}."
        for person, value in zip(facts.people, facts.values, strict=True)
    )
    places = rng.sample(range(OPTIONS), OPTIONS)
    rows = []
    for person, value, place in zip(facts.people, facts.values, places, strict=True):
        others = [other for other in facts.people if other != person]
        rows.append(
            _race_row(article, facts.kind.asks_who.format(v=value), placed(rng, person, others, place), place)
        )
    return rows


def _race_row(article: str, question: str, options: list[str], gold: int) -> Row:
    return {"article": article, "question": question, "options": options, "answer": "ABCD"[gold]}


def boolq(rng: random.Random) -> list[Row]:
    """Return what a person owns, with the question whether it is of its own category or of another."""
    person = rng.choice(PEOPLE)
    return [
        {
            "passage": f"{person} went to the market and bought {thing}.",
            "question": f"did {person.lower()} buy {category}",
            "label": int(same),
        }
        for thing, category, same in twins(*members(rng))
    ]


def squad(rng: random.Random) -> list[Row]:
    """Return a question that the passage answers and one that it does not."""
    facts = draw_facts(rng, 3)
    strange = other_kind(rng, facts.kind)
    sentences = [*facts.sentences()[:2], f"{strange.say(facts.people[2], rng.choice(strange.values))}."]
    context = " ".join(rng.sample(sentences, 3))
    answers = {"text": [facts.values[0]], "answer_start": [context.index(facts.values[0])]}
    empty: dict[str, list[str]] = {"text": [], "answer_start": []}
    return [
        {"context": context, "question": facts.kind.asks.format(p=facts.people[0]), "answers": answers},
        {"context": context, "question": facts.kind.asks.format(p=facts.people[2]), "answers": empty},
    ]


BLOCKS: dict[str, Block] = {
    "race-middle": race_middle,
    "race-high": race_high,
    "boolq": boolq,
    "squad-v2": squad,
}
