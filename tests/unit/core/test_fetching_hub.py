"""Files of a hub: one commit, every byte held against its listing, and a sentence that helps for each way to fail."""

import io
import random
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from preftune.data.hub import arrange_snapshot
from preftune.errors import PreftuneError
from preftune.fetching.hub import fetch_from_hub, select_files
from preftune.fetching.patience import Patience
from preftune.fetching.pins import FilePin, Pins, RepoPin
from preftune.files import sha256_file
from preftune.settings.sources import DatasetSource, ModelSource, Source
from tests.hub import COMMIT, FakeHub, error
from tests.server import Reply, Request, Server

LATER = "f" * 40


def parquet(**columns: list[object]) -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream)
    return stream.getvalue()


SHARDS = {
    f"cola/train-0000{shard}-of-00002.parquet": parquet(sentence=[f"a {shard}", "b"], label=[1, 0])
    for shard in (0, 1)
}
OTHERS = {"README.md": b"# GLUE", "sst2/train-00000-of-00001.parquet": parquet(sentence=["c"], label=[1])}
WEIGHTS = {"config.json": b"{}", "model.safetensors": b"weights", "pytorch_model.bin": b"weights", "tf_model.h5": b"w",
           "flax_model.msgpack": b"w", "onnx/model.onnx": b"w", "tokenizer.json": b"{}", ".gitattributes": b"*"}  # fmt: skip


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with FakeHub(page=2) as server:
        server.add_repo("dataset", "org/glue", SHARDS | OTHERS)
        server.add_repo("model", "org/lm", WEIGHTS)
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's own client waits between its tries."""
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)


def cola(**changes: object) -> DatasetSource:
    fields = {"name": "glue-cola", "kind": "hub", "repo": "org/glue", "configuration": "cola", "splits": {"train": "train"},
              "files": {"train": "glue/cola/train.jsonl.gz"}}  # fmt: skip
    return DatasetSource.model_validate(fields | changes)


def model(**changes: object) -> ModelSource:
    return ModelSource.model_validate({"name": "lm", "kind": "hub", "repo": "org/lm"} | changes)


def fetch(source: Source, scratch: Path, pins: Pins | None = None, naps: list[float] | None = None) -> tuple[Path, dict]:  # type: ignore[type-arg]  # fmt: skip
    patience = Patience(
        sleep=([] if naps is None else naps).append, draw=random.Random(0), timeout=(5.0, 5.0)
    )
    kind = "dataset" if isinstance(source, DatasetSource) else "model"
    return fetch_from_hub(source, scratch, kind, pins or Pins(), patience)


def test_the_shards_of_the_configuration_come_and_nothing_else(hub: FakeHub, tmp_path: Path) -> None:
    snapshot, facts = fetch(cola(), tmp_path / "scratch")
    assert facts["revision"] == COMMIT and facts["pinned"] is False
    assert sorted(facts["files"]) == sorted(SHARDS)
    assert all(facts["files"][name] == {"bytes": len(data), "sha256": sha256_file(snapshot / name)} for name, data in SHARDS.items())  # fmt: skip
    arrange_snapshot(cola(), snapshot, tmp_path / "out")
    assert pq.read_table(tmp_path / "out/glue/cola/train.parquet").num_rows == 4


def test_a_model_comes_in_one_format_of_its_weights(hub: FakeHub, tmp_path: Path) -> None:
    snapshot, facts = fetch(model(), tmp_path)
    assert sorted(facts["files"]) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert (snapshot / "model.safetensors").read_bytes() == b"weights"
    hub.add_repo(
        "model", "org/lm", {name: data for name, data in WEIGHTS.items() if "safetensors" not in name}
    )
    assert "pytorch_model.bin" in fetch(model(), tmp_path / "b")[1]["files"]
    assert list(fetch(model(patterns=["*.json"]), tmp_path / "c")[1]["files"]) == [
        "config.json",
        "tokenizer.json",
    ]


