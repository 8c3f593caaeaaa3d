"""The code digest: what changes it and what does not."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from preftune.errors import PreftuneError
from preftune.provenance import digest
from preftune.provenance.digest import (
    ROOT,
    SCHEME,
    code_digest,
    import_closure,
    module_digest,
    present_digest,
)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A small checkout: a script, a module that it imports through another, and an unused one."""
    files = {
        "workflow/scripts/train_toy.py": "from preftune.a import f\nprint(f())\n",
        "src/preftune/__init__.py": '"""Package."""\n',
        "src/preftune/a.py": "def f():\n    from preftune.b import g\n    return g()\n",
        "src/preftune/b.py": "def g():\n    return 1\n",
        "src/preftune/unused.py": "x = 1\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(digest, "ROOT", tmp_path)
    monkeypatch.setattr(digest, "SCRIPTS", tmp_path / "workflow/scripts")
    monkeypatch.setattr(digest, "_SOURCE", tmp_path / "src")
    yield tmp_path
    forget()


def test_submodules_that_are_found_are_recorded_and_named_by_jobs(checkout: Path) -> None:
    """`import_submodules` finds its modules while it runs: a new one is in the record and changes no digest but its own."""
    package = checkout / "src/preftune/kinds"
    package.mkdir()
    for name in ("__init__", "one"):
        (package / f"{name}.py").write_text("")
    (checkout / "src/preftune/a.py").write_text('def f():\n    import_submodules("preftune.kinds")\n')
    before = code_digest("train_toy")
    assert package / "one.py" in import_closure("train_toy")
    forget()
    (package / "two.py").write_text("from preftune.b import g\n")
    assert package / "two.py" in import_closure("train_toy")
    assert code_digest("train_toy") == before
    own, other = module_digest("preftune.kinds.two"), module_digest("preftune.kinds.one")
    forget()
    (checkout / "src/preftune/b.py").write_text("def g():\n    return 2\n")
    assert module_digest("preftune.kinds.two") != own and module_digest("preftune.kinds.one") == other


def forget() -> None:
    """The digests are cached for one process; these tests change files under it."""
    for function in (
        code_digest,
        present_digest,
        import_closure,
        module_digest,
        digest._facts,
        digest._remembered,
        digest._module_files,
    ):
        function.cache_clear()


def present() -> str:
    forget()
    return code_digest("train_toy")


def test_closure_follows_imports_inside_functions(checkout: Path) -> None:
    present()
    names = [path.relative_to(checkout).as_posix() for path in import_closure("train_toy")]
    assert names == [
        "src/preftune/__init__.py",
        "src/preftune/a.py",
        "src/preftune/b.py",
        "workflow/scripts/train_toy.py",
    ]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("src/preftune/b.py", '"""Docstring."""\n\n\ndef g():\n    """More."""\n    # why\n    return (1)\n'),
        ("src/preftune/unused.py", "x = 2\n"),
    ],
)
def test_comments_docstrings_layout_and_unused_modules_do_not_count(
    checkout: Path, file: str, text: str
) -> None:
    before = present()
    (checkout / file).write_text(text)
    assert present() == before


@pytest.mark.parametrize("file", ["src/preftune/b.py", "src/preftune/a.py", "workflow/scripts/train_toy.py"])
def test_a_change_anywhere_in_the_closure_counts(checkout: Path, file: str) -> None:
    before = present()
    (checkout / file).write_text((checkout / file).read_text() + "y = 3\n")
    assert present() != before


def test_golden_digest_of_the_scheme(checkout: Path) -> None:
    """A Python version with another `ast.dump` must be a new scheme: this digest is fixed."""
    assert present().startswith(f"{SCHEME}:")
    assert ast.dump(ast.parse("f'{x:{y}}'"), annotate_fields=False).count("FormattedValue") == 2
    assert present() == "ast1:8d94eadaf1dc26e80d144190a332659671671c9a2eece2b8b5cdf6cf150b07b0"


def test_a_rule_without_a_script_is_named() -> None:
    with pytest.raises(PreftuneError, match=r"workflow/scripts/train_nothing\.py"):
        import_closure("train_nothing")


def test_captioning_code_is_no_part_of_alignment() -> None:
    forget()
    names = {path.relative_to(ROOT).as_posix() for path in import_closure("train_alignment")}
    assert not any("captioning" in name or "adapters/" in name or "encoders" in name for name in names)
    other = {path.relative_to(ROOT).as_posix() for path in import_closure("train_captioner")}
    assert not any("preference" in name for name in other)
