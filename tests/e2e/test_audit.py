"""Damage of every kind to a finished miniature: the audit finds each, names it, and is silent on what is whole."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from preftune.commands.config import plan_of
from preftune.provenance.audit import Audit, audit_results
from preftune.provenance.record import hash_settings, seal
from preftune.provenance.store import Store
from preftune.workflow.plan import Plan
from tests.e2e.conftest import CONFIG
from tests.e2e.tiny_models import ROOT

PREFIX = "results/miniature"
DPH, CAPTIONING = "dph", "context_peft"
MODEL = f"{DPH}/models/dph-joint/seed-0"
SCORES = f"{DPH}/scores/dph-joint/seed-0"
TABLE = f"{DPH}/tables/race"
CAPTIONER = f"{CAPTIONING}/models/lora-8-af-specific/seed-0"


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_of(CONFIG)


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("memory") / "hashes.json"


@pytest.fixture(scope="module")
def copy(finished: subprocess.CompletedProcess[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results elsewhere, to be damaged."""
    folder = tmp_path_factory.mktemp("results") / "miniature"
    shutil.copytree(ROOT / PREFIX, folder)
    return folder


@pytest.fixture
def results(copy: Path) -> Iterator[Path]:
    """The copy; what a test changes in it is put back."""
    yield copy
    kept = {path.relative_to(ROOT / PREFIX) for path in (ROOT / PREFIX).rglob("*") if path.is_file()}
    for path in [path for path in copy.rglob("*") if path.is_file() or path.is_symlink()]:
        if path.relative_to(copy) not in kept:
            path.unlink()
    for name in kept:
        source, target = ROOT / PREFIX / name, copy / name
        if target.is_symlink() or not target.is_file() or target.read_bytes() != source.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            shutil.copy2(source, target)


def audit(folder: Path, plan: Plan | None, memory: Path) -> Audit:
    return audit_results(folder, plan, memory=memory)


def flip(path: Path, place: int = -1) -> None:
    """Change one byte, and put the time back as a silent fault would."""
    stat, data = path.stat(), bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(bytes(data))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def swap(a: Path, b: Path) -> None:
    spare = a.with_name("spare")
    a.rename(spare)
    b.rename(a)
    spare.rename(b)


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text, f"{path} holds no {old!r}"
    path.write_text(text.replace(old, new, 1))


def change_digit(path: Path) -> None:
    """Another last digit of the last number of the file's first line that prints a decimal number."""
    text = path.read_text()

    found = re.search(r"\d\.\d+(?=[^\d])", text)
    assert found, path
    last = text[found.end() - 1]
    path.write_text(text[: found.end() - 1] + str((int(last) + 1) % 10) + text[found.end() :])


def edit(path: Path, change: Callable[[dict[str, Any]], None], forge: bool = False) -> None:
    """Change a record; with `forge` its own hash is made to fit again."""
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(seal(record) if forge else record))


def forge_output(folder: Path, name: str) -> None:
    """After a file was changed: make its record state the new bytes, and fit its own hash."""
    from preftune.files import sha256_file

    path = folder / name

    def change(record: dict[str, Any]) -> None:
        for output in record["outputs"].values():
            if output["path"] == f"{PREFIX}/{name}":
                output["sha256"] = sha256_file(path)

    for record_file in (path.with_suffix(".run.json"), path.with_suffix(".audit.run.json")):
        edit(record_file, change, forge=True)


def first_file(folder: Path, pattern: str) -> Path:
    return sorted(folder.glob(pattern))[0]


def run_of(path: str) -> str:
    return f"{path}/run.json"


Damage = Callable[[Path], str]
"""Damages a results folder and returns the place that the audit must name."""
DAMAGES: dict[str, Damage] = {}


def damage(function: Damage) -> Damage:
    DAMAGES[function.__name__] = function
    return function


