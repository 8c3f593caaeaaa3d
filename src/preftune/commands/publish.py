"""`preftune publish`: copy a scale's tables, figures and records to results/published/ and renew the page that shows them."""

import subprocess
import sys

from preftune.commands.config import plan_of
from preftune.errors import PreftuneError
from preftune.provenance.digest import ROOT

PAGES = {"demo": "README.md", "small-cpu": "docs/results.md"}
"""Which page shows the tables of a scale."""


def publish_results(configfile: str) -> None:
    """Run the export step."""
    config = plan_of(configfile).config
    command = [sys.executable, "workflow/scripts/export_published.py", "--results", config.results]
    command += ["--destination", f"results/published/{config.scale}"]
    command += ["--page", PAGES[config.scale]] if config.scale in PAGES else []
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        raise PreftuneError("Nothing was published: see the sentence above.")
