"""What runs again after a change, on the real workflow: dry runs in a copy of the checkout with the finished miniature."""

import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.checkout import copy_checkout, git
from tests.e2e.conftest import CONFIG, run_workflow
from tests.e2e.tiny_models import ROOT

RESULTS = "results/miniature"
TRAINING = {"train_sft", "train_alignment", "train_heads", "train_captioner", "train_multitask"}


@pytest.fixture(scope="module")
def pristine(finished: subprocess.CompletedProcess[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A commit of what the checkout holds now, with the results and Snakemake's metadata copied in."""
    # Other tests made single tables again: the report is to be newer than all of them, as after a whole run.
    assert run_workflow("--forcerun", f"{RESULTS}/report.html").returncode == 0
    folder = copy_checkout(tmp_path_factory.mktemp("clone") / "preftune")
    for part in (RESULTS, "resources/miniature", "scratch/miniature", ".snakemake/metadata"):
        shutil.copytree(ROOT / part, folder / part, symlinks=True)
    mix_times(folder)
    return folder


def mix_times(folder: Path) -> None:
    """As after a copy that keeps no times: in any order."""
    draw = random.Random(0)
    for part in ("results", "resources"):
        for path in (folder / part).rglob("*"):
            moment = 1.6e9 + draw.randrange(10**8)
            os.utime(path, (moment, moment))


@pytest.fixture
def checkout(pristine: Path) -> Iterator[Path]:
    yield pristine
    git(pristine, "checkout", "--quiet", "--", ".")


def call(checkout: Path, *words: str, code: int = 0) -> str:
    environment = {**os.environ, "PYTHONPATH": str(checkout / "src")}
    done = subprocess.run(
        [sys.executable, *words], cwd=checkout, capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == code, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


def reruns(checkout: Path, *words: str, config: str = CONFIG) -> dict[str, int]:
    """Rules that would run, with the number of their jobs: what `make results` asks Snakemake for."""
    code = (
        "from preftune.commands.config import plan_of; from preftune.workflow.outputs import find_stale; "
        f"print(*find_stale(plan_of({config!r})))"
    )
    stale = call(checkout, "-c", code).split()
    forced = ["--forcerun", *stale] if stale else []
    told = call(checkout, "-m", "snakemake", "-n", "--cores", "2", "--nolock", "--quiet", "rules",
                "--configfile", config, *forced, *words)  # fmt: skip
    found = {name: int(count) for name, count in re.findall(r"^(\w+)\s+(\d+)$", told, re.M)}
    found.pop("total", None)
    found.pop("all", None)
    assert found or "Nothing to be done" in told, told[-2000:]
    return found


def edit(checkout: Path, file: str, old: str, new: str) -> None:
    path = checkout / file
    text = path.read_text()
    assert old in text, f"{file} holds no {old!r}"
    path.write_text(text.replace(old, new, 1))


def test_a_clone_with_the_results_copied_in_runs_nothing(checkout: Path) -> None:
    assert reruns(checkout) == {}


def test_touching_every_source_file_runs_nothing(checkout: Path) -> None:
    for path in [*(checkout / "src").rglob("*.py"), *(checkout / "workflow").rglob("*")]:
        if path.is_file():
            path.touch()
    assert reruns(checkout) == {}


def test_switching_to_another_branch_and_back_runs_nothing(checkout: Path) -> None:
    git(checkout, "switch", "--quiet", "--create", "other")
    edit(checkout, "src/preftune/preference/losses.py", "import", "import math\nimport")
    git(checkout, "commit", "--quiet", "--all", "--message", "other")
    git(checkout, "switch", "--quiet", "-")
    git(checkout, "branch", "--quiet", "-D", "other")
    assert reruns(checkout) == {}


def test_comments_and_docstrings_run_nothing(checkout: Path) -> None:
    path = checkout / "src/preftune/preference/losses.py"
    path.write_text(path.read_text().replace('"""', '"""Changed. ', 1) + "\n# a comment\n")
    assert reruns(checkout) == {}


def test_a_loss_runs_alignments_and_what_rests_on_them(checkout: Path) -> None:
    edit(checkout, "src/preftune/preference/losses.py", "\ndef ", "\nunused = 1\n\n\ndef ")
    found = reruns(checkout)
    assert found["train_alignment"] and found["evaluate_tasks"] and found["tabulate_alignment"]
    assert (
        not {"train_sft", "train_captioner", "train_multitask", "evaluate_captioner", "prepare_dataset"}
        & found.keys()
    )
    told = call(checkout, "-m", "preftune", "why-rerun", "--configfile", CONFIG)
    assert "code: src/preftune/preference/losses.py" in told and "+unused = 1" in told
    assert "of computing" in told and "train_sft" not in told


def test_an_adapter_runs_captioning_alone(checkout: Path) -> None:
    edit(checkout, "src/preftune/adapters/lora.py", "\ndef ", "\nunused = 1\n\n\ndef ")
    found = reruns(checkout)
    assert found["train_captioner"] and found["train_multitask"]
    assert not {"train_sft", "train_alignment", "evaluate_tasks", "compute_features"} & found.keys()


def test_an_evaluation_setting_runs_evaluations_and_tables(checkout: Path) -> None:
    edit(checkout, CONFIG, "  evaluation:\n    limit: 3", "  evaluation:\n    limit: 2")
    found = reruns(checkout)
    assert found["evaluate_tasks"] and found["tabulate_scores"]
    assert not (TRAINING | {"prepare_dataset", "compute_reference", "evaluate_captioner"}) & found.keys()
    told = call(checkout, "-m", "preftune", "why-rerun", "--configfile", CONFIG)
    assert "settings: limit" in told and "- limit: 3" in told and "+ limit: 2" in told


def test_a_colour_runs_figures_alone(checkout: Path) -> None:
    edit(checkout, "src/preftune/figures/style.py", "#0072B2", "#0072B3")
    found = reruns(checkout)
    assert found.keys() and all(rule.startswith(("plot_", "export_", "audit_")) for rule in found)


def test_a_published_number_runs_tables_and_figures_alone(checkout: Path) -> None:
    edit(checkout, "config/cells.tsv", "\t56.1\t", "\t57.1\t")
    found = reruns(checkout)
    assert found["tabulate_scores"]
    assert all(rule.startswith(("tabulate_", "plot_", "export_", "audit_")) for rule in found)


def test_a_new_run_is_the_only_training(checkout: Path) -> None:
    path = checkout / "config/runs.tsv"
    row = next(line for line in path.read_text().splitlines() if line.startswith("miniature\tdph-joint\t"))
    path.write_text(path.read_text() + row.replace("dph-joint", "dph-again") + "\n")
    found = reruns(checkout)
    assert {rule: count for rule, count in found.items() if rule in TRAINING} == {"train_alignment": 1}
    assert found["evaluate_tasks"] == 1


def test_prepared_data_edited_by_hand_are_an_error_by_name(checkout: Path) -> None:
    path = next((checkout / RESULTS / "dph/data/sft-mix").glob("*.arrow"))
    before = path.read_bytes()
    try:
        path.write_bytes(before + b" ")
        told = call(
            checkout, "-m", "preftune", "results", "--cores", "2", "--configfile", CONFIG, "-n", code=1
        )
        assert f"dph/data/sft-mix/{path.name}" in told and "changed by hand" in told
    finally:
        path.write_bytes(before)


def test_without_snakemakes_metadata_nothing_stale_stays_unnoticed(checkout: Path) -> None:
    hidden = checkout / ".snakemake/metadata"
    hidden.rename(checkout / ".snakemake/hidden")
    mix_times(checkout)
    try:
        assert reruns(checkout) == {}
        edit(checkout, "src/preftune/preference/losses.py", "\ndef ", "\nunused = 1\n\n\ndef ")
        found = reruns(checkout)
        assert found["train_alignment"] and "train_sft" not in found
    finally:
        if hidden.exists():
            shutil.rmtree(hidden)
        (checkout / ".snakemake/hidden").rename(hidden)


def test_a_waiver_lets_a_refactoring_run_nothing(checkout: Path) -> None:
    edit(checkout, "src/preftune/preference/losses.py", "\ndef ", "\nunused = 1\n\n\ndef ")
    waivers = checkout / "config/code_equivalence.tsv"
    before = waivers.read_text() if waivers.is_file() else None
    try:
        told = call(
            checkout, "-m", "preftune", "waive", "--configfile", CONFIG, "--reason", "an unused constant"
        )
        assert "train_alignment\tast1:" in told
        assert reruns(checkout) == {}
        audited = call(checkout, "-m", "preftune", "audit", "--configfile", CONFIG)
        assert "waived: " in audited and "code_equivalence.tsv" in audited
    finally:
        waivers.unlink() if before is None else waivers.write_text(before)


def test_the_repair_that_an_audit_names_repairs(checkout: Path) -> None:
    path = checkout / RESULTS / "dph/tables/race.md"
    before = path.read_bytes()
    path.write_bytes(before.replace(b"RACE", b"race", 1))
    told = call(checkout, "-m", "preftune", "audit", "--configfile", CONFIG, code=1)
    named = re.search(rf"repair: make results CONFIG={CONFIG} FORCE=(\S+)", told)
    assert named, told
    call(
        checkout, "-m", "preftune", "results", "--cores", "2", "--configfile", CONFIG, "--forcerun", named[1]
    )
    assert path.read_bytes() == before
    call(checkout, "-m", "preftune", "audit", "--configfile", CONFIG)


def test_what_is_gone_is_made_again_as_why_rerun_says(checkout: Path) -> None:
    path = checkout / RESULTS / "dph/tables/race.tex"
    before = path.read_bytes()
    path.unlink()
    try:
        told = call(checkout, "-m", "preftune", "why-rerun", "--configfile", CONFIG)
        assert f"{RESULTS}/dph/tables/race.tex is gone" in told
        found = reruns(checkout)
        assert found["tabulate_scores"] == 1 and found["export_report"] == 1
        assert set(found) == {
            "tabulate_scores",
            "export_report",
            "export_crate",
            "export_cards",
            "audit_results",
        }
    finally:
        path.write_bytes(before)


def test_why_prints_the_chain_of_a_cell(checkout: Path) -> None:
    told = call(checkout, "-m", "preftune", "why", "race", "ours (sft)", "middle", "--configfile", CONFIG)
    for word in ("evaluate_tasks", "train_sft", "prepare_sft_mix", "fetch_model"):
        assert word in told, told
    assert "licence" in told and "commit" in told and "seed" in told