def _simple(name: str, place: str, act: Callable[[Path], None]) -> None:
    def apply(folder: Path) -> str:
        (path,) = sorted(folder.glob(place))[:1]
        named = path.relative_to(folder).as_posix()
        act(path)
        return named

    DAMAGES[name] = apply


for label, where, what in (
    ("a flipped byte in weights", f"{MODEL}/*.safetensors", flip),
    ("a flipped byte in an adapter", f"{CAPTIONER}/**/*.safetensors", flip),
    ("truncated weights", f"{MODEL}/*.safetensors", lambda path: path.write_bytes(path.read_bytes()[:-8])),
    ("deleted weights", f"{MODEL}/*.safetensors", Path.unlink),
    ("a changed model config", f"{MODEL}/head.json", lambda path: path.write_text(path.read_text() + " ")),
    ("a changed training curve", f"{MODEL}/metrics.jsonl", flip),
    ("a flipped byte in scores", f"{SCORES}/*.parquet", flip),
    ("a digit in scores", f"{SCORES}/race-middle.json", change_digit),
    ("a deleted score file", f"{SCORES}/cola.json", Path.unlink),
    ("deleted items of scores", f"{SCORES}/cola.parquet", Path.unlink),
    ("a digit in Markdown", f"{DPH}/tables/preferences.md", change_digit),
    ("a digit in LaTeX", f"{DPH}/tables/preferences.tex", change_digit),
    ("a digit in CSV", f"{DPH}/tables/preferences.csv", change_digit),
    ("a digit in the records of cells", f"{DPH}/tables/preferences.audit.json", change_digit),
    ("a published number", f"{TABLE}.csv", change_digit),
    ("a deleted table", f"{TABLE}.tex", Path.unlink),
    ("a flipped byte in a figure", f"{DPH}/figures/margins.png", flip),
    ("a deleted figure", f"{DPH}/figures/margins.pdf", Path.unlink),
    ("a changed report", "report.html", lambda path: replace(path, "<td", "<td ")),
    ("a changed row of prepared data", f"{DPH}/data/openbookqa/**/*.arrow", flip),
    ("a changed mix", f"{DPH}/data/sft-mix/*.arrow", flip),
    ("changed captions of the data", f"{CAPTIONING}/data/captions/captions.parquet", flip),
    ("a flipped byte in features", f"{CAPTIONING}/features/tiny-encoder/*.npy", flip),
    ("a changed caption of a model", f"{CAPTIONING}/captions/*/seed-0.jsonl", flip),
    ("a changed reference", f"{DPH}/reference/sft/seed-0/*.parquet", flip),
    ("a changed drift", f"{DPH}/drift/dph-joint/seed-0/drift.json", change_digit),
    ("changed samples", f"{DPH}/best_of/dph-joint/seed-0/best_of.parquet", flip),
    ("a changed gradient", f"{DPH}/gradients.json", change_digit),
    ("a changed index of scores", f"{DPH}/scores.json", flip),
    ("changed attention maps", f"{CAPTIONING}/attention/maps.npz", flip),
    ("changed answers", f"{CAPTIONING}/multitask/multitask-tuned/seed-0/answers.json", change_digit),
    ("a changed second opinion", f"{DPH}/second_opinion/sft/seed-0.json", change_digit),
    ("a changed file for the server", f"{DPH}/submission/dph-joint/seed-0/submission-log.zip", flip),
    ("a deleted record", f"{MODEL}/run.json", Path.unlink),
    ("a deleted record of a table's cells", f"{TABLE}.audit.run.json", Path.unlink),
    ("a record that is no JSON", f"{MODEL}/run.json", lambda path: path.write_text("{")),
    ("a record made by hand", f"{MODEL}/run.json", lambda path: path.write_text("{}")),
    ("a record of the future", f"{MODEL}/run.json", lambda path: replace(path, "preftune/run/2", "preftune/run/9")),
    ("an edited seed", f"{MODEL}/run.json", lambda path: edit(path, lambda record: record.update(seed=7))),
    ("an edited commit", f"{MODEL}/run.json", lambda path: edit(path, lambda one: one["code"].update(commit="0" * 40))),
    ("an edited time", f"{TABLE}.run.json", lambda path: edit(path, lambda one: one["time"].update(wall_seconds=1.0))),
    ("an edited setting", f"{SCORES}/run.json", lambda path: edit(path, lambda one: one["settings"].update(limit=99))),
):  # fmt: skip
    _simple(label, where, what)


