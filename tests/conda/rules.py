"""The scripts that run in each environment: `python tests/conda/rules.py train` prints their paths. Needs no package."""

import re
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(path.stem for path in (ROOT / "envs").glob("*.yaml"))


@cache
def scripts_of(name: str) -> list[str]:
    """The scripts, without `.py`, of the rules that run in an environment."""
    text = "".join(path.read_text() for path in sorted((ROOT / "workflow/rules").glob("*.smk")))
    rules = re.split(r"^rule ", text, flags=re.MULTILINE)[1:]
    calling = [rule for rule in rules if f"envs/{name}.yaml" in rule]
    return [script for rule in calling for script in re.findall(r"workflow/scripts/(\w+)\.py", rule)]


if __name__ == "__main__":
    print(*(f"workflow/scripts/{script}.py" for script in scripts_of(sys.argv[1])), sep="\n")
