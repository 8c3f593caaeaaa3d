"""The fetching scripts against a hub and a server of archives on loopback, by the registry's own rows, up to the readers."""

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from preftune.data.captioned import read_captioned_images
from preftune.data.questions import read_questions
from preftune.files import read_json
from preftune.provenance.digest import ROOT
from preftune.settings.captioning import CaptionDataSettings
from preftune.settings.questions import QuestionSettings
from preftune.workflow.registry import read_yaml
from tests.hub import COMMIT, FakeHub
from tests.scripts.steps import fail, succeed
from tests.server import Reply, Request, Server, serve_range

DATASETS = read_yaml(ROOT / "config/datasets.yaml")


def row(name: str, kind: str) -> dict[str, Any]:
    sources = DATASETS[name]["sources"]
    return json.loads(json.dumps({"name": name, "kind": kind, "files": sources["files"], **sources[kind]}))  # type: ignore[no-any-return]


def picture() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (32, 24), "red").save(stream, "JPEG")
    return stream.getvalue()


def zipped(members: dict[str, object]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content if isinstance(content, bytes) else json.dumps(content))
    return stream.getvalue()


def image(number: int, part: str, split: str) -> dict[str, object]:
    return {"cocoid": number, "filepath": part, "filename": f"COCO_{part}_{number:012d}.jpg", "split": split,
            "sentences": [{"raw": f"a red picture {number}"}]}  # fmt: skip


LISTED = [image(1, "train2014", "train"), image(2, "val2014", "restval"), image(3, "val2014", "val"), image(4, "val2014", "test")]  # fmt: skip


def asked(part: str, numbers: list[int]) -> dict[str, dict[str, object]]:
    """The members of the questions' and the answers' archives of one part."""
    questions = [{"question_id": 10 * n, "image_id": n, "question": "What colour?"} for n in numbers]
    answers = [
        {"question_id": 10 * n, "image_id": n, "question_type": "what", "answers": [{"answer": "red"}]}
        for n in numbers
    ]
    return {
        "Questions": {f"v2_OpenEnded_mscoco_{part}_questions.json": {"questions": questions}},
        "Annotations": {f"v2_mscoco_{part}_annotations.json": {"annotations": answers}},
    }


@pytest.fixture
def archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The official archives in small, each under the last part of its real address."""
    pictures = {part: {f"{part}/{one['filename']}": picture() for one in LISTED if one["filepath"] == part}
                for part in ("train2014", "val2014")}  # fmt: skip
    bodies = {f"{part}.zip": zipped({f"{part}/": b""} | members) for part, members in pictures.items()}  # type: ignore[operator]
    bodies["caption_datasets.zip"] = zipped(
        {"dataset_coco.json": {"images": LISTED}, "dataset_flickr8k.json": {}}
    )
    for part, short, numbers in (("train2014", "Train", [1]), ("val2014", "Val", [2, 3])):
        for kind, members in asked(part, numbers).items():
            bodies[f"v2_{kind}_{short}_mscoco.zip"] = zipped(members)

    def answer(request: Request) -> Reply:
        body = bodies.get(request.path.rpartition("/")[2])
        return Reply(404) if body is None else serve_range(request, body, '"x"')

    monkeypatch.setenv("PREFTUNE_SCRATCH", str(tmp_path / "scratch"))
    with Server(answer) as server:
        yield server


def served(name: str, server: Server) -> dict[str, Any]:
    """The registry's row with the server's addresses, and without what is known of the real archives' bytes."""
    settings = row(name, "urls")
    for archive in settings["archives"].values():
        archive["url"] = f"{server.url}/{archive['url'].rpartition('/')[2]}"
        archive.update(mirrors=[], bytes=None, md5=None, sha256=None)
    return settings


