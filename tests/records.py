"""Records of steps that never ran, for tests of what reads records."""

from pathlib import Path
from typing import Any

from preftune.files import list_tree, sha256_file, sha256_tree, write_json
from preftune.provenance.record import SCHEMA, hash_settings, record_path, seal


def write_step(
    root: Path, rule: str, output: str, inputs: tuple[str, ...] = (), prefix: str = "results", **facts: Any
) -> dict[str, Any]:
    """A record of `rule` beside `root/output`, which is there already; inputs are outputs of other records below `root`."""
    path = root / output
    settings = facts.pop("settings", {})
    run = {
        "schema": SCHEMA,
        "rule": rule,
        "command": ["python", f"workflow/scripts/{rule}.py"],
        "settings": settings,
        "settings_sha256": hash_settings(settings),
        "identity": "0" * 16,
        "fingerprint": "0" * 8,
        "inputs": {"files": [_input(root, name, prefix) for name in inputs]},
        "outputs": {"output": _output(path, f"{prefix}/{output}")},
        "code": {"commit": None, "dirty": None, "digest": "ast1:0", "files": {}},
        "environment": {"python": "3.11", "platform": "Linux", "packages": {}, "lock_sha256": None},
        "hardware": {"cpu": "CPU", "cores": 2, "memory_bytes": 2**30, "gpu": None},
        "slurm": None,
        "seed": 0,
        "threads": 1,
        "time": {"start": "2026-01-01T00:00:00+00:00", "end": "2026-01-01T00:00:01+00:00", "wall_seconds": 1.0,
                 "cpu_seconds": 1.0},
        "peak_memory_bytes": 2**20,
        "energy": {"watt_hours": None, "method": "unavailable"},
        "failed_attempts": [],
        "facts": {},
        "warnings": [],
    }  # fmt: skip
    sealed = seal(run | facts)
    write_json(record_path(path), sealed)
    return sealed


def _input(root: Path, name: str, prefix: str) -> dict[str, Any]:
    path = root / name
    record = record_path(path)
    return {
        "path": f"{prefix}/{name}",
        "sha256": sha256_tree(path),
        "bytes": 1,
        "record_sha256": sha256_file(record) if record.is_file() else None,
    }


def _output(path: Path, name: str) -> dict[str, Any]:
    files = (
        {file.relative_to(path).as_posix(): sha256_file(file) for file in list_tree(path)}
        if path.is_dir()
        else {}
    )
    return {"path": name, "sha256": sha256_tree(path), "bytes": 1, "files": files}
