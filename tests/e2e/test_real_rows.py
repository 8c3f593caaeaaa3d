"""The small-cpu scale on a few real rows and photographs, with tiny random models: the same code as on embedded data."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from preftune.evaluation.metrics import LOG_SCORES
from tests.e2e.tiny_models import ROOT, make_tiny_models

DATA = Path(os.environ.get("PREFTUNE_REAL_DATA", ROOT / "../shared/data")).resolve()
RUNS = """scale	run	paper	stage	parent	overrides	sweep	seeds
small-cpu	base	dph	base		{}	{}	[0]
small-cpu	sft	dph	sft		{}	{}	[0]
small-cpu	dph-joint	dph	alignment	sft	{}	{}	[0]
small-cpu	lora-8-af-specific	context_peft	captioning		{}	{}	[0]
"""


def small_config(folder: Path) -> Path:
    """config/small-cpu.yaml with tiny models, few steps and few rows."""
    raw = yaml.safe_load((ROOT / "config/small-cpu.yaml").read_text())
    (folder / "runs.tsv").write_text(RUNS)
    raw |= {"data_root": str(DATA), "models": "tests/e2e/models.yaml", "runs": str(folder / "runs.tsv")}
    raw |= {"results": str(folder / "results"), "resources": str(folder / "resources"), "threads": 1}
    few = {"steps": 2, "batch": 2, "learning_rate": 1.0e-3}
    dph, captioning = raw["dph"], raw["context_peft"]
    dph |= {"model": "tiny-language", "datasets": {"limit_train": 40, "limit_evaluation": 4}}
    dph["sft_mix"] = {"examples": 8, "max_tokens": 500, "tasks": ["cola", "arc-easy"]}
    dph["preference_mix"] = {"examples": 8, "max_tokens": 500, "tasks": ["cola", "arc-easy"]}
    dph["sft"]["training"] = dph["alignment"]["training"] = few
    dph["evaluation"] |= {"limit": 3, "tasks": ["cola", "arc-easy"]}
    dph["best_of"] |= {"runs": ["dph-joint"], "tasks": ["cola"]}
    dph["drift"] |= {"runs": ["sft", "dph-joint"], "answer_tasks": ["arc-easy"]}
    dph["second_opinion"] |= {"chats": ["arc-easy"], "texts": ["arc-easy", "hellaswag"], "limit": 2}
    captioning |= {
        "model": "tiny-language",
        "attention": {"run": "lora-8-af-specific", "images": 1, "layer": 1},
    }
    captioning["captions"]["limit"] = {"train": 6, "validation": 2, "test": 3}
    captioning["captioning"] |= {"encoder": "tiny-encoder", "training": few | {"optimizer": "adam"}}
    captioning["evaluation"] |= {"max_new_tokens": 4, "batch": 4}
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data in {DATA} (set PREFTUNE_REAL_DATA)")
def test_real_rows_go_through_the_whole_pipeline(tmp_path: Path) -> None:
    make_tiny_models()
    config = small_config(tmp_path)
    only = "only={runs: 'sft,dph-joint,lora-8-af-specific'}"
    words = ["results", "--cores", "2", "--configfile", str(config), "--config", only]
    done = subprocess.run(
        [sys.executable, "-m", "preftune", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-6000:]
    results = tmp_path / "results"
    scores = json.loads((results / "dph/scores/dph-joint/seed-0/arc-easy.json").read_text())
    assert scores["n"] == 3 and set(scores["metrics"]) == {*LOG_SCORES, "implicit", "reward"}
    captions = (results / "context_peft/captions/lora-8-af-specific/seed-0.jsonl").read_text().splitlines()
    assert len(captions) == 3 and all(len(json.loads(line)["references"]) >= 5 for line in captions)


def test_the_folder_of_real_data_is_not_needed_elsewhere() -> None:
    """Only tests read it: no file of the project names a folder beside the checkout."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    for name in listed:
        if name.endswith((".py", ".smk", ".yaml", ".md", ".tsv")) and not name.startswith("tests/"):
            assert "../shared" not in (ROOT / name).read_text(), name
