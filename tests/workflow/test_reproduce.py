"""`preftune reproduce`: one published number made again, by hand-made scores in the place of the workflow, and in a dry run."""

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tabulate_scores

from preftune.__main__ import main
from preftune.commands import reproduce, results
from preftune.commands.config import plan_of
from preftune.errors import PreftuneError
from preftune.files import sha256_file
from preftune.provenance.digest import present_digest
from preftune.provenance.printed import find_printed
from preftune.tables.files import read_records
from preftune.workflow.outputs import list_needed, list_outputs
from preftune.workflow.plan import Plan
from tests.records import write_step
from tests.unit.tables.score_folders import flips, write_run, write_task
from tests.workflow.test_dry_runs import snakemake

CELL = "race/Ours (SFT)/middle"
SCORES = "dph/scores/sft/seed-0"
RUNS = ("sft", "dph-joint")
KINDS = {"--output": "csv", "--markdown": "md", "--latex": "tex", "--audit": "audit.json"}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published copy of one table and the scores of its two runs; half the answers are right."""
    folder = tmp_path_factory.mktemp("published") / "demo"
    settings = json.dumps({"paper": "dph", "scale": "demo", "data": "embedded", "runs": RUNS})
    scores = [f"dph/scores/{run}/seed-0" for run in RUNS]
    for run, place in zip(RUNS, scores, strict=True):
        write_run(folder / "dph/scores", run, [0], 0.5, 0.5 if run == "dph-joint" else None, items=20)
        write_step(folder, "evaluate_tasks", place)
    outputs = {flag: f"dph/tables/race.{kind}" for flag, kind in KINDS.items()}

    def words(root: str) -> list[str]:
        told = ["--cells", "config/cells.tsv", "--table", "race", "--scores", *(root + one for one in scores)]
        made = [word for flag, name in outputs.items() for word in (flag, root + name)]
        return [*told, *made, "--settings", settings]

    tabulate_scores.main(words(f"{folder}/"))
    audit = folder / outputs["--audit"]
    audit.write_text(audit.read_text().replace(f"{folder}/", "results/"))
    facts: dict[str, Any] = {
        "command": ["python", "workflow/scripts/tabulate_scores.py", *words("results/")],
        "code": {
            "commit": None,
            "dirty": None,
            "digest": present_digest("tabulate_scores"),
            "files": {},
        },
        "outputs": {
            flag.strip("-"): {
                "path": f"results/{name}",
                "sha256": sha256_file(folder / name),
                "bytes": 1,
                "files": {},
            }
            for flag, name in outputs.items()
        },
    }
    for name in (outputs["--output"], outputs["--audit"]):
        write_step(folder, "tabulate_scores", name, tuple(scores), **facts)
    return folder


class Workflow:
    """Stands for Snakemake: it copies the published scores, then changes them as a test says."""

    def __init__(self, copy: Path, here: Path) -> None:
        self.copy, self.here = copy, here
        self.words: list[str] = []
        self.among: Collection[str] | None = None
        self.code = 0
        self.change: Callable[[Path], None] = lambda folder: None
        self.facts: dict[str, Any] = {}

    def __call__(self, words: list[str], among: Collection[str] | None = None) -> int:
        self.words, self.among = words, among
        shutil.copytree(self.copy / SCORES, self.here / SCORES)
        self.change(self.here / SCORES)
        write_step(self.here, "evaluate_tasks", SCORES, **self.facts)
        return self.code


@pytest.fixture
def workflow(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workflow:
    made = Workflow(copy, tmp_path / "results")
    monkeypatch.setattr(reproduce, "PUBLISHED", copy.parent)
    monkeypatch.setattr(results, "run", made)
    return made


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return plan_of("config.yaml", {"results": str(tmp_path / "results")})


def answer_otherwise(folder: Path) -> None:
    """Nine of ten answers to the cell's task are right."""
    write_task(folder.parents[1], "sft", 0, "race-middle", flips(20, 0.9, 7))


