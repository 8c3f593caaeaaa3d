"""Pins, official archives and local models: what is written down holds, and what lies here already is found."""

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import constants

from preftune.commands import pin as pin_command
from preftune.commands.pin import list_sources, write_pins
from preftune.errors import PreftuneError
from preftune.fetching.caches import find_local
from preftune.fetching.official import arrange_archives, describe_archive, fetch_archives
from preftune.fetching.patience import Patience
from preftune.fetching.pins import PINS, FilePin, Pins, RepoPin, describe_pins, read_pins
from preftune.files import write_json
from preftune.provenance.digest import ROOT
from preftune.settings.sources import Archive, DatasetSource, ModelSource, Source
from preftune.workflow.registry import read_yaml
from tests.hub import COMMIT, FakeHub
from tests.server import Reply, Request, Server, serve_range

SHA = "a" * 64


def zipped(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


FILES = {"/a.zip": zipped({"train/1.txt": b"one", "notes.txt": b"no"}), "/b.json": b"{}"}


@pytest.fixture
def server() -> Iterator[Server]:
    def answer(request: Request) -> Reply:
        body = FILES.get(request.path)
        return Reply(404) if body is None else serve_range(request, body, '"x"')

    with Server(answer) as serving:
        yield serving


def official(server: Server, **changes: object) -> DatasetSource:
    archives = {"pictures": {"url": f"{server.url}/a.zip", "take": {"train/": "toy/train"}, **changes},
                "labels": {"url": f"{server.url}/b.json", "place": "toy/labels/b.json"}}  # fmt: skip
    fields = {"name": "toy", "kind": "urls", "archives": archives, "files": {"train": "toy/labels/b.json"}}
    return DatasetSource.model_validate(fields)


def get(source: DatasetSource, scratch: Path, pins: Pins | None = None) -> tuple[Path, dict]:  # type: ignore[type-arg]
    return fetch_archives(source, scratch, pins or Pins(), Patience(sleep=lambda seconds: None))


def test_archives_become_the_raw_layout_and_their_bytes_are_recorded(server: Server, tmp_path: Path) -> None:
    source = official(server)
    folder, facts = get(source, tmp_path / "scratch")
    arrange_archives(source, folder, tmp_path / "out")
    found = {path.relative_to(tmp_path / "out").as_posix(): path.read_bytes() for path in (tmp_path / "out").rglob("*.*")}  # fmt: skip
    assert found == {"toy/train/1.txt": b"one", "toy/labels/b.json": b"{}"}
    assert not any(path.is_symlink() for path in (tmp_path / "out").rglob("*"))
    url, data = f"{server.url}/a.zip", FILES["/a.zip"]
    assert facts["pinned"] is False
    assert facts["files"][url] == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def test_a_second_fetch_takes_the_archives_that_the_first_one_had(server: Server, tmp_path: Path) -> None:
    source = official(server)
    get(source, tmp_path)
    asked = len(server.requests)
    folder, _ = get(source, tmp_path)
    assert len(server.requests) == asked == 2
    arrange_archives(source, folder, tmp_path / "out")


def test_a_mirror_stands_in_and_a_sentence_names_the_files_where_none_does(
    server: Server, tmp_path: Path
) -> None:
    get(official(server, url=f"{server.url}/gone.zip", mirrors=[f"{server.url}/a.zip"]), tmp_path / "a")
    with pytest.raises(PreftuneError, match=r"toy: gone\.zip could not be fetched .*status 404.*place toy/labels/b\.json below a folder by hand.*local_datasets: \[toy\]"):  # fmt: skip
        get(official(server, url=f"{server.url}/gone.zip"), tmp_path / "b")


def test_prompts_that_cannot_be_had_are_no_model_to_be_placed(server: Server, tmp_path: Path) -> None:
    archive = Archive(url=f"{server.url}/gone.tar.gz", take={"src/": ""})
    source = Source(name="released", kind="urls", archives={"code": archive})
    with pytest.raises(PreftuneError, match=r"released: gone\.tar\.gz could not .*copy that one's resources/prompts/ here"):  # fmt: skip
        fetch_archives(source, tmp_path, Pins(), Patience(sleep=lambda seconds: None))


@pytest.mark.parametrize("known", [{"bytes": 5}, {"sha256": SHA}, {"md5": "a" * 32}])
def test_an_archive_of_other_bytes_than_its_row_says_is_refused(
    server: Server, tmp_path: Path, known: dict[str, object]
) -> None:
    with pytest.raises(PreftuneError, match=r"a\.zip could not be fetched .*expected"):
        get(official(server, **known), tmp_path)


def test_pins_hold_where_a_row_knows_nothing(server: Server, tmp_path: Path) -> None:
    url = f"{server.url}/a.zip"
    with pytest.raises(PreftuneError, match=f"its sha256 is .*, {SHA} is expected"):
        get(
            official(server),
            tmp_path / "a",
            Pins(urls={url: FilePin(bytes=len(FILES["/a.zip"]), sha256=SHA)}),
        )
    right = FilePin(bytes=None, sha256=hashlib.sha256(FILES["/a.zip"]).hexdigest())
    other = FilePin(bytes=2, sha256=hashlib.sha256(b"{}").hexdigest())
    pins = Pins(urls={url: right, f"{server.url}/b.json": other})
    assert get(official(server), tmp_path / "b", pins)[1]["pinned"] is True
    with pytest.raises(PreftuneError, match=r"config/datasets\.yaml says .*pin again"):
        describe_archive(
            Archive(url=url, bytes=3, take={"*": ""}), Pins(urls={url: FilePin(bytes=4, sha256=None)})
        )


def test_a_refused_archive_is_not_found_again(server: Server, tmp_path: Path) -> None:
    source = official(server, take={"validation/": "toy/validation"})
    folder, _ = get(source, tmp_path)
    with pytest.raises(PreftuneError, match="holds no validation/"):
        arrange_archives(source, folder, tmp_path / "out")
    get(source, tmp_path)
    assert [request.path for request in server.requests] == ["/a.zip", "/b.json", "/a.zip"]


def test_a_damaged_pins_file_is_named(tmp_path: Path) -> None:
    assert read_pins(tmp_path / "none.json") == Pins()
    (tmp_path / "pins.json").write_text(json.dumps({"urls": {"http://x": {"bytes": 1, "sha256": "short"}}}))
    with pytest.raises(PreftuneError, match=r"pins\.json: urls\.http://x\.sha256: .*pin again"):
        read_pins(tmp_path / "pins.json")


def test_only_what_is_said_of_a_source_is_part_of_its_identity() -> None:
    pin = RepoPin(revision=COMMIT, files={})
    pins = Pins(hub={"models/org/a@main": pin, "models/org/b@main": pin, "datasets/org/a@main": pin},
                urls={"http://x/a.zip": FilePin(bytes=1, sha256=None)})  # fmt: skip
    assert list(describe_pins({"kind": "hub", "repo": "org/a", "revision": None}, "model", pins)) == [
        "models/org/a@main"
    ]
    assert describe_pins({"kind": "hub", "repo": "org/a", "revision": COMMIT}, "model", pins) == {}
    with_tokenizer = {"kind": "hub", "repo": "org/a", "tokenizer": {"repo": "org/b", "revision": None}}
    assert list(describe_pins(with_tokenizer, "model", pins)) == ["models/org/a@main", "models/org/b@main"]
    assert list(describe_pins({"archives": {"a": {"url": "http://x/a.zip"}}}, "dataset", pins)) == [
        "http://x/a.zip"
    ]
    assert describe_pins({"kind": "pypi", "package": "x"}, "model", pins) == {}


def test_every_row_of_both_registries_is_a_source_and_agrees_with_the_pins() -> None:
    sources = list_sources([])
    assert {source.kind for source, _ in sources} == {"hub", "urls", "pypi"}
    pins = read_pins(PINS)
    for source, _ in sources:
        for archive in source.archives.values():
            describe_archive(archive, pins)
        wheel = pins.wheels.get(f"{source.package}=={source.version}")
        assert source.kind != "pypi" or (wheel is not None and wheel.sha256 == source.wheel_sha256), (
            source.name
        )
    with pytest.raises(PreftuneError, match="did you mean 'glue-cola'"):
        list_sources(["glue-kola"])


@pytest.fixture
def registries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server) -> Iterator[FakeHub]:
    """A hub with a data set and a model, a server of archives, and registries that name them."""
    stream = io.BytesIO()
    pq.write_table(pa.table({"a": [1]}), stream)
    archive = official(server).model_dump(include={"archives", "files"})
    datasets = {
        "rows": {"sources": {"hub": {"repo": "org/rows", "configuration": "one", "splits": {"train": "train"}},
                             "files": {"train": "rows/train.jsonl.gz"}}},
        "toy": {"sources": {"urls": {"archives": archive["archives"]}, "files": archive["files"]}},
    }  # fmt: skip
    models = {
        "lm": {"source": {"kind": "hub", "repo": "org/lm"}},
        "own": {"source": {"kind": "local", "path": "x"}},
    }
    write_json(tmp_path / "config/datasets.yaml", datasets)
    write_json(tmp_path / "config/models.yaml", models)
    monkeypatch.setattr(pin_command, "ROOT", tmp_path)
    with FakeHub() as hub:
        hub.add_repo("dataset", "org/rows", {"one/train-00000-of-00001.parquet": stream.getvalue()})
        hub.add_repo("model", "org/lm", {"config.json": b"{}", "model.safetensors": b"w"})
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


