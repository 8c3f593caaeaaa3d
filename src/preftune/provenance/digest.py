"""Content digests of code: the script and every module of ours that it imports, over normalised syntax.

Comments, docstrings, formatting, time stamps and unused modules do not count, so documentation never costs a training
run, while an edit of an imported helper is always seen (Snakemake itself sees neither correctly).
The scheme is versioned because `ast.dump` may differ between Python versions.
"""

import ast
import atexit
import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from preftune.errors import PreftuneError
from preftune.provenance.waivers import canonical_digest, read_waivers

SCHEME = "ast1"
ROOT = Path(__file__).resolve().parents[3]
SCRIPTS = ROOT / "workflow" / "scripts"
WAIVERS = ROOT / "config" / "code_equivalence.tsv"
_SOURCE = ROOT / "src"


@cache
def code_digest(rule: str) -> str:
    """Digest `ast1:<hex>` that stands for a rule's code in identities: the present one, or an older one by a waiver."""
    return canonical_digest(rule, present_digest(rule), read_waivers(WAIVERS))


@cache
def present_digest(rule: str) -> str:
    """Digest `ast1:<hex>` of a rule's script and of the transitive closure of its imports in this checkout.

    Modules that `import_submodules` finds are left out: a job names those that it uses (`module_digest`), so that a new one
    runs nothing again.
    """
    return _digest(_close([_script(rule)], found=False))


@cache
def module_digest(name: str) -> str:
    """What stands for one module, `preftune.data.tasks.arc`, and what it imports; waivers name the module as their rule."""
    return canonical_digest(name, _digest(_close(_module_files(name), found=False)), read_waivers(WAIVERS))


@cache
def import_closure(rule: str) -> tuple[Path, ...]:
    """Every file of `src/` and `workflow/scripts/` that the rule's script imports or finds, itself included, sorted."""
    return _close([_script(rule)], found=True)


def _script(rule: str) -> Path:
    script = SCRIPTS / f"{rule}.py"
    if not script.is_file():
        raise PreftuneError(
            f"Rule {rule} has no script {script.relative_to(ROOT)}: scripts carry the name of their rule."
        )
    return script


def _close(files: Iterable[Path], found: bool) -> tuple[Path, ...]:
    """The files and all that they import, sorted; `found`: with the modules of packages that they search."""
    seen: set[Path] = set()
    waiting = list(files)
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen.add(path)
            names = _facts(path)[1]
            waiting.extend(
                file for name in names if found or not name.endswith(".*") for file in _module_files(name)
            )
    return tuple(sorted(seen))


def _digest(files: Iterable[Path]) -> str:
    lines = [f"{path.relative_to(ROOT).as_posix()} {_facts(path)[0]}\n" for path in files]
    return f"{SCHEME}:{hashlib.sha256(''.join(lines).encode()).hexdigest()}"


def blob_hash(path: Path) -> str:
    """Git's blob id of a file's present bytes."""
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def syntax_hash(source: bytes) -> str:
    """Hash of a module's normalised syntax: equal where two texts differ in comments, docstrings and layout alone."""
    return _read_facts(source)[0]


@cache
def _facts(path: Path) -> tuple[str, tuple[str, ...]]:
    """Hash of a file's normalised syntax, and the modules that it imports; remembered on disk by the file's blob id."""
    blob = blob_hash(path)
    if blob not in _remembered():
        _remembered()[blob] = _read_facts(path.read_bytes())
    syntax, names = _remembered()[blob]
    return syntax, tuple(names)


@cache
def _remembered() -> dict[str, Any]:
    """Facts of earlier processes: parsing 150 modules takes a second, reading this file a millisecond."""
    path = ROOT / "scratch" / f"syntax-{SCHEME}-{sys.version_info.major}.{sys.version_info.minor}.json"
    try:
        known = json.loads(path.read_text())
    except (OSError, ValueError):
        known = {}
    before = len(known)

    def save() -> None:
        if len(known) > before:
            with contextlib.suppress(OSError):
                path.parent.mkdir(parents=True, exist_ok=True)
                temporary = path.with_suffix(f".{os.getpid()}")
                temporary.write_text(json.dumps(known))
                os.replace(temporary, path)

    atexit.register(save)
    return known


def _read_facts(source: bytes) -> tuple[str, list[str]]:
    tree = ast.parse(source)
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "import_submodules":
            names += [f"{ast.literal_eval(node.args[0])}.*"]
        if isinstance(
            node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        ) and _has_docstring(node):
            node.body = node.body[1:] or [ast.Pass()]
    return hashlib.sha256(ast.dump(tree, annotate_fields=False).encode()).hexdigest(), names


def _has_docstring(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return ast.get_docstring(node, clean=False) is not None


@cache
def _module_files(name: str) -> tuple[Path, ...]:
    """The file of a module of ours and the `__init__.py` of each package above it; nothing for other packages.

    `<package>.*` is every module of a package that is searched.
    """
    parts = name.split(".")
    if parts[-1] == "*":  # preftune.modules.import_submodules
        return tuple(sorted(_SOURCE.joinpath(*parts[:-1]).glob("*.py")))
    local = SCRIPTS / f"{name}.py"
    if len(parts) == 1 and local.is_file():
        return (local,)
    if parts[0] != "preftune":
        return ()
    packages = [_SOURCE.joinpath(*parts[:depth], "__init__.py") for depth in range(1, len(parts) + 1)]
    files = [path for path in packages if path.is_file()]
    module = _SOURCE.joinpath(*parts).with_suffix(".py")
    return (*files, module) if module.is_file() else tuple(files)