def test_the_same_scores_reproduce(
    workflow: Workflow, plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reproduce.reproduce_cell(plan, CELL, ["--cores", "1"]) == 0
    told = capsys.readouterr().out
    assert re.search(r"^reproduced: 50\.0 percent \[\S+, \S+\]\.$", told.splitlines()[-1])
    assert "score files: 2 of 2 are byte-identical" in told
    assert "seed 0: published 50, here 50" in told
    assert "not as when it was published" not in told
    assert re.search(r"It rests on (\d+) steps, of which", told) and "Predicted: about" in told
    files = [f"{workflow.here}/{SCORES}/race-middle.{kind}" for kind in ("json", "parquet")]
    assert workflow.words == ["--cores", "1", "--", *files]
    assert workflow.among and not any("dph-joint" in name for name in workflow.among)


def test_other_scores_differ_and_the_causes_are_named(
    workflow: Workflow, plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    workflow.change = answer_otherwise
    workflow.facts = {
        "hardware": {"cpu": "another CPU", "cores": 2, "memory_bytes": 2**30, "gpu": None},
        "code": {"commit": None, "dirty": None, "digest": "ast1:1", "files": {}},
    }
    assert reproduce.reproduce_cell(plan, CELL, []) == 1
    told = capsys.readouterr().out
    assert re.match(r"differs: published 50\.0 percent .*, here 90\.0 percent ", told.splitlines()[-1])
    assert "seed 0: published 50, here 90" in told
    assert "score files: 0 of 2" in told
    assert "steps whose outputs have other bytes, the earliest first: evaluate_tasks" in told
    assert (
        "not as when it was published: code of evaluate_tasks; CPU CPU, here another CPU"
        in told.splitlines()[-2]
    )


def test_the_same_digits_of_other_bytes_are_both_said(
    workflow: Workflow, plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    def indent(folder: Path) -> None:
        path = folder / "race-middle.json"
        path.write_text(json.dumps(json.loads(path.read_text()), indent=1))

    workflow.change = indent
    assert reproduce.reproduce_cell(plan, CELL, []) == 0
    told = capsys.readouterr().out
    assert told.splitlines()[-1].startswith("reproduced: 50.0 percent ")
    assert told.splitlines()[-1].endswith(", from score files of other bytes.")
    assert "score files: 1 of 2" in told and "race-middle.json" in told


def test_only_the_cells_own_run_is_read_from_here(workflow: Workflow, plan: Plan) -> None:
    """Another run's scores of this folder, made at any time, stay out of the published table."""
    write_task(workflow.here / "dph/scores", "dph-joint", 0, "race-middle", [True] * 20, [True] * 20)
    store = reproduce.open_published(plan)
    other = find_printed(store, "race/Ours (DPH)/middle")
    again = reproduce.reproduction
    workflow([])
    folder = workflow.here.parent / "mixed"
    sft = find_printed(store, CELL)
    made = [output["path"] for step in again.list_chain(store, sft) for output in step.outputs()]
    again.link_files(store, folder, workflow.here, made)
    assert (folder / SCORES / "race-middle.json").resolve().is_relative_to(workflow.here)
    assert (folder / other.score_files[0].removeprefix("results/")).resolve().is_relative_to(workflow.copy)


def test_scores_that_were_changed_after_their_step_are_refused(workflow: Workflow, plan: Plan) -> None:
    workflow([])
    answer_otherwise(workflow.here / SCORES)
    with pytest.raises(PreftuneError, match=r"changed by hand or damaged"):
        reproduce.reproduction.compute_again(
            store := reproduce.open_published(plan), find_printed(store, CELL), workflow.here
        )


def test_a_workflow_that_fails_or_makes_nothing_reproduces_nothing(
    workflow: Workflow, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    workflow.code = 1
    with pytest.raises(PreftuneError, match="a step failed"):
        reproduce.reproduce_cell(plan, CELL, [])
    shutil.rmtree(workflow.here)
    monkeypatch.setattr(results, "run", lambda words, among: 0)
    with pytest.raises(PreftuneError, match=r"race-middle\.json is not there"):
        reproduce.reproduce_cell(plan, CELL, [])


@pytest.mark.parametrize(
    ("cell", "config", "says"),
    [
        ("race/Ours (SFT)/midle", "config.yaml", "has no column midle: did you mean middle?"),
        ("race/Ours (SFTT)/middle", "config.yaml", "has no row Ours (SFTT): did you mean Ours (SFT)?"),
        ("context_peft/race/Ours (SFT)/middle", "config.yaml", "table race is none of context_peft"),
        ("race/middle", "config.yaml", "'race/middle' names no cell: give <table>/<row>/<column>"),
        ("", "config.yaml", "'' names no cell"),
        ("race/LLaMA 13B/middle", "config.yaml", "holds no number"),
        ("claims/sft-above-base/effect", "config.yaml", "has 2 tables of claims"),
        ("dph/claims/sft-above-bass/effect", "config.yaml", "did you mean sft-above-base?"),
        (CELL, "config/paper.yaml", "No results of the scale paper are published"),
    ],
)
def test_what_cannot_be_made_again_is_one_sentence(
    cell: str, config: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reproduce", "--configfile", config, cell]) == 1
    told = capsys.readouterr()
    assert says in told.err and len(told.err.splitlines()) == 1 and not told.out


@pytest.mark.parametrize(
    "names",
    [("controls", "none", "ratio blank / image"), ("calibration", "dph-joint, σ(δ/2)", "choice, ECE")],
)
def test_names_may_hold_slashes(names: tuple[str, str, str]) -> None:
    store = reproduce.open_published(plan_of("config.yaml"))
    for separator in ("/", " / "):
        printed = find_printed(store, separator.join(names))
        assert (printed.row, printed.column) == names[1:] and printed.digits


def test_the_published_cell_asks_for_its_own_ancestors_alone() -> None:
    plan = plan_of("config.yaml")
    store = reproduce.open_published(plan)
    targets = reproduce.find_targets(plan, store, find_printed(store, CELL))
    assert targets and all(name.startswith(f"results/{SCORES}/race-middle.") for name in targets)
    rules = Counter(job.rule for _, job in list_needed(list_outputs(plan), targets.values()))
    done = snakemake("-n", "--forceall", "--quiet", "rules", "--configfile", "config.yaml", "--", *targets)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "results are not there yet" not in done.stderr  # of the whole scale
    run = {rule: int(count) for rule, count in re.findall(r"^(\w+)\s+(\d+)$", done.stdout, re.M)}
    assert run.pop("total") == sum(rules.values())
    assert run == rules
    expected = r"prepare_\w+|fetch_\w+|generate_\w+|train_sft|evaluate_tasks"
    assert all(re.fullmatch(expected, rule) for rule in run)


@pytest.mark.parametrize("table", ["costs", "multitask", "gradients", "equal_data", "best_of", "claims"])
def test_every_published_number_has_targets_that_the_plan_makes(table: str) -> None:
    """Also where a score file is a record, a file of a folder, or one of several outputs of a step."""
    plan = plan_of("config.yaml")
    store = reproduce.open_published(plan)
    files = sorted(store.folder.glob(f"*/tables/{table}.audit.json"))
    asked = 0
    for file in files:
        for one in read_records(file):
            name = f"{one['row']}/{one['column']}" if "row" in one else f"{one['id']}/effect"
            if one.get("value", one.get("effect")) is None or not one["score_files"]:
                continue
            printed = find_printed(store, f"{file.parents[1].name}/{table}/{name}")
            targets = reproduce.find_targets(plan, store, printed)
            assert targets and list_needed(list_outputs(plan), targets.values()), name
            asked += 1
    assert asked > 5


def test_what_is_stale_elsewhere_is_left_alone(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "find_stale", lambda plan: ["results/asked", "results/other"])
    monkeypatch.setattr(results, "find_edited", lambda plan, hashes: [])
    monkeypatch.setattr(results, "Hashes", SimpleNamespace)
    assert "results/other" in results._command(plan, [])
    among = results._command(plan, ["--", "target"], {"results/asked"})
    assert "results/asked" in among and "results/other" not in among
