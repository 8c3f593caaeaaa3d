"""Models that lie on this machine already: a folder, a snapshot, or the hub's cache (HF_HUB_CACHE, HF_HOME)."""

from pathlib import Path
from typing import Any

from preftune.errors import PreftuneError
from preftune.settings.sources import Source


def find_local(source: Source) -> tuple[Path, dict[str, Any]]:
    """The folder or file that a source of kind local names, and the facts for the record.

    `path` is a folder of files, a folder of snapshots (`models--org--name`), or one that holds it; without a path, the hub's
    cache of this user is searched for `repo`.
    """
    path = Path(source.path).expanduser() if source.path else hub_cache()
    if not path.exists():
        raise PreftuneError(
            f"The local source of {source.name}, {path}, does not exist: place it there or correct the registry."
        )
    found = find_snapshot(path, source.repo, source.revision) if path.is_dir() else path
    if not source.path and found == path:
        raise PreftuneError(
            f"The local source of {source.name}: the cache {path} holds no {source.repo}: download it there (hf download "
            f"{source.repo}), or give the path of a folder."
        )
    return found, {"local": path.name if found == path else f"{found.parents[1].name}@{found.name}"}


def hub_cache() -> Path:
    """Where the hub's client keeps what it has downloaded."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def find_snapshot(path: Path, repo: str | None, revision: str | None) -> Path:
    """The files that `path` stands for: itself, or the snapshot below it at `revision` (null: of main, or the only one).

    Raises:
        PreftuneError: the cache has no snapshot of that revision, or several and none is main's.
    """
    folders = [path, *(path / f"models--{repo.replace('/', '--')}" for _ in [0] if repo)]
    cached = next((folder for folder in reversed(folders) if (folder / "snapshots").is_dir()), None)
    if cached is None:
        return path
    snapshots = sorted(folder for folder in (cached / "snapshots").iterdir() if folder.is_dir())
    ref = cached / "refs" / (revision or "main")
    wanted = ref.read_text().strip() if ref.is_file() else revision
    if wanted is None and len(snapshots) == 1:
        return snapshots[0]
    for folder in snapshots:
        if folder.name == wanted:
            return folder
    names = ", ".join(folder.name for folder in snapshots) or "none"
    raise PreftuneError(
        f"{cached} has no snapshot {wanted or 'of main'} (it has {names}): give one of them as revision in the registry."
    )
