"""`preftune publish`: copy a scale's tables, figures and records to results/published/ and renew the page that shows them."""

import subprocess
import sys
import tempfile
from pathlib import Path

from preftune.commands.audit import raise_if_failed
from preftune.errors import PreftuneError
from preftune.files import write_json
from preftune.provenance.audit import audit_results
from preftune.provenance.digest import ROOT
from preftune.tables.pages import PAGES, renew_numbers
from preftune.workflow.plan import Plan


def publish_results(plan: Plan) -> None:
    """Audit the results and run the export step.

    Raises:
        PreftuneError: the results are not publishable, by their audit, or something in them tells who made them.
    """
    config = plan.config
    audit = audit_results((ROOT / config.results).resolve(), plan)
    raise_if_failed(audit)
    if not audit.publishable:
        dirty = next(fault for fault in audit.faults if fault.unpublishable)
        raise PreftuneError(
            f"{config.results} is not publishable: {dirty.says} Commit, then: make results FORCE={dirty.place}"
        )
    command = [sys.executable, "workflow/scripts/export_published.py", "--results", config.results]
    command += ["--destination", f"results/published/{config.scale}"]
    command += ["--page", PAGES[config.scale]] if config.scale in PAGES else []
    with tempfile.TemporaryDirectory() as scratch:
        write_json(Path(scratch, "audit.json"), audit.as_json())
        command += ["--audit", str(Path(scratch, "audit.json"))]
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            raise PreftuneError("Nothing was published: see the sentence above.")
    renew_numbers()
