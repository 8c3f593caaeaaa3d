"""One source of versions: the lock, and environments made from it."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]


def pins(lines: list[str]) -> dict[str, str]:
    found = {}
    for line in lines:
        match = re.fullmatch(r"([A-Za-z0-9_.-]+)==(\S+)", line.strip())
        if match:
            found[match[1].lower().replace("_", "-")] = match[2]
    return found


def lock() -> dict[str, str]:
    return pins((ROOT / "requirements.txt").read_text().splitlines())


def test_everything_is_pinned_exactly() -> None:
    lines = [
        line for line in (ROOT / "requirements.txt").read_text().splitlines() if not line.startswith("#")
    ]
    assert len(lines) == len(lock()) > 100
    assert lock()["torch"] == "2.13.0" and lock()["snakemake"] == "9.27.1"
    direct = pins((ROOT / "requirements.in").read_text().splitlines())
    assert direct.items() <= lock().items()


def test_environments_hold_the_versions_of_the_lock() -> None:
    files = sorted((ROOT / "envs").glob("*.yaml"))
    assert [path.stem for path in files] == ["caption-metrics", "lm-eval", "tables", "train"]
    for path in files:
        dependencies = yaml.safe_load(path.read_text())["dependencies"]
        assert dependencies[0] == "python=3.11.7"
        packages = pins(dependencies[-1]["pip"])
        assert packages.items() <= lock().items() and len(packages) > 10


def test_every_conda_directive_names_an_environment() -> None:
    for path in (ROOT / "workflow/rules").glob("*.smk"):
        for name in re.findall(r'"\.\./\.\./envs/([\w-]+)\.yaml"', path.read_text()):
            assert (ROOT / f"envs/{name}.yaml").is_file()
