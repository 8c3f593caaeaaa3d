"""What results were made with, against what is here now: code, environment, settings, data, seeds; and what failed."""

from collections.abc import Iterator, Sequence
from functools import cache

from preftune.errors import PreftuneError
from preftune.files import read_json
from preftune.provenance.digest import ROOT, WAIVERS, code_digest, present_digest
from preftune.provenance.git import ask_git
from preftune.provenance.record import fingerprint
from preftune.provenance.records import PAPERS, Fault, Record, record_names
from preftune.provenance.store import Store
from preftune.provenance.waivers import canonical_digest, read_waivers
from preftune.tables.files import read_records
from preftune.workflow.outputs import list_outputs, list_selected
from preftune.workflow.plan import Plan


def check_code(store: Store) -> Iterator[Fault]:
    """The digest of each record's code against the present one, and its files against the commit that it names."""
    waivers = read_waivers(WAIVERS)
    for record in store.steps:
        made, digest = record.made, record.facts["code"]["digest"]
        try:
            present, canonical = present_digest(record.rule), code_digest(record.rule)
        except PreftuneError:
            says = f"{made} was made by the rule {record.rule}, which is no more."
            yield Fault("stale", made, says, store.remake(made))
            continue
        if digest != present:
            waived = canonical_digest(record.rule, digest, waivers) == canonical
            says = (
                f"{made} was made by other code of {record.rule} than now"
                f"{', which a waiver of config/code_equivalence.tsv declares equal' if waived else ''}."
            )
            yield Fault("waived" if waived else "stale", made, says, "" if waived else store.remake(made))
        yield from _check_commit(made, record)
        yield from _check_fingerprint(store, made, record)


def _check_commit(made: str, record: Record) -> Iterator[Fault]:
    code = record.facts["code"]
    if code["dirty"] or code["commit"] is None:
        says = f"{made} was made from a checkout with uncommitted changes."
        yield Fault("note", made, says, unpublishable=True)
        return
    blobs = _blobs(code["commit"])
    if blobs is None:
        yield Fault(
            "note", made, f"{made} was made from commit {code['commit'][:12]}, which this checkout lacks."
        )
        return
    for file, blob in code["files"].items():
        if blobs.get(file) != blob:
            says = f"{made} says that {file} was blob {blob[:12]} at commit {code['commit'][:12]}, where it is not."
            yield Fault("broken", made, says, "make it again from a clean checkout")
            return


@cache
def _blobs(commit: str) -> dict[str, str] | None:
    """Git's blob of every file at a commit, or None where git or the commit is missing."""
    listed = ask_git("ls-tree", "-r", commit)
    if listed is None:
        return None
    lines = (line.split("\t", 1) for line in listed.decode().splitlines())
    return {name: facts.split()[2] for facts, name in lines}


def _check_fingerprint(store: Store, made: str, record: Record) -> Iterator[Fault]:
    """The fingerprint of its day: by the digest that ran, or by the one that a waiver let stand for it."""
    facts = record.facts
    ran = facts["code"]["digest"]
    digests = {ran, canonical_digest(record.rule, ran, read_waivers(WAIVERS))}
    marks = {
        fingerprint(record.rule, digest, facts["settings"], facts["seed"], facts["inputs"])
        for digest in digests
    }
    if "fingerprint" in facts and facts["fingerprint"] not in marks:
        says = f"{made} carries the fingerprint {facts['fingerprint']}, its record gives {', '.join(sorted(marks))}."
        yield Fault("broken", made, says, store.remake(made))


def check_environment(store: Store) -> Iterator[Fault]:
    """The packages of each record against those that requirements.txt locks now."""
    locked = locked_versions()
    others: dict[str, list[str]] = {}
    for record in store.steps:
        for name, version in record.facts["environment"]["packages"].items():
            if name in locked and version.split("+")[0] != locked[name]:
                others.setdefault(f"{name} {version}, locked now {locked[name]}", []).append(record.made)
    for what, made in sorted(others.items()):
        says = f"{len(made)} results, {made[0]} first, were made with {what}."
        yield Fault("stale", made[0], says, store.remake(made[0]))


