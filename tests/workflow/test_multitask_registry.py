"""Runs of the multi-task experiment: parents joined by +, errors of their rows, equal parameters and steps at every scale."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from preftune.commands.config import plan_of
from preftune.errors import PreftuneError
from preftune.workflow.config import TrainedConfig
from preftune.workflow.plan import Plan
from preftune.workflow.targets import Targets, load_plan

ROOT = Path(__file__).resolve().parents[2]
HEADER = "scale\trun\tpaper\tstage\tparent\toverrides\tsweep\tseeds\n"
BASE = "demo\tbase\tdph\tbase\t\t{}\t{}\t[0]\ndemo\tsft\tdph\tsft\t\t{}\t{}\t[0]\n"
PARTS = (
    'demo\ta\tcontext_peft\tmultitask\t\t{"tasks": ["captions"]}\t{}\t[0, 1]\n'
    'demo\tb\tcontext_peft\tmultitask\t\t{"tasks": ["text-questions"]}\t{}\t[1]\n'
)
SCALES = ("config.yaml", "config/paper.yaml")


def demo(**multitask: Any) -> dict[str, Any]:
    raw = yaml.safe_load((ROOT / "config.yaml").read_text())
    raw["context_peft"]["multitask"] |= multitask
    return raw


def plan_with(folder: Path, *rows: str) -> Plan:
    (folder / "runs.tsv").write_text(HEADER + BASE + PARTS + "".join(f"{row}\n" for row in rows))
    return Plan(TrainedConfig.model_validate(demo() | {"runs": str(folder / "runs.tsv")}), "config.yaml")


JOINED = 'demo\tjoined\tcontext_peft\tmultitask\t{}\t{{"adapter": null, "tasks": []}}\t{{}}\t[0, 1]'


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (JOINED.format("a+c"), "row 6: run joined has an unknown parent c"),
        (JOINED.format("a+"), "row 6: run joined has an unknown parent"),
        (JOINED.format("a+sft"), "run joined of stage multitask cannot start from sft: name a run of stage multitask"),
        (JOINED.format(""), "run joined of stage multitask has neither parents nor an adapter of its own"),
        (
            'demo\tc\tcontext_peft\tmultitask\ta+b\t{"tasks": ["captions"]}\t{}\t[0]',
            "has parents and an adapter of its own: set adapter to null",
        ),
        ("demo\tsft2\tdph\tsft\tsft+sft\t{}\t{}\t[0]", "run sft2 of stage sft cannot start from sft.sft: name one parent"),
        ("demo\tc\tcontext_peft\tcaptioning\tsft\t{}\t{}\t[0]", "cannot start from sft: leave its parent out"),
        (
            'demo\tc\tcontext_peft\tmultitask\t\t{"questions.format": "gqa"}\t{}\t[0]',
            "row 6: unknown key questions",
        ),
        ('demo\tc\tcontext_peft\tmultitask\t\t{"tasks": ["caption"]}\t{}\t[0]', "row 6: key tasks.0"),
        ('demo\tc\tcontext_peft\tmultitask\t\t{"encoder": "efficientnet-lite1"}\t{}\t[0]', "unknown model efficientnet-l"),
    ],
)  # fmt: skip
def test_a_bad_row_is_one_sentence(tmp_path: Path, row: str, sentence: str) -> None:
    with pytest.raises(PreftuneError, match=sentence):
        plan_with(tmp_path, row)


def test_a_run_needs_the_section_that_it_is_set_by(tmp_path: Path) -> None:
    raw = demo()
    raw["context_peft"]["multitask"] = None
    with pytest.raises(
        PreftuneError, match=r"run multitask-captions needs the section context_peft\.multitask"
    ):
        load_plan(raw, ["config.yaml"])


def test_the_text_questions_are_of_a_known_data_set() -> None:
    raw = yaml.safe_load((ROOT / "config/paper.yaml").read_text())
    raw["context_peft"]["multitask"]["questions"]["text"]["dataset"] = "squad-v3"
    with pytest.raises(PreftuneError, match="unknown data set squad-v3: did you mean squad-v2"):
        load_plan(raw, ["paper"])


def fewer_runs() -> dict[str, Any]:
    """The parts of the demo that name runs, without them: the registry of these tests has few."""
    raw = demo()
    raw["dph"]["drift"]["runs"] = ["sft"]
    raw["dph"]["best_of"]["runs"] = []
    raw["dph"]["submission"]["runs"] = []
    return raw


def test_a_joined_run_takes_its_parents_seeds_where_they_have_them(tmp_path: Path) -> None:
    show = "demo\tshown\tcontext_peft\tcaptioning\t\t{}\t{}\t[0]\n"
    (tmp_path / "runs.tsv").write_text(HEADER + BASE + PARTS + show + JOINED.format("a+b") + "\n")
    raw = fewer_runs() | {"runs": str(tmp_path / "runs.tsv")}
    raw["context_peft"]["attention"]["run"] = "shown"
    plan = load_plan(raw, ["config.yaml"])
    joined = plan.run("joined")
    assert joined.parents == ("a", "b")
    assert plan.parents(joined, 0) == [("a", 0), ("b", 1)]
    assert plan.parents(joined, 1) == [("a", 1), ("b", 1)]
    assert plan.train("joined", 0).rule == "train_multitask"
    assert [run.name for run in plan.scored_runs("context_peft")] == ["shown"]
    chosen = Targets(load_plan(raw | {"only": {"runs": "joined"}}, ["config.yaml"])).selected()
    assert chosen == [f"results/context_peft/multitask/joined/seed-{seed}" for seed in (0, 1)]


def test_a_run_waits_for_what_its_tasks_read_and_for_nothing_else() -> None:
    plan, other = (
        plan_of("config.yaml"),
        load_plan(demo(questions={"format": "scenes", "splits": {"train": "x"}}), ["c"]),
    )
    folders = {
        run.name: set(plan.multitask_folders(run.name)) for run in plan.runs("context_peft", "multitask")
    }
    assert folders == {
        "multitask-captions": {"features", "captions"},
        "multitask-questions": {"questions"},
        "multitask-joined": set(),
        "multitask-tuned": {"features", "questions"},
        "multitask-agnostic": {"features", "captions", "questions"},
    }
    same = {name: plan.train(name, 0).identity == other.train(name, 0).identity for name in folders}
    assert same == {name: name == "multitask-captions" for name in folders}


@pytest.mark.parametrize("config", SCALES)
def test_the_agnostic_run_has_the_parameters_and_the_steps_of_the_others_together(config: str) -> None:
    """LoRA's parameters are proportional to its rank, whatever the model."""
    plan = plan_of(config)
    settings = {run.name: plan.settings(run.name) for run in plan.runs("context_peft", "multitask")}
    parts = [settings["multitask-captions"], settings["multitask-questions"]]
    ranks = [
        group["rank"] or part["adapter"]["rank"]
        for part in parts
        for group in part["adapter"]["groups"].values()
    ]
    agnostic = settings["multitask-agnostic"]
    assert len(ranks) == 4 and agnostic["adapter"]["rank"] == sum(ranks)
    assert agnostic["adapter"]["context"] == "agnostic" and agnostic["adapter"]["groups"] is None
    trainings = [*parts, settings["multitask-tuned"]]
    assert agnostic["training"]["steps"] == sum(one["training"]["steps"] for one in trainings)
    assert len({one["training"]["batch"] for one in (*trainings, agnostic)}) == 1
    seeds = {plan.run(name).seeds for name in settings}
    assert seeds == ({(0,)} if config == "config.yaml" else {(0, 1, 2)})
