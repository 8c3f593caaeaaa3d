"""The closed world of the embedded language data: people, places, things, and facts about people that
exclude others.

The rows come in blocks in which every candidate is right as often as it is wrong, beside words that are the
same for
all labels: neither words, length nor position of an answer tell whether it is right, only what the text says.
"""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from preftune.errors import PreftuneError

Row = dict[str, Any]
Block = Callable[[random.Random], list[Row]]
Splits = dict[str, list[Row]]

MEN = ("Ben", "Carl", "Frank", "Henry", "Jack", "Leo", "Mark", "Oscar", "Paul", "Sam", "Tom", "Will",
       "Peter", "David")  # fmt: skip
WOMEN = ("Anna", "Dora", "Emma", "Grace", "Kate", "Lucy", "Nina", "Rosa", "Vera", "Zoe", "Alice", "Mary",
         "Jane", "Sarah")  # fmt: skip
PEOPLE = MEN + WOMEN
ROLES = ("The king", "The queen", "The girl", "The boy", "The nurse", "The farmer", "The thief",
         "The guest", "The judge", "The clown", "The monk", "The sailor")  # fmt: skip
PLACES = ("kitchen", "garden", "park", "school", "office", "garage", "library", "market", "station",
          "barn", "church", "hotel")  # fmt: skip
JOBS = ("doctor", "teacher", "baker", "driver", "singer", "painter", "pilot", "writer", "lawyer", "dancer")
COLOURS = ("red", "blue", "green", "yellow", "black", "white", "brown", "pink", "grey", "purple")
ANIMALS = ("cat", "dog", "bird", "fish", "horse", "rabbit", "duck", "pig", "goat", "cow", "sheep", "frog")
FOODS = ("rice", "bread", "soup", "cake", "cheese", "salad", "pasta", "meat", "fruit", "beans")
NUMBERS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "twelve")
GAMES = ("football", "tennis", "chess", "golf", "hockey", "cards", "rugby", "poker")
OBJECTS = ("ball", "cup", "book", "box", "lamp", "key", "drum", "pen", "chair", "plate", "clock", "kite")


@dataclass(frozen=True)
class Kind:
    """A sort of fact that is true of a person for one value only, and ways to say, ask and check it."""

    values: tuple[str, ...]
    says: str
    says_too: str
    asks: str
    asks_who: str
    checks: str

    def say(self, person: str, value: str) -> str:
        """Return the fact as a sentence without its full stop."""
        return self.says.format(p=person, v=value)

    def say_otherwise(self, person: str, value: str) -> str:
        """Return the same fact in other words."""
        return self.says_too.format(p=person, v=value)


def _thing(noun: str) -> Kind:
    return Kind(
        COLOURS,
        f"{{p}} has a {{v}} {noun}",
        f"The {noun} of {{p}} is {{v}}",
        f"What colour is the {noun} of {{p}}?",
        f"Who has a {{v}} {noun}?",
        f"does {{p}} have a {{v}} {noun}",
    )


KINDS: tuple[Kind, ...] = (
    Kind(PLACES, "{p} is in the {v}", "You can find {p} in the {v}",
         "Where is {p}?", "Who is in the {v}?", "is {p} in the {v}"),
    Kind(JOBS, "{p} is a {v}", "{p} works as a {v}",
         "What is the job of {p}?", "Who is a {v}?", "is {p} a {v}"),
    Kind(ANIMALS, "{p} has a pet {v}", "The pet of {p} is a {v}",
         "Which pet does {p} have?", "Who has a pet {v}?", "does {p} have a pet {v}"),
    Kind(FOODS, "{p} is eating {v}", "The meal of {p} is {v}",
         "What is {p} eating?", "Who is eating {v}?", "is {p} eating {v}"),
    Kind(NUMBERS, "{p} has {v} coins", "{p} owns {v} coins",
         "How many coins does {p} have?", "Who has {v} coins?", "does {p} have {v} coins"),
    Kind(GAMES, "{p} plays {v}", "The game of {p} is {v}",
         "What does {p} play?", "Who plays {v}?", "does {p} play {v}"),
    _thing("hat"),
    _thing("bag"),
    _thing("car"),
    _thing("coat"),
    _thing("bike"),
)  # fmt: skip


@dataclass(frozen=True)
class Facts:
    """Facts of one kind: different people, each with a value of its own."""

    kind: Kind
    people: list[str]
    values: list[str]

    def sentences(self) -> list[str]:
        """Return one sentence a person."""
        return [
            f"{self.kind.say(person, value)}." for person, value in zip(self.people, self.values, strict=True)
        ]


def draw_facts(
    rng: random.Random, count: int, people: tuple[str, ...] = PEOPLE, kind: Kind | None = None
) -> Facts:
    """Return facts about `count` people."""
    kind = kind or rng.choice(KINDS)
    return Facts(kind, rng.sample(people, count), rng.sample(kind.values, count))


def other_kind(rng: random.Random, kind: Kind) -> Kind:
    """Return a kind with no value in common with `kind`, so that its facts say nothing about it."""
    return rng.choice([other for other in KINDS if not set(other.values) & set(kind.values)])


def start_small(sentence: str) -> str:
    """Return `sentence` as it stands inside another: its first word small unless it is a name."""
    return sentence if sentence.startswith(PEOPLE) else sentence[0].lower() + sentence[1:]


def start_large(sentence: str) -> str:
    """Return `sentence` with a capital first letter."""
    return sentence[0].upper() + sentence[1:]


def lettered(texts: list[str]) -> dict[str, list[str]]:
    """Return options in the columns of ARC and OpenBookQA."""
    return {"text": texts, "label": list("ABCDE"[: len(texts)])}


def placed(rng: random.Random, gold: str, others: list[str], place: int) -> list[str]:
    """Return shuffled options with the gold one at `place`."""
    options = rng.sample(others, len(others))
    options.insert(place, gold)
    return options


def _distinct(rng: random.Random, block: Block, seen: set[str]) -> Iterator[list[Row]]:
    """Yield blocks none of whose rows was seen before."""
    misses = 0
    while misses < 2000:
        rows = block(rng)
        keys = [json.dumps(row, sort_keys=True) for row in rows]
        if len(set(keys)) == len(keys) and not seen.intersection(keys):
            seen.update(keys)
            misses = 0
            yield rows
        else:
            misses += 1


def draw_splits(name: str, block: Block, counts: dict[str, int], seed: int) -> Splits:
    """Return rows for every split, no row twice anywhere; the order of a split is drawn after its blocks."""
    rng = random.Random(f"{seed}/{name}")
    blocks = _distinct(rng, block, set())
    splits: Splits = {}
    for split, count in counts.items():
        rows: list[Row] = []
        while len(rows) < count:
            drawn = next(blocks, None)
            if drawn is None:
                raise PreftuneError(
                    f"the embedded world has fewer than {sum(counts.values())} different rows of "
                    f"{name}: ask for fewer."
                )
            rows += drawn
        rows = rows[:count]
        rng.shuffle(rows)
        splits[split] = rows
    return splits
