"""Steps of the DPH stages called as Snakemake calls them, in this process, and two small data sets to evaluate on."""

import importlib
import json
from pathlib import Path

import pytest
from datasets import Dataset, DatasetDict

from preftune.data.tasks.registry import find_tasks

EVALUATION = {"tasks": ["cola", "stsb"], "limit": None}


def arguments(settings: dict, **paths: Path | list[Path]) -> list[str]:
    words = ["--settings", json.dumps(settings), "--device", "cpu"]
    for name, value in paths.items():
        words += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    return words


def succeed(script: str, settings: dict, **paths: Path | list[Path]) -> Path:
    """Run the script's main in this process, which saves the seconds of importing torch each time."""
    importlib.import_module(script).main(arguments(settings, **paths))
    return paths["output"]


def fail(script: str, settings: dict, **paths: Path | list[Path]) -> None:
    with pytest.raises(SystemExit) as stop:
        importlib.import_module(script).main(arguments(settings, **paths))
    assert stop.value.code == 1
    assert not paths["output"].exists()


def save_datasets(folder: Path) -> None:
    """Three questions of two candidates (cola) and of six (stsb)."""
    cola, stsb = find_tasks(["cola", "stsb"])
    sentences = ["The cup is red.", "Cup the red is.", "The dog is small."]
    DatasetDict({cola.split: Dataset.from_dict({"sentence": sentences, "label": [1, 0, 1]})}).save_to_disk(
        str(folder / cola.dataset)
    )
    pairs = {"sentence1": sentences, "sentence2": sentences[::-1], "label": [5.0, 1.5, 2.4]}
    DatasetDict({stsb.split: Dataset.from_dict(pairs)}).save_to_disk(str(folder / stsb.dataset))


def datasets_of(work: Path) -> list[Path]:
    return [work / task.dataset for task in find_tasks(["cola", "stsb"])]
