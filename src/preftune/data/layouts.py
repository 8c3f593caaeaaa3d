"""Where a folder of the user's holds the splits of a data set: in the registry's own layout, in a Hugging Face cache or snapshot,
or in the official archives as they unpack.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from preftune.data.archives import find_archive
from preftune.data.hub import find_shards, read_rows
from preftune.data.raw import Source
from preftune.data.row_files import Placed, SplitFiles, read_files
from preftune.errors import PreftuneError
from preftune.fetching.pins import read_pins, repo_key

SUFFIXES = (".jsonl.gz", ".jsonl", ".parquet")
# What official archives call splits that are not for training.
EVALUATION = {"dev", "eval", "test", "tests", "val", "valid", "validation"}


def find_files(source: Source, root: Path) -> dict[str, SplitFiles]:
    """Return where each split stands under `root`.

    Raises:
        PreftuneError: nothing of the data set stands there, or a split stands there twice.
    """
    folders = [*_cached(source, root), *_snapshots(source, root)]
    found = {}
    for split in source.files:
        # An archive first: where another layout finds the same file, the archive's reader knows it better.
        places = [*find_archive(source.name, split, root), *_own(source, split, root)]
        places += _hub_files(source, split, folders)
        distinct = _distinct(places)
        if len(distinct) > 1:
            both = " and ".join(f"as {place.layout} ({place.paths[0]})" for place in distinct[:2])
            raise PreftuneError(
                f"the split {split} of {source.name} stands twice under {root}: {both}: take one of them away, or set data_root "
                "to the folder of the other."
            )
        if distinct:
            found[split] = distinct[0]
    if not found:
        raise PreftuneError(
            f"no file of the data set {source.name} stands under {root} (looked for "
            f"{', '.join(source.files.values())}, the snapshot of {source.hub.get('repo')} and the official archive): "
            "set data_root to the folder that holds them."
        )
    return found


def _own(source: Source, split: str, root: Path) -> Iterator[SplitFiles]:
    stem = source.files[split].removesuffix(".jsonl.gz")
    for suffix in SUFFIXES:
        path = root / f"{stem}{suffix}"
        if path.is_file():
            yield SplitFiles((path,))


def _cached(source: Source, root: Path) -> Iterator[tuple[Path, str]]:
    """Snapshots of the data set's repository in a Hugging Face cache: `root` is HF_HOME, its folder hub, or holds the cache."""
    repo = source.hub.get("repo")
    if repo is None:
        return
    for cache in (root, root / "hub"):
        snapshots = cache / f"datasets--{repo.replace('/', '--')}" / "snapshots"
        revisions = sorted(path.name for path in snapshots.iterdir()) if snapshots.is_dir() else []
        pin = read_pins().hub.get(repo_key("dataset", repo, source.hub.get("revision")))
        pinned = pin.revision if pin else source.hub.get("revision")
        if pinned in revisions:
            revisions = [pinned]
        if len(revisions) > 1:
            raise PreftuneError(
                f"{snapshots} holds the revisions {', '.join(revisions)}, and not the pinned one ({pinned or 'none is pinned'}): "
                f"write one of them as the revision of {source.name} in config/datasets.yaml, or take the others away."
            )
        yield from ((snapshots / revision, "a Hugging Face cache") for revision in revisions)


def _snapshots(source: Source, root: Path) -> Iterator[tuple[Path, str]]:
    """Clones and downloads of the repository: `<organisation>/<name>` or `<name>`."""
    repo = source.hub.get("repo")
    for folder in (root / repo, root / Path(repo).name) if repo else ():
        if folder.is_dir():
            yield folder, "a snapshot of the hub's repository"


def _hub_files(source: Source, split: str, folders: list[tuple[Path, str]]) -> Iterator[SplitFiles]:
    hub_split = source.hub.get("splits", {}).get(split)
    others = EVALUATION | {*source.files, *source.hub.get("splits", {}).values()} - {hub_split, split}
    for folder, layout in folders if hub_split else ():
        shards = find_shards(folder, source.hub["configuration"], hub_split)
        # The training split's files may name no split, but not another one; those of all others do name it.
        named = {word for shard in shards for word in re.split(r"\W|_", shard.name)}
        if shards and (hub_split != "train" or "train" in named or not named & others):
            _check_shards(source, split, folder, shards)
            yield SplitFiles(tuple(shards), _read_shards, layout)


def _check_shards(source: Source, split: str, folder: Path, shards: Sequence[Path]) -> None:
    """Refuse a split of which a file is missing, as where a download was broken off: each says of how many it is one."""
    counts = {int(count) for shard in shards for count in re.findall(r"-\d+-of-(\d+)", shard.name)}
    if counts - {len(shards)}:
        raise PreftuneError(
            f"{folder} holds {len(shards)} of {max(counts)} files of the split {split} of {source.name} ({shards[0].name}, ...): "
            "download it again."
        )


def _read_shards(paths: Sequence[Path]) -> Iterator[Placed]:
    for path in paths:
        if path.suffix == ".json":  # one list, or JSON Lines
            rows = enumerate(read_rows(path), start=1)
            yield from ((f"{path}, row {number}", row) for number, row in rows)
        else:
            yield from read_files([path])


def _distinct(places: list[SplitFiles]) -> list[SplitFiles]:
    """The places but for those whose files another one reads too, as the official layout reads files of labels besides."""
    distinct: list[SplitFiles] = []
    for place in sorted(places, key=lambda place: -len(place.paths)):
        files = {path.resolve() for path in place.paths}
        if not any(files <= {path.resolve() for path in other.paths} for other in distinct):
            distinct.append(place)
    return distinct
