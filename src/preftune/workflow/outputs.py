"""Which job makes which output, and the outputs that another code, config or data made."""

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from preftune.provenance.digest import ROOT
from preftune.provenance.hashes import Hashes
from preftune.provenance.record import record_path
from preftune.workflow.jobs import Job
from preftune.workflow.language_jobs import FETCHED
from preftune.workflow.plan import Plan
from preftune.workflow.targets import (
    ALIGNMENT_TABLES,
    CAPTIONING_TABLES,
    COST_TABLES,
    MULTITASK_TABLES,
    Targets,
)

_NEEDED = {
    "identity",
    "rule",
    "settings",
    "seed",
    "threads",
    "command",
    "inputs",
    "outputs",
    "code",
    "time",
    "hardware",
}


def list_outputs(plan: Plan) -> Iterator[tuple[str, Job]]:
    """The first output of every job whose result the plan keeps, with the job; some stand there more than once."""
    results = plan.config.results
    yield from _list_sources(plan)
    for dataset in list_prepared(plan):
        yield f"{results}/dph/data/{dataset}", plan.prepare_dataset(dataset)
    if plan.trains:
        yield from _list_trainings(plan)
    for run in plan.registry.values():
        folder = f"{results}/{run.paper}"
        for seed in run.seeds:
            place = f"{run.name}/seed-{seed}"
            if run.stage not in FETCHED:
                yield f"{folder}/models/{place}", plan.train(run.name, seed)
            if run.paper == "dph":
                yield f"{folder}/scores/{place}/run.json", plan.evaluate_tasks(run.name, seed)
            elif run.stage == "multitask":
                yield f"{folder}/multitask/{place}", plan.evaluate_multitask(run.name, seed)
            else:
                yield f"{folder}/scores/{place}/perplexity.json", plan.evaluate_captioner(run.name, seed)
                yield f"{folder}/scores/{place}/captions.json", plan.evaluate_captions(run.name, seed)
    for paper, tables in plan.tables.items():
        yield f"{results}/{paper}/scores.json", plan.aggregate_scores(paper)
        for table in tables:
            yield f"{results}/{paper}/tables/{table}.csv", _table_job(plan, paper, table)
        for figure in plan.figures[paper]:
            yield f"{results}/{paper}/figures/{figure}.png", plan.plot(f"plot_{figure}", paper)
    yield f"{results}/report.html", plan.report()
    yield f"{results}/ro-crate-metadata.json", plan.export_crate()
    yield f"{results}/cards", plan.export_cards()


def _list_trainings(plan: Plan) -> Iterator[tuple[str, Job]]:
    """What trainings read, and what is measured beside their scores."""
    results = plan.config.results
    for mix in ("sft_mix", "preference_mix"):
        yield f"{results}/dph/data/{mix.replace('_', '-')}", plan.prepare_mix(mix)
    if plan.context_peft.pretraining is not None:
        yield f"{results}/context_peft/data/corpus", plan.prepare_corpus()
        yield plan.captioner_base_folder, plan.train_language_model()
    yield f"{results}/context_peft/data/captions", plan.prepare_captions()
    if plan.context_peft.multitask is not None:
        yield f"{results}/context_peft/data/questions", plan.prepare_questions()
    for encoder in plan.encoders:
        yield f"{results}/context_peft/features/{encoder}", plan.compute_features(encoder)
    yield f"{results}/dph/gradients.json", plan.compute_gradients()
    yield f"{results}/dph/overlap.json", plan.compute_overlap()
    for name in plan.dph.drift.runs:
        for seed in plan.run(name).seeds:
            yield f"{results}/dph/drift/{name}/seed-{seed}/drift.json", plan.evaluate_drift(name, seed)
    for name in plan.dph.best_of.runs:
        for seed in plan.run(name).seeds:
            yield f"{results}/dph/best_of/{name}/seed-{seed}/best_of.json", plan.evaluate_best_of(name, seed)
    for name in plan.dph.submission.runs:
        seed = plan.run(name).seeds[0]
        folder = f"{results}/dph/submission/{name}/seed-{seed}"
        yield f"{folder}/scores/run.json", plan.evaluate_submission(name, seed)
        for score in plan.server_scores(name):
            job = plan.export_glue_submission(name, seed, score)
            yield f"{folder}/submission-{score}.zip", job
    for name in plan.dph.second_opinion.runs:
        seed = plan.run(name).seeds[0]
        job = plan.evaluate_second_opinion(name, seed)
        yield f"{results}/dph/second_opinion/{name}/seed-{seed}.json", job
    run = plan.reference_run
    for seed in run.seeds:
        yield f"{results}/dph/reference/{run.name}/seed-{seed}", plan.compute_reference(run.name, seed)
    yield f"{results}/context_peft/attention/maps.npz", plan.compute_attention()


