"""`preftune audit`: whether every result is what was made, from raw data to the printed digits."""

import os
import sys
from pathlib import Path

from rich.console import Console

from preftune.errors import PreftuneError
from preftune.files import hold_lock, write_json
from preftune.provenance.audit import Audit, audit_results
from preftune.provenance.digest import ROOT
from preftune.provenance.links import LINKS
from preftune.provenance.records import FAILING
from preftune.workflow.plan import Plan

SHOWN = 20


def run_audit(plan: Plan | None, results: Path | None, deep: bool, output: Path | None) -> int:
    """Audit a scale's results, or the folder `results`; 0 when nothing failed.

    A folder below results/published/ is a copy without weights and rows, of the day when it was published.
    """
    folder = (results or ROOT / (plan.config.results if plan else "results")).absolute().resolve()
    published = folder.parent.name == "published"
    refuse_while_running(folder)
    audit = audit_results(folder, plan, deep, published)
    if output is not None:
        write_json(output, audit.as_json())
    print(describe(audit))
    sys.stdout.flush()
    return 1 if audit.failed else 0


def refuse_while_running(folder: Path) -> None:
    """Raise PreftuneError while a run writes to the folder: what is half done would be reported as damage."""
    if (folder / ".lock").is_file() and os.access(folder / ".lock", os.W_OK):
        with hold_lock(
            folder / ".lock", "an audit", f"A run is writing to {folder}: wait for it, then audit."
        ):
            pass


def describe(audit: Audit) -> str:
    """What was found, the first broken link first, with the command that repairs it."""
    console = Console(width=118, highlight=False, markup=False)
    with console.capture() as text:
        failed = audit.failed
        if failed:
            first = failed[0]
            console.print(f"first broken link: {first.says}", soft_wrap=True)
            console.print(f"    repair: {first.repair}", soft_wrap=True)
            broken = [table for table in audit.tables if table.first_broken_link]
            console.print(f"{len(broken)} of {len(audit.tables)} tables rest on what failed:")
            for table in broken:
                assert table.first_broken_link is not None
                console.print(f"    {table.table}: {table.first_broken_link.place}")
        for grade in (*FAILING, "waived", "absent", "note"):
            own = [fault for fault in audit.faults if fault.grade == grade]
            if own:
                console.print(f"{grade}: {len(own)}")
                for fault in own[: SHOWN if grade in FAILING else 3]:
                    console.print(f"    {fault.says}")
                rest = len(own) - (SHOWN if grade in FAILING else 3)
                if rest > 0:
                    console.print(f"    ... and {rest} more (--output FILE lists all)")
        counts = [(name, sum(len(getattr(step, name)) for step in audit.links)) for name in LINKS]
        console.print(
            "links from a step to an input: "
            + ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in counts if n)
        )
        verdict = "FAILED" if failed else "passed"
        state = "publishable" if audit.publishable else "not publishable"
        console.print(
            f"audit of {audit.results} {verdict}: {audit.outputs} outputs, {audit.recomputed} of {len(audit.tables)} tables "
            f"computed again; {state}."
        )
    return text.get().rstrip()


def raise_if_failed(audit: Audit) -> None:
    """Raise PreftuneError with the first broken link."""
    if audit.failed:
        first = audit.failed[0]
        raise PreftuneError(
            f"{len(audit.failed)} faults, the first broken link: {first.says} Repair: {first.repair}"
        )
