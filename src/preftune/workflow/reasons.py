"""Which stages would run again, why, and what that will cost: by the records of what is there, before anything runs."""

import difflib
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from preftune.files import sha256_file
from preftune.provenance.digest import ROOT, WAIVERS, blob_hash, code_digest, import_closure, syntax_hash
from preftune.provenance.git import ask_git
from preftune.provenance.waivers import canonical_digest, read_waivers
from preftune.settings.base import flatten
from preftune.workflow.jobs import Job
from preftune.workflow.outputs import find_stale, list_selected, read_quietly, record_of
from preftune.workflow.plan import Plan

LINES = 12
"""Lines of a difference that are shown."""


@dataclass(frozen=True)
class Cost:
    """What a stage took when it ran: seconds, hours times GPUs, bytes of its outputs."""

    seconds: float
    gpu_hours: float
    bytes: int


@dataclass(frozen=True)
class Stage:
    """One stage that would run: its output, the reasons in words (with a difference each), and its cost if it is known."""

    output: str
    rule: str
    reasons: tuple[tuple[str, tuple[str, ...]], ...]
    cost: Cost | None
    own: bool = field(default=True)
    """Whether a reason is its own, not only that an earlier stage runs."""


def find_stages(plan: Plan) -> list[Stage]:
    """Every stage that `make results` would run, in the plan's order.

    Those that the records say are of other code, settings or data; those of what was asked for that lack a file; what reads
    these; and, where an input of all that is gone, the stage that makes it.
    """
    jobs = dict(list_selected(plan))
    records = {output: read_quietly(record_of(output)) for output in jobs}
    names: dict[str, str] = {}
    for output, job in jobs.items():
        names.setdefault(job.identity, output)
    running = set(find_stale(plan)) & jobs.keys()
    running |= {output for output in jobs if _is_target(output) and lost_files(output, records[output])}
    while more := _spread(running, jobs, records, names) - running:
        running |= more
    costs = _costs(records)
    stages = []
    for output in (output for output in jobs if output in running):
        job, record = jobs[output], records[output]
        reasons = tuple(explain(output, job, record, running, names))
        known = cost_of(record) if record else costs.get(job.rule)
        own = any(not says.startswith("follows from") for says, _ in reasons)
        stages.append(Stage(output, job.rule, reasons, known, own))
    return stages


Records = Mapping[str, Mapping[str, Any] | None]


def _is_target(output: str) -> bool:
    """Whether people ask for this output itself, and not for what is made from it."""
    return output.endswith((".csv", ".png", ".html", ".zip", "/ro-crate-metadata.json", "/cards"))


def _spread(
    running: set[str], jobs: Mapping[str, Job], records: Records, names: Mapping[str, str]
) -> set[str]:
    """What reads the outputs of running stages, and what makes inputs of theirs that are gone."""
    made = {jobs[output].identity for output in running}
    reading = {output for output, job in jobs.items() if made & {parent.identity for parent in job.parents}}
    parents = {parent.identity for output in running for parent in jobs[output].parents}
    inputs = {names[identity] for identity in parents if identity in names}
    return reading | {name for name in inputs if lost_files(name, records[name])}


def lost_files(output: str, record: Mapping[str, Any] | None) -> list[str]:
    """Files of a stage that are gone: those that its record names, or its output where there is no record."""
    if record is None:
        return [] if (ROOT / output).exists() else [output]
    return [one["path"] for one in record["outputs"].values() if not (ROOT / one["path"]).exists()]


