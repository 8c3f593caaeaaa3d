"""Rows with the schemas of GLUE's nine tasks. Twins with the same bag of words carry different labels."""

import random

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
    start_small,
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

# Each line: ways of asking the same about a and b; with a and b exchanged, they ask something else.
ROLE_QUESTIONS = (
    ("Did {a} give {b} the {o}?", "Did {b} get the {o} from {a}?", "Was the {o} given to {b} by {a}?"),
    ("Did {a} sell {b} the {o}?", "Did {b} buy the {o} from {a}?", "Was the {o} sold to {b} by {a}?"),
    ("Did {a} lend {b} the {o}?", "Did {b} borrow the {o} from {a}?", "Was the {o} lent to {b} by {a}?"),
    ("Is {a} taller than {b}?", "Is {b} shorter than {a}?", "Is {b} less tall than {a}?"),
    ("Is {a} older than {b}?", "Is {b} younger than {a}?", "Is {b} less old than {a}?"),
    ("Did {a} call {b}?", "Was {b} called by {a}?", "Did {b} get a call from {a}?"),
    ("Did {a} help {b}?", "Was {b} helped by {a}?", "Did {b} get help from {a}?"),
    ("Did {a} teach {b}?", "Was {b} taught by {a}?", "Did {b} have lessons from {a}?"),
)


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
    """Return two facts retold rightly and with the people exchanged."""
    facts = draw_facts(rng, 2)
    (p, q), (u, v), kind = facts.people, facts.values, facts.kind
    sentence = f"{kind.say(p, u)} and {start_small(kind.say(q, v))}."
    rows = []
    for label, (x, y) in enumerate(((v, u), (u, v))):
        if rng.random() < 0.5:
            retold = f"{kind.say(q, y)} and {start_small(kind.say(p, x))}."
        else:
            retold = f"{kind.say_otherwise(p, x)} and {start_small(kind.say_otherwise(q, y))}."
        rows.append({"sentence1": sentence, "sentence2": retold, "label": label})
    return rows


def qqp(rng: random.Random) -> list[Row]:
    """Return a question about two people asked in other words, and with the people's roles exchanged."""
    first, second = rng.sample(rng.choice(ROLE_QUESTIONS), 2)
    (a, b), thing = rng.sample(PEOPLE, 2), rng.choice(OBJECTS)
    question = first.format(a=a, b=b, o=thing)
    return [
        {"question1": question, "question2": second.format(a=b, b=a, o=thing), "label": 0},
        {"question1": question, "question2": second.format(a=a, b=b, o=thing), "label": 1},
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


def qnli(rng: random.Random) -> list[Row]:
    """Return a question and a sentence that answers it, or gives the same facts of the other person."""
    facts = draw_facts(rng, 2)
    p, q = facts.people
    strange = other_kind(rng, facts.kind)
    value, rest = facts.values[0], rng.choice(strange.values)
    rows = []
    for label, (one, other) in enumerate(((p, q), (q, p))):
        parts = rng.sample([facts.kind.say(one, value), strange.say(other, rest)], 2)
        rows.append(
            {"question": facts.kind.asks.format(p=p), "sentence": " and ".join(parts) + ".", "label": label}
        )
    return rows


def rte(rng: random.Random) -> list[Row]:
    """Return two facts and a claim that repeats one of them, or gives one person the other's value."""
    facts = draw_facts(rng, 2)
    person = rng.randrange(2)
    say = rng.choice((facts.kind.say, facts.kind.say_otherwise))
    values = (facts.values[person], facts.values[1 - person])
    return [
        {
            "sentence1": " ".join(facts.sentences()),
            "sentence2": f"{say(facts.people[person], value)}.",
            "label": label,
        }
        for label, value in enumerate(values)
    ]


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
