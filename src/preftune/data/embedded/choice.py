"""Rows with the schemas of the choice tasks. In a block, the same answers are offered and each is right
once.
"""

import random
from collections.abc import Mapping

from preftune.data.embedded.knowledge import (
    CAPITALS,
    CATEGORIES,
    RELATIONS,
    SCIENCE,
    SOLUTIONS,
    STORIES,
    WANTS,
)
from preftune.data.embedded.world import PEOPLE, Block, Row, lettered, placed


def _items(rng: random.Random, table: Mapping[str, str], count: int) -> list[tuple[str, str, list[str], int]]:
    """Return `count` (subject, answer, options, place of the answer) with the same options and all places
    used once.
    """
    pairs = rng.sample(sorted(table.items()), count)
    places = rng.sample(range(count), count)
    answers = [answer for _, answer in pairs]
    return [
        (subject, answer, placed(rng, answer, [other for other in answers if other != answer], place), place)
        for (subject, answer), place in zip(pairs, places, strict=True)
    ]


def openbookqa(rng: random.Random) -> list[Row]:
    """Return stems of one relation (what is needed for what, what comes from where, ...)."""
    pattern, table = RELATIONS[rng.choice(sorted(RELATIONS))]
    return [
        {"question_stem": pattern.format(subject), "choices": lettered(options), "answerKey": "ABCD"[place]}
        for subject, _, options, place in _items(rng, table, 4)
    ]


def arc_challenge(rng: random.Random) -> list[Row]:
    """Return questions of one relation (opposites, young animals, ...) with three to five options."""
    pattern, table = SCIENCE[rng.choice(sorted(SCIENCE))]
    return [
        {"question": pattern.format(subject), "choices": lettered(options), "answerKey": "ABCDE"[place]}
        for subject, _, options, place in _items(rng, table, _option_count(rng))
    ]


def arc_easy(rng: random.Random) -> list[Row]:
    """Return questions for the member of a category among words of other categories."""
    names = rng.sample(sorted(CATEGORIES), _option_count(rng))
    table = {name: rng.choice(CATEGORIES[name]) for name in names}
    return [
        {"question": f"Which of these is {name}?", "choices": lettered(options), "answerKey": "ABCDE"[place]}
        for name, _, options, place in _items(rng, table, len(names))
    ]


def _option_count(rng: random.Random) -> int:
    # Nearly all of ARC's questions have four options, a few have three or five.
    return rng.choice((3, 4, 4, 4, 4, 4, 4, 5))


def mmlu(rng: random.Random) -> list[Row]:
    """Return questions for capitals."""
    return [
        {
            "question": f"What is the capital of {country}?",
            "subject": "geography",
            "choices": options,
            "answer": place,
        }
        for country, _, options, place in _items(rng, CAPITALS, 4)
    ]


def hellaswag(rng: random.Random) -> list[Row]:
    """Return four little stories, each offered the endings of all four."""
    person = rng.choice(PEOPLE)
    return [
        {
            "activity_label": "Daily life",
            "ctx": story.format(p=person),
            "endings": options,
            "label": str(place),
        }
        for story, _, options, place in _items(rng, STORIES, 4)
    ]


def piqa(rng: random.Random) -> list[Row]:
    """Return two goals, each offered both solutions."""
    return [
        {"goal": subject, "sol1": options[0], "sol2": options[1], "label": place}
        for subject, _, options, place in _items(rng, SOLUTIONS, 2)
    ]


def winogrande(rng: random.Random) -> list[Row]:
    """Return two people with two states, and what one of them then did, asked for both states."""
    people = rng.sample(PEOPLE, 2)
    states = rng.sample(sorted(WANTS), 2)
    options = rng.sample(people, 2)
    told = f"{people[0]} was {states[0]} and {people[1]} was {states[1]}, so"
    return [
        {
            "sentence": f"{told} _ {WANTS[state]}.",
            "option1": options[0],
            "option2": options[1],
            "answer": str(options.index(person) + 1),
        }
        for person, state in zip(people, states, strict=True)
    ]


BLOCKS: dict[str, Block] = {
    "openbookqa": openbookqa,
    "arc-easy": arc_easy,
    "arc-challenge": arc_challenge,
    "mmlu": mmlu,
    "hellaswag": hellaswag,
    "piqa": piqa,
    "winogrande": winogrande,
}
