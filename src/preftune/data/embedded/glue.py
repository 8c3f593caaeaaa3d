"""Rows with the schemas of GLUE's nine tasks. Twins with the same bag of words carry different labels."""

import random

from preftune.data.embedded.knowledge import AIMS, ANSWERS, CATEGORIES, MEANINGS, THINGS
from preftune.data.embedded.world import (
    COLOURS,
    MEN,
    OBJECTS,
    PEOPLE,
    PLACES,
    ROLES,
    WOMEN,
    Block,
    Row,
    draw_facts,
    other_kind,
    start_large,
)

GOOD = (
    "great",
    "wonderful",
    "brilliant",
    "charming",
    "lovely",
    "funny",
    "moving",
    "delightful",
    "superb",
    "touching",
)
BAD = ("awful", "terrible", "boring", "dull", "stupid", "horrible", "ugly", "painful", "weak", "annoying")
FILMS = ("film", "story", "plot", "music", "cast", "ending", "script", "acting", "show", "comedy")
FEELINGS = ("tired", "hungry", "happy", "late", "angry", "cold", "thirsty", "sad", "busy", "kind")
VERBS = ("saw", "lost", "found", "painted", "bought", "sold", "hid", "broke")
SIZES = ("big", "small", "huge", "tiny", "wide", "heavy")


def twins(one: tuple[str, str], other: tuple[str, str]) -> list[tuple[str, str, bool]]:
    """Return the four pairs of two matching pairs: each text stands in one match and in one mismatch."""
    return [(a[0], b[1], a is b) for a in (one, other) for b in (one, other)]


def cola(rng: random.Random) -> list[Row]:
    """Return a sentence and a broken form of another: words exchanged, wrong agreement, or a word doubled."""
    good, bad = (_plain(rng) for _ in range(2))
    breaks = (_exchange, _disagree, _double)
    return [{"sentence": good, "label": 1}, {"sentence": rng.choice(breaks)(rng, bad), "label": 0}]


def _plain(rng: random.Random) -> str:
    facts = draw_facts(rng, 2)
    first, second = facts.sentences()
    if rng.random() < 0.5:
        return first
    return f"{first[:-1]} {rng.choice(('and', 'but'))} {second}"


def _exchange(rng: random.Random, sentence: str) -> str:
    words = sentence.rstrip(".").split()
    place = rng.randrange(1, len(words) - 1)
    words[place], words[place + 1] = words[place + 1], words[place]
    return " ".join(words) + "."


def _disagree(rng: random.Random, sentence: str) -> str:
    wrong = {"is": "are", "has": "have", "plays": "play"}
    return " ".join(wrong.get(word, word) for word in sentence.split())


def _double(rng: random.Random, sentence: str) -> str:
    words = sentence.rstrip(".").split()
    place = rng.randrange(1, len(words) - 1)
    return " ".join(words[: place + 1] + words[place:]) + "."


def sst2(rng: random.Random) -> list[Row]:
    """Return the same opinion on two films' parts, once good and once bad."""
    first, second = rng.sample(FILMS, 2)
    pattern = rng.choice(
        (
            "the {f} is {x} and the {s} is {y} .",
            "a {x} {f} with a {y} {s} .",
            "i found the {f} {x} and the {s} {y} .",
        )
    )
    rows = []
    for label, words in enumerate((BAD, GOOD)):
        x, y = rng.sample(words, 2)
        rows.append({"sentence": pattern.format(f=first, s=second, x=x, y=y), "label": label})
    return rows


def mrpc(rng: random.Random) -> list[Row]:
    """Return how a person was, retold with a word of the same meaning or of another."""
    one, other = (
        (word, retold) for word, retold in (rng.sample(words, 2) for words in rng.sample(MEANINGS, 2))
    )
    person, place = rng.choice(PEOPLE), rng.choice(PLACES)
    return [
        {
            "sentence1": f"{person} was {word} in the {place}.",
            "sentence2": f"In the {place}, {person} was {retold}.",
            "label": int(same),
        }
        for word, retold, same in twins(one, other)
    ]


