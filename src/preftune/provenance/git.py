"""What git knows of this checkout's files, at any commit."""

import subprocess

from preftune.provenance.digest import ROOT


def ask_git(*words: str) -> bytes | None:
    """What a git command prints, or None where it fails or git is not installed."""
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None
