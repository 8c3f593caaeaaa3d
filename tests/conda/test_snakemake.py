"""`snakemake --sdm conda` with the client and the channel of this folder; and what that client says of what it cannot do."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from preftune.commands import lock_envs
from preftune.commands.lock import CONDA, PYTHON
from preftune.errors import PreftuneError
from tests.checkout import copy_checkout
from tests.conda.channel import VERSION, build_channel
from tests.conda.rules import ROOT

CLIENT = ROOT / "tests/conda/bin"
SCENES = "resources/miniature/data/scenes"

pytestmark = pytest.mark.skipif(
    VERSION != PYTHON,
    reason=f"the local channel offers this machine's Python, {VERSION}, and envs/*.yaml ask for {PYTHON}",
)


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """With the client on PATH and the local channel in place of conda-forge."""
    channel = build_channel(tmp_path_factory.mktemp("channel"))
    path = f"{CLIENT}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path, "PREFTUNE_CONDA_FORGE": channel}


def test_a_step_of_the_workflow_runs_in_its_conda_environment(
    variables: dict[str, str], tmp_path: Path
) -> None:
    """The record names the packages of that environment; a second run has nothing to do."""
    checkout = copy_checkout(tmp_path / "preftune")
    told = [
        subprocess.run(
            [sys.executable, "-m", "snakemake", "--sdm", "conda", "--cores", "1",
             "--configfile", "tests/e2e/miniature.yaml", "--", SCENES],
            cwd=checkout, env=variables | {"PREFTUNE_CONDA_COPY_FROM": sys.prefix, "PYTHONPATH": str(checkout / "src")},
            capture_output=True, text=True, check=False,
        )
        for _ in range(2)
    ]  # fmt: skip
    for done in told:
        assert done.returncode == 0, done.stdout + done.stderr
    assert "Creating conda environment envs/train.yaml" in told[0].stderr
    assert "Activating conda environment: .snakemake/conda/" in told[0].stderr
    assert "Nothing to be done" in told[1].stderr
    record = json.loads((checkout / SCENES / "run.json").read_text())
    packages = record["environment"]["packages"]
    assert record["rule"] == "generate_scenes" and "torch" in packages
    assert (
        not {"snakemake", "matplotlib"} & packages.keys()
    )  # which the environment that runs Snakemake holds


def test_the_pip_section_is_installed_by_pip(variables: dict[str, str], tmp_path: Path) -> None:
    wheel = tmp_path / "hello-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("hello.py", "NAME = 'world'\n")
        archive.writestr("hello-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: hello\nVersion: 1.0\n")
        archive.writestr(
            "hello-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("hello-1.0.dist-info/RECORD", "")
    file = tmp_path / "hello.yaml"
    described = {"channels": ["conda-forge", "nodefaults"], "dependencies": [*CONDA, {"pip": [str(wheel)]}]}
    file.write_text(yaml.safe_dump(described))
    prefix = tmp_path / "env"
    subprocess.run(
        [CLIENT / "conda", "env", "create", "--file", file, "--prefix", prefix], env=variables, check=True
    )
    code = "import hello, sys; print(hello.NAME, sys.prefix)"
    done = subprocess.run([prefix / "bin/python", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["world", str(prefix)]


@pytest.mark.parametrize(
    ("dependencies", "sentence"),
    [
        (["python=2.7"], "python=2.7 cannot be solved on"),
        ([*CONDA, {"pip": ["torch==0.1"]}], "torch==0.1 is asked for, and in"),
        ([*CONDA, {"pip": ["no-such-package==1.0"]}], "it is missing"),
    ],
)
def test_what_cannot_be_made_is_one_sentence(
    variables: dict[str, str], tmp_path: Path, dependencies: list, sentence: str
) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(yaml.safe_dump({"channels": ["conda-forge"], "dependencies": dependencies}))
    done = subprocess.run(
        [CLIENT / "conda", "env", "create", "--file", file, "--prefix", tmp_path / "env"],
        env=variables | {"PREFTUNE_CONDA_COPY_FROM": sys.prefix}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1 and sentence in done.stderr and done.stderr.count("\n") == 1


def test_lock_envs_writes_the_solved_builds(
    variables: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the client that is on PATH; without one, or without the channel, it is one sentence."""
    monkeypatch.setattr(lock_envs, "ROOT", tmp_path)
    for name in ("PATH", "PREFTUNE_CONDA_FORGE"):
        monkeypatch.setenv(name, variables[name])
    lines = lock_envs.write_solved_packages().read_text().splitlines()
    assert lines[1:] == [f"{spec}=local_0" for spec in sorted(CONDA)]
    monkeypatch.setenv("PREFTUNE_CONDA_FORGE", (tmp_path / "nowhere").as_uri())
    with pytest.raises(PreftuneError, match=r"could not solve .* where that channel can be reached"):
        lock_envs.write_solved_packages()
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    with pytest.raises(PreftuneError, match="No conda client is on PATH"):
        lock_envs.write_solved_packages()
