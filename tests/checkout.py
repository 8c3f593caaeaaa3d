"""A copy of what the checkout holds now, committed, for tests that change it or run in it."""

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def git(checkout: Path, *words: str) -> str:
    """The output of a git command."""
    command = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost", *words]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=True).stdout


def copy_checkout(folder: Path) -> Path:
    """Tracked and new files that git does not ignore, without the published results."""
    for name in git(ROOT, "ls-files", "-co", "--exclude-standard").splitlines():
        if (ROOT / name).is_file() and not name.startswith("results/published"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "start")
    return folder
