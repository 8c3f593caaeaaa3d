"""GSM8K: a word problem of several steps, with its exact answer among three near misses."""

import random
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar

from preftune.data.tasks.base import Row, ShuffledTask

MISSES = 3
ANSWER = re.compile(r"#### *(-?[0-9][0-9,]*(?:\.[0-9]+)?)\s*$")


@dataclass(frozen=True)
class Gsm8k(ShuffledTask):
    """Columns question, answer (the steps, then "#### N").

    The near misses stand with N in a row of four evenly spaced numbers: the space is the unit of N's last non-zero digit (10
    for 350, 1 for 17, 0.1 for 2.5), so that all four are equally round, and N's place in the row is drawn from the document's
    name, as far as no number is negative where N is not. So neither the largest, nor the middle, nor the round one is right.
    """

    templates: ClassVar[tuple[str, ...]] = ("gsm8k",)

    def answers(self, row: Row) -> list[str]:
        gold = final_answer(row["answer"])
        places = range(MISSES + 1)
        unit = Decimal(1).scaleb(int(gold.normalize().as_tuple().exponent)) if gold else Decimal(1)
        if gold >= 0:
            places = range(min(MISSES, int(gold / unit)) + 1)
        place = random.Random(f"near misses of {row['document']}").choice(places)
        misses = [gold + unit * (other - place) for other in range(MISSES + 1) if other != place]
        return [f"{number:f}" for number in (gold, *misses)]


def final_answer(solution: str) -> Decimal:
    """Return the number after "####", which may hold commas; none is a ValueError."""
    found = ANSWER.search(solution)
    if found is None:
        raise ValueError("the answer does not end in '#### number': correct the row or take it out")
    return Decimal(found[1].replace(",", ""))
