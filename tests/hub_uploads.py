"""What the hub does with uploads, for `FakeHub`: tokens, new repositories, Git LFS and commits, by the real hub's addresses.

with FakeHub() as hub:
    uploads = Uploads(hub)
    HfApi(endpoint=hub.url, token=uploads.token).upload_folder(...)
"""

import base64
import hashlib
import json
from typing import Any

import yaml

from tests.hub import LFS, FakeHub, Repo, as_json, error, git_blob_id
from tests.server import Reply, Request

ATTRIBUTES = b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"


class Uploads:
    """Adds the addresses to a hub.

    Attributes:
        token: the one that the hub knows; it may write to repositories of `owner` alone.
        sent: files whose bytes came, in order: those of LFS by their hash, others by their path.
    """

    def __init__(self, hub: FakeHub, token: str = "hf_" + "a" * 20, owner: str = "me") -> None:
        self.hub, self.token, self.owner = hub, token, owner
        self.sent: list[str] = []
        self.messages: list[str] = []
        self._objects: dict[str, bytes] = {}
        hub.route("GET", "/api/whoami-v2", self._whoami)
        hub.route("POST", "/api/validate-yaml", self._validate)
        hub.route("POST", "/api/repos/create", self._create)
        hub.route("POST", "/api/models/([^/]+/[^/]+)/preupload/([^/]+)", self._preupload)
        hub.route("POST", r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", self._batch)
        hub.route("PUT", "/lfs/([0-9a-f]{64})", self._take)
        hub.route("POST", "/api/models/([^/]+/[^/]+)/commit/([^/]+)", self._commit)

    def repo(self, name: str) -> Repo:
        return self.hub.repos["model", name]

    def files(self, name: str) -> dict[str, bytes]:
        """What lies on main but the hub's own file."""
        repo = self.repo(name)
        return {
            path: data for path, data in repo.commits[repo.refs["main"]].items() if path != ".gitattributes"
        }

    def _refuse(self, request: Request, owner: str) -> Reply | None:
        if request.headers.get("authorization") != f"Bearer {self.token}":
            return error(401, None, "Invalid credentials in Authorization header")
        return None if owner == self.owner else error(403, None, "You don't have the rights to write there")

    def _whoami(self, request: Request) -> Reply:
        return self._refuse(request, self.owner) or as_json({"name": self.owner, "type": "user"})

    def _validate(self, request: Request) -> Reply:
        parts = json.loads(request.body)["content"].split("---\n", 2)
        front = yaml.safe_load(parts[1]) if len(parts) == 3 else None
        if not isinstance(front, dict):
            return as_json({"errors": [{"message": "no metadata"}], "warnings": []}, 400)
        return as_json({"errors": [], "warnings": []})

    def _create(self, request: Request) -> Reply:
        asked: dict[str, Any] = json.loads(request.body)
        name = f"{asked['organization']}/{asked['name']}"
        if refused := self._refuse(request, asked["organization"]):
            return refused
        if ("model", name) in self.hub.repos:
            return as_json(
                {"error": "You already created this model repo", "url": f"{self.hub.url}/{name}"}, 409
            )
        self.hub.add_repo("model", name, {".gitattributes": ATTRIBUTES}, git_blob_id(name.encode()))
        self.repo(name).private = asked.get("visibility") == "private"
        return as_json({"url": f"{self.hub.url}/{name}"})

    def _preupload(self, request: Request, name: str, revision: str) -> Reply:
        if refused := self._refuse(request, name.split("/")[0]):
            return refused
        there = self.repo(name).commits[self.repo(name).refs[revision]]
        answers = []
        for file in json.loads(request.body)["files"]:
            large, old = file["path"].endswith(LFS), there.get(file["path"])
            oid = None if old is None else hashlib.sha256(old).hexdigest() if large else git_blob_id(old)
            mode = "lfs" if large else "regular"
            answers.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return as_json({"files": answers})

    def _batch(self, request: Request, name: str) -> Reply:
        objects = []
        for one in json.loads(request.body)["objects"]:
            known = one["oid"] in self._objects
            actions = {} if known else {"actions": {"upload": {"href": f"{self.hub.url}/lfs/{one['oid']}"}}}
            objects.append({"oid": one["oid"], "size": one["size"], **actions})
        return as_json({"transfer": "basic", "objects": objects})

    def _take(self, request: Request, oid: str) -> Reply:
        if hashlib.sha256(request.body).hexdigest() != oid:
            return error(400, None, "The content is not what its name says")
        self._objects[oid] = request.body
        self.sent.append(oid)
        return Reply()

    def _commit(self, request: Request, name: str, revision: str) -> Reply:
        if refused := self._refuse(request, name.split("/")[0]):
            return refused
        repo = self.repo(name)
        files = dict(repo.commits[repo.refs[revision]])
        for line in request.body.decode().splitlines():
            change = json.loads(line)
            kind, value = change["key"], change["value"]
            if kind == "header":
                self.messages.append(value["summary"])
            elif kind == "file":
                files[value["path"]] = base64.b64decode(value["content"])
                self.sent.append(value["path"])
            elif kind == "lfsFile":
                files[value["path"]] = self._objects[value["oid"]]
            elif kind == "deletedFile":
                del files[value["path"]]
        commit = git_blob_id(request.body)
        self.hub.add_repo("model", name, files, commit, repo.gated)
        return as_json({"commitUrl": f"{self.hub.url}/{name}/commit/{commit}", "commitOid": commit})
