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
_PARENTS = {"sft": ("", "sft"), "alignment": ("sft",), "multitask": ("", "multitask")}


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
    for key, model in (("dph.model", config.dph.model), ("context_peft.model", config.context_peft.model)):
        _check_name(f"{source}: key {key}", "model", model, plan.models)
    for key in ("sft_mix", "preference_mix"):
        for name in getattr(config.dph, key).tasks:
            where = f"{source}: key dph.{key}.tasks"
            _check_name(where, "task or data set", name, [*plan.tasks, *plan.datasets])
    labelled = [name for name in plan.tasks if name not in plan.hidden_tasks]
    for task in config.dph.evaluation.tasks:
        _check_name(f"{source}: key dph.evaluation.tasks", "labelled task", task, labelled)
    opinion = config.dph.second_opinion
    for task in opinion.chats:
        _check_name(f"{source}: key dph.second_opinion.chats", "labelled task", task, labelled)
    for task in opinion.texts:
        _check_name(f"{source}: key dph.second_opinion.texts", "task of lm-eval", task, LM_EVAL_TASKS)
    find_tasks(config.dph.evaluation.tasks, config.dph.evaluation.templates or config.dph.templates)
    encoders = [name for name, model in plan.models.items() if model["kind"] == "encoder"]
    for run in plan.registry.values():
        settings = plan.settings(run.name)
        _check_parents(plan, run)
        if run.paper == "context_peft":
            _check_name(f"config/{run.source}: key encoder", "model", settings["encoder"], encoders)
    drift = config.dph.drift
    trained = [run.name for run in plan.runs("dph", "sft", "alignment")]
    for name in drift.runs:
        _check_name(f"{source}: key dph.drift.runs", "trained run", name, trained)
    for task in drift.answer_tasks:
        _check_name(f"{source}: key dph.drift.answer_tasks", "task", task, plan.tasks)
    for key in ("text_dataset", "prompt_dataset"):
        _check_name(f"{source}: key dph.drift.{key}", "data set", getattr(drift, key), plan.datasets)
    headed = [run.name for run in plan.runs("dph", "alignment") if plan.settings(run.name)["dph"] != "none"]
    for name in config.dph.best_of.runs:
        _check_name(f"{source}: key dph.best_of.runs", "run with a reward head", name, headed)
    for task in config.dph.best_of.tasks:
        _check_name(f"{source}: key dph.best_of.tasks", "labelled task", task, labelled)
    for name in config.dph.submission.runs:
        runs = [run.name for run in plan.runs("dph")]
        _check_name(f"{source}: key dph.submission.runs", "run", name, runs)
    multitask = config.context_peft.multitask
    if multitask is not None and multitask.questions.text is not None:
        key = "context_peft.multitask.questions.text.dataset"
        _check_name(f"{source}: key {key}", "data set", multitask.questions.text.dataset, plan.datasets)
    shown = [run.name for run in plan.runs("context_peft", "captioning")]
    _check_name(
        f"{source}: key context_peft.attention.run",
        "captioning run",
        config.context_peft.attention.run,
        shown,
    )


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
