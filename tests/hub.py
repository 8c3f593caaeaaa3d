"""A hub on loopback with the real hub's addresses, headers, error codes and JSON: listings, downloads, and room for uploads.

    with FakeHub() as hub:
        commit = hub.add_repo("dataset", "org/name", {"data/train-00000-of-00001.parquet": data})
        monkeypatch.setenv("HF_ENDPOINT", hub.url)

Further endpoints are added with `hub.route("POST", r"/api/repos/create", function)`: the function gets the Request (and the
groups of the pattern) and returns a Reply.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Self

from tests.server import Reply, Request, Server, serve_range

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LFS = (".parquet", ".safetensors", ".bin", ".gz", ".zip", ".h5", ".msgpack", ".onnx", ".model")
"""Endings of the files that are stored with Git LFS, as the hub's own .gitattributes has them."""

_PREFIX = {"model": "", "dataset": "datasets/", "space": "spaces/"}


@dataclass
class Repo:
    """A repository: its files at each commit, and the commit of each branch or ref."""

    kind: str
    name: str
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    gated: bool = False
    private: bool = False
    served: dict[str, bytes] = field(default_factory=dict)
    """Bytes that are sent instead of those that the listing describes."""

    def commit(self, revision: str) -> str | None:
        found = self.refs.get(revision, revision)
        return found if found in self.commits else None


def git_blob_id(data: bytes) -> str:
    """The id that git gives to a file."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def lfs_pointer(data: bytes) -> bytes:
    """The small file that stands in git for one that is stored with LFS."""
    sha = hashlib.sha256(data).hexdigest()
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha}\nsize {len(data)}\n".encode()


class FakeHub(Server):
    """See the module. `page` is how many entries of a listing come at once; `before` may answer instead of the hub; `cdn` is the
    other host that sends the bytes of LFS files.
    """

    def __init__(self, page: int = 1000) -> None:
        super().__init__(self._answer)
        self.page = page
        self.cdn = Server(self._answer_cdn)
        self.before: Callable[[Request], Reply | None] = lambda request: None
        self.repos: dict[tuple[str, str], Repo] = {}
        self._routes: list[tuple[str, re.Pattern[str], Callable[..., Reply]]] = []

    def __enter__(self) -> Self:
        self.cdn.__enter__()
        return super().__enter__()

    def __exit__(self, *how: Any) -> None:
        super().__exit__(*how)
        self.cdn.__exit__(*how)

    def add_repo(self, kind: str, repo: str, files: dict[str, bytes], revision: str = COMMIT, gated: bool = False,
                 ref: str = "main") -> str:  # fmt: skip
        """Add a repository, or another commit of it; `ref` is the branch that now stands at it."""
        found = self.repos.setdefault((kind, repo), Repo(kind, repo))
        found.commits[revision], found.refs[ref], found.gated = dict(files), revision, gated
        return revision

    def remove_repo(self, kind: str, repo: str) -> None:
        """Make a repository vanish."""
        del self.repos[kind, repo]

    def tamper(self, kind: str, repo: str, file: str, data: bytes | None) -> None:
        """Send other bytes for a file than those that the listing describes (None: no longer)."""
        served = self.repos[kind, repo].served
        served.pop(file, None) if data is None else served.update({file: data})

    def route(self, method: str, pattern: str, function: Callable[..., Reply]) -> None:
        """Answer paths that match with `function(request, *groups)`, before the hub's own addresses."""
        self._routes.append((method, re.compile(pattern), function))

    def _answer(self, request: Request) -> Reply:
        first = self.before(request)
        if first is not None:
            return first
        for method, pattern, function in self._routes:
            if method == request.method and (match := pattern.fullmatch(request.path)):
                return function(request, *match.groups())
        if match := re.fullmatch(
            r"/api/(model|dataset|space)s/([^/]+/[^/]+)(?:/(revision|tree)/(.+))?", request.path
        ):
            return self._describe(request, match[1], match[2], match[3], match[4])
        if match := re.fullmatch(
            r"/(datasets/|spaces/)?([^/]+/[^/]+)/resolve/([^/]+|refs%2F[^/]+)/(.+)", request.path
        ):
            kind = (match[1] or "models/").removesuffix("s/")
            return self._resolve(request, kind, match[2], match[3], match[4])
        return error(404, None, "Sorry, we can't find the page you are looking for.")

    def _answer_cdn(self, request: Request) -> Reply:
        kind, owner, name, commit, file = request.path.removeprefix("/").split("/", 4)
        return self.before(request) or self._send(request, self.repos[kind, f"{owner}/{name}"], commit, file)

    def _find(self, request: Request, kind: str, name: str) -> Repo | Reply:
        repo = self.repos.get((kind, name))
        if repo is not None and (not repo.private or "authorization" in request.headers):
            return repo
        if "authorization" in request.headers:
            return error(404, "RepoNotFound", "Repository not found")
        return error(401, None, "Invalid username or password.")

    def _describe(
        self, request: Request, kind: str, name: str, view: str | None, revision: str | None
    ) -> Reply:
        repo = self._find(request, kind, name)
        if isinstance(repo, Reply):
            return repo
        revision = (revision or "main").replace("%2F", "/")
        commit = repo.commit(revision)
        if commit is None:
            return error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if view == "tree":
            return self._list_tree(request, repo, commit)
        return as_json(describe_repo(repo, commit, "blobs=" in request.query))

    def _list_tree(self, request: Request, repo: Repo, commit: str) -> Reply:
        entries = list(list_entries(repo.commits[commit]))
        cursor = re.search(r"cursor=(\d+)", request.query)
        start = int(cursor[1]) if cursor else 0
        reply = as_json(entries[start : start + self.page])
        if start + self.page < len(entries):
            address = f"{self.url}{request.path}?recursive=True&expand=False&limit={self.page}&cursor={start + self.page}"
            reply.headers["Link"] = f'<{address}>; rel="next"'
        return reply

    def _resolve(self, request: Request, kind: str, name: str, revision: str, file: str) -> Reply:
        repo = self._find(request, kind, name)
        if isinstance(repo, Reply):
            return repo
        commit = repo.commit(revision.replace("%2F", "/"))
        if commit is None:
            return error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if repo.gated:
            known = "authorization" in request.headers
            return error(
                403 if known else 401,
                "GatedRepo",
                f"Access to {kind} {name} is restricted and you are not in the authorized list. Visit "
                f"https://huggingface.co/{_PREFIX[kind]}{name} to ask for access."
                if known
                else f"Access to {kind} {name} is restricted. You must have access to it and be authenticated to access it. "
                "Please log in.",
            )
        if file not in repo.commits[commit]:
            return error(404, "EntryNotFound", "Entry not found")
        if not file.endswith(LFS):
            return self._send(request, repo, commit, file)
        data = repo.commits[commit][file]
        sha = hashlib.sha256(data).hexdigest()
        return Reply(302, b"", {
            "Location": f"{self.cdn.url}/{kind}/{name}/{commit}/{file}", "X-Repo-Commit": commit,
            "X-Linked-Size": str(len(data)), "X-Linked-ETag": f'"{sha}"', "Accept-Ranges": "bytes",
        })  # fmt: skip

    def _send(self, request: Request, repo: Repo, commit: str, file: str) -> Reply:
        listed = repo.commits[commit][file]
        etag = hashlib.sha256(listed).hexdigest() if file.endswith(LFS) else git_blob_id(listed)
        body = repo.served.get(file, listed)
        return serve_range(request, body, f'"{etag}"', **{"X-Repo-Commit": commit})