@damage
def swapped_checkpoints(folder: Path) -> str:
    swap(
        first_file(folder, f"{MODEL}/*.safetensors"),
        first_file(folder, f"{DPH}/models/dpo-only/seed-0/*.safetensors"),
    )
    return MODEL


@damage
def swapped_models_with_their_records(folder: Path) -> str:
    swap(folder / MODEL, folder / f"{DPH}/models/dpo-only/seed-0")
    return MODEL


@damage
def swapped_scores_of_two_tasks(folder: Path) -> str:
    swap(folder / SCORES / "cola.json", folder / SCORES / "race-middle.json")
    return f"{SCORES}/cola.json"


@damage
def a_removed_seed(folder: Path) -> str:
    shutil.rmtree(folder / f"{DPH}/scores/dph-frozen/seed-0")
    return f"{DPH}/scores/dph-frozen/seed-0"


@damage
def a_foreign_file_in_a_model(folder: Path) -> str:
    (folder / MODEL / "extra.bin").write_bytes(b"1")
    return f"{MODEL}/extra.bin"


@damage
def a_copied_row(folder: Path) -> str:
    path = folder / f"{TABLE}.md"
    lines = path.read_text().splitlines(keepends=True)
    row = next(index for index, line in enumerate(lines) if line.startswith("| --- |")) + 1
    path.write_text("".join([*lines[: row + 1], lines[row], *lines[row + 1 :]]))
    return f"{TABLE}.md"


@damage
def a_changed_verdict(folder: Path) -> str:
    path = folder / f"{DPH}/tables/claims.md"
    path.write_text(
        path.read_text().replace("inconclusive", "supported").replace("not testable", "supported")
    )
    return f"{DPH}/tables/claims.md"


@damage
def a_changed_fingerprint(folder: Path) -> str:
    mark = json.loads((folder / f"{TABLE}.run.json").read_text())["fingerprint"]
    replace(folder / f"{TABLE}.md", mark, "00000000")
    return f"{TABLE}.md"


@damage
def a_record_of_another_output(folder: Path) -> str:
    shutil.copy(folder / f"{DPH}/models/dpo-only/seed-0/run.json", folder / MODEL / "run.json")
    return run_of(MODEL)


@damage
def a_link_out_of_the_tree(folder: Path) -> str:
    path = first_file(folder, f"{MODEL}/*.safetensors")
    other = folder.parent / "elsewhere"
    shutil.move(path, other)
    path.symlink_to(other)
    return path.relative_to(folder).as_posix()


@damage
def forged_digits_of_a_table(folder: Path) -> str:
    name = f"{DPH}/tables/preferences.md"
    change_digit(folder / name)
    forge_output(folder, name)
    return name.removesuffix(".md")  # the page of model and data cards was made with another record


@damage
def forged_weights(folder: Path) -> str:
    """The record states the new bytes and its own hash: what was scored with the former ones tells."""
    from preftune.files import sha256_file, sha256_tree

    path = first_file(folder, f"{MODEL}/*.safetensors")
    flip(path)

    def change(record: dict[str, Any]) -> None:
        record["outputs"]["output"]["files"][path.name] = sha256_file(path)
        record["outputs"]["output"]["sha256"] = sha256_tree(folder / MODEL)

    edit(folder / MODEL / "run.json", change, forge=True)
    return MODEL


