"""Join what `make pack` wrote: `python3 -m preftune.commands.unpack FOLDER`. Runs before anything is installed, so it needs nothing
but Python and, for inputs, the pip of the Python that runs it.
"""

import argparse
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from preftune.errors import PreftuneError
from preftune.pieces import join_pieces, read_manifest

ROOT = Path(__file__).resolve().parents[3]
WHEELS = "resources/wheels"
"""Where unpacked wheels lie: those of models, and of packages."""
HISTORY = "scratch/pack/checkout.git"
"""Where the present commit lies unpacked, for a checkout that was copied without its history: records name it."""
ENVIRONMENT = ".venv"
_INSTALLED = (".python", ".torch-cuda", ".installed", ".installed-dev")
"""What the Makefile takes for the sign of an installed environment, in this order."""


def unpack(folder: Path, root: Path = ROOT) -> str:
    """Verify and join a folder of pieces into the checkout; of inputs also make the environment; returns what was done.

    Raises:
        PreftuneError: a piece is missing or damaged, or this Python is not the one that the packages are for.
    """
    manifest = read_manifest(folder)
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    if manifest.get("python", own) != own:
        raise PreftuneError(
            f"The packages of {folder} are for Python {manifest['python']}, this is {own}: call it with that Python, or pack for "
            "this one (envs/machine.txt)."
        )
    join_pieces(folder, root)
    done = [f"{manifest['files']} files of {len(manifest['parts'])} pieces, all as they were packed"]
    if manifest["kind"] == "inputs":
        done += [_restore_commit(root), _make_environment(root, manifest["install"])]
    return "; ".join(done)


def _restore_commit(root: Path) -> str:
    """Give a checkout without history the commit that it was copied from."""
    history, own = root / HISTORY, root / ".git"
    if own.exists() or not history.is_dir() or shutil.which("git") is None:
        return "git as it was"
    for empty in ("refs", "objects"):
        (history / empty).mkdir(exist_ok=True)
    history.rename(own)
    for words in (("config", "core.bare", "false"), ("reset", "--quiet")):
        command = ["git", "-c", "safe.directory=*", "-C", str(root), *words]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            own.rename(history)
            return f"the commit not restored ({done.stderr.strip()[:200]})"
    return "the commit restored"


def _make_environment(root: Path, install: list[str]) -> str:
    """`.venv` over what this Python has, torch above all, with the carried packages in front of it and their wheels as pip's index."""
    place = root / ENVIRONMENT
    if (place / _INSTALLED[-1]).is_file():
        return f"{ENVIRONMENT} as it was"
    venv.EnvBuilder(with_pip=False, symlinks=True, clear=True).create(place)
    python = place / "bin" / "python"
    site = Path(sysconfig.get_path("purelib", "venv", {"base": str(place), "platbase": str(place)}))
    below = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    lines = [f"import site; site.addsitedir({path!r})" for path in below]
    (site / "machine.pth").write_text("\n".join(lines) + "\n")
    (place / "pip.conf").write_text(f"[global]\nno-index = true\nfind-links = {root / WHEELS}\n")
    wheels = [str(root / WHEELS / name) for name in install]
    words = [
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
        "--quiet",
        "--no-deps",
        "--no-compile",
        "--ignore-installed",
    ]
    done = subprocess.run([str(python), *words, *wheels], capture_output=True, text=True, check=False)
    if done.returncode:
        raise PreftuneError(
            f"The carried packages could not be installed into {place}: {done.stderr.strip()[-300:]}"
        )
    for name in _INSTALLED:
        (place / name).touch()
    return f"{len(install)} packages installed into {ENVIRONMENT}"


def main(arguments: list[str] | None = None) -> int:
    """Entry."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of pieces with its manifest.json")
    try:
        print(unpack(parser.parse_args(arguments).folder))
    except PreftuneError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
