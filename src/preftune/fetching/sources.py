"""One way to fetch every kind of source, and the scratch folder in which a fetch goes on where it stopped."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from preftune.cluster.site import scratch_folder
from preftune.errors import PreftuneError
from preftune.fetching.caches import find_local
from preftune.fetching.hub import fetch_from_hub
from preftune.fetching.official import fetch_archives
from preftune.fetching.patience import Patience
from preftune.fetching.pins import read_pins
from preftune.fetching.wheels import fetch_wheel_member
from preftune.files import hold_lock
from preftune.progress import say
from preftune.settings.sources import Source

_POLL = 1.0  # seconds


def fetch_source(
    source: Source, scratch: Path, repo_type: str, patience: Patience | None = None
) -> tuple[Path, dict[str, Any]]:
    """Fetch into `scratch`; returns the file or folder and the facts for the record (revision, bytes and hashes of files).

    Raises:
        PreftuneError: it cannot be had; the sentence says which files to place by hand, and where.
    """
    patience = patience or Patience()
    if source.kind == "pypi":
        return fetch_wheel_member(source, scratch)
    if source.kind == "hub":
        return fetch_from_hub(source, scratch, repo_type, read_pins(), patience)
    if source.kind == "urls":
        return fetch_archives(source, scratch, read_pins(), patience)
    return find_local(source)


@contextmanager
def keep_scratch(name: str) -> Iterator[Path]:
    """A folder that outlives a killed or failed fetch and is emptied by one that succeeds; one process has it at a time."""
    folder = scratch_folder() / "downloads" / name
    waiting = False
    while True:
        try:
            # The lock stands beside the folder and is never deleted: a lock on a deleted file would be nobody's.
            with hold_lock(folder.with_name(f"{name}.lock"), "fetch", "busy"):
                folder.mkdir(parents=True, exist_ok=True)
                yield folder
                shutil.rmtree(folder)
                return
        except PreftuneError as error:
            if str(error) != "busy":
                raise
        if not waiting:
            say(f"{name} is being fetched by another process: waiting for it")
        waiting = True
        time.sleep(_POLL)
