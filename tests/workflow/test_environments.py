"""One source of versions: the lock, and what is made from it for conda and for containers."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.utils import canonicalize_name

from preftune.commands.lock import lock_files
from preftune.errors import PreftuneError
from preftune.provenance.digest import SCRIPTS, import_closure
from tests.conda.environments import pins_of
from tests.conda.rules import NAMES, ROOT, scripts_of

TORCH = "torch===2.13.0"
OPTIONAL = {"wandb"}  # switched on by a variable, and the user's to install


def pins(lines: list[str]) -> dict[str, str]:
    found = {}
    for line in lines:
        match = re.fullmatch(r"([A-Za-z0-9_.-]+)={2,3}([^=\s]+)", line.strip())
        if match:
            found[canonicalize_name(match[1])] = match[2]
    return found


def read_pins(name: str) -> dict[str, str]:
    return pins((ROOT / name).read_text().splitlines())


def test_everything_is_pinned_exactly() -> None:
    for name in ("requirements.txt", "requirements-cuda.txt"):
        lines = [line for line in (ROOT / name).read_text().splitlines() if not line.startswith("#")]
        assert len(lines) == len(read_pins(name))
    lock = read_pins("requirements.txt")
    assert len(lock) > 100 and lock["torch"] == "2.13.0" and lock["snakemake"] == "9.27.1"
    assert read_pins("requirements.in").items() <= lock.items()


def test_committed_files_are_what_make_lock_writes() -> None:
    different = [
        path.relative_to(ROOT).as_posix()
        for path, text in lock_files(ROOT).items()
        if not path.is_file() or path.read_text() != text
    ]
    assert not different, "run `make lock`"


def test_a_new_torch_without_an_index_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its CUDA build needs is asked of the package index, once for each version."""
    (tmp_path / "requirements.in").write_text((ROOT / "requirements.in").read_text())
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(PreftuneError, match=f"pip found no CUDA build of {TORCH}: run `make lock` on"):
        lock_files(tmp_path)


def test_environments_hold_the_versions_of_the_lock() -> None:
    assert NAMES == ["caption-metrics", "lm-eval", "tables", "train"]
    known = read_pins("requirements.txt") | read_pins("requirements-cuda.txt")
    for name in NAMES:
        packages = pins(pins_of(name))
        assert packages.items() <= known.items() and len(packages) == len(pins_of(name)) > 10
    # Snakemake would install from a pin file instead, and leave out the pip section.
    assert not list((ROOT / "envs").glob("*.pin.txt"))


def test_torch_is_the_cuda_build_wherever_an_environment_is_made() -> None:
    """By its name, `===` and not `==`, and with every package that this build needs."""
    cuda = read_pins("requirements-cuda.txt").items()
    assert len(cuda) > 10
    for name in NAMES:
        listed = pins_of(name)
        assert (TORCH in listed) == (name in ("lm-eval", "train"))
        assert (cuda <= pins(listed).items()) == (TORCH in listed) and "torch==2.13.0" not in listed
    container = (ROOT / "envs/Containerfile").read_text()
    assert TORCH in container and "-r /opt/preftune/requirements-cuda.txt" in container


def test_every_rule_that_calls_a_script_has_one_environment() -> None:
    rules = {script: [name for name in NAMES if script in scripts_of(name)] for script in all_scripts()}
    by_hand = {"export_published", "generate_best_of"}
    assert {script for script, names in rules.items() if not names} == by_hand
    assert all(len(names) == 1 for script, names in rules.items() if script not in by_hand)


def test_the_weekly_check_knows_every_environment() -> None:
    weekly = yaml.safe_load((ROOT / ".github/workflows/environments.yml").read_text())
    assert weekly["jobs"]["conda"]["strategy"]["matrix"]["environment"] == NAMES


def all_scripts() -> list[str]:
    return sorted(path.stem for path in SCRIPTS.glob("[a-z]*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_an_environment_holds_all_that_its_scripts_import(name: str) -> None:
    """Theirs and that of every module of ours that they import, in functions too."""
    distributions = packages_distributions()
    held = pins(pins_of(name))
    own = {"preftune", "_repo", *all_scripts(), *sys.stdlib_module_names}
    for script in scripts_of(name):
        for path in import_closure(script):
            for module in imported(path) - own - OPTIONAL:
                found = {canonicalize_name(item) for item in distributions.get(module, [module])}
                assert found & held.keys(), (
                    f"{path.relative_to(ROOT)} imports {module}, which envs/{name}.yaml lacks: "
                    f"{script} would fail there; add it to ENVIRONMENTS in src/preftune/commands/lock.py"
                )


@cache
def imported(path: Path) -> set[str]:
    """Top-level packages that a file imports when it runs."""
    return {name.split(".")[0] for name in walk_imports(ast.parse(path.read_text()))}


def walk_imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            yield from walk_imports(ast.Module(node.orelse, []))
        else:
            yield from walk_imports(node)


def make(*words: str) -> subprocess.CompletedProcess[str]:
    variables = {
        name: value
        for name, value in os.environ.items()
        if name != "ACCELERATOR" and not name.startswith("MAKE")
    }
    return subprocess.run(
        ["make", *words], cwd=ROOT, env=variables, capture_output=True, text=True, check=False
    )


def test_the_accelerator_is_said_and_stays(tmp_path: Path) -> None:
    """The CPU's build at first, then the one that was chosen last; a change installs torch again."""
    target = f"{tmp_path}/.installed"
    commands = {
        name: make("-n", f"VENV={tmp_path}", *words, target).stdout
        for name, words in (("", ()), ("cpu", ("ACCELERATOR=cpu",)), ("cuda", ("ACCELERATOR=cuda",)))
    }
    assert commands[""] == commands["cpu"] != commands["cuda"]
    assert "torch==2.13.0 --extra-index-url https://download.pytorch.org/whl/cpu" in commands["cpu"]
    assert f"{TORCH} -r requirements-cuda.txt" in commands["cuda"] and "whl/cpu" not in commands["cuda"]
    assert not any("--force-reinstall" in text for text in commands.values())
    for stamp in (".python", ".torch-cuda", ".installed"):
        (tmp_path / stamp).touch()
    assert make("-n", f"VENV={tmp_path}", target).stdout.strip().endswith("is up to date.")
    changed = make("-n", f"VENV={tmp_path}", "ACCELERATOR=cpu", target).stdout
    assert "--force-reinstall torch==2.13.0" in changed and "-r requirements.txt" in changed


def test_an_unknown_accelerator_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / ".python").touch()
    done = make(f"VENV={tmp_path}", "ACCELERATOR=tpu", f"{tmp_path}/.installed")
    assert done.returncode != 0
    assert done.stderr.startswith("error: ACCELERATOR=tpu is no build of torch: give cpu or cuda\n")