def locked_versions() -> dict[str, str]:
    """The packages and versions of requirements.txt."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    return dict(line.split("==", 1) for line in lines if "==" in line and not line.startswith("#"))


def check_uniformity(store: Store) -> Iterator[Fault]:
    """Versions, devices, commits and templates that differ between the scores of one table."""
    for record in store.tables:
        made = record.made
        scores = [one for one in store.upstream([made]) if one.rule.startswith("evaluate_")]
        for what, values in (
            (
                "package versions",
                {str(sorted(one.facts["environment"]["packages"].items())) for one in scores},
            ),
            ("devices", {str((one.facts["hardware"]["gpu"] or {}).get("name", "CPU")) for one in scores}),
            (
                "number types",
                {str(one.facts["facts"].get("dtype", "")).removeprefix("torch.") for one in scores} - {""},
            ),
            ("prompts", _templates(store, made)),
            *((f"code of {rule}", own) for rule, own in _digests(scores).items()),
        ):
            if len(values) > 1:
                yield Fault(
                    "note", made, f"the scores of {made} were made with {len(values)} kinds of {what}."
                )


def _templates(store: Store, made: str) -> set[str]:
    """The template sets that word the cells of a table."""
    path = store.locate(made).with_suffix(".audit.json")
    if not path.is_file():
        return set()
    try:
        return {one["sha256"] for cell in read_records(path) for one in cell.get("templates", [])}
    except PreftuneError:  # damaged: found by its hash
        return set()


def _digests(scores: Sequence[Record]) -> dict[str, set[str]]:
    """The code by which each rule scored."""
    found: dict[str, set[str]] = {}
    for one in scores:
        found.setdefault(one.rule, set()).add(one.facts["code"]["digest"])
    return found


def check_attempts(store: Store, plan: Plan | None) -> Iterator[Fault]:
    """Attempts that failed: before a success, and of outputs that never came to be, if the plan still asks for them."""
    asked = {name.removesuffix("/run.json") for name, _ in list_outputs(plan)} if plan else None
    for record in store.steps:
        failed, slurm = len(record.facts["failed_attempts"]), record.facts["slurm"] or {}
        restarts = int(slurm.get("restart_count") or 0)
        if failed or restarts:
            says = f"{record.made} was made after {failed} attempts that failed or were stopped and {restarts} restarts by SLURM."
            yield Fault("note", record.made, says)
    for path in sorted(one for paper in PAPERS for one in (store.folder / paper).rglob(".*.attempts.json")):
        output = store.public(path.with_name(path.name.removeprefix(".").removesuffix(".attempts.json")))
        if asked is not None and output not in asked:
            continue
        attempts = read_json(path)
        last = attempts[-1] if isinstance(attempts, list) and attempts else {}
        says = f"{output} was tried and never made; the last attempt: {last.get('error', 'unknown')}"
        yield Fault("missing", output, says, store.remake(output))


def check_plan(store: Store, plan: Plan) -> Iterator[Fault]:
    """Every output that the plan asks for: there, and of the identity that the plan gives it."""
    unreadable = {fault.place for fault in store.faults}
    for name, job in list_selected(plan):
        record, places = store.maker(name), record_names(name)
        if record is not None and record.facts["identity"] != job.identity:
            says = f"{name} was made with other code, settings or data than {plan.source} asks for now; why: `make why-rerun`."
            yield Fault("stale", name, says, store.remake(name))
        elif record is None and unreadable.isdisjoint(places):
            path = store.locate(name)
            place = places[0] if path.is_dir() else places[1] if path.exists() else name
            says = (
                f"{name} was not made"
                if place == name
                else f"{place} is gone: nothing tells how {name} was made"
            )
            yield Fault("missing", place, f"{says}.", store.remake(name))


def forget_leftovers(store: Store, plan: Plan) -> Iterator[Fault]:
    """Set aside what no job of the plan makes: results of runs that were taken out, which nothing that is shown rests on."""
    names = [name for name, _ in list_outputs(plan)]
    wanted = store.upstream([part for name in names for part in (name, *_beside(store, name))])
    for record in store.keep(wanted):
        yield Fault(
            "note",
            record.made,
            f"{record.made} belongs to no run of {plan.source} now: delete it, or keep it unseen.",
        )


def _beside(store: Store, name: str) -> list[str]:
    """Other outputs of the step that makes this one."""
    record = store.maker(name)
    return [output["path"] for output in record.outputs()] if record else []
