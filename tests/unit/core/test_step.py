"""The frame of every script, run as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from preftune.command_line import step_parser
from preftune.errors import PreftuneError
from preftune.provenance.digest import ROOT
from preftune.settings.reference import ReferenceSettings
from preftune.step import Step


def run_step(tmp_path: Path, body, *words: str) -> None:  # type: ignore[no-untyped-def]
    parser = step_parser("A test.")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    argv = ["--output", str(tmp_path / "out"), *words]
    with Step.start(parser, argv, rule="fetch_model", inputs=("data",)) as step:
        body(step)


def write_folder(step: Step) -> None:
    step.out().mkdir()
    (step.out() / "x").write_text("1")
    step.note(steps=3)


def test_success_leaves_the_output_with_its_record(tmp_path: Path) -> None:
    run_step(tmp_path, write_folder, "--seed", "7", "--identity", "abc")
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert record["identity"] == "abc" and record["seed"] == 7 and record["facts"] == {"steps": 3}
    assert list(record["outputs"]["output"]["files"]) == ["x"]
    assert str(tmp_path) not in json.dumps(record)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_failure_keeps_the_old_output_and_notes_the_attempt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_step(tmp_path, write_folder)

    def fail(step: Step) -> None:
        write_folder(step)
        raise PreftuneError("File x, row 3 is bad: mend it.")

    with pytest.raises(SystemExit) as stop:
        run_step(tmp_path, fail)
    assert stop.value.code == 1
    assert (tmp_path / "out/x").read_text() == "1"
    assert "error: File x, row 3 is bad: mend it." in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.attempts.json", "out"]
    run_step(tmp_path, write_folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert record["failed_attempts"][0]["error"] == "File x, row 3 is bad: mend it."


def test_a_full_disk_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def full(step: Step) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(SystemExit):
        run_step(tmp_path, full)
    assert "No space is left on the disk" in capsys.readouterr().err


def test_a_missing_input_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run_step(tmp_path, write_folder, "--data", str(tmp_path / "nothing"))
    assert "nothing does not exist" in capsys.readouterr().err


def test_settings_are_strict_and_may_be_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "s.yaml").write_text("tokens_per_pass: 4\n")
    seen = []

    def read(step: Step) -> None:
        seen.append(step.settings(ReferenceSettings).tokens_per_pass)
        write_folder(step)

    run_step(tmp_path, read, "--settings", str(tmp_path / "s.yaml"))
    run_step(tmp_path, read, "--settings", '{"tokens_per_pass": 8}')
    assert seen == [4, 8]
    for words in ('{"tokens_per_pass": 4, "token_per_pass": 1}', '{"tokens_per_pass": "4"}', "nowhere.json"):
        with pytest.raises(SystemExit):
            run_step(tmp_path, read, "--settings", words)
    assert "token_per_pass" in capsys.readouterr().err


@pytest.mark.parametrize(
    "script", sorted(path.name for path in (ROOT / "workflow/scripts").glob("[a-z]*.py"))
)
def test_every_script_has_help_that_explains_its_inputs(script: str) -> None:
    """Read from the source, since starting thirty interpreters would cost a minute; two are started for real below."""
    text = (ROOT / "workflow/scripts" / script).read_text()
    doc = text.split('"""')[1]
    assert "utput" in doc and len(doc.split()) >= 8, f"{script}: the docstring is the --help text"
    assert text.count("add_argument(") == text.count("help="), f"{script}: each argument has help"
    assert len(text.splitlines()) <= 150


@pytest.mark.parametrize("script", ["train_alignment", "tabulate_claims"])
def test_help_runs_by_hand(script: str, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / f"workflow/scripts/{script}.py"), "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "--settings" in done.stdout
