"""A results folder of five steps, from a fetched model to a table, with sealed records, made without running a step."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from preftune.files import list_tree, sha256_file, sha256_lines, sha256_tree, write_json
from preftune.provenance.record import SCHEMA, fingerprint, hash_settings, record_path, seal
from preftune.provenance.store import Store

DATA = "results/dph/data/race-middle"
MODEL = "results/dph/models/sft/seed-0"
SCORES = "results/dph/scores/sft/seed-0"
ROWS = pa.table({"question": ["a", "b"], "options": [["x", "y"], ["z"]], "answer": [0, 1]})


def write_record(
    root: Path, rule: str, inputs: dict[str, list[str]], outputs: dict[str, str], **changes: Any
) -> None:
    """Seal a record of outputs that lie there, as the step would."""
    described = {name: [_input(root, path) for path in paths] for name, paths in inputs.items()}
    settings, seed = changes.pop("settings", {"limit": 2}), changes.pop("seed", 0)
    record = {
        "schema": SCHEMA,
        "rule": rule,
        "command": ["python", f"workflow/scripts/{rule}.py"],
        "settings": settings,
        "settings_sha256": hash_settings(settings),
        "identity": "0123456789abcdef",
        "fingerprint": fingerprint(rule, "ast1:0", settings, seed, described),
        "inputs": described,
        "outputs": {name: _output(root, path) for name, path in outputs.items()},
        "code": {"commit": "c" * 40, "dirty": False, "digest": "ast1:0", "files": {f"workflow/scripts/{rule}.py": "b" * 40}},
        "environment": {"python": "3.11.7", "platform": "Linux", "packages": {"torch": "2.13.0"}, "lock_sha256": None},
        "hardware": {"cpu": "a CPU", "cores": 2, "memory_bytes": 1, "gpu": None},
        "slurm": None,
        "seed": seed,
        "threads": 1,
        "time": {"start": "2026-01-01T00:00:00+00:00", "end": "2026-01-01T00:01:00+00:00", "wall_seconds": 60.0,
                 "cpu_seconds": 59.0},
        "peak_memory_bytes": 1000,
        "energy": {"watt_hours": None, "method": "unavailable"},
        "failed_attempts": [],
        "facts": {},
        "warnings": [],
        **changes,
    }  # fmt: skip
    for path in outputs.values():
        write_json(record_path(root / path), seal(record))


def _input(root: Path, path: str) -> dict[str, Any]:
    found = root / path
    digest = sha256_tree(found) if found.exists() else hashlib.sha256(path.encode()).hexdigest()
    return {"path": path, "sha256": digest, "bytes": 1, "record_sha256": None}


def _output(root: Path, path: str) -> dict[str, Any]:
    found = root / path
    if found.is_file():
        return {"path": path, "sha256": sha256_file(found), "bytes": found.stat().st_size, "files": {}}
    files = {file.relative_to(found).as_posix(): sha256_file(file) for file in list_tree(found)}
    return {"path": path, "sha256": sha256_lines(files), "bytes": 1, "files": files}


def write_rows(path: Path) -> None:
    """Two rows as `datasets` writes them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, ROWS.schema) as stream:
        stream.write_table(ROWS)


def write_results(
    root: Path,
    raw: str = "resources/data/hub/race-middle/train.jsonl.gz",
    base: str = "smollm2-135m-instruct",
    **training: Any,
) -> Path:
    """The folder `results` below `root`; `raw` and `base` are what its first steps read, `training` changes that record."""  # fmt: skip
    write_rows(root / DATA / "train/data-00000-of-00001.arrow")
    write_record(root, "prepare_dataset", {"files": [raw]}, {"output": DATA})
    (root / MODEL).mkdir(parents=True)
    (root / MODEL / "adapter_config.json").write_text("{}")
    settings = {
        "lora": {"rank": 8},
        "training": {"steps": 3, "betas": [0.9, 0.95]},
        "freeze": None,
        "tied": True,
    }
    own = {
        "facts": {"steps": 3, "tokens": 12, "training_seconds": 1.5, "dtype": "float32"},
        "settings": settings,
    }
    inputs = {"base": [f"resources/models/{base}"], "data": [DATA], "model": []}
    write_record(root, "train_sft", inputs, {"output": MODEL}, **{**own, **training})
    scores = {
        "task": "race-middle",
        "split": "test",
        "n": 4,
        "metrics": {"log": {"accuracy": 0.75}, "reward": {"accuracy": None}},
    }
    write_json(root / SCORES / "race-middle.json", scores)
    write_record(root, "evaluate_tasks", {"model": [MODEL], "datasets": [DATA]}, {"output": SCORES})
    tables = root / "results/dph/tables"
    tables.mkdir()
    (tables / "race.csv").write_text("run,accuracy\nsft,75\n")
    (tables / "race.md").write_text("| run |\n")
    outputs = {"csv": "results/dph/tables/race.csv", "audit": "results/dph/tables/race.audit.json"}
    write_json(root / outputs["audit"], [])
    write_record(root, "tabulate_scores", {"scores": [SCORES]}, outputs)
    return root / "results"


def open_results(root: Path, **arguments: Any) -> Store:
    """Write and open it."""
    return Store.open(write_results(root, **arguments))


def read_graph(crate: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The entities of a crate by identifier."""
    return {entity["@id"]: entity for entity in json.loads(json.dumps(crate))["@graph"]}
