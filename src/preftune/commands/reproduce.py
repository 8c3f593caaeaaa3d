"""`preftune reproduce`: make again what one published number rests on, and say whether its digits are the same."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from preftune.commands import results
from preftune.errors import PreftuneError
from preftune.provenance import reproduction
from preftune.provenance.digest import ROOT
from preftune.provenance.printed import Printed, find_printed
from preftune.provenance.records import PUBLISHED, record_names
from preftune.provenance.store import Store, make_command
from preftune.workflow.jobs import Job
from preftune.workflow.outputs import is_current, list_needed, list_outputs, read_quietly, record_of
from preftune.workflow.plan import Plan
from preftune.workflow.reasons import lost_files
from preftune.workflow.resources import Forecast

SHOWN = 4
"""Files and outputs of one kind that are named."""


def reproduce_cell(plan: Plan, cell: str, words: Sequence[str]) -> int:
    """Run the workflow for the scores of one published number, compute its table again and compare.

    Args:
        words: Snakemake's cores and config, as for `preftune results`.

    Returns:
        0 where the digits are the published ones, else 1.

    Raises:
        PreftuneError: there is no such number, this checkout does not make its scores, or one of its steps failed.
    """
    store = open_published(plan)
    printed = find_printed(store, cell)
    targets = find_targets(plan, store, printed)
    steps = dict(list_needed(list_outputs(plan), targets.values()))
    waiting = list_waiting(plan, targets)
    print(describe_plan(plan, printed, steps, waiting), flush=True)
    if targets and results.run([*words, "--", *targets], among=steps):
        raise PreftuneError(
            f"{printed.row}/{printed.column} was not made again: a step failed, as said above; what was finished is kept."
        )
    here = ROOT / plan.config.results
    again = reproduction.compute_again(store, printed, here)
    print(describe_outcome(store, printed, again, here), flush=True)
    return 0 if again.digits == printed.digits else 1


def open_published(plan: Plan) -> Store:
    """The published results of the plan's scale."""
    folder = PUBLISHED / plan.config.scale
    if not folder.is_dir():
        there = ", ".join(sorted(path.name for path in PUBLISHED.glob("*") if path.is_dir()))
        raise PreftuneError(
            f"No results of the scale {plan.config.scale} are published, so there is nothing to compare with: take the config of "
            f"one that is ({there or 'none'}), or make them all: {make_command(plan.source)}."
        )
    return Store.open(folder, configfile=plan.source, resources=False)


def find_targets(plan: Plan, store: Store, printed: Printed) -> dict[str, Job]:
    """What Snakemake is asked for, so that every score file of a number is made, each with its job.

    Raises:
        PreftuneError: a score file is of a run or seed that the plan does not hold.
    """
    jobs = dict(list_outputs(plan))
    targets: dict[str, Job] = {}
    items = reproduction.list_items(store, printed)
    for file in [*printed.score_files, *items]:
        record, output = reproduction.find_output(store, file)
        made = [_here(plan, store, one["path"]) for one in record.outputs()]
        known = next((name for one in made for name in (one, f"{one}/run.json") if name in jobs), None)
        if known is None:
            raise PreftuneError(
                f"{file} is of a run or seed that {plan.source} and its registry of runs no longer hold: check out commit "
                f"{str(record.facts['code']['commit'])[:12]}, which made it."
            )
        folder = _here(plan, store, output)
        # The scores of a system are files that Snakemake knows one by one, other folders are outputs as a whole.
        single = f"{folder}/run.json" in jobs and file not in record_names(output)
        targets[_here(plan, store, file) if single else folder] = jobs[known]
    return targets


def _here(plan: Plan, store: Store, name: str) -> str:
    """Where the plan puts what published records name so."""
    return f"{plan.config.results}/{name.removeprefix(f'{store.prefix}/')}"


def list_waiting(plan: Plan, targets: Mapping[str, Job]) -> dict[str, Job]:
    """The outputs that will be made: the targets' that are not there or not of now, and what these lack in turn."""
    names = {job.identity: name for name, job in list_outputs(plan)}
    found: dict[str, Job] = {}
    waiting = [(names[job.identity], job, not (ROOT / target).exists()) for target, job in targets.items()]
    while waiting:
        name, job, lost = waiting.pop()
        there = not lost and is_current(name, job) and not lost_files(name, read_quietly(record_of(name)))
        if name not in found and not there:
            found[name] = job
            waiting += [(names[one.identity], one, False) for one in job.parents if one.identity in names]
    return found


def describe_plan(plan: Plan, printed: Printed, steps: Mapping[str, Job], waiting: Mapping[str, Job]) -> str:
    """The published number, the steps that it rests on, what is there already, and what the others are predicted to cost."""
    lines = [f"{_name(printed)}, published: {printed.digits}"]
    if not steps:
        return "\n".join(
            [*lines, "It rests on no step, only on the registries: its table is computed again."]
        )
    lines.append(f"It rests on {len(steps)} steps, of which {len(waiting)} are to be made.")
    if waiting:
        lines.append(f"Predicted: {Forecast(plan).describe(waiting.values())}.")
    there = [name for name in steps if name not in waiting]
    if there:
        lines.append(f"Already there: {_shorten(there)}.")
    return "\n".join(lines)


def _name(printed: Printed) -> str:
    return f"{Path(printed.file).name.removesuffix('.audit.json')} / {printed.row} / {printed.column}"


def _shorten(names: Sequence[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def describe_outcome(store: Store, printed: Printed, again: Printed, here: Path) -> str:
    """Both numbers with their values by seed, whether the score files are the same bytes, what else differs, and the verdict."""
    lines = ["", _name(printed), f"  published: {printed.digits}", f"  here:      {_digits(again)}"]
    for seed in sorted(printed.per_seed.keys() | again.per_seed.keys(), key=int):
        old, new = (_value(one.per_seed.get(seed)) for one in (printed, again))
        lines.append(f"  seed {seed}: published {old}, here {new}")
    items = reproduction.list_items(store, printed)
    other = reproduction.list_other_bytes(store, items, here)
    if items:
        same = len(items) - len(other)
        lines.append(f"  score files: {same} of {len(items)} are byte-identical to the published ones")
    if other:
        lines.append(f"  other bytes: {_shorten(other)}")
        rules = reproduction.list_other_rules(store, printed, here)
        lines.append(
            f"  steps whose outputs have other bytes, the earliest first: {', '.join(rules) or 'none'}"
        )
    causes = reproduction.list_causes(store, printed, here)
    lines += [f"  not as when it was published: {'; '.join(causes)}"] if causes else []
    return "\n".join([*lines, _verdict(printed, again, bool(other), bool(causes))])


def _digits(printed: Printed) -> str:
    return printed.digits or f"no number ({printed.absence})"


def _value(value: float | None) -> str:
    return "none" if value is None else f"{value:.10g}"


def _verdict(printed: Printed, again: Printed, other: bool, causes: bool) -> str:
    if again.digits == printed.digits:
        return f"reproduced: {printed.digits}{', from score files of other bytes' * other}."
    why = " The likely causes are named above." if causes else ""
    return f"differs: published {printed.digits}, here {_digits(again)}.{why}"
