"""Fetching: hashes are held, the hub's client runs against a local server with a recorded layout, errors say the remedy."""

import hashlib
import json
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from preftune import fetching
from preftune.data.hub import arrange_snapshot
from preftune.errors import PreftuneError
from preftune.files import sha256_file
from preftune.settings.sources import DatasetSource, ModelSource

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def make_wheel(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / "toy-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("toy/model.bin", b"weights")
        archive.writestr("toy/data/a.yml", "a: 1")
        archive.writestr("toy/data/b.yml", "b: 2")
        archive.writestr("toy-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
        archive.writestr(
            "toy-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("toy-1.0.dist-info/RECORD", "")
    return wheel


def source(tmp_path: Path, **changes: str) -> ModelSource:
    fields = {
        "name": "toy", "kind": "pypi", "package": "toy", "version": "1.0", "member": "toy/model.bin",
        "wheel_sha256": sha256_file(make_wheel(tmp_path / "index")),
        "member_sha256": hashlib.sha256(b"weights").hexdigest(),
    }  # fmt: skip
    return ModelSource.model_validate(fields | changes)


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip really runs, against a folder of wheels instead of an index."""
    make_wheel(tmp_path / "index")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))


def test_a_wheel_is_opened_without_being_installed(tmp_path: Path, registry: None) -> None:
    found, facts = fetching.fetch_source(source(tmp_path), tmp_path / "scratch", "model")
    assert found.read_bytes() == b"weights" and facts["member"] == "toy/model.bin"
    missing = subprocess.run([sys.executable, "-c", "import toy"], capture_output=True, check=False)
    assert missing.returncode != 0


def test_a_folder_of_a_wheel(tmp_path: Path, registry: None) -> None:
    found, _ = fetching.fetch_source(source(tmp_path, member="toy/data/"), tmp_path / "scratch", "dataset")
    assert sorted(path.name for path in found.iterdir()) == ["a.yml", "b.yml"]


@pytest.mark.parametrize("field", ["wheel_sha256", "member_sha256"])
def test_a_wrong_hash_is_refused(tmp_path: Path, registry: None, field: str) -> None:
    with pytest.raises(PreftuneError, match=r"has sha256 .* the registry in config/ says 0000"):
        fetching.fetch_source(source(tmp_path, **{field: "0" * 64}), tmp_path / "scratch", "model")


def test_an_unknown_package_says_what_to_do(tmp_path: Path, registry: None) -> None:
    with pytest.raises(PreftuneError, match="check the network and run again"):
        fetching.fetch_source(source(tmp_path, package="no-such-package"), tmp_path / "scratch", "model")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A hub on loopback that serves one data set repository in the hub's own layout."""
    repository = tmp_path / "repo"
    (repository / "cola").mkdir(parents=True)
    table = pa.table({"sentence": ["a b", "c"], "label": [1, 0], "idx": [0, 1]})
    for shard in (0, 1):
        pq.write_table(table, repository / f"cola/train-0000{shard}-of-00002.parquet")
    files = {
        path.relative_to(repository).as_posix(): path.read_bytes() for path in repository.rglob("*.parquet")
    }

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def answer(self) -> None:
            path = self.path.split("?")[0]
            if path.startswith("/api/datasets/org/glue/tree"):
                listing = [
                    {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                    for name, data in files.items()
                ]
                return self.send(json.dumps(listing).encode(), "application/json")
            if path.startswith("/api/datasets/org/glue"):
                siblings = [{"rfilename": name} for name in files]
                return self.send(
                    json.dumps({"id": "org/glue", "sha": COMMIT, "siblings": siblings}).encode(),
                    "application/json",
                )
            name = path.removeprefix(f"/datasets/org/glue/resolve/{COMMIT}/")
            if name in files:
                return self.send(files[name], "application/octet-stream")
            self.send_response(404)
            self.end_headers()

        def send(self, data: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("ETag", f'"{hashlib.sha1(data).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

        def log_message(self, *words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    yield tmp_path
    server.shutdown()


def hub_source(**changes: object) -> DatasetSource:
    fields = {"name": "glue-cola", "kind": "hub", "repo": "org/glue", "configuration": "cola", "splits": {"train": "train"},
              "files": {"train": "glue/cola/train.jsonl.gz"}}  # fmt: skip
    return DatasetSource.model_validate(fields | changes)


def test_a_hub_data_set_comes_at_its_revision_in_the_raw_layout(hub: Path) -> None:
    snapshot, facts = fetching.fetch_source(hub_source(), hub / "scratch", "dataset")
    assert facts == {"repo": "org/glue", "revision": COMMIT}
    arrange_snapshot(hub_source(), snapshot, hub / "out")
    assert pq.read_table(hub / "out/glue/cola/train.parquet").num_rows == 4


def test_a_changed_layout_is_named(hub: Path) -> None:
    snapshot, _ = fetching.fetch_source(hub_source(), hub / "scratch", "dataset")
    with pytest.raises(PreftuneError, match="no parquet file of split training"):
        arrange_snapshot(hub_source(splits={"train": "training"}), snapshot, hub / "out")


def test_a_vanished_repository_says_how_to_go_on(hub: Path) -> None:
    with pytest.raises(PreftuneError, match="place the files by hand"):
        fetching.fetch_source(hub_source(repo="org/gone"), hub / "scratch", "dataset")