@damage
def a_forged_input(folder: Path) -> str:
    def change(record: dict[str, Any]) -> None:
        record["inputs"]["model"][0]["sha256"] = "0" * 64

    edit(folder / run_of(SCORES), change, forge=True)
    return SCORES


@damage
def a_forged_lock(folder: Path) -> str:
    edit(
        folder / f"{TABLE}.run.json", lambda one: one["environment"].update(lock_sha256="0" * 64), forge=True
    )
    return TABLE


@damage
def a_forged_digest_of_code(folder: Path) -> str:
    edit(folder / f"{TABLE}.run.json", lambda one: one["code"].update(digest="ast1:" + "0" * 64), forge=True)
    return TABLE


@damage
def a_forged_blob_of_code(folder: Path) -> str:
    def change(record: dict[str, Any]) -> None:
        record["code"]["files"]["src/preftune/tables/cells.py"] = "0" * 40
        record["code"]["dirty"] = False

    edit(folder / f"{TABLE}.run.json", change, forge=True)
    return TABLE


@damage
def a_forged_setting(folder: Path) -> str:
    def change(record: dict[str, Any]) -> None:
        record["settings"]["training"]["steps"] = 4
        record["settings_sha256"] = hash_settings(record["settings"])

    edit(folder / run_of(MODEL), change, forge=True)
    return MODEL


@damage
def a_forged_identity(folder: Path) -> str:
    edit(folder / run_of(MODEL), lambda one: one.update(identity="0" * 16), forge=True)
    return MODEL


@damage
def a_step_that_failed_and_was_never_made(folder: Path) -> str:
    attempts = [{"start": "", "end": "", "error": "No space is left on the disk.", "slurm": None}]
    (folder / f"{DPH}/tables/.race.csv.attempts.json").write_text(json.dumps(attempts))
    return f"{TABLE}.csv"


@damage
def a_table_from_nowhere(folder: Path) -> str:
    shutil.copy(folder / f"{TABLE}.md", folder / f"{DPH}/tables/extra.md")
    return f"{DPH}/tables/extra.md"


@pytest.mark.parametrize("kind", DAMAGES)
def test_damage_is_found_and_named(kind: str, results: Path, plan: Plan, memory: Path) -> None:
    place = DAMAGES[kind](results)
    found = audit(results, plan, memory)
    assert found.failed, f"{kind} was not found"
    first = found.failed[0]
    assert first.place.startswith(f"{PREFIX}/{place}"), f"{kind}: {first}"
    assert first.repair and "\n" not in first.says


def test_there_are_kinds_enough() -> None:
    assert len(DAMAGES) >= 40


@pytest.mark.parametrize("turn", range(4))
@pytest.mark.parametrize("state", ["as it is", "touched", "moved", "deep", "without a plan"])
def test_no_false_alarm(state: str, turn: int, results: Path, plan: Plan, memory: Path) -> None:
    folder = results
    if state == "touched":
        for path in list(results.rglob("*"))[turn::4]:
            os.utime(path, (turn, turn))
    if state == "moved":
        folder = results.with_name(f"other-{turn}")
        results.rename(folder)
    try:
        deep = state == "deep" and turn == 0
        found = audit_results(folder, None if state == "without a plan" else plan, deep, memory=memory)
    finally:
        if folder != results:
            folder.rename(results)
    assert not found.failed, found.failed[:3]


