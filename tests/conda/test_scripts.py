"""Every script in its environment: a virtual environment with exactly the packages of its envs/*.yaml."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from tests.conda.calls import call_script
from tests.conda.environments import build_environment, pins_of
from tests.conda.linking import packages_of
from tests.conda.rules import NAMES, ROOT, scripts_of
from tests.tiny import tiny_language_model
from tests.unit.exports.toy_results import write_record

# Tests of other folders that, with those below, run every script on a tiny input; all tests of scripts would take minutes.
TESTS = [
    "tests/scripts/test_caption_data_scripts.py::test_captions_are_scored_by_all_metrics",
    "tests/scripts/test_caption_data_scripts.py::test_features_of_a_few_images",
    "tests/scripts/test_captioner_scripts.py::test_train_and_evaluate[lora]",
    "tests/scripts/test_dph_scripts.py::test_evaluation_of_base_and_aligned",
    "tests/scripts/test_dph_scripts.py::test_second_opinion_of_the_aligned_model",
    "tests/scripts/test_frozen_scripts.py::test_the_record_of_the_head[adapter]",
    "tests/scripts/test_multitask_scripts.py::test_the_table_holds_every_run_and_what_needs_no_model",
    "tests/scripts/test_plots.py::test_figure_has_its_size_and_records",
    "tests/scripts/test_plots.py::test_report_is_exported",
    "tests/scripts/test_prepare_data.py::test_a_mix_is_drawn",
    "tests/scripts/test_prepare_data.py::test_overlap_is_counted_for_every_scored_task",
    "tests/scripts/test_pretraining_scripts.py::test_a_two_layer_model_learns",
    "tests/scripts/test_question_scripts.py::test_tables",
    "tests/scripts/test_submission_scripts.py::test_the_zip_holds_every_row_and_repeats_byte_for_byte",
    "tests/scripts/test_tabulate.py::test_tables_of_dph[glue]",
    "tests/scripts/test_tabulate.py::test_tables_of_captioning_runs",
    "tests/scripts/test_tabulate.py::test_alignment_tables_need_nothing_but_a_name",
    "tests/scripts/test_tabulate.py::test_claims",
    "tests/scripts/test_tabulate.py::test_costs_of_captioners",
    "tests/unit/evaluation/test_best_of.py::test_script",
    "tests/unit/evaluation/test_drift.py::test_script",
    "tests/unit/exports/test_cards.py::test_the_script_writes_every_card_and_equal_records_give_equal_bytes",
    "tests/unit/exports/test_crate.py::test_a_second_export_does_not_show_the_first",
    "tests/unit/figures/test_figure_margins.py::test_script",
    "tests/unit/preference/test_gradients.py::test_script",
]
HERE = {"fetch_model", "aggregate_scores", "audit_results"}  # run by a test of this file
ONLY_HELP = {"fetch_dataset", "fetch_prompts"}  # they ask the package index and a server


def _variables() -> dict[str, str]:
    """As Snakemake gives them to a rule with an environment: without PYTHONPATH, so that a script finds the library itself."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


@pytest.fixture(scope="module")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all environments."""
    folder = tmp_path_factory.mktemp("envs")
    for name in NAMES:
        build_environment(name, folder)
    return folder


@pytest.fixture(scope="module")
def servers(environments: Path) -> Iterator[Path]:
    """The folder of the sockets of a server in each environment."""
    folder = environments / "servers"
    folder.mkdir()
    started = {}
    for name in NAMES:
        command = [environments / name / "bin/python", ROOT / "tests/conda/serve.py", folder / name]
        started[name] = subprocess.Popen([*command, *scripts_of(name)], env=_variables())
    try:
        for name, process in started.items():
            while not (folder / name).exists():
                assert process.poll() is None, f"a script of {name} could not be imported in its environment"
                time.sleep(0.05)
        yield folder
    finally:
        for process in started.values():
            process.kill()
            process.wait()


@pytest.mark.parametrize("name", NAMES)
def test_an_environment_holds_what_its_file_lists_and_nothing_else(environments: Path, name: str) -> None:
    """But for what torch's CUDA build adds, where the CPU build is installed here."""
    found = metadata.distributions(path=[str(packages_of(environments / name))])
    versions = {canonicalize_name(item.metadata["Name"]): item.version.split("+")[0] for item in found}
    listed = dict(pin.replace("===", "==").split("==") for pin in pins_of(name))
    listed = {canonicalize_name(package): version for package, version in listed.items()}
    left_out = listed.keys() - versions.keys()
    assert versions == {package: version for package, version in listed.items() if package not in left_out}
    assert all(package.startswith(("nvidia-", "cuda-", "triton")) for package in left_out)


@pytest.mark.parametrize("name", NAMES)
def test_every_script_explains_itself(servers: Path, name: str) -> None:
    for script in scripts_of(name):
        code, out, err = call_script(servers, script, ["--help"])
        assert code == 0 and "--settings" in out and not err, f"{script}: {err}"


@pytest.mark.parametrize("name", ["caption-metrics", "tables"])
def test_a_script_starts_by_itself(environments: Path, tmp_path: Path, name: str) -> None:
    """As a process of its own, without the server that saves its imports."""
    command = [environments / name / "bin/python", ROOT / f"workflow/scripts/{scripts_of(name)[0]}.py"]
    done = subprocess.run(
        [*command, "--help"], cwd=tmp_path, env=_variables(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "--settings" in done.stdout, done.stderr


def test_every_script_runs_on_a_tiny_input(servers: Path) -> None:
    """Tests of the scripts once more, with each script run in its environment."""
    variables = os.environ | {"PREFTUNE_TEST_SERVERS": str(servers)}
    command = [sys.executable, "-m", "pytest", "-p", "tests.conda.calls", *TESTS]
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:]
    called = set((servers / "called").read_text().split())
    known = {script for name in NAMES for script in scripts_of(name)}
    assert known - called == HERE | ONLY_HELP, "add a test that runs the script to TESTS"


def test_scripts_that_the_others_do_not_run(servers: Path, tmp_path: Path) -> None:
    tiny_language_model(tmp_path / "model")
    source = json.dumps({"name": "tiny", "kind": "local", "path": str(tmp_path / "model")})
    words = ["--settings", source, "--output", str(tmp_path / "fetched")]
    assert call_script(servers, "fetch_model", words)[0] == 0 and (tmp_path / "fetched/run.json").is_file()

    (tmp_path / "results/dph").mkdir(parents=True)
    words = ["--scores", str(tmp_path / "model"), "--output", str(tmp_path / "results/dph/scores.json")]
    assert call_script(servers, "aggregate_scores", words)[0] == 0

    write_record(tmp_path, "aggregate_scores", {}, {"output": "results/dph/scores.json"})
    words = ["--results", str(tmp_path / "results"), "--output", str(tmp_path / "audit.json")]
    code, _, err = call_script(servers, "audit_results", words)
    assert code == 1 and "was made by other code of aggregate_scores than now" in err