def _list_sources(plan: Plan) -> Iterator[tuple[str, Job]]:
    """What all scales share: models, and generated rows and images."""
    resources = plan.config.resources
    for model in plan.fetched_models:
        yield f"{resources}/models/{model}", plan.fetch_model(model)
    if plan.scored_set.content.source is not None:
        yield plan.evaluation_templates, plan.fetch_prompts()
    kind = "packages" if plan.config.data == "embedded" else "hub"
    for dataset in [] if plan.config.data == "local" else _fetched(plan):
        yield f"{resources}/data/{kind}/{dataset}", plan.fetch_dataset(dataset)
    if plan.config.data == "embedded":
        yield f"{resources}/data/language", plan.generate_language_data()
        if plan.trains:
            yield f"{resources}/data/scenes", plan.generate_scenes()


def _fetched(plan: Plan) -> list[str]:
    """Data sets that are fetched: the dialogues of the embedded data, or every one that is prepared from the hub."""
    if plan.config.data == "embedded":
        return ["dialogues"]
    if not plan.trains:
        return [name for name in list_prepared(plan) if not plan.is_local(name)]
    others = [plan.question_dataset] if plan.context_peft.multitask is not None else []
    others += [plan.pretraining.dataset] if plan.context_peft.pretraining is not None else []
    names = {*list_prepared(plan), "coco", *others}
    return sorted(plan.fetched_name(name) for name in names if not plan.is_local(name))


def list_prepared(plan: Plan) -> list[str]:
    """Data sets of texts that are prepared."""
    if not plan.trains:
        return plan.evaluation_datasets
    names = [name for mix in ("sft_mix", "preference_mix") for name in plan.mix_datasets(mix)]
    names += [*plan.evaluation_datasets, *plan.second_opinion_datasets, *plan.drift_datasets]
    names += plan.submission_datasets if plan.dph.submission.runs else []
    names.append(plan.context_peft.evaluation.text.dataset)
    multitask = plan.context_peft.multitask
    if multitask is not None and multitask.questions.text is not None:
        names.append(multitask.questions.text.dataset)
    return sorted(set(names))


def list_selected(plan: Plan) -> list[tuple[str, Job]]:
    """The outputs of the part of the plan that was asked for (`only`), and of what that part is made from."""
    outputs = list(list_outputs(plan))
    if plan.config.only.whole:
        return outputs
    asked = {_place(path) for path in Targets(plan).selected()}
    return list_needed(outputs, [job for name, job in outputs if _place(name) in asked])


def list_needed(outputs: Iterable[tuple[str, Job]], wanted: Iterable[Job]) -> list[tuple[str, Job]]:
    """Those outputs that these jobs make, and all that they are made from, in their order."""
    waiting, needed = list(wanted), set[str]()
    while waiting:
        job = waiting.pop()
        if job.identity not in needed:
            needed.add(job.identity)
            waiting += job.parents
    return [(name, job) for name, job in outputs if job.identity in needed]


def _place(path: str) -> str:
    """What stands for all outputs of one step: a table's or figure's path without its suffix, a score's folder."""
    return path.rpartition("/")[0] if "/scores/" in path else path.partition(".")[0]


