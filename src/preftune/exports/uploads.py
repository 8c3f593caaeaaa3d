"""The one place that sends something to the hub: what a repository holds, and a folder put into it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import httpx2
from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import validate_repo_id

from preftune.errors import PreftuneError
from preftune.files import read_json

RECORD = "run.json"
KEPT = ".gitattributes"
"""The hub's own file in every repository."""
DELAYS = (2.0, 4.0, 8.0, 16.0)
"""Seconds before each further attempt of a call that the hub did not answer well."""
BUSY = (429, 500, 502, 503, 504)
T = TypeVar("T")


@dataclass(frozen=True)
class Remote:
    """A repository as it is now.

    Attributes:
        exists: whether it is there; all else is empty where it is not.
        files: its files but the hub's own.
        made: the path of the model whose record it holds; empty where it holds none.
    """

    exists: bool = False
    private: bool = True
    files: tuple[str, ...] = ()
    made: str = ""


def check_name(repo: str) -> None:
    """Raise PreftuneError for what is no name of a repository."""
    try:
        validate_repo_id(repo)
        valid = repo.count("/") == 1
    except HFValidationError:
        valid = False
    if not valid:
        raise PreftuneError(
            f"'{repo}' is no name of a repository: give OWNER/NAME, of letters, digits, '-', '_' and '.'."
        )


class Uploader:
    """The hub by the token of the environment, or of its own login; the token is never shown.

    Raises:
        PreftuneError: there is no token; each method: the hub refuses it, cannot be reached, or fails again and again.
    """

    def __init__(self, repo: str) -> None:
        check_name(repo)
        if get_token() is None:
            raise PreftuneError(
                "There is no token for the hub: set HF_TOKEN to one that may write, or log in with `hf auth login`."
            )
        self.repo = repo
        self._api = HfApi(library_name="preftune")

    def look(self) -> Remote:
        """What the repository holds."""
        with self._explain():
            _try_again(self._api.whoami)
            try:
                info = _try_again(lambda: self._api.model_info(self.repo))
            except RepositoryNotFoundError:
                return Remote()
            names = [one.rfilename for one in info.siblings or ()]
            made = self._read_made(str(info.sha)) if RECORD in names else ""
        return Remote(True, bool(info.private), tuple(name for name in names if name != KEPT), made)

    def _read_made(self, commit: str) -> str:
        """The path of the model of the record that lies there; empty where the record is none of ours."""
        with TemporaryDirectory() as place:
            path = _try_again(
                lambda: self._api.hf_hub_download(self.repo, RECORD, revision=commit, local_dir=place)
            )
            try:
                return min(str(output["path"]) for output in read_json(Path(path))["outputs"].values())
            except (PreftuneError, KeyError, TypeError, AttributeError, ValueError):
                return ""

    def upload(self, folder: Path, private: bool, message: str) -> str:
        """Make the repository hold exactly the folder's files; returns the address of the commit.

        What is there already is not sent again, so that a second call goes on where a first one was cut off. A new repository
        is private or public as asked, an existing one stays as it is.
        """

        def send() -> str:
            self._api.create_repo(self.repo, private=private, exist_ok=True)
            commit = self._api.upload_folder(
                repo_id=self.repo, folder_path=folder, commit_message=message, delete_patterns="*"
            )
            return str(commit.commit_url)

        with self._explain():
            return _try_again(send)

    @contextmanager
    def _explain(self) -> Iterator[None]:
        """Turn what the hub or the network says into one sentence."""
        try:
            yield
        except HfHubHTTPError as error:
            raise PreftuneError(self._say(error)) from error
        except (httpx2.TransportError, OSError, RuntimeError) as error:
            raise PreftuneError(
                f"The hub cannot be reached ({_first_line(error)}): see to the network, the proxy and HF_HUB_OFFLINE, then push "
                "again; what was sent is kept."
            ) from error
        except ValueError as error:  # the hub's word on the card
            raise PreftuneError(f"The hub refuses the upload: {_first_line(error)}") from error

    def _say(self, error: HfHubHTTPError) -> str:
        status = error.response.status_code
        if status == 401:
            return "The hub does not know the token (401): set HF_TOKEN to a valid one, or log in anew with `hf auth login`."
        if status in (403, 404):
            return (
                f"The token may not write to {self.repo} ({status}): take one with the right to write there, or another "
                "repository."
            )
        if status in BUSY:
            return (
                f"The hub failed {len(DELAYS) + 1} times ({status}): push again later; what was sent is kept."
            )
        return f"The hub refuses the upload ({status}): {_first_line(error)}"


def _first_line(error: Exception) -> str:
    text: Any = getattr(error, "server_message", None) or str(error)
    return " ".join(str(text).split())[:300]


def _try_again(call: Callable[[], T]) -> T:
    """Call until the hub is neither busy nor broken; the client of the hub does so by itself for some of its calls only."""
    for delay in DELAYS:
        try:
            return call()
        except HfHubHTTPError as error:
            if error.response.status_code not in BUSY:
                raise
        except (httpx2.TransportError, LocalEntryNotFoundError):  # the latter where a download got no answer
            pass
        except RuntimeError as error:  # of a file's upload, with what happened as its cause
            if (
                isinstance(error.__cause__, HfHubHTTPError)
                and error.__cause__.response.status_code not in BUSY
            ):
                raise error.__cause__ from error
        time.sleep(delay)
    return call()
