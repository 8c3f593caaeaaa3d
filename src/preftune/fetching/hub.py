"""Files of a hub repository at one commit, each held against the hub's own listing of that commit and against our pins.

What is there, at which commit, and how its errors are called is asked of huggingface_hub. The files themselves come by
`preftune.fetching.downloads`, as all others do: its own download does not ask again after a 5xx, and compares the size alone.
"""

import fnmatch
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from requests.auth import AuthBase

from preftune.data.hub import select_shards
from preftune.errors import PreftuneError
from preftune.fetching.downloads import Refused, download
from preftune.fetching.official import place_link
from preftune.fetching.patience import Patience, Trouble, persist
from preftune.fetching.pins import Pins, RepoPin
from preftune.fetching.remedies import place_by_hand
from preftune.fetching.remote import RemoteFile
from preftune.files import sha256_file
from preftune.settings.sources import DatasetSource, Source

_BUSY = (408, 425, 429, 500, 502, 503, 504)
OTHER_FORMATS = (
    "*.msgpack", "*.h5", "*.onnx", "*.onnx_data", "*.ot", "*.tflite", "*.gguf", "*.pth", "*.pt", "*.ckpt", "*.mlmodel",
    "*.mlpackage/*", "*.npz", "*.index", "*.data-*", "*.bin.index.json.bak", "onnx/*", "coreml/*", "openvino/*", "runs/*",
    ".git*", "*/.git*", "*.png", "*.jpg", "*.jpeg", "*.gif", "*.svg", "*.mp4", "*.pdf",
)  # fmt: skip
"""Files of a model's repository that nothing here reads."""


class _Bearer(AuthBase):
    """A token that goes to the hub alone: requests drops it where the hub sends us elsewhere for the bytes."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def fetch_from_hub(
    source: Source, scratch: Path, repo_type: str, pins: Pins, patience: Patience
) -> tuple[Path, dict[str, Any]]:
    """Fetch what the source needs of its repository into `scratch`/snapshot; facts: commit, bytes and SHA-256 of each file."""
    repo = _Repository(source, repo_type, patience)
    pin = pins.repo(source, repo_type)
    commit, listed = repo.list_files(pin.revision if pin else source.revision)
    snapshot, facts = scratch / "snapshot", {}
    shutil.rmtree(snapshot, ignore_errors=True)
    for name, file in _choose(source, listed, pin).items():
        fetched = repo.fetch(file, scratch / "parts")
        place_link(snapshot / name, fetched)
        facts[name] = {"bytes": fetched.stat().st_size, "sha256": file.sha256 or sha256_file(fetched)}
    return snapshot, {"repo": source.repo, "revision": commit, "pinned": pin is not None, "files": facts}


def list_repository(
    source: Source, repo_type: str, scratch: Path, patience: Patience
) -> tuple[str, dict[str, tuple[int, str]]]:
    """The commit of a source's repository, and bytes and SHA-256 of each needed file; a small one is downloaded for its hash."""
    repo = _Repository(source, repo_type, patience)
    commit, listed = repo.list_files(source.revision)
    files = {}
    for name in select_files(source, list(listed)):
        file = listed[name]
        files[name] = (file.bytes or 0, file.sha256 or sha256_file(repo.fetch(file, scratch)))
    return commit, files


def _choose(source: Source, listed: dict[str, RemoteFile], pin: RepoPin | None) -> dict[str, RemoteFile]:
    """The needed files; what the pins say of one must be what the hub lists."""
    chosen = {name: listed[name] for name in select_files(source, list(listed))}
    if pin is None:
        return chosen
    held = {}
    for name, file in chosen.items():
        known = pin.files.get(name)
        if known is None or known.sha256 is None:
            held[name] = file
            continue
        said = (file.bytes, file.sha256 or known.sha256)
        if said != (known.bytes, known.sha256):
            raise PreftuneError(
                f"{source.repo} at {pin.revision}: the hub lists {name} with {said[0]} bytes and sha256 {said[1]}, "
                f"config/pins.json says {known.bytes} and {known.sha256}: review the new file and pin again (make pin)."
            )
        held[name] = RemoteFile(file.urls, known.bytes, known.sha256, git_blob=file.git_blob)
    return held


def select_files(source: Source, names: list[str]) -> list[str]:
    """The files of a repository that a source needs: what its patterns name, the shards of a data set's splits, or all of a
    model but other formats of the same weights.

    Raises:
        PreftuneError: there are none.
    """
    if source.patterns:
        chosen = [name for name in names if _named(name, source.patterns)]
    elif isinstance(source, DatasetSource):
        splits = [theirs for split, theirs in source.splits.items() if split in source.files]
        chosen = [name for split in splits for name in select_shards(names, source.configuration, split)]
    else:
        safe = any(name.endswith(".safetensors") for name in names)
        others = (*OTHER_FORMATS, "*.bin", "*.bin.index.json") if safe else OTHER_FORMATS
        chosen = [name for name in names if not _named(name, others)]
    if not chosen:
        wanted = ", ".join(source.patterns) or "a parquet file or one of JSON Lines of its splits"
        raise PreftuneError(
            f"{source.repo} holds nothing of what is needed ({wanted}): its layout has changed, correct its row in config/ or "
            f"pin the revision that it was written for; or {place_by_hand(source)}."
        )
    return sorted(set(chosen))