def test_pinning_writes_revision_bytes_and_hash_of_every_needed_file(
    registries: FakeHub, tmp_path: Path
) -> None:
    table, failed = write_pins([], tmp_path / "resources", tmp_path / "pins.json")
    assert failed == [] and len(table.splitlines()) == 4
    pins = read_pins(tmp_path / "pins.json")
    assert pins.hub["models/org/lm@main"].revision == COMMIT
    assert pins.hub["models/org/lm@main"].files["config.json"] == FilePin(bytes=2, sha256=hashlib.sha256(b"{}").hexdigest())  # fmt: skip
    assert list(pins.hub["datasets/org/rows@main"].files) == ["one/train-00000-of-00001.parquet"]
    assert sorted(pin.bytes or 0 for pin in pins.urls.values()) == sorted(map(len, FILES.values()))
    assert all(pin.sha256 is None for pin in pins.urls.values())


def test_the_record_of_a_fetch_gives_the_hash_that_only_a_whole_archive_has(
    registries: FakeHub, server: Server, tmp_path: Path
) -> None:
    known = {"bytes": len(FILES["/a.zip"]), "sha256": SHA}
    facts = {"files": {f"{server.url}/a.zip": known}}
    write_json(tmp_path / "resources/data/hub/toy/run.json", {"facts": facts})
    write_pins(["toy"], tmp_path / "resources", tmp_path / "pins.json")
    pins = read_pins(tmp_path / "pins.json")
    assert pins.hub == {} and pins.urls[f"{server.url}/a.zip"] == FilePin(**known)
    (tmp_path / "resources/data/hub/toy/run.json").unlink()
    write_pins(["toy"], tmp_path / "resources", tmp_path / "pins.json")
    assert read_pins(tmp_path / "pins.json") == pins


