"""A running cluster, and a copy of the checkout whose workflow runs on it."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from preftune.commands.lock import PYTHON
from tests.checkout import copy_checkout
from tests.conda.channel import VERSION, build_channel
from tests.e2e.tiny_models import ROOT, make_tiny_models
from tests.slurm.cluster import Cluster, lacking, run, wait_until

MINIATURE = "tests/e2e/miniature.yaml"
QUICK = (
    "--slurm-init-seconds-before-status-checks",
    "1",
    "--seconds-between-status-checks",
    "2",
    "--latency-wait",
    "20",
)
SITE = "partitions: {cpu: cpu, gpu: gpu}\naccount: ml\ngpu_model: a100\n"


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The cluster, up."""
    if why := lacking():
        pytest.skip(why)
    root = Path(tempfile.mkdtemp(prefix="preftune-slurm-"))
    made = Cluster(root)
    made.up()
    yield made
    made.down()
    shutil.rmtree(root, ignore_errors=True)


class Workflow:
    """A copy of the checkout; `snakemake --profile slurm` is called in it.

    Attributes:
        folder: the copy.
        channel: the local one that stands for conda-forge (tests/conda).
        config: the scale's file, the miniature's unless a test writes its own.
    """

    def __init__(self, folder: Path, channel: str) -> None:
        self.folder, self.channel, self.config = folder, channel, MINIATURE

    def write_site(self, text: str = SITE) -> None:
        """The site's file."""
        (self.folder / "slurm/site.yaml").write_text(text)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start `snakemake --profile slurm` in a process group of its own; its output goes to run.log."""
        command = [
            sys.executable,
            "-m",
            "snakemake",
            "--profile",
            "slurm",
            "--configfile",
            self.config,
            *QUICK,
            *words,
        ]
        self.log = self.folder / "run.log"
        with self.log.open("w") as log:
            return subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=subprocess.STDOUT, text=True,
                                    start_new_session=True, env=self.environment(), preexec_fn=hear_ctrl_c)  # fmt: skip

    def environment(self) -> dict[str, str]:
        """As in a shell on the login node, with a conda client on the PATH."""
        folders = (str(ROOT / "tests/conda/bin"), str(Path(sys.executable).parent), os.environ["PATH"])
        kept = {
            key: value for key, value in os.environ.items() if not key.startswith(("PYTEST", "PYTHONPATH"))
        }
        conda = {"PREFTUNE_CONDA_FORGE": self.channel, "PREFTUNE_CONDA_COPY_FROM": sys.prefix}
        return {**kept, **conda, "PATH": os.pathsep.join(folders), "OMP_NUM_THREADS": "1"}

    def finish(self, process: subprocess.Popen[str], seconds: float = 300) -> str:
        """Wait for a run's end; its output."""
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            cancel_all()
            raise AssertionError(f"it hangs after {seconds} s:\n{self.log.read_text()[-5000:]}") from None
        return self.log.read_text()

    def run(self, *words: str, seconds: float = 300, code: int | None = 0) -> str:
        """Run to the end and return the output."""
        process = self.start(*words)
        told = self.finish(process, seconds)
        assert code is None or process.returncode == code, told[-5000:]
        return told

    def wait_for_job(self, rule: str, state: str = "RUNNING", seconds: float = 90) -> str:
        """Wait until a job of a rule is in a state; its id."""

        def found() -> list[str]:
            lines = run("squeue", "--noheader", f"--states={state}", "--format=%A|%k").splitlines()
            return [line.split("|")[0] for line in lines if line.split("|")[1].startswith(f"rule_{rule}")]

        wait_until(found, f"a job of {rule} that is {state}", seconds)
        return found()[0]

    def change_config(self, **values: object) -> None:
        """A scale of its own: the miniature's file with other top-level keys (nested ones are merged)."""
        raw = yaml.safe_load((ROOT / MINIATURE).read_text())
        merge(raw, values)
        (self.folder / "own.yaml").write_text(yaml.safe_dump(raw))
        self.config = "own.yaml"


def hear_ctrl_c() -> None:
    """A shell without job control, as make's is, lets its background processes ignore SIGINT, and they their children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def submissions(told: str) -> list[str]:
    """SLURM's ids of the jobs that a run submitted."""
    return re.findall(r"has been submitted with SLURM jobid (\d+)", told)


def merge(raw: dict[str, object], values: dict[str, object]) -> None:
    """Merge nested values into a configuration."""
    for key, value in values.items():
        if isinstance(value, dict) and isinstance(raw.get(key), dict):
            merge(raw[key], value)  # type: ignore[arg-type]
        else:
            raw[key] = value


def cancel_all() -> None:
    """Cancel whatever a test left, and wait until it is gone."""
    run("scancel", "--user=root", check=False)
    wait_until(lambda: not run("squeue", "--noheader", check=False), "an empty queue", 60)


@pytest.fixture(scope="session")
def workflow(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """The miniature in a copy of the checkout."""
    if VERSION != PYTHON:
        pytest.skip(
            f"envs/*.yaml ask for Python {PYTHON}, and the tests' conda channel offers this machine's, {VERSION}"
        )
    folder = copy_checkout(tmp_path_factory.mktemp("cluster") / "preftune")
    make_tiny_models(folder / "scratch" / "miniature")
    made = Workflow(folder, build_channel(tmp_path_factory.mktemp("channel")))
    made.write_site()
    return made


@pytest.fixture(autouse=True)
def _empty_queue(request: pytest.FixtureRequest) -> Iterator[None]:
    """No test meets the jobs of another one."""
    yield
    if "cluster" in request.fixturenames:
        cancel_all()