def explain(
    output: str, job: Job, record: Mapping[str, Any] | None, running: set[str], names: Mapping[str, str]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The reasons for one stage, its own first."""
    if record is None:
        there = (ROOT / output).exists()
        yield ("there is no record of how it was made" if there else "it was not made yet"), ()
        return
    found: list[tuple[str, tuple[str, ...]]] = [
        (f"{name} is gone", ()) for name in lost_files(output, record)
    ]
    if record["identity"] != job.identity:
        found += [*_explain_code(job, record), *_explain_settings(job, record), *_explain_files(job, record)]
    yield from found
    parents = [names[parent.identity] for parent in job.parents if parent.identity in names]
    changed = sorted({name for name in parents if name in running})
    if changed:
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        yield f"follows from {', '.join(changed[:3])}{more}", ()
    elif not found:
        yield from _explain_place(job, record) or [
            ("data: the wording of its tasks, or a row of a registry", ())
        ]


def _explain_code(job: Job, record: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, ...]]]:
    code = record["code"]
    if canonical_digest(job.rule, code["digest"], read_waivers(WAIVERS)) == code_digest(job.rule):
        return
    present = {path.relative_to(ROOT).as_posix(): path for path in import_closure(job.rule)}
    for name in sorted(code["files"].keys() | present.keys()):
        if name in present and blob_hash(present[name]) == code["files"].get(name):
            continue
        before = _blob(code["files"].get(name))
        after = present[name].read_bytes() if name in present else None
        if before is None and name in code["files"]:
            yield f"code: {name} (its former text is not in this git repository)", ()
        elif before is None:
            yield f"code: {name} is new", ()
        elif after is None:
            yield f"code: {name} is no longer used", ()
        elif syntax_hash(before) != syntax_hash(after):
            yield f"code: {name}", tuple(_difference(before.decode(), after.decode()))


@cache
def _blob(blob: str | None) -> bytes | None:
    """A file's text by git's blob id, or None where git does not have it."""
    if blob is None:
        return None
    return ask_git("cat-file", "blob", blob)


def _difference(before: str, after: str) -> list[str]:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    changed = [line for line in lines if not line.startswith(("---", "+++", "@@"))]
    return changed if len(changed) <= LINES else [*changed[:LINES], f"... {len(changed) - LINES} more lines"]


def _explain_settings(job: Job, record: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, ...]]]:
    before, after = flatten(record["settings"] or {}), flatten(job.settings)
    for key in sorted(after):
        if key not in before:
            yield f"settings: {key} is new", (f"+ {key}: {after[key]}",)
        elif before[key] != after[key]:
            yield f"settings: {key}", (f"- {key}: {before[key]}", f"+ {key}: {after[key]}")
    gone = sorted(key for key in before.keys() - after.keys() if key.partition(".")[0] in job.settings)
    for key in gone:
        yield f"settings: {key} is gone", (f"- {key}: {before[key]}",)


def _explain_place(job: Job, record: Mapping[str, Any]) -> list[tuple[str, tuple[str, ...]]]:
    """Seed, threads and device, which some rules set themselves: told where nothing else explains a new identity."""
    words = list(record["command"])
    found: list[tuple[str, tuple[str, ...]]] = []
    for name, now in (("seed", str(job.seed)), ("threads", str(job.threads)), ("device", job.device)):
        told = words[words.index(f"--{name}") + 1] if f"--{name}" in words else now
        if told != now:
            found.append((name, (f"- {told}", f"+ {now}")))
    return found


def _explain_files(job: Job, record: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Registry files of the job that are other than the step read them."""
    read = {item["path"]: item["sha256"] for items in record["inputs"].values() for item in items}
    for name in job.files:
        if name in read and (ROOT / name).is_file() and sha256_file(ROOT / name) != read[name]:
            before = _at_commit(record["code"]["commit"], name)
            yield f"data: {name}", tuple(_difference(before, (ROOT / name).read_text()) if before else ())


def _at_commit(commit: str | None, name: str) -> str:
    return (ask_git("show", f"{commit}:{name}") or b"").decode(errors="replace")


def cost_of(record: Mapping[str, Any]) -> Cost:
    """What a step took, by its record."""
    seconds, gpu = record["time"]["wall_seconds"], record["hardware"]["gpu"]
    size = sum(output["bytes"] for output in record["outputs"].values())
    return Cost(seconds, seconds * gpu["count"] / 3600 if gpu else 0.0, size)


def _costs(records: Mapping[str, Mapping[str, Any] | None]) -> dict[str, Cost]:
    """The median cost of each rule, for stages that never ran."""
    by_rule: dict[str, list[Cost]] = {}
    for record in records.values():
        if record is not None:
            by_rule.setdefault(record["rule"], []).append(cost_of(record))
    return {
        rule: Cost(
            statistics.median(one.seconds for one in costs),
            statistics.median(one.gpu_hours for one in costs),
            int(statistics.median(one.bytes for one in costs)),
        )
        for rule, costs in by_rule.items()
    }