def test_a_data_set_of_scripts_comes_from_the_hubs_conversion(hub: FakeHub, tmp_path: Path) -> None:
    data = parquet(goal=["g"])
    hub.add_repo("dataset", "org/piqa", {"piqa.py": b"print()"})
    hub.add_repo("dataset", "org/piqa", {"plain_text/train/0000.parquet": data, "plain_text/train/0001.parquet": data,
                                         "plain_text/test/0000.parquet": data}, LATER, ref="refs/convert/parquet")  # fmt: skip
    source = cola(repo="org/piqa", configuration="plain_text", revision="refs/convert/parquet")
    snapshot, facts = fetch(source, tmp_path / "scratch")
    assert facts["revision"] == LATER and len(facts["files"]) == 2
    arrange_snapshot(source, snapshot, tmp_path / "out")
    assert pq.read_table(tmp_path / "out/glue/cola/train.parquet").num_rows == 2
    with pytest.raises(PreftuneError, match="holds nothing of what is needed"):
        fetch(cola(repo="org/piqa", configuration="plain_text"), tmp_path / "scratch")


def test_a_head_that_moves_meanwhile_leaves_all_files_of_one_commit(hub: FakeHub, tmp_path: Path) -> None:
    def move(request: Request) -> Reply | None:
        if "/tree/" in request.path and LATER not in hub.repos["dataset", "org/glue"].commits:
            hub.add_repo("dataset", "org/glue", dict.fromkeys(SHARDS, b"later"), LATER)
        return None

    hub.before = move
    snapshot, facts = fetch(cola(), tmp_path)
    assert facts["revision"] == COMMIT
    assert all((snapshot / name).read_bytes() == data for name, data in SHARDS.items())


@pytest.mark.parametrize(("name", "source"), [(next(iter(SHARDS)), cola()), ("config.json", model())])
def test_a_file_that_is_not_what_the_listing_says_is_refused(
    hub: FakeHub, tmp_path: Path, name: str, source: Source
) -> None:
    """One of LFS by its sha256, one of git by the id of its blob; both of the right size."""
    kind, repo = ("dataset", "org/glue") if isinstance(source, DatasetSource) else ("model", "org/lm")
    listed = hub.repos[kind, repo].commits[COMMIT][name]
    hub.tamper(kind, repo, name, listed[:-1] + b"?")
    with pytest.raises(PreftuneError, match=r"is expected.*run again"):
        fetch(source, tmp_path)
    hub.tamper(kind, repo, name, None)
    assert (fetch(source, tmp_path)[0] / name).read_bytes() == listed


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_hub_is_asked_again_for_listings_and_for_files(
    hub: FakeHub, tmp_path: Path, status: int
) -> None:
    seen: set[tuple[str, str]] = set()

    def busy(request: Request) -> Reply | None:
        key = request.path, request.query
        if key in seen:
            return None
        seen.add(key)
        return Reply(status, b"", {"Retry-After": "5"})

    hub.before = busy
    naps: list[float] = []
    assert (fetch(model(), tmp_path, naps=naps)[0] / "model.safetensors").read_bytes() == b"weights"
    assert len(naps) >= 5 and min(naps) >= 5


BY_HAND = r"place glue/cola/train\.jsonl\.gz .*below a folder by hand.*data_root.*local_datasets: \[glue-cola\].*docs/data\.md"


