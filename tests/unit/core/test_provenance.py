"""Waivers, what a published text must not tell, remembered hashes, and records that cannot be read."""

import json
import os
from pathlib import Path

import pytest

from preftune.errors import PreftuneError
from preftune.provenance.digest import ROOT, present_digest
from preftune.provenance.hashes import Hashes
from preftune.provenance.privacy import find_private
from preftune.provenance.records import read_record
from preftune.provenance.store import Store
from preftune.provenance.waivers import canonical_digest, read_waivers
from tests.records import write_step

HEADER = "rule\told\tnew\treason\n"


def waivers(folder: Path, *rows: tuple[str, ...]) -> Path:
    path = folder / "waivers.tsv"
    path.write_text(HEADER + "".join("\t".join(row) + "\n" for row in rows))
    return path


def test_waivers_lead_back_to_the_oldest_code_of_their_own_rule(tmp_path: Path) -> None:
    rows = (("train_sft", "ast1:a", "ast1:b", "moved"), ("train_sft", "ast1:b", "ast1:c", "renamed"))
    found = read_waivers(waivers(tmp_path, *rows))
    assert canonical_digest("train_sft", "ast1:c", found) == "ast1:a"
    assert canonical_digest("train_sft", "ast1:d", found) == "ast1:d"
    assert canonical_digest("train_heads", "ast1:c", found) == "ast1:c"
    assert read_waivers(tmp_path / "none.tsv") == {}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ((("train_sft", "ast1:a", "ast1:b", ""),), "line 2: give rule, old, new, reason"),
        ((("train_sft", "ast1:a", "ast2:b", "x"),), "line 2: old and new must be two digests of one scheme"),
        ((("r", "ast1:a", "ast1:b", "x"), ("r", "ast1:c", "ast1:b", "x")), "line 3: r has a waiver"),
    ],
)
def test_bad_waivers_are_named_with_their_line(tmp_path: Path, rows: tuple, message: str) -> None:
    with pytest.raises(PreftuneError, match=message):
        read_waivers(waivers(tmp_path, *rows))


def test_waivers_in_a_circle_are_an_error(tmp_path: Path) -> None:
    found = read_waivers(waivers(tmp_path, ("r", "ast1:a", "ast1:b", "x"), ("r", "ast1:b", "ast1:a", "x")))
    with pytest.raises(PreftuneError, match="lead in a circle"):
        canonical_digest("r", "ast1:a", found)


def test_the_digests_of_all_rules_are_fast() -> None:
    """200 ms with the facts of unchanged files at hand; every process after the first has them."""
    import subprocess
    import sys

    code = (
        "import time; from preftune.provenance.digest import *; "
        "rules = [p.stem for p in SCRIPTS.glob('[a-z]*.py')]; start = time.process_time(); "
        "[code_digest(rule) for rule in rules]; print(len(rules), time.process_time() - start)"
    )
    command = [sys.executable, "-c", code]
    for _ in range(2):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    rules, seconds = done.stdout.split()
    assert int(rules) > 45
    assert float(seconds) < 0.2, seconds


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('{"path": "/home/someone/data"}', "an absolute path of a user"),
        ("--token hf_abcdefghijklmnopqrstuv", "an access token"),
        ("Authorization: Bearer abcdefgh1234", "an access token"),
        ("results/dph/scores: home of the scores, hf_hub", ""),
    ],
)
def test_private_texts_are_found(text: str, what: str) -> None:
    assert find_private(text) == what


def test_hashes_are_remembered_until_a_file_changes(tmp_path: Path) -> None:
    path, memory = tmp_path / "file", tmp_path / "memory.json"
    path.write_text("one")
    first = Hashes(memory=memory)
    before = first.file(path)
    first.save()
    assert Hashes(memory=memory).file(path) == before
    stat = path.stat()
    path.write_text("two")
    os.utime(
        path, ns=(stat.st_atime_ns, stat.st_mtime_ns)
    )  # its size and time are the same: its change time is not
    assert Hashes(memory=memory).file(path) != before


def results(folder: Path) -> Path:
    for name, inputs in (("dph/data/rows", ()), ("dph/models/sft/seed-0", ("dph/data/rows",))):
        (folder / name).mkdir(parents=True)
        (folder / name / "file").write_text(name)
        write_step(folder, "train_sft" if inputs else "prepare_dataset", name, inputs)
    return folder


def test_a_store_follows_records_upstream(tmp_path: Path) -> None:
    store = Store.open(results(tmp_path))
    assert store.prefix == "results"
    steps = store.upstream(["results/dph/models/sft/seed-0/file"])
    assert [step.rule for step in steps] == ["prepare_dataset", "train_sft"]
    assert store.remake("results/dph/models/sft/seed-0/file").endswith(
        "make results FORCE=results/dph/models/sft/seed-0"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "preftune/run/9"}, "update this checkout"),
        ({"schema": "something"}, "was not written by a step"),
        ({"seed": 3}, "was edited after it was written"),
        ({"seed": "3"}, "key seed"),
    ],
)
def test_records_that_cannot_be_trusted_are_an_error(tmp_path: Path, change: dict, message: str) -> None:
    path = results(tmp_path) / "dph/data/rows/run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(PreftuneError, match=message):
        read_record(path)


def test_the_present_digest_of_every_rule_can_be_read() -> None:
    assert present_digest("train_sft").startswith("ast1:")
