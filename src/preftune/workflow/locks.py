"""One run at a time: in a checkout, and in a results folder that several checkouts share."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from preftune.files import hold_lock
from preftune.provenance.digest import ROOT

LOCK = ROOT / "scratch" / "results.lock"
BUSY = (
    "Another run is working in this checkout (process {owner}): wait for it, or stop it and call this again."
)
_SHARED = "Another checkout ({owner}) is writing to this results folder: wait for it, or give each checkout its own `results:`."


@contextmanager
def hold_results(results: str) -> Iterator[None]:
    """Be the only run inside the block; a run that is killed holds nothing.

    Raises:
        PreftuneError: another one is at work.
    """
    shared = ROOT / results / ".lock"
    with hold_lock(LOCK, str(os.getpid()), BUSY), hold_lock(shared, f"of {ROOT.name}", _SHARED):
        yield