def test_coco_and_its_questions_come_once_and_are_what_the_readers_expect(
    tmp_path: Path, archives: Server
) -> None:
    coco = succeed("fetch_dataset", served("coco-karpathy", archives), output=tmp_path / "hub/coco-karpathy")
    vqa = succeed("fetch_dataset", served("vqav2", archives), output=tmp_path / "hub/vqav2")
    paper = read_yaml(ROOT / "config/paper.yaml")["context_peft"]
    captions = CaptionDataSettings.model_validate({**paper["captions"], "expected": {}})
    tables = read_captioned_images(coco, captions, seed=0)
    assert sorted((one["image_id"], one["split"]) for one in tables.images) == [(1, "train"), (2, "train"), (3, "validation"), (4, "test")]  # fmt: skip
    settings = QuestionSettings.model_validate(
        {"format": "vqav2", "splits": {"train": "train2014", "test": "val2014"}}
    )
    questions = read_questions(vqa, settings, 0, coco)
    assert sorted(one["question_id"] for one in questions.questions) == ["10", "20", "30"]
    assert len(archives.requests) == len({request.path for request in archives.requests}) == 7
    facts = read_json(coco / "run.json")["facts"]
    assert facts["pinned"] is False and len(facts["files"]) == 3
    assert not list((tmp_path / "scratch/downloads").glob("*/*"))


def test_an_archive_that_climbs_ends_the_step_with_nothing_left(
    tmp_path: Path, archives: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = zipped({"train2014/a.jpg": picture(), "../../evil": b"x"})
    archives.answer = lambda request: Reply(200, evil)
    fail("fetch_dataset", served("coco-karpathy", archives), output=tmp_path / "out")
    assert "the member '../../evil' climbs out of the archive" in capsys.readouterr().err
    assert not list(tmp_path.rglob("evil")) and not list(tmp_path.rglob("*.jpg"))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    stream = io.BytesIO()
    pq.write_table(pa.table({"sentence": ["a b", "c"], "label": [1, 0], "idx": [0, 1]}), stream)
    monkeypatch.setenv("PREFTUNE_SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with FakeHub() as server:
        splits = {
            f"cola/{split}-00000-of-00001.parquet": stream.getvalue()
            for split in ("train", "validation", "test")
        }
        server.add_repo("dataset", "nyu-mll/glue", splits)
        server.add_repo(
            "model", "org/lm", {"config.json": b"{}", "model.safetensors": b"w", "flax_model.msgpack": b"w"}
        )
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


def test_a_data_set_of_the_hub_is_fetched_by_its_row(tmp_path: Path, hub: FakeHub) -> None:
    settings = row("glue-cola", "hub") | {"revision": COMMIT}
    output = succeed("fetch_dataset", settings, output=tmp_path / "glue-cola")
    assert pq.read_table(output / "glue/cola/validation.parquet").num_rows == 2
    facts = read_json(output / "run.json")["facts"]
    assert facts["revision"] == COMMIT and len(facts["files"]) == 3
    assert not list((tmp_path / "scratch/downloads").glob("*/*"))


def test_a_model_of_the_hub_becomes_a_folder_of_its_own_files(tmp_path: Path, hub: FakeHub) -> None:
    settings = {"name": "lm", "kind": "hub", "repo": "org/lm", "revision": COMMIT}
    output = succeed("fetch_model", settings, output=tmp_path / "lm")
    assert sorted(path.name for path in output.iterdir()) == ["config.json", "model.safetensors", "run.json"]
    assert not any(path.is_symlink() for path in output.iterdir())


def test_a_gated_data_set_ends_the_step_with_the_sentence_that_helps(
    tmp_path: Path, hub: FakeHub, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.repos["dataset", "nyu-mll/glue"].gated = True
    fail("fetch_dataset", row("glue-cola", "hub") | {"revision": COMMIT}, output=tmp_path / "out")
    said = capsys.readouterr().err
    assert "gated" in said and "local_datasets: [glue-cola]" in said and "Traceback" not in said