def describe_repo(repo: Repo, commit: str, blobs: bool) -> dict[str, Any]:
    """The hub's JSON about a repository; sizes and hashes of its files where `blobs` asks for them."""
    siblings = []
    for name, data in sorted(repo.commits[commit].items()):
        sibling: dict[str, Any] = {"rfilename": name}
        if blobs:
            sibling.update(blobId=_oid(name, data), size=len(data))
            if name.endswith(LFS):
                sha = hashlib.sha256(data).hexdigest()
                sibling["lfs"] = {"sha256": sha, "size": len(data), "pointerSize": len(lfs_pointer(data))}
        siblings.append(sibling)
    author = repo.name.split("/")[0]
    gated: str | bool = "manual" if repo.gated else False
    return {"_id": "621ffdc136468d709f180294", "id": repo.name, "author": author, "sha": commit, "private": repo.private,
            "gated": gated, "disabled": False, "downloads": 1, "likes": 0, "tags": [],
            "lastModified": "2024-01-30T22:20:54.000Z", "createdAt": "2022-03-02T23:29:22.000Z", "siblings": siblings}  # fmt: skip


def list_entries(files: dict[str, bytes]) -> Iterable[dict[str, Any]]:
    """The entries of a recursive listing: folders and files, those of LFS with the hash of their content."""
    folders = {name[: match.start()] for name in files for match in re.finditer("/", name)}
    for name in sorted({*folders, *files}):
        if name in folders:
            yield {
                "type": "directory",
                "oid": hashlib.sha1(name.encode()).hexdigest(),
                "size": 0,
                "path": name,
            }
            continue
        data = files[name]
        entry: dict[str, Any] = {
            "type": "file",
            "oid": _oid(name, data),
            "size": len(data),
            "path": name,
        }
        if name.endswith(LFS):
            sha = hashlib.sha256(data).hexdigest()
            entry["lfs"] = {"oid": sha, "size": len(data), "pointerSize": len(lfs_pointer(data))}
        yield entry


def _oid(name: str, data: bytes) -> str:
    return git_blob_id(lfs_pointer(data) if name.endswith(LFS) else data)


def as_json(value: Any, status: int = 200) -> Reply:
    """A reply of JSON."""
    return Reply(status, json.dumps(value).encode(), {"Content-Type": "application/json; charset=utf-8"})


def error(status: int, code: str | None, message: str) -> Reply:
    """An error as the hub words it: a code and a message in headers, the message in the body too."""
    reply = as_json({"error": message}, status)
    reply.headers["X-Error-Message"] = message
    if code:
        reply.headers["X-Error-Code"] = code
    return reply
