"""What every test gets: the library on the path of child processes, few threads, no network libraries online."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

os.environ["PYTHONPATH"] = str(ROOT / "src")
os.environ["PATH"] = f"{ROOT / '.venv/bin'}{os.pathsep}{os.environ['PATH']}"
os.environ.update(
    OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false"
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the tiny language model of `tests.tiny`."""
    from tests.tiny import tiny_language_model  # imports torch, which reads the variables above

    folder = tmp_path_factory.mktemp("base")
    tiny_language_model(folder)
    return folder


@pytest.fixture(scope="session")
def finished() -> subprocess.CompletedProcess[str]:
    """The finished miniature: made once a session, read by every test of the whole workflow."""
    from tests.e2e.conftest import run_workflow
    from tests.e2e.tiny_models import make_tiny_models

    make_tiny_models()
    done = run_workflow()
    assert done.returncode == 0, done.stderr[-6000:]
    return done
