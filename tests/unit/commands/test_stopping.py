"""SIGTERM ends `preftune results` within seconds: nothing more starts, and a training keeps its state."""

import signal
import subprocess
import sys
import time
from pathlib import Path

SCRIPT = """\
import signal, sys, time
from pathlib import Path
folder = Path(__file__).parents[2]
def stop(number, frame):
    time.sleep(1)  # a checkpoint takes its time
    (folder / "checkpoint").touch()
    sys.exit(75)
signal.signal(signal.SIGTERM, stop)
(folder / "started").touch()
time.sleep(60)
"""
SNAKEFILE = """\
rule all:
    input: "one", "two"
rule one:
    output: "one"
    shell: "{python} workflow/scripts/train.py"
rule two:
    input: "one"
    output: "two"
    shell: "touch other two"
"""
RUN = """\
import sys
from pathlib import Path
from preftune.commands import results
results.ROOT = Path(sys.argv[1])
print(results.run_quietly([sys.executable, "-m", "snakemake", "--cores", "1"]))
"""


def test_a_run_that_is_told_to_stop_waits_for_its_checkpoints_and_can_go_on(tmp_path: Path) -> None:
    script = tmp_path / "workflow/scripts/train.py"
    script.parent.mkdir(parents=True)
    script.write_text(SCRIPT)
    (tmp_path / "Snakefile").write_text(SNAKEFILE.replace("{python}", sys.executable))
    command = [sys.executable, "-c", RUN, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        deadline = time.monotonic() + 60
        while not (tmp_path / "started").exists():
            assert run.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        start = time.monotonic()
        run.send_signal(signal.SIGTERM)
        out, errors = run.communicate(timeout=30)
    assert time.monotonic() - start < 15
    assert out.strip() == "(75, {75})" and "the same command goes on" in errors
    assert (tmp_path / "checkpoint").exists() and not (tmp_path / "other").exists()
