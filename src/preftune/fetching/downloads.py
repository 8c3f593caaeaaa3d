"""One file from one of several addresses: resumed, verified, tried again; nothing that is wrong is ever handed on."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import requests
from requests.auth import AuthBase
from urllib3.exceptions import HTTPError, InvalidHeader
from urllib3.util import Retry

from preftune.errors import PreftuneError
from preftune.fetching.patience import Patience, Trouble
from preftune.fetching.remote import RemoteFile, find_fault, public_url
from preftune.files import explain_full_disk, write_json
from preftune.progress import track

_BLOCK = 1 << 16
_SHOWN = 1 << 20
_BUSY = (408, 425, 429, 500, 502, 503, 504, 509, 520, 521, 522, 523, 524)
"""Statuses that pass; any other one but 200 and 206 says that this address will not give the file."""

Check = Callable[[Path], str]
"""What is wrong with a file whose hash nobody knows, in words; empty where nothing is."""


class Refused(PreftuneError):
    """No address gave the file; `statuses` are what they answered last."""

    def __init__(self, says: str, statuses: tuple[int | None, ...]) -> None:
        super().__init__(says)
        self.statuses = statuses


def download(file: RemoteFile, folder: Path, patience: Patience, auth: AuthBase | None = None,
             check: Check = lambda path: "") -> Path:  # fmt: skip
    """Fetch `file` into `folder`, which keeps what has come when the process dies, and return its path.

    Raises:
        Refused: no address gave it; the sentence says why each did not.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target, part = folder / f"{file.key}-{file.name}", Part(folder / f"{file.key}.part")
    if target.is_file() and not (find_fault(file, target) or check(target)):
        return target
    troubles: list[Trouble] = []
    with requests.Session() as session:
        session.auth = auth
        for url in file.urls:
            transfer = _Transfer(session, file, url, part, check, patience)
            trouble = transfer.persist()
            if trouble is None:
                part.finish(target)
                return target
            troubles.append(trouble)
    said = "; ".join(
        f"{public_url(url)}: {trouble}" for url, trouble in zip(file.urls, troubles, strict=True)
    )
    raise Refused(f"{file.name} could not be fetched ({said})", tuple(one.status for one in troubles))