def test_pinning_again_replaces_what_the_server_no_longer_has(
    registries: FakeHub, server: Server, tmp_path: Path
) -> None:
    """Neither an older pin nor the record of an older fetch stands in the way of the file that is there now."""
    url = f"{server.url}/a.zip"
    old = {"bytes": 7, "sha256": SHA}
    write_json(tmp_path / "resources/data/hub/toy/run.json", {"facts": {"files": {url: old}}})
    write_json(tmp_path / "pins.json", {"urls": {url: old}})
    for size in (None, len(FILES["/a.zip"])):
        row = official(server, bytes=size).model_dump(include={"archives", "files"})
        datasets = {"toy": {"sources": {"urls": {"archives": row["archives"]}, "files": row["files"]}}}
        write_json(tmp_path / "config/datasets.yaml", datasets)
        _, failed = write_pins(["toy"], tmp_path / "resources", tmp_path / "pins.json")
        assert failed == []
        assert read_pins(tmp_path / "pins.json").urls[url] == FilePin(bytes=len(FILES["/a.zip"]), sha256=None)
        write_json(tmp_path / "pins.json", {"urls": {url: old}})


def test_what_cannot_be_asked_for_keeps_its_pin_and_is_named(registries: FakeHub, tmp_path: Path) -> None:
    write_pins([], tmp_path / "resources", tmp_path / "pins.json")
    before = read_pins(tmp_path / "pins.json")
    registries.remove_repo("model", "org/lm")
    table, failed = write_pins(["lm", "rows"], tmp_path / "resources", tmp_path / "pins.json")
    assert failed == ["lm"] and "not pinned: org/lm" in table
    assert read_pins(tmp_path / "pins.json") == before


