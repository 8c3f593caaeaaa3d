"""Upload-ready folders of every model that the whole workflow trained."""

import shutil
import subprocess
import sys
from pathlib import Path

import torch
from huggingface_hub import ModelCard

from preftune.captioning.io import load_captioner
from preftune.preference.heads import PreferenceModel
from preftune.provenance.digest import ROOT
from tests.e2e.conftest import CONFIG

RESULTS, BASE = ROOT / "results/miniature", ROOT / "resources/miniature/models/tiny-language"


def test_every_trained_model_gets_a_folder_that_loads(finished: subprocess.CompletedProcess[str]) -> None:
    command = [sys.executable, "-m", "preftune", "export", "--configfile", CONFIG]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        folders = [Path(line.split("  ")[0]) for line in done.stdout.splitlines()]
        models = sorted(path for path in RESULTS.glob("*/models/*/seed-*") if (path / "run.json").is_file())
        assert sorted(_model_of(folder) for folder in folders) == models and len(models) > 5
        for folder in folders:
            _check(folder)
    finally:
        shutil.rmtree(RESULTS / "upload", ignore_errors=True)


def _model_of(folder: Path) -> Path:
    paper, run, seed = folder.parts[-3:]
    return RESULTS / paper / "models" / run / seed


def _check(folder: Path) -> None:
    """The card is valid, no file tells the checkout's place, and our code loads the model from there alone."""
    card = ModelCard.load(folder / "README.md").data
    assert card.license == "other" and "demo-scale" in (card.tags or [])
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert [path for path in files if str(ROOT).encode() in path.read_bytes()] == []
    if (folder / "connector.safetensors").is_file():
        load_captioner(BASE, folder, torch.device("cpu"), torch.float32)
    else:
        model = PreferenceModel.from_pretrained(folder, BASE)
        assert (model.head is not None) == (_model_of(folder) / "head.json").is_file()