def call(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "preftune", "audit", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_command_says_what_is_broken_first_and_how_to_mend_it(results: Path, tmp_path: Path) -> None:
    assert call("--results", str(results)).returncode == 0
    change_digit(results / f"{TABLE}.md")
    done = call("--results", str(results), "--output", str(tmp_path / "found.json"))
    assert done.returncode == 1
    first, repair, *_ = done.stdout.splitlines()
    assert first.startswith(f"first broken link: {PREFIX}/{TABLE}.md")
    assert f"make results FORCE={PREFIX}/{TABLE}" in repair
    found = json.loads((tmp_path / "found.json").read_text())
    jsonschema.validate(found, json.loads((ROOT / "config/schemas/audit.schema.json").read_text()))
    assert not found["passed"] and not found["publishable"]


@pytest.mark.parametrize("folder", ["docs", "nowhere"])
def test_a_folder_without_results_is_refused(folder: str) -> None:
    done = call("--results", folder)
    assert done.returncode == 1 and "run `make results` first" in done.stderr


def test_an_audit_takes_seconds(results: Path, plan: Plan, tmp_path: Path) -> None:
    """Without a memory; the aim for the demo is 10 s."""
    start = time.process_time()
    assert not audit(results, plan, tmp_path / "new.json").failed
    assert time.process_time() - start < 10


@pytest.fixture(scope="module")
def published(copy: Path) -> Path:
    import export_published

    folder = copy.parent / "published/miniature"
    export_published.main(["--results", str(ROOT / PREFIX), "--destination", str(folder)])
    return folder


def test_a_published_copy_is_audited_without_its_weights(published: Path, memory: Path) -> None:
    found = audit_results(published, published=True, memory=memory)
    assert not found.failed, found.failed[:3]
    assert found.recomputed > 15
    absent = {fault.place for fault in found.faults if fault.grade == "absent"}
    assert any(place.endswith(".safetensors") for place in absent)
    assert not any("/tables/" in place and place.endswith((".md", ".csv")) for place in absent)
    links = {step.made: step for step in found.links}
    assert not any(step.failed for step in found.links)
    scored = links[f"{PREFIX}/dph/scores/sft/seed-0"]
    assert (
        f"{PREFIX}/dph/data/glue-cola" in scored.not_shipped
        and "config/templates/chat.yaml" in scored.verified
    )
    assert f"{PREFIX}/dph/models/sft/seed-0" in scored.verified  # a small model is published whole
    table = next(one for one in found.tables if one.table == f"{PREFIX}/dph/tables/race")
    assert table.verified > 0 and table.not_shipped > 0


@pytest.mark.parametrize("act", [change_digit, Path.unlink])
@pytest.mark.parametrize("file", ["dph/tables/race.md", "dph/scores/sft/seed-0/cola.json"])
def test_damage_to_a_published_copy_is_found(
    file: str, act: Callable[[Path], None], published: Path, memory: Path
) -> None:
    path = published / file
    before = path.read_bytes()
    try:
        act(path)
        found = audit_results(published, published=True, memory=memory)
        assert found.failed and found.failed[0].place == f"{PREFIX}/{file}"
        broken = {path for step in found.links for path in step.failed}
        assert file.endswith(".md") or any(f"{PREFIX}/{file}".startswith(path) for path in broken)
    finally:
        path.write_bytes(before)


def test_the_audit_of_the_workflow_passed_and_follows_its_schema(
    finished: subprocess.CompletedProcess[str],
) -> None:
    found = json.loads((ROOT / PREFIX / "audit.json").read_text())
    jsonschema.validate(found, json.loads((ROOT / "config/schemas/audit.schema.json").read_text()))
    assert found["passed"] and len(found["tables"]) > 20
    assert not any(step["not_shipped"] or step["failed"] for step in found["links"])
    assert all(table["steps"] > 2 and table["first_broken_link"] is None for table in found["tables"])


def test_records_of_the_version_before_are_read(results: Path, memory: Path) -> None:
    for path in (path for path in results.rglob("*run.json")):
        record = json.loads(path.read_text())
        for key in ("sha256", "fingerprint"):
            record.pop(key)
        path.write_text(json.dumps(record | {"schema": "preftune/run/1"}))
    store = Store.open(results)
    assert not store.faults and len(store.makers) > 60


def test_a_read_only_memory_costs_nothing_but_time(results: Path, tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir()
    (folder / "hashes.json").mkdir()  # cannot be written as a file
    assert not audit_results(results, memory=folder / "hashes.json").failed