def test_without_a_network_one_source_of_a_kind_is_tried_and_the_others_are_not(
    registries: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def fail(source: Source, *rest: object) -> None:
        asked.append(source.name)
        raise PreftuneError(f"{source.name} could not be fetched: check the network.")

    monkeypatch.setattr(pin_command, "_pin_repository", fail)
    table, failed = write_pins(["lm", "rows", "toy"], tmp_path / "resources", tmp_path / "pins.json")
    assert asked == ["lm"] and failed == ["lm", "rows"]
    assert "not pinned: not asked" in table and len(read_pins(tmp_path / "pins.json").urls) == 2


def cached(tmp_path: Path, revisions: tuple[str, ...] = (COMMIT,), main: str | None = COMMIT) -> Path:
    """A cache of the hub's client: blobs, and snapshots of links to them."""
    repo = tmp_path / "hub/models--org--lm"
    (repo / "blobs").mkdir(parents=True)
    for revision in revisions:
        blob = repo / "blobs" / f"blob-{revision}"
        blob.write_text(revision)
        (repo / "snapshots" / revision).mkdir(parents=True)
        os.symlink(blob, repo / "snapshots" / revision / "config.json")
    if main:
        (repo / "refs").mkdir()
        (repo / "refs/main").write_text(main)
    return repo


def local(**fields: object) -> Source:
    return ModelSource.model_validate({"name": "lm", "kind": "local"} | fields)


def test_a_local_model_is_a_folder_a_snapshot_or_a_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = cached(tmp_path)
    snapshot = repo / "snapshots" / COMMIT
    for path in (repo, snapshot, tmp_path / "hub"):
        found, facts = find_local(local(path=str(path), repo="org/lm"))
        assert found == snapshot
    assert facts == {"local": f"models--org--lm@{COMMIT}"}
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    assert find_local(local(repo="org/lm"))[0] == snapshot
    (tmp_path / "plain").mkdir()
    assert find_local(local(path=str(tmp_path / "plain"))) == (tmp_path / "plain", {"local": "plain"})


def test_of_several_snapshots_the_revision_decides(tmp_path: Path) -> None:
    other = "e" * 40
    repo = cached(tmp_path, (COMMIT, other), main=None)
    assert find_local(local(path=str(repo), revision=other))[0].name == other
    with pytest.raises(PreftuneError, match=f"no snapshot of main .it has {COMMIT}, {other}"):
        find_local(local(path=str(repo)))
    with pytest.raises(PreftuneError, match="no snapshot dead"):
        find_local(local(path=str(repo), revision="dead"))


def test_a_local_model_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PreftuneError, match="does not exist: place it there"):
        find_local(local(path=str(tmp_path / "none")))
    (tmp_path / "hub").mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(PreftuneError, match="holds no org/lm: download it there"):
        find_local(local(repo="org/lm"))


def test_the_registry_of_coco_takes_each_picture_from_one_archive_only() -> None:
    datasets = read_yaml(ROOT / "config/datasets.yaml")
    rows = [datasets[name]["sources"]["urls"]["archives"] for name in ("coco", "coco-karpathy", "vqav2")]
    urls = [archive["url"] for row in rows for archive in row.values()]
    assert len(urls) == len(set(urls))
    assert not any(
        "zips" in archive["url"] for archive in datasets["vqav2"]["sources"]["urls"]["archives"].values()
    )