def qqp(rng: random.Random) -> list[Row]:
    """Return a question on an aim, and the same or another aim asked in other words."""
    ways = (
        "How can I {}?",
        "What is the best way to {}?",
        "How do people {}?",
        "Is there an easy way to {}?",
    )
    first, second = rng.sample(ways, 2)
    one, other = ((aim, renamed) for aim, renamed in (rng.sample(names, 2) for names in rng.sample(AIMS, 2)))
    return [
        {"question1": first.format(aim), "question2": second.format(renamed), "label": int(same)}
        for aim, renamed, same in twins(one, other)
    ]


def stsb(rng: random.Random) -> list[Row]:
    """Return six retellings of one of two events, right in 0 to 5 of its five parts; wrong parts are the
    other's.
    """
    one, other = (list(parts) for parts in zip(*(rng.sample(w, 2) for w in (VERBS, SIZES, COLOURS, OBJECTS,
    PLACES)),
                                               strict=True))  # fmt: skip
    people = rng.sample(PEOPLE, 2)
    text = f"{_event(people[0], one)} {_event(people[1], other)}"
    rows = []
    for score in range(6):
        person, own, strange = rng.choice(((people[0], one, other), (people[1], other, one)))
        right = set(rng.sample(range(5), score))
        parts = [own[place] if place in right else strange[place] for place in range(5)]
        rows.append({"sentence1": text, "sentence2": _event(person, parts), "label": float(score)})
    return rows


def _event(person: str, parts: list[str]) -> str:
    verb, size, colour, thing, place = parts
    return f"{person} {verb} a {size} {colour} {thing} in the {place}."


def _mnli(people: tuple[str, ...]) -> Block:
    def block(rng: random.Random) -> list[Row]:
        facts = draw_facts(rng, 3, people)
        (p, q, r), (u, v, _), kind = facts.people, facts.values, facts.kind
        strange = other_kind(rng, kind)
        sentences = [kind.say(p, u), kind.say(q, v), strange.say(r, rng.choice(strange.values))]
        premise = " ".join(f"{start_large(text)}." for text in rng.sample(sentences, 3))
        claims = (kind.say(p, u), kind.say(r, u), kind.say(p, v))
        return [
            {"premise": premise, "hypothesis": f"{claim}.", "label": label}
            for label, claim in enumerate(claims)
        ]

    return block


mnli_matched = _mnli(PEOPLE)
mnli_mismatched = _mnli(ROLES)
ax = _mnli(PEOPLE + ROLES)


def qnli(rng: random.Random) -> list[Row]:
    """Return a question on a person and an answer of its own sort or of another."""
    person = rng.choice(PEOPLE)
    one, other = (
        (asked.format(p=person), f"It was {rng.choice(ANSWERS[asked])}.")
        for asked in rng.sample(sorted(ANSWERS), 2)
    )
    return [
        {"question": question, "sentence": sentence, "label": int(not same)}
        for question, sentence, same in twins(one, other)
    ]


def rte(rng: random.Random) -> list[Row]:
    """Return what a person saw, and a claim that it belongs to its own category or to another."""
    person, place = rng.choice(PEOPLE), rng.choice(PLACES)
    return [
        {
            "sentence1": f"{person} saw {thing} in the {place}.",
            "sentence2": f"{person} saw {category} in the {place}.",
            "label": int(not same),
        }
        for thing, category, same in twins(*members(rng))
    ]


def members(rng: random.Random) -> tuple[tuple[str, str], tuple[str, str]]:
    """Return two things of different categories, each with its category."""
    one, other = rng.sample(THINGS, 2)

    def member(category: str) -> tuple[str, str]:
        noun = rng.choice(CATEGORIES[category])
        return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}", category

    return member(one), member(other)


def wnli(rng: random.Random) -> list[Row]:
    """Return a pronoun and what it stands for: all four pairs of pronoun and person."""
    man, woman, feeling, place = (rng.choice(words) for words in (MEN, WOMEN, FEELINGS, PLACES))
    first, second = rng.sample((man, woman), 2)
    rows = []
    for pronoun, meant in (("He", man), ("She", woman)):
        text = f"{first} met {second} in the {place}. {pronoun} was {feeling}."
        for person in (man, woman):
            rows.append(
                {"sentence1": text, "sentence2": f"{person} was {feeling}.", "label": int(person == meant)}
            )
    return rows


BLOCKS: dict[str, Block] = {
    "cola": cola,
    "sst2": sst2,
    "mrpc": mrpc,
    "qqp": qqp,
    "stsb": stsb,
    "qnli": qnli,
    "rte": rte,
    "wnli": wnli,
}