def _table_job(plan: Plan, paper: str, table: str) -> Job:
    if table in ALIGNMENT_TABLES:
        return plan.tabulate_alignment()
    if table in CAPTIONING_TABLES:
        return plan.tabulate_captioning()
    if table in COST_TABLES:
        return plan.tabulate_costs()
    if table in MULTITASK_TABLES:
        return plan.tabulate_multitask()
    return plan.tabulate("tabulate_claims" if table == "claims" else "tabulate_scores", paper)


def find_stale(plan: Plan) -> list[str]:
    """Existing outputs whose record holds another identity than the plan gives them.

    Snakemake compares parameters with its own metadata, which may be lost or copied away; the records are not.
    """
    stale = []
    for output, job in list_outputs(plan):
        record = record_of(output)
        if (record.is_file() or (ROOT / output).exists()) and not is_current(output, job):
            stale.append(output)
    return sorted(set(stale))


def is_current(output: str, job: Job) -> bool:
    """Whether an output's record says that it is what the plan asks for."""
    return _identity(record_of(output)) == job.identity


def restore_times(plan: Plan) -> None:
    """Give every output that is what the plan asks for the time at which its step ended, by its record.

    Snakemake runs a job again whose input is newer than its output, whatever its rerun triggers, and knows the content of
    small files alone; a copy, a clone or a backup that comes back has times in any order.
    """
    latest, audit = 0.0, (f"{plan.config.results}/audit.json", plan.audit())
    for output, job in [*list_outputs(plan), audit]:
        record = read_quietly(record_of(output))
        if record is None or record["identity"] != job.identity:
            continue
        ended = datetime.fromisoformat(record["time"]["end"]).timestamp()
        latest = max(latest, ended)
        for one in record["outputs"].values():
            path = ROOT / one["path"]
            inside = [path / name for name in (*one["files"], "run.json", ".snakemake_timestamp")]
            _set_times([*(inside if path.is_dir() else []), path], ended)
    # Snakemake counts the timing of a rule among its outputs: the oldest of them decides.
    timings = (ROOT / plan.config.results / "timings").rglob("*.tsv")
    _set_times([path for path in timings if path.stat().st_mtime < latest], latest)


def _set_times(paths: Iterable[Path], moment: float) -> None:
    """Records state whole seconds: an output that kept its fraction could be newer than what was made from it."""
    for path in paths:
        with contextlib.suppress(OSError):  # missing, or not ours to change
            if path.stat().st_mtime != moment:
                os.utime(path, (moment, moment))


def find_edited(plan: Plan, hashes: Hashes) -> list[str]:
    """Files of prepared data that are not what their step wrote: edited by hand, or damaged."""
    edited = []
    for output, job in list_outputs(plan):
        folder, record = ROOT / output, record_of(output)
        if job.rule.startswith("prepare_") and folder.is_dir() and record.is_file():
            stated = _files(record)
            found = hashes.files(folder)
            edited += [
                f"{output}/{name}"
                for name in found.keys() | stated.keys()
                if found.get(name) != stated.get(name)
            ]
    hashes.save()
    return sorted(set(edited))


def _files(record: Path) -> dict[str, str]:
    """The hashes of an output folder's files, by its record; a damaged record has none."""
    content = read_quietly(record)
    outputs = list(content["outputs"].values()) if content else []
    return dict(outputs[0]["files"]) if len(outputs) == 1 else {}


def record_of(output: str) -> Path:
    """Where the record of an output lies; of the scores of a system the record itself is the output."""
    path = ROOT / output
    return path if path.name == "run.json" else record_path(path)


def _identity(record: Path) -> str | None:
    """The identity in a record; a damaged or lost record has none, so its output counts as stale."""
    content = read_quietly(record)
    return None if content is None else content.get("identity")


def read_quietly(record: Path) -> dict[str, Any] | None:
    """What a record says, or None where it cannot be read."""
    try:
        content = json.loads(record.read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and content.keys() >= _NEEDED else None
