"""Where the plan takes rows and pictures from: fetched, or placed by hand, all of them or some."""

from pathlib import Path
from typing import Any

import pytest

from preftune.commands.config import plan_of
from preftune.errors import PreftuneError
from preftune.fetching.pins import FilePin, Pins, RepoPin
from preftune.workflow import jobs
from preftune.workflow.outputs import list_outputs
from preftune.workflow.plan import Plan
from tests.workflow.test_dry_runs import snakemake


def plan(**values: Any) -> Plan:
    return plan_of("config/paper.yaml", values)


def fetched(found: Plan) -> set[str]:
    return {path.rpartition("/")[2] for path, job in list_outputs(found) if job.rule == "fetch_dataset"}


def test_coco_comes_in_the_layout_that_the_captions_ask_for_and_its_pictures_once() -> None:
    found = plan()
    assert {"coco-karpathy", "vqav2"} <= fetched(found) and "coco" not in fetched(found)
    assert found.raw("context_peft", "coco").endswith("data/hub/coco-karpathy")
    assert found.question_images == found.raw("context_peft", "coco")
    assert found.prepare_captions().parents == (found.fetch_dataset("coco-karpathy"),)
    archives = found.fetch_dataset("vqav2").settings["archives"].values()
    assert not any("/zips/" in archive["url"] for archive in archives)


@pytest.mark.parametrize("config", ["config/paper.yaml", "config/small-gpu.yaml"])
def test_captions_of_a_fetched_coco_name_splits_that_it_has(config: str) -> None:
    found = plan_of(config, {"data": "hub", "data_root": None})
    captions = found.context_peft.captions
    files = found.fetch_dataset(found.fetched_name("coco")).settings["files"].values()
    names = (
        [f"coco/{captions.karpathy}"]
        if captions.karpathy
        else [f"coco/annotations/captions_{source}.json" for source in captions.splits.values()]
    )
    assert set(names) <= set(files)


@pytest.mark.parametrize("coco", ["coco", "coco-karpathy"])
def test_data_sets_placed_by_hand_are_read_where_they_stand_and_never_fetched(
    tmp_path: Path, coco: str
) -> None:
    """COCO goes by its own name, and by that of the layout that is fetched, which the error of a fetch names."""
    found = plan(local_datasets=[coco, "race-middle"], data_root=str(tmp_path))
    assert fetched(plan()) - fetched(found) == {"coco-karpathy", "race-middle"}
    assert found.raw("dph", "race-middle") == found.raw("context_peft", "coco") == str(tmp_path)
    assert found.raw("dph", "race-high").endswith("data/hub/race-high")
    assert found.prepare_captions().parents == found.prepare_dataset("race-middle").parents == ()
    assert found.question_images == str(tmp_path)
    assert f"local: {coco}, race-middle" in found.label
    everything = plan(data="local", data_root=str(tmp_path))
    assert fetched(everything) == set() and everything.question_images is None


@pytest.mark.parametrize(("local", "source"), [("", "hub"), ("glue-rte", "files")])
def test_official_counts_are_checked_of_what_is_fetched_alone(local: str, source: str) -> None:
    words = ("--configfile", "config/paper.yaml", "--config", f"local_datasets=[{local}]", "data_root=tests")
    done = snakemake("-n", "-p", *words, "--", "results/paper/dph/data/glue-rte")
    assert f"--dataset glue-rte --source {source} " in done.stdout, done.stderr[-2000:]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (
            {"local_datasets": ["race-midle"], "data_root": "x"},
            "unknown data set race-midle: did you mean race-middle",
        ),
        ({"local_datasets": ["coco"]}, "set data: hub and data_root"),
        ({"local_datasets": ["coco"], "data": "local", "data_root": "x"}, "set data: hub and data_root"),
    ],
)
def test_names_that_cannot_be_local_are_refused(values: dict[str, Any], says: str) -> None:
    with pytest.raises(PreftuneError, match=says):
        plan(**values)


def test_a_pin_is_part_of_the_identity_of_its_own_fetch_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def identities() -> tuple[str, ...]:
        found = plan()
        names = ("ultrafeedback", "glue-cola", "vqav2")
        return (
            *(found.fetch_dataset(name).identity for name in names),
            found.fetch_model("opt-125m").identity,
        )

    url = plan().fetch_dataset("vqav2").settings["archives"]["val_answers"]["url"]
    repo = plan().fetch_dataset("ultrafeedback").settings["repo"]
    monkeypatch.setattr(jobs, "_pins", Pins)
    before = identities()
    revision = plan().fetch_dataset("ultrafeedback").settings.get("revision") or "main"
    pins = Pins(hub={f"datasets/{repo}@{revision}": RepoPin(revision="f" * 40, files={})},
                urls={url: FilePin(bytes=1, sha256=None)})  # fmt: skip
    monkeypatch.setattr(jobs, "_pins", lambda: pins)
    assert [one == other for one, other in zip(before, identities(), strict=True)] == [
        False,
        True,
        False,
        True,
    ]
