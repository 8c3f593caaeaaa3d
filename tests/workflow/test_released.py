"""The scale of the released models: one paper, nothing trained, and its plan without network or data."""

import copy
import re
from typing import Any

import pytest
import yaml

from preftune.commands.config import describe_run
from preftune.errors import PreftuneError
from preftune.tables.cells import read_cells
from preftune.workflow.outputs import list_outputs
from preftune.workflow.targets import Targets, load_plan
from tests.conftest import ROOT
from tests.workflow.test_dry_runs import snakemake

CONFIG = "config/released.yaml"


def raw(**changes: Any) -> dict[str, Any]:
    return yaml.safe_load((ROOT / CONFIG).read_text()) | changes


def test_one_command_plans_everything_that_the_scale_makes() -> None:
    done = snakemake("-n", "--forceall", "--quiet", "rules", "--configfile", CONFIG)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    jobs = dict(re.findall(r"^([a-z_]+)\s+(\d+)$", done.stdout, re.M))
    assert {name: int(count) for name, count in jobs.items() if name != "total"} == {
        "all": 1, "fetch_model": 2, "fetch_dataset": 9, "fetch_prompts": 1, "prepare_dataset": 9, "evaluate_tasks": 2,
        "aggregate_scores": 1, "tabulate_scores": 2, "plot_task_scores": 1, "export_report": 1, "export_crate": 1,
        "export_cards": 1, "audit_results": 1,
    }  # fmt: skip


def test_the_plan_knows_an_output_for_every_job_that_is_asked_for() -> None:
    plan = load_plan(raw(), [CONFIG])
    outputs = [name for name, _ in list_outputs(plan)]
    assert len(outputs) == len(set(outputs)) == 30
    assert not any("context_peft" in name for name in (*outputs, *Targets(plan).selected()))
    assert plan.papers == ("dph",) and not plan.trains


def test_every_published_number_of_its_tables_has_a_run_and_a_tight_tolerance() -> None:
    """But for the model with taught chat tokens, which was never released."""
    plan = load_plan(raw(), [CONFIG])
    cells = [cell for cell in read_cells(ROOT / "config/cells.tsv") if cell.table in plan.tables["dph"]]
    ours = {cell.run for cell in cells if cell.system == "ours" and cell.published}
    assert ours == {"sft", "dph-joint", "vocab|base"} and set(plan.registry) == {"sft", "dph-joint"}
    assert plan.tables["dph"] == ("gpt4all", "race")
    assert plan.tabulate("tabulate_scores", "dph").settings["tolerance"] == 0.1
    asked = {cell.task for cell in cells if cell.metric == "accuracy"}
    assert asked == set(plan.config.dph.evaluation.tasks)
    wording = {plan.tasks[task]["template"] for task in asked}
    assert wording == set(plan.scored_set.content.tasks)


def test_the_implicit_reward_is_read_against_the_other_released_model() -> None:
    plan = load_plan(raw(), [CONFIG])
    scored = plan.evaluate_tasks("dph-joint", 0)
    rules = [(job.rule, job.settings.get("name")) for job in scored.parents]
    assert ("fetch_model", "lovelace-medium-alpha1-dph") in rules
    assert plan.evaluate_tasks("sft", 0) in scored.parents
    assert "model: lovelace-medium-alpha1-dph  # config/runs.tsv" in describe_run(CONFIG, "dph-joint")


def test_another_commit_of_the_words_is_another_identity(tmp_path: Any) -> None:
    before = load_plan(raw(), [CONFIG]).evaluate_tasks("sft", 0)
    words = (ROOT / "config/templates/released.yaml").read_text()
    other = tmp_path / "released.yaml"
    other.write_text(words.replace("25bf5273", "00000000"))
    changed = copy.deepcopy(raw())
    changed["dph"]["evaluation"]["templates"] = str(other)
    assert load_plan(changed, [CONFIG]).evaluate_tasks("sft", 0).identity != before.identity


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"context_peft": {"model": "x"}}, "the key context_peft.captions is missing"),
        ({"dph": raw()["dph"] | {"sft": {}}}, "unknown key dph.sft"),
        ({"tolerance": 0}, "key tolerance"),
        ({"dph": raw()["dph"] | {"model": "swinv2-tiny"}}, "language model swinv2-tiny"),
        ({"scale": "paper"}, "is missing"),
        ({"only": {"paper": "context_peft"}}, "unknown paper of this scale context_peft: known are dph"),
    ],
)
def test_a_config_with_more_or_less_is_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(PreftuneError, match=sentence):
        load_plan(raw(**changes), [CONFIG])


def test_fetched_words_are_for_released_models_alone() -> None:
    demo = yaml.safe_load((ROOT / "config.yaml").read_text())
    demo["dph"]["evaluation"] |= {"templates": "released", "tasks": ["boolq"]}
    with pytest.raises(PreftuneError, match="words the scoring of released models alone"):
        load_plan(demo, ["config.yaml"])


def test_a_run_needs_a_language_model_of_the_registry(tmp_path: Any) -> None:
    rows = "scale\trun\tpaper\tstage\tparent\toverrides\tsweep\tseeds\nreleased\tsft\tdph\treleased\t\t{}\t{}\t[0]\n"
    for overrides, sentence in (
        ("{}", "the key model is missing"),
        ('{"model": "lovelace"}', "language model lovelace"),
    ):
        (tmp_path / "runs.tsv").write_text(rows.replace("{}", overrides, 1))
        with pytest.raises(PreftuneError, match=sentence):
            load_plan(raw(runs=str(tmp_path / "runs.tsv")), [CONFIG])
