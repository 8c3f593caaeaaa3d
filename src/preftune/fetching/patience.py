"""How long a fetch goes on: pauses that double, what a server asks for, and the number of failures in a row."""

import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from preftune.progress import say

T = TypeVar("T")


class Trouble(Exception):
    """One try failed; another may not.

    Attributes:
        status: what the server answered, where it did.
        after: seconds that it asks to wait.
        final: whether this address will never give the file.
        wrong: whether a whole file came, with wrong bytes.
    """

    def __init__(self, says: str, *, status: int | None = None, after: float | None = None, final: bool = False,
                 wrong: bool = False) -> None:  # fmt: skip
        super().__init__(says)
        self.status = status
        self.after = after
        self.final = final
        self.wrong = wrong


@dataclass(frozen=True)
class Patience:
    """When to try again, and when to give up.

    Attributes:
        tries: failures in a row, without new bytes between them (64 KiB of them).
        wrong: whole files with wrong bytes.
        pause, longest: seconds before the second try, doubled at each one up to the longest, less a random part.
        wait: seconds that a server may ask for (Retry-After) before it counts as out of reach.
        timeout: seconds to connect, and between two blocks.
    """

    tries: int = 8
    wrong: int = 3
    pause: float = 1.0
    longest: float = 60.0
    wait: float = 900.0
    timeout: tuple[float, float] = (20.0, 60.0)
    sleep: Callable[[float], None] = time.sleep
    draw: random.Random = field(default_factory=lambda: random.Random(os.getpid()))

    def lasts(self, trouble: Trouble, failures: int, wrong: int = 0) -> bool:
        """Whether to try again after so many failures in a row, `wrong` of them whole files with wrong bytes."""
        asked = trouble.after or 0.0
        return not trouble.final and failures < self.tries and wrong < self.wrong and asked <= self.wait

    def rest(self, trouble: Trouble, failures: int) -> None:
        """Wait, at least as long as the server asked."""
        pause = min(self.longest, self.pause * 2 ** (failures - 1)) * self.draw.uniform(0.5, 1.0)
        self.sleep(max(pause, trouble.after or 0.0))


def persist(call: Callable[[], T], patience: Patience, judge: Callable[[Exception], Trouble | None]) -> T:
    """Return `call()`, tried again as long as `judge` says of its error that it may pass."""
    failures = 0
    while True:
        try:
            return call()
        except Exception as error:
            failures += 1
            trouble = judge(error)
            if trouble is None or not patience.lasts(trouble, failures):
                raise
            say(f"{trouble}; trying again")
            patience.rest(trouble, failures)
