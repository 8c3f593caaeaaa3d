"""The finished miniature: made once a session, read by every test of the whole workflow."""

import subprocess
import sys

import pytest

from tests.e2e.tiny_models import ROOT, make_tiny_models

CONFIG = "tests/e2e/miniature.yaml"


def run_workflow(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "preftune", "results", "--cores", "2", "--configfile", CONFIG, *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1200, check=False)


@pytest.fixture(scope="session")
def finished() -> subprocess.CompletedProcess[str]:
    make_tiny_models()
    done = run_workflow()
    assert done.returncode == 0, done.stderr[-6000:]
    return done
