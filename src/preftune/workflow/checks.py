"""Every name that the config and the registry of runs use must exist: checked before any job starts."""

import fnmatch
from collections.abc import Iterable
from typing import TYPE_CHECKING

from preftune.data.tasks.registry import find_tasks
from preftune.errors import PreftuneError
from preftune.evaluation.lm_eval_tasks import LM_EVAL_TASKS
from preftune.workflow.config import did_you_mean
from preftune.workflow.registry import Run

if TYPE_CHECKING:
    from preftune.workflow.plan import Plan

# What a run may start from, by its stage; "" is the base model itself.
_PARENTS = {
    "released": ("", "released"),
    "sft": ("", "sft"),
    "alignment": ("sft",),
    "multitask": ("", "multitask"),
}


def select_names(pattern: str, names: list[str], what: str) -> list[str]:
    """Names that match a glob, or a comma-separated list of globs."""
    globs = [part.strip() for part in pattern.split(",")]
    chosen = [name for name in names if any(fnmatch.fnmatchcase(name, part) for part in globs)]
    if not chosen:
        raise PreftuneError(f"No {what} matches {pattern}{did_you_mean(globs[0], names)}")
    return chosen


def check_plan(plan: "Plan") -> None:
    """Models, tasks, data sets, encoders and runs that are named; the settings of every run."""
    config, source = plan.config, plan.source
    if config.only.paper is not None:
        _check_name(f"{source}: key only.paper", "paper of this scale", config.only.paper, plan.papers)
    languages = [name for name, model in plan.models.items() if model["kind"] == "language"]
    fetched = [name for name in languages if not _is_pretrained(plan, name)]
    _check_name(f"{source}: key dph.model", "fetched language model", config.dph.model, fetched)
    labelled = [name for name in plan.tasks if name not in plan.hidden_tasks]
    for task in config.dph.evaluation.tasks:
        _check_name(f"{source}: key dph.evaluation.tasks", "labelled task", task, labelled)
    find_tasks(config.dph.evaluation.tasks, config.dph.evaluation.templates or config.dph.templates)
    encoders = [name for name, model in plan.models.items() if model["kind"] == "encoder"]
    for run in plan.registry.values():
        settings = plan.settings(run.name)
        _check_parents(plan, run)
        if run.paper == "context_peft":
            _check_name(f"config/{run.source}: key encoder", "model", settings["encoder"], encoders)
        if run.stage == "released":
            _check_name(f"config/{run.source}: key model", "language model", settings["model"], languages)
    if plan.trains:
        if plan.scored_set.content.source is not None:
            raise PreftuneError(
                f"{source}: the template set {plan.scored_set.name} words the scoring of released models alone: take another one."
            )
        _check_alignment(plan, labelled)
        _check_captioning(plan, languages)


def _check_alignment(plan: "Plan", labelled: list[str]) -> None:
    """What the DPH paper's trainings and measurements name."""
    config, source = plan.dph, plan.source
    for key in ("sft_mix", "preference_mix"):
        for name in getattr(config, key).tasks:
            where = f"{source}: key dph.{key}.tasks"
            _check_name(where, "task or data set", name, [*plan.tasks, *plan.datasets])
    opinion = config.second_opinion
    for name in opinion.runs:
        runs = [run.name for run in plan.runs("dph")]
        _check_name(f"{source}: key dph.second_opinion.runs", "run", name, runs)
    for task in opinion.chats:
        _check_name(f"{source}: key dph.second_opinion.chats", "labelled task", task, labelled)
    for task in opinion.texts:
        _check_name(f"{source}: key dph.second_opinion.texts", "task of lm-eval", task, LM_EVAL_TASKS)
    drift = config.drift
    trained = [run.name for run in plan.runs("dph", "sft", "alignment")]
    for name in drift.runs:
        _check_name(f"{source}: key dph.drift.runs", "trained run", name, trained)
    for task in drift.answer_tasks:
        _check_name(f"{source}: key dph.drift.answer_tasks", "task", task, plan.tasks)
    for key in ("text_dataset", "prompt_dataset"):
        _check_name(f"{source}: key dph.drift.{key}", "data set", getattr(drift, key), plan.datasets)
    headed = [run.name for run in plan.runs("dph", "alignment") if plan.settings(run.name)["dph"] != "none"]
    for name in config.best_of.runs:
        _check_name(f"{source}: key dph.best_of.runs", "run with a reward head", name, headed)
    for task in config.best_of.tasks:
        _check_name(f"{source}: key dph.best_of.tasks", "labelled task", task, labelled)
    for name in config.submission.runs:
        runs = [run.name for run in plan.runs("dph")]
        _check_name(f"{source}: key dph.submission.runs", "run", name, runs)


