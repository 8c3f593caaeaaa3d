"""`preftune waive`: declare that a change of code cannot change a number, so that nothing runs again."""

import fnmatch

from preftune.errors import PreftuneError
from preftune.files import atomic_write_text
from preftune.provenance.digest import ROOT, WAIVERS, code_digest, present_digest
from preftune.provenance.store import Store
from preftune.provenance.waivers import COLUMNS, canonical_digest, read_waivers
from preftune.workflow.plan import Plan


def write_waivers(plan: Plan, rules: str, reason: str) -> list[str]:
    """Add a row for each rule that matches a glob and whose results were made by other code; returns the rows.

    Raises:
        PreftuneError: no rule of that name has results by other code, or its results are of several codes.
    """
    if not reason.strip() or "\t" in reason or "\n" in reason:
        raise PreftuneError("--reason: say in one line, without tabs, why the change cannot change a number.")
    store = Store.open(ROOT / plan.config.results)
    digests: dict[str, set[str]] = {}
    waivers = read_waivers(WAIVERS)
    for record in store.steps:
        if fnmatch.fnmatchcase(record.rule, rules):
            made = canonical_digest(record.rule, record.facts["code"]["digest"], waivers)
            digests.setdefault(record.rule, set()).add(made)
    rows = []
    for rule, found in sorted(digests.items()):
        old = found - {code_digest(rule)}
        if not old or (rule, present_digest(rule)) in waivers:
            continue
        if len(old) > 1:
            raise PreftuneError(
                f"{rule}: its results were made by {len(old)} versions of its code: make them again with one, or waive by hand "
                f"in {WAIVERS.relative_to(ROOT)}."
            )
        rows.append("\t".join((rule, old.pop(), present_digest(rule), reason)))
    if not rows:
        raise PreftuneError(f"No rule {rules} has results by other code than now: nothing to waive.")
    text = WAIVERS.read_text() if WAIVERS.is_file() else "\t".join(COLUMNS) + "\n"
    atomic_write_text(WAIVERS, text + "".join(f"{row}\n" for row in rows))
    return rows