@pytest.mark.usefixtures("quick")
def test_each_way_to_fail_says_what_it_is_and_which_files_go_where(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    def says(source: Source, *words: str) -> None:
        with pytest.raises(PreftuneError) as error:
            fetch(source, tmp_path)
        sentence = str(error.value)
        assert all(word in sentence for word in words), sentence
        assert "secret" not in sentence and "\n" not in sentence
        by_hand = r"kind: local, path: FOLDER" if isinstance(source, ModelSource) else BY_HAND
        assert re.search(by_hand, sentence), sentence

    hub.add_repo("dataset", "org/gated", SHARDS, gated=True)
    says(cola(repo="org/gated"), "gated", "no HF_TOKEN is in the environment")
    says(cola(repo="org/gone"), "gated, private or not there")
    says(cola(revision="a" * 40), "has no revision " + "a" * 40)
    says(model(repo="org/gone"), "config/models.yaml", "kind: local, path: FOLDER")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    says(cola(repo="org/gated"), "HF_TOKEN is of an account without access")
    says(cola(repo="org/gone"), "has vanished from the hub (status 404)")
    hub.before = lambda request: error(401, None, "Invalid credentials in Authorization header")
    with pytest.raises(PreftuneError, match="does not know the token in HF_TOKEN: set a valid one"):
        fetch(cola(), tmp_path)
    hub.before = lambda request: Reply(429)
    says(cola(), "limits the rate of requests", "run again")
    hub.before = lambda request: Reply(500)
    says(cola(), "status 500", "check the network")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    says(cola(), "could not be fetched (ConnectError)", "HF_ENDPOINT, HTTPS_PROXY")
    says(cola(repo=None), "glue-cola is not on the hub")


def test_the_token_goes_to_the_hub_and_to_nobody_else(hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                      capfd: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    facts = fetch(model(), tmp_path)[1]
    asked = [
        one for one in hub.requests if "/org/lm" in one.path
    ]  # the client may ask once what nobody needs a token for
    assert asked and all(one.headers["authorization"] == "Bearer hf_secret" for one in asked)
    assert hub.cdn.requests and all("authorization" not in one.headers for one in hub.cdn.requests)
    assert "secret" not in str(facts) + "".join(capfd.readouterr())


def test_listings_and_files_come_through_a_proxy_of_the_environment(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy alone knows the hub's name, and passes on to the other host, of the LFS files, too."""
    hub.page = 1000
    servers = {"http://hub.example": hub, hub.cdn.url: hub.cdn}

    def pass_on(request: Request) -> Reply:
        address = next(name for name in servers if request.path.startswith(f"{name}/"))
        return servers[address].answer(replace(request, path=request.path.removeprefix(address)))

    with Server(pass_on) as proxy:
        monkeypatch.setenv("HF_ENDPOINT", "http://hub.example")
        monkeypatch.setenv("http_proxy", proxy.url)
        huggingface_hub.close_session()  # the client reads the environment once
        try:
            snapshot, facts = fetch(model(), tmp_path)
        finally:
            huggingface_hub.close_session()
    assert sorted(facts["files"]) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert (snapshot / "model.safetensors").read_bytes() == b"weights"
    assert any("/tree/" in request.path for request in proxy.requests)
    assert any(request.path.startswith(hub.cdn.url) for request in proxy.requests)
    assert not hub.requests and not hub.cdn.requests


def pin(snapshot: Path, names: list[str], revision: str = COMMIT) -> Pins:
    files = {
        name: FilePin(bytes=(snapshot / name).stat().st_size, sha256=sha256_file(snapshot / name))
        for name in names
    }
    return Pins(hub={"datasets/org/glue@main": RepoPin(revision=revision, files=files)})


def test_a_pinned_source_comes_at_its_commit_wherever_the_head_is(hub: FakeHub, tmp_path: Path) -> None:
    pins = pin(fetch(cola(), tmp_path / "a")[0], sorted(SHARDS))
    hub.add_repo("dataset", "org/glue", dict.fromkeys(SHARDS, b"later"), LATER)
    snapshot, facts = fetch(cola(), tmp_path / "b", pins)
    assert facts["revision"] == COMMIT and facts["pinned"] is True
    assert all((snapshot / name).read_bytes() == data for name, data in SHARDS.items())


def test_a_listing_that_contradicts_the_pins_is_refused_before_anything_comes(
    hub: FakeHub, tmp_path: Path
) -> None:
    pins = pin(fetch(cola(), tmp_path / "a")[0], sorted(SHARDS))
    hub.add_repo("dataset", "org/glue", dict.fromkeys(SHARDS, b"rewritten"))
    with pytest.raises(PreftuneError, match=r"config/pins\.json says .*pin again"):
        fetch(cola(), tmp_path / "b", pins)
    assert not list((tmp_path / "b").rglob("*.parquet"))


def test_a_fetch_that_was_cut_short_takes_what_it_had(hub: FakeHub, tmp_path: Path) -> None:
    second = max(SHARDS)
    hub.tamper("dataset", "org/glue", second, b"bad")
    with pytest.raises(PreftuneError):
        fetch(cola(), tmp_path)
    hub.tamper("dataset", "org/glue", second, None)
    hub.cdn.requests.clear()
    fetch(cola(), tmp_path)
    assert [request.path.rsplit("/cola/")[1] for request in hub.cdn.requests] == [
        second.removeprefix("cola/")
    ]


def test_other_formats_are_those_that_nothing_here_reads() -> None:
    names = ["model.safetensors.index.json", "model-00001-of-00002.safetensors", "pytorch_model.bin.index.json",
             "pytorch_model-00001-of-00002.bin", "original/consolidated.00.pth", "vocab.json", "merges.txt", "tokenizer.model",
             "special_tokens_map.json", "generation_config.json", "LICENSE", "README.md", "modeling_lsw.py"]  # fmt: skip
    kept = select_files(model(), names)
    assert sorted(set(names) - set(kept)) == ["original/consolidated.00.pth", "pytorch_model-00001-of-00002.bin",
                                              "pytorch_model.bin.index.json"]  # fmt: skip