def _check_captioning(plan: "Plan", languages: list[str]) -> None:
    """What the Context-PEFT paper's section names."""
    config, source = plan.context_peft, plan.source
    _check_name(f"{source}: key context_peft.model", "language model", config.model, languages)
    _check_pretraining(plan, languages)
    multitask = config.multitask
    if multitask is not None and multitask.questions.text is not None:
        key = "context_peft.multitask.questions.text.dataset"
        _check_name(f"{source}: key {key}", "data set", multitask.questions.text.dataset, plan.datasets)
    shown = [run.name for run in plan.runs("context_peft", "captioning")]
    _check_name(
        f"{source}: key context_peft.attention.run",
        "captioning run",
        config.attention.run,
        shown,
    )


def _check_pretraining(plan: "Plan", languages: list[str]) -> None:
    """A model is either fetched or pre-trained here, from a fetched table and a data set of documents."""
    model, section = plan.context_peft.model, plan.context_peft.pretraining
    where = f"{plan.source}: key context_peft"
    if section is None and _is_pretrained(plan, model):
        raise PreftuneError(
            f"{where}.model: {model} was never released: add the section context_peft.pretraining (as in config/paper.yaml), or "
            "name a model that is fetched."
        )
    if section is None:
        return
    if not _is_pretrained(plan, model):
        raise PreftuneError(
            f"{where}.pretraining: {model} is fetched: set pretraining to null, or name a model of kind pretrained."
        )
    fetched = [name for name in languages if not _is_pretrained(plan, name)]
    _check_name(f"{where}.pretraining.table", "fetched language model", section.table, fetched)
    texts = [name for name, one in plan.datasets.items() if "train" in one["sources"].get("files", {})]
    _check_name(f"{where}.pretraining.dataset", "data set", section.dataset, texts)
    if model in plan.registry:
        raise PreftuneError(
            f"config/{plan.run(model).source}: a run is called {model}, as its language model is: rename it."
        )


def _is_pretrained(plan: "Plan", model: str) -> bool:
    return bool(plan.models[model]["source"]["kind"] == "pretrained")


def _check_parents(plan: "Plan", run: Run) -> None:
    where = f"config/{run.source}: run {run.name} of stage {run.stage}"
    allowed = _PARENTS.get(run.stage, ("",))
    for parent in run.parents or ("",):
        if (plan.run(parent).stage if parent else "") not in allowed:
            remedy = (
                f"name a run of stage {allowed[-1]} as its parent" if allowed[-1] else "leave its parent out"
            )
            raise PreftuneError(f"{where} cannot start from {parent or 'nothing'}: {remedy}.")
    if run.stage == "multitask":
        if bool(run.parents) != (plan.settings(run.name)["adapter"] is None):
            raise PreftuneError(
                f"{where} has {'parents and' if run.parents else 'neither parents nor'} an adapter of its own: set adapter to "
                "null where it joins parents, and only there."
            )
    elif len(run.parents) > 1:
        raise PreftuneError(
            f"{where} cannot start from {run.parent}: name one parent; only multitask runs join several."
        )


def _check_name(where: str, what: str, name: str, known: Iterable[str]) -> None:
    names = list(known)
    if name not in names:
        raise PreftuneError(f"{where}: unknown {what} {name}{did_you_mean(name, names)}")
