"""The times that outputs get back from their records."""

import os
from pathlib import Path

import pytest

from preftune.workflow.outputs import _set_times


@pytest.mark.parametrize("seconds", [-0.9, 0.0, 0.4, 0.95, 86_400.0])
def test_an_output_has_its_record_s_time_to_the_second(tmp_path: Path, seconds: float) -> None:
    """A step and the one that reads it may end in one second: a fraction left on the first would run the second again."""
    file, moment = tmp_path / "output", 1_700_000_000.0
    file.touch()
    os.utime(file, (moment + seconds, moment + seconds))
    _set_times([file, tmp_path / "missing"], moment)
    assert file.stat().st_mtime == moment
