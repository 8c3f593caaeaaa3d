"""The scale of the released models: fetched from a hub, asked in fetched words, scored by both scores, held against the
published numbers.
"""

import os
import shutil
import subprocess
import sys
from itertools import takewhile
from pathlib import Path

import pandas as pd
import pytest
import yaml

from preftune.data.embedded.language import generate
from preftune.files import read_json, sha256_file, write_jsonl
from tests.e2e.tiny_models import ROOT
from tests.hub import FakeHub
from tests.released import released_files, tokenizer_files
from tests.server import Reply
from tests.upstream import FILES, FOLDER, pack

RESULTS = ROOT / "results" / "released-miniature"
RESOURCES = ROOT / "resources" / "released-miniature"


def write_rows(folder: Path) -> None:
    """A few rows of every data set of questions, in the columns of the real ones."""
    for name, splits in takewhile(lambda one: one[0] != "dialogues", generate([], 4, 12, 0)):
        for split, rows in splits.items():
            (folder / name).mkdir(parents=True, exist_ok=True)
            write_jsonl(folder / name / f"{split}.jsonl.gz", rows)


def write_config(folder: Path, url: str) -> Path:
    """The miniature's config with the rows of `folder`, and with the words of an archive at `url`."""
    source = {"url": f"{url}/tar.gz/0123", "folder": FOLDER, "licence": "none"}
    tasks = {"race": "race/middle", "boolq": "super_glue/boolq"}
    words = {"format": "chat", "leading_eos": True, "source": source}
    words["tasks"] = {name: {"foreign": task} for name, task in tasks.items()}
    (folder / "theirs.yaml").write_text(yaml.safe_dump(words))
    raw = yaml.safe_load((ROOT / "tests/e2e/released.yaml").read_text()) | {"data_root": str(folder / "rows")}
    raw["dph"]["evaluation"]["templates"] = str(folder / "theirs.yaml")
    (folder / "released.yaml").write_text(yaml.safe_dump(raw))
    return folder / "released.yaml"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    folder = tmp_path_factory.mktemp("released")
    for path in (RESULTS, RESOURCES):
        shutil.rmtree(path, ignore_errors=True)
    write_rows(folder / "rows")
    with FakeHub() as hub:
        hub.add_repo(
            "model",
            "tests/tiny-sft",
            released_files(folder / "one", head=False, pickled=True, tokenizer=False),
        )
        hub.add_repo("model", "tests/tiny-dph", released_files(folder / "two"))
        hub.add_repo("model", "tests/tiny-tokenizer", tokenizer_files(folder / "three"))
        hub.route("GET", "/tar.gz/0123", lambda request: Reply(body=pack(FILES)))
        config = write_config(folder, hub.url)
        command = [sys.executable, "-m", "preftune", "results", "--cores", "2", "--configfile", str(config)]
        environment = {**os.environ, "HF_ENDPOINT": hub.url}
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
        )


def test_two_tables_a_report_and_a_clean_audit_are_made(finished: subprocess.CompletedProcess[str]) -> None:
    assert finished.returncode == 0, finished.stderr[-6000:]
    made = {path.name for path in (RESULTS / "dph/tables").glob("*.md")}
    assert made == {"gpt4all.md", "race.md"}
    assert not (RESULTS / "context_peft").exists()
    assert read_json(RESULTS / "audit.json")["passed"] is True
    assert "RACE" in (RESULTS / "report.html").read_text()


def test_both_scores_of_the_aligned_model_come_from_one_pass(
    finished: subprocess.CompletedProcess[str],
) -> None:
    """The head that was fetched gives rewards, and the other model's scores the implicit ones."""
    scores = read_json(RESULTS / "dph/scores/dph-joint/seed-0/race-middle.json")
    assert scores["n"] == 12 and {"log", "reward", "implicit"} <= scores["metrics"].keys()
    assert "reward" not in read_json(RESULTS / "dph/scores/sft/seed-0/race-middle.json")["metrics"]


def test_a_verdict_is_decided_by_a_tenth_of_a_point(finished: subprocess.CompletedProcess[str]) -> None:
    """Whatever the interval of a few questions says, and the row's own tolerance."""
    records = read_json(RESULTS / "dph/tables/race.audit.json")["records"]
    ours = [
        one for one in records if one["system"] == "ours" and one["value"] is not None and one["published"]
    ]
    assert {one["row"] for one in ours} == {"Ours (SFT)", "Ours (DPO)", "Ours (DPH)"}
    for one in ours:
        near = abs(one["value"] - float(one["published"])) <= 0.1
        assert one["verdict"] == ("reproduced" if near else "differs"), one
    assert "no further than 0.1 from the published number" in (RESULTS / "dph/tables/race.md").read_text()


def test_the_record_of_a_model_names_both_repositories(finished: subprocess.CompletedProcess[str]) -> None:
    facts = read_json(RESOURCES / "models/lovelace-medium-alpha1-sft/run.json")["facts"]
    assert facts["repo"] == "tests/tiny-sft" and facts["tokenizer"]["repo"] == "tests/tiny-tokenizer"


def test_questions_were_asked_in_the_fetched_words(finished: subprocess.CompletedProcess[str]) -> None:
    """Scores and table name the fetched file by its hash."""
    fetched = RESOURCES / "prompts/theirs.yaml"
    words = {"name": "theirs", "sha256": sha256_file(fetched)}
    assert read_json(RESULTS / "dph/scores/sft/seed-0/race-high.json")["templates"] == words
    labels = pd.read_parquet(RESULTS / "dph/scores/sft/seed-0/boolq.parquet")["label"]
    assert set(labels) == {"nay", "yea"}
    assert "theirs" in (RESULTS / "dph/tables/race.md").read_text()
