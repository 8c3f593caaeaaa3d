"""Calls the validators, which live in an environment of their own: see requirements-validators.txt."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from preftune.provenance.digest import ROOT

PYTHON = Path(os.environ.get("PREFTUNE_VALIDATORS", ROOT / ".venv/validators/bin/python"))
needs_validators = pytest.mark.skipif(
    not PYTHON.is_file(), reason="the validators are not installed: see requirements-validators.txt"
)


def validate(what: str, *paths: Path) -> dict[str, Any]:
    """What they find wrong with a crate or with cards."""
    command = [str(PYTHON), str(Path(__file__).with_name("validate.py")), what, *map(str, paths)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))
