"""`run.json`: the record that every step leaves beside its output (JSON Schema: config/schemas/run.schema.json)."""

import hashlib
import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from preftune import memory
from preftune.errors import PreftuneError
from preftune.files import list_tree, read_json, sha256_file, sha256_lines
from preftune.provenance.digest import ROOT, blob_hash, import_closure, present_digest

SCHEMA = "preftune/run/2"
_PACKAGES = (
    "torch", "transformers", "tokenizers", "peft", "datasets", "numpy", "pyarrow", "safetensors", "lm-eval",
    "pycocoevalcap", "pandas", "scipy", "scikit-learn", "matplotlib", "pydantic", "snakemake",
)  # fmt: skip


def record_path(output: Path) -> Path:
    """Where the record of an output lies: `run.json` in a folder, `x.run.json` beside a file `x.y`."""
    return output / "run.json" if output.is_dir() else output.with_suffix(".run.json")


def public_path(path: Path | str) -> str:
    """A path relative to the checkout, or `external:<name>`: records hold no absolute path."""
    absolute = Path(os.path.abspath(path))
    return (
        absolute.relative_to(ROOT).as_posix()
        if absolute.is_relative_to(ROOT)
        else f"external:{absolute.name}"
    )


def public_argument(argument: str) -> str:
    """A command-line word, or a sentence, with absolute paths made relative to the checkout."""
    return public_path(argument) if argument.startswith("/") else argument.replace(f"{ROOT}/", "")


def hash_settings(settings: Any) -> str:
    """SHA-256 of settings as canonical JSON."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def seal(run: dict[str, Any]) -> dict[str, Any]:
    """The record with the hash of all its other fields: an edited record no longer carries its own hash."""
    return {**run, "sha256": hash_settings({key: value for key, value in run.items() if key != "sha256"})}


def fingerprint(
    rule: str, digest: str, settings: Any, seed: int, inputs: dict[str, list[dict[str, Any]]]
) -> str:
    """Eight hex digits of what an output was made from: rule, code, settings, seed and the content of the inputs.

    Printed under tables and figures, and stored in the files of the figures.
    """
    contents = {name: [item["sha256"] for item in items] for name, items in inputs.items()}
    return hash_settings([rule, digest, settings, seed, contents])[:8]


def describe_input(path: Path) -> dict[str, Any]:
    """Path, content hash and size of an input, and the hash of its own record: the link of the chain.

    Raises:
        PreftuneError: a file of the input is not what its record says, as after an edit by hand.
    """
    record = record_path(path)
    files = describe_files(path)
    if record.is_file():
        _compare(path, files, record)
    return {
        "path": public_path(path),
        "sha256": sha256_lines(files) if path.is_dir() else files[""],
        "bytes": _size(path),
        "record_sha256": sha256_file(record) if record.is_file() else None,
    }


def describe_files(path: Path) -> dict[str, str]:
    """Hash of every file of a folder by relative path, or of a file under the name ``."""
    if not path.is_dir():
        return {"": sha256_file(path)}
    return {file.relative_to(path).as_posix(): sha256_file(file) for file in list_tree(path)}


def _compare(path: Path, files: dict[str, str], record: Path) -> None:
    """Raise PreftuneError where a file differs from what the record of its step states."""
    outputs = list(read_json(record).get("outputs", {}).values())
    name = public_path(path)
    # Where a folder was moved or renamed since, its record still names the former place.
    own = [output for output in outputs if output["path"] == name] or (outputs if path.is_dir() else [])
    stated = [output["files"] or {"": output["sha256"]} for output in own]
    wrong = [file for file in files if stated and all(files[file] != one.get(file) for one in stated)]
    if wrong:
        raise PreftuneError(
            f"{(path / wrong[0]) if wrong[0] else path} is not what {public_path(record)} says was written: it was changed by "
            f"hand or damaged. Make it again: add --forcerun {name} to `preftune results`."
        )


def describe_output(path: Path, declared: Path) -> dict[str, Any]:
    """Declared path, content hash, size and, for a folder, the hash of every file."""
    files = describe_files(path)
    content = sha256_lines(files) if path.is_dir() else files.pop("")
    return {"path": public_path(declared), "sha256": content, "bytes": _size(path), "files": files}


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in list_tree(path)) if path.is_dir() else path.stat().st_size


def describe_code(rule: str) -> dict[str, Any]:
    """Commit, dirty flag, digest of the import closure and the git blob of each of its files."""
    closure = {path.relative_to(ROOT).as_posix(): blob_hash(path) for path in import_closure(rule)}
    return {**describe_git(), "digest": present_digest(rule), "files": closure}


@cache
def describe_git() -> dict[str, Any]:
    """Commit of the checkout and whether it is dirty: tracked files differ, or new ones could take part; null without git."""

    def git(*words: str) -> str | None:
        done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else None

    try:
        changes = git("status", "--porcelain", "--untracked-files=no")
        if changes == "":
            changes = git("ls-files", "--others", "--exclude-standard", "src", "workflow", "config")
        return {"commit": git("rev-parse", "HEAD"), "dirty": None if changes is None else bool(changes)}
    except FileNotFoundError:
        return {"commit": None, "dirty": None}


def describe_environment() -> dict[str, Any]:
    """Python, platform, versions of the packages that numbers depend on, and the hash of the lock file."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    lock = ROOT / "requirements.txt"
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()}-{platform.machine()}",
        "packages": versions,
        "lock_sha256": sha256_file(lock) if lock.is_file() else None,
    }


def describe_hardware(device: str) -> dict[str, Any]:
    """CPU model, cores and memory; the GPU where torch runs on one. No host name."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [
            line.split(":", 1)[1].strip()
            for line in info.read_text().splitlines()
            if line.startswith("model name")
        ]
        model = names[0] if names else model
    gpu = None
    torch = sys.modules.get("torch")
    if device != "cpu" and torch is not None and torch.cuda.is_available():
        gpu = {"name": torch.cuda.get_device_name(), "count": torch.cuda.device_count()}
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"cpu": model, "cores": os.cpu_count(), "memory_bytes": memory, "gpu": gpu}


def describe_slurm() -> dict[str, Any] | None:
    """Job id and restart count under SLURM, else null."""
    job = os.environ.get("SLURM_JOB_ID")
    return {"job_id": job, "restart_count": int(os.environ.get("SLURM_RESTART_COUNT", "0"))} if job else None


def peak_memory_bytes() -> int:
    """Largest resident set of this process so far, in bytes."""
    return memory.peak_bytes()


def now() -> str:
    """The present moment, UTC, ISO 8601 with seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")
