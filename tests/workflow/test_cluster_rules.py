"""What a cluster needs of the rules and of its profile."""

import re
import subprocess
import sys
from pathlib import Path

import yaml

from preftune.provenance.digest import import_closure

ROOT = Path(__file__).resolve().parents[2]


def rules() -> dict[str, str]:
    """The text of every rule by name."""
    texts = [path.read_text() for path in sorted((ROOT / "workflow/rules").glob("*.smk"))]
    parts = [part for text in texts for part in re.split(r"(?m)^(?=rule )", text) if part.startswith("rule ")]
    return {part.split(":")[0].removeprefix("rule "): part for part in parts}


def test_a_rule_asks_for_a_gpu_if_its_script_computes_on_one() -> None:
    """A step settles its GPU if it has imported this module: a rule without one would fail on a cluster, first thing."""
    for name, text in rules().items():
        devices = any(path.name == "devices.py" for path in import_closure(name))
        assert devices == ("gpu=" in text), name


def test_only_steps_that_fetch_run_on_the_login_node() -> None:
    local = re.search(r"localrules:\n((?:    \w+,\n)+)", (ROOT / "Snakefile").read_text())
    assert local is not None
    names = set(re.findall(r"\w+", local[1])) - {"all"}
    assert names == {name for name in rules() if name.startswith("fetch_")}


def test_profiles_do_not_disturb_one_another() -> None:
    """The workflow's own profile overrides the site's key by key."""
    default, slurm = (
        yaml.safe_load((ROOT / f"{name}/config.yaml").read_text()) for name in ("profiles/default", "slurm")
    )
    assert not default.keys() & slurm.keys()
    assert slurm["configfile"] == "config/paper.yaml" and slurm["software-deployment-method"] == "conda"
    assert slurm["slurm-no-requeue"] is True and "slurm-requeue" not in slurm


def test_every_group_has_a_size() -> None:
    used = {
        name for text in rules().values() for name in re.findall(r'group:\n        (?:small\()?"(\w+)"', text)
    }
    sizes = yaml.safe_load((ROOT / "slurm/config.yaml").read_text())["group-components"]
    assert used == {size.split("=")[0] for size in sizes}


def test_the_demo_submits_few_jobs() -> None:
    """Snakemake's dry run lists what it would submit: single jobs and groups; steps that fetch run where it runs."""
    command = [sys.executable, "-m", "snakemake", "--profile", "slurm", "--configfile", "config.yaml", "--dry-run", "--forceall",
               "--software-deployment-method", "env-modules"]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    told = done.stdout + done.stderr
    assert done.returncode == 0, told[-2000:]
    single = [
        line for line in re.findall(r"^Job \d+: (.+)", told, re.M) if not line.startswith("fetch and verify")
    ]
    groups = re.findall(r"Group job (\w+)", told)
    assert {"prepared", "tables", "captioning", "heads"} <= set(groups)
    assert len(single) + len(groups) <= 40
