"""How tests run the whole workflow at its miniature scale."""

import subprocess
import sys

from tests.e2e.tiny_models import ROOT

CONFIG = "tests/e2e/miniature.yaml"


def run_workflow(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "preftune", "results", "--cores", "2", "--configfile", CONFIG, *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1200, check=False)
