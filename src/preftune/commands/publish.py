"""`preftune publish`: copy a scale's tables, figures and records to results/published/ and write the README's tables."""

import subprocess
import sys

from preftune.commands.config import plan_of
from preftune.errors import PreftuneError
from preftune.provenance.digest import ROOT


def publish_results(configfile: str) -> None:
    """Run the export step; the README shows the demo's tables only."""
    config = plan_of(configfile).config
    command = [sys.executable, "workflow/scripts/export_published.py", "--results", config.results]
    command += ["--destination", f"results/published/{config.scale}"]
    command += ["--readme", "README.md"] if config.scale == "demo" else []
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        raise PreftuneError("Nothing was published: see the sentence above.")
