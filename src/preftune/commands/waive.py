"""`preftune waive`: declare that a change of code cannot change a number, so that nothing runs again."""

import fnmatch

from preftune.commands.config import plan_of
from preftune.errors import PreftuneError
from preftune.files import atomic_write_text
from preftune.provenance.digest import ROOT, WAIVERS, code_digest, present_digest
from preftune.provenance.records import Store
from preftune.provenance.waivers import COLUMNS


def write_waivers(configfile: str, rules: str, reason: str) -> list[str]:
    """Add a row for each rule that matches a glob and whose results were made by other code; returns the rows.

    Raises:
        PreftuneError: no rule of that name has results by other code, or its results are of several codes.
    """
    if not reason.strip() or "\t" in reason or "\n" in reason:
        raise PreftuneError("--reason: say in one line, without tabs, why the change cannot change a number.")
    store = Store.open(ROOT / plan_of(configfile).config.results)
    digests: dict[str, set[str]] = {}
    for record in store.makers.values():
        if fnmatch.fnmatchcase(record.rule, rules):
            digests.setdefault(record.rule, set()).add(record.facts["code"]["digest"])
    rows = []
    for rule, found in sorted(digests.items()):
        old = found - {present_digest(rule)}
        if code_digest(rule) in found or not old:
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