def _named(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


class _Repository:
    """What the hub says of a source's repository, with its errors in sentences."""

    def __init__(self, source: Source, repo_type: str, patience: Patience) -> None:
        if source.repo is None:
            raise PreftuneError(f"{source.name} is not on the hub: {place_by_hand(source)}.")
        import huggingface_hub
        from huggingface_hub import constants

        self._source = source
        self._repo = source.repo
        self._type = repo_type
        self._patience = patience
        self._endpoint = os.environ.get("HF_ENDPOINT") or constants.ENDPOINT
        self._token = os.environ.get("HF_TOKEN") or None
        self._api = huggingface_hub.HfApi(endpoint=self._endpoint, token=self._token or False)
        self._commit = ""

    def list_files(self, revision: str | None) -> tuple[str, dict[str, RemoteFile]]:
        """The commit that `revision` (null: the head) is, and every file at it."""
        from huggingface_hub import hf_hub_url
        from huggingface_hub.hf_api import RepoFile

        def ask() -> list[Any]:
            info = self._api.repo_info(self._repo, revision=revision, repo_type=self._type)
            self._commit = str(info.sha)
            return list(
                self._api.list_repo_tree(
                    self._repo, recursive=True, revision=self._commit, repo_type=self._type
                )
            )

        try:
            with _online():
                entries = persist(ask, self._patience, _judge)
        except Exception as error:
            raise self._explain(error, _status(error), revision) from error
        files = {}
        for entry in entries:
            if isinstance(entry, RepoFile):
                url = hf_hub_url(self._repo, entry.path, repo_type=self._type, revision=self._commit, endpoint=self._endpoint)  # fmt: skip
                hashes = {"sha256": entry.lfs.sha256} if entry.lfs else {"git_blob": entry.blob_id}
                files[entry.path] = RemoteFile((url,), entry.size, **hashes)
        return self._commit, files

    def fetch(self, file: RemoteFile, folder: Path) -> Path:
        """Download one file of the listing."""
        try:
            return download(file, folder, self._patience, _Bearer(self._token) if self._token else None)
        except Refused as error:
            raise self._explain(error, error.statuses[0], self._commit) from error

    def _explain(self, error: Exception, status: int | None, revision: str | None) -> PreftuneError:
        """One sentence: what the hub said, and what to do."""
        what, remedy = f"{self._repo} (hub {self._type})", place_by_hand(self._source)
        kind = type(error).__name__
        if status == 401 and self._token:
            return PreftuneError(
                f"{what}: the hub does not know the token in HF_TOKEN: set a valid one, or unset it for what is open to everybody."
            )
        if kind == "GatedRepoError" or status in (401, 403):
            gate = (
                "HF_TOKEN is of an account without access"
                if self._token
                else "no HF_TOKEN is in the environment"
            )
            return PreftuneError(
                f"{what} is gated, private or not there, and {gate}: ask for access on its page and set HF_TOKEN; or {remedy}."
            )
        if kind == "RevisionNotFoundError":
            return PreftuneError(
                f"{what} has no revision {revision}: correct it in config/ and pin again; or {remedy}."
            )
        if status in (404, 410, 451):
            return PreftuneError(f"{what} has vanished from the hub (status {status}): {remedy}.")
        if status == 429:
            return PreftuneError(
                f"{what}: the hub limits the rate of requests from here: wait and run again, what has come is kept; set HF_TOKEN "
                f"for a higher limit; or {remedy}."
            )
        said = str(error) if isinstance(error, Refused) else f"{kind}{f', status {status}' if status else ''}"
        return PreftuneError(
            f"{what} could not be fetched ({said}): check the network (HF_ENDPOINT, HTTPS_PROXY) and run again, what has come is "
            f"kept; or {remedy}."
        )


@contextmanager
def _online() -> Iterator[None]:
    """Every script is offline; the listing of a repository is the one thing that the hub's client may ask for."""
    from huggingface_hub import constants

    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, False
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _status(error: Exception) -> int | None:
    return getattr(getattr(error, "response", None), "status_code", None)


def _judge(error: Exception) -> Trouble | None:
    """Whether an error of the hub's client may pass: its listings are asked for once, or without a server's Retry-After."""
    import httpx2

    status = _status(error)
    if status in _BUSY:
        asked = getattr(error, "response", None)
        after = asked.headers.get("retry-after", "") if asked is not None else ""
        return Trouble(
            f"the hub answers with status {status}",
            status=status,
            after=float(after) if after.isdigit() else None,
        )
    return Trouble("the hub does not answer") if isinstance(error, httpx2.TransportError) else None