class Part:
    """What has come of a file, and beside it what the server called those bytes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._state = path.with_suffix(".json")

    @property
    def size(self) -> int:
        """Bytes that have come."""
        return self.path.stat().st_size if self.path.is_file() else 0

    def validator(self, url: str) -> str | None:
        """The strong ETag or the time of the bytes that came from `url`; null where nothing can be said."""
        try:
            state = json.loads(self._state.read_text())
            return state["validator"] if state["url"] == url else None
        except (OSError, ValueError, KeyError):
            return None

    def begin(self, url: str, validator: str | None) -> None:
        """Start from the first byte."""
        self.drop()
        with explain_full_disk(self.path):
            self.path.touch()
        write_json(self._state, {"url": url, "validator": validator})

    def drop(self) -> None:
        """Throw away what has come."""
        self.path.unlink(missing_ok=True)
        self._state.unlink(missing_ok=True)

    def finish(self, target: Path) -> None:
        """Give the whole file its name."""
        os.replace(self.path, target)
        self._state.unlink(missing_ok=True)


class _Transfer:
    """One file from one address."""

    def __init__(self, session: requests.Session, file: RemoteFile, url: str, part: Part, check: Check,
                 patience: Patience) -> None:  # fmt: skip
        self._session = session
        self._file = file
        self._url = url
        self._part = part
        self._check = check
        self._patience = patience

    def persist(self) -> Trouble | None:
        """Try until the part is the whole verified file, and return None; or return the last trouble."""
        failures = wrong = 0
        farthest = self._part.size
        while True:
            try:
                self._try()
            except Trouble as trouble:
                # What was thrown away and comes again is no progress: that would never end.
                failures = 1 if self._part.size >= farthest + _BLOCK else failures + 1
                farthest = 0 if trouble.wrong else max(farthest, self._part.size)
                wrong += trouble.wrong
                print(f"{self._file.name} from {public_url(self._url)}: {trouble}", flush=True)
                if not self._patience.lasts(trouble, failures, wrong):
                    return trouble
                self._patience.rest(trouble, failures)
            else:
                return None

    def _try(self) -> None:
        """Ask for what is missing and verify the whole; a part with wrong bytes is thrown away."""
        complete = self._file.hashed and self._part.size == self._file.bytes
        if not complete:
            try:
                self._receive()
            except (requests.RequestException, HTTPError) as error:
                raise Trouble(_describe(error)) from error
        fault = find_fault(self._file, self._part.path) or self._check(self._part.path)
        if fault:
            self._part.drop()
            raise Trouble(fault, wrong=True)

    def _receive(self) -> None:
        validator = self._part.validator(self._url)
        if not validator and not self._file.hashed:
            self._part.drop()
        have, headers = self._part.size, {"Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
            if validator:
                headers["If-Range"] = validator
        with self._session.get(
            self._url, headers=headers, stream=True, timeout=self._patience.timeout
        ) as response:
            self._check_answer(response, have, validator)
            total = self._count(response, have)
            if response.status_code == 200:
                self._part.begin(self._url, _validator(response))
            self._write(response, total)
        if total is not None and self._part.size < total:
            raise Trouble(f"the connection ended after {self._part.size} of {total} bytes")

    def _check_answer(self, response: requests.Response, have: int, known: str | None) -> None:
        """Raise Trouble where the answer is neither the file nor the missing part of it; `known` is the part's validator."""
        status = response.status_code
        if status == 416:
            self._part.drop()
            raise Trouble(f"status 416, the server has no bytes from {have} on", status=416)
        if status not in (200, 206):
            final = status not in _BUSY
            raise Trouble(f"status {status}", status=status, after=_retry_after(response), final=final)
        page = response.headers.get("Content-Type", "").startswith("text/html")
        if page and not self._file.name.endswith((".html", ".htm")):
            raise Trouble("a web page came instead of the file")
        span = response.headers.get("Content-Range", "")
        if status == 206 and not span.startswith(f"bytes {have}-"):
            self._part.drop()
            raise Trouble(f"the server sent the part '{span}' instead of that from {have} on")
        if status == 206 and not self._file.hashed and _validator(response) not in (None, known):
            self._part.drop()
            raise Trouble("the server sent a part of another version of the file")

    def _count(self, response: requests.Response, have: int) -> int | None:
        """Bytes of the whole file, by the registry or else by the answer; Trouble where the two differ."""
        whole = response.headers.get("Content-Range", "").rpartition("/")[2]
        length = whole if response.status_code == 206 else response.headers.get("Content-Length", "")
        offered, expected = int(length) if length.isdigit() else None, self._file.bytes
        if expected is not None and offered is not None and offered != expected:
            raise Trouble(f"the server offers {offered} bytes, {expected} are expected", wrong=True)
        return offered if expected is None else expected

    def _write(self, response: requests.Response, total: int | None) -> None:
        have = self._part.size
        written: Iterator[None] = self._append(response, have, total)
        if total is not None:
            written = track(written, self._file.name, -(-total // _SHOWN), "megabyte", have // _SHOWN)
        with explain_full_disk(self._part.path):
            for _ in written:
                pass

    def _append(self, response: requests.Response, have: int, total: int | None) -> Iterator[None]:
        """Append what comes to the part, and yield at every megabyte."""
        with self._part.path.open("ab") as stream:
            for block in response.iter_content(_BLOCK):
                have += len(block)
                if total is not None and have > total:
                    self._part.drop()
                    raise Trouble(f"more than the {total} bytes of the file came", wrong=True)
                stream.write(block)
                if have % _SHOWN < len(block):
                    stream.flush()
                    yield
            stream.flush()
            os.fsync(stream.fileno())


def _validator(response: requests.Response) -> str | None:
    etag = response.headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified")


def _retry_after(response: requests.Response) -> float | None:
    asked = response.headers.get("Retry-After")
    try:
        return Retry().parse_retry_after(asked) if asked else None
    except InvalidHeader:
        return None


def _describe(error: Exception) -> str:
    """The kind of a network's fault, in a few words; its own text may hold addresses with keys in them."""
    kinds = ((requests.exceptions.ProxyError, "the proxy does not answer"),
             (requests.exceptions.SSLError, "the certificate is not accepted"),
             (requests.exceptions.ConnectTimeout, "no connection in time"),
             (requests.exceptions.Timeout, "no answer in time"),
             (requests.exceptions.ChunkedEncodingError, "the connection was cut"),
             (requests.exceptions.ConnectionError, "no connection"))  # fmt: skip
    return next((says for kind, says in kinds if isinstance(error, kind)), type(error).__name__)
