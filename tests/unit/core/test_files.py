"""Atomic writing, reading with errors that name file and row, hashing."""

import gzip
from pathlib import Path

import pytest

from preftune import files
from preftune.errors import PreftuneError


def test_jsonl_round_trip_and_equal_bytes(tmp_path: Path) -> None:
    rows = [{"text": "é", "label": 1}, {"text": "b", "label": 0}]
    for name in ("a.jsonl", "a.jsonl.gz"):
        files.write_jsonl(tmp_path / name, rows)
        first = (tmp_path / name).read_bytes()
        files.write_jsonl(tmp_path / name, rows)
        assert (tmp_path / name).read_bytes() == first
        assert files.read_jsonl(tmp_path / name) == rows


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b'{"a": 1}\n{"a": \n', "row 2 is not valid JSON"),
        (b'{"a": 1}\n[1]\n', "row 2 is not a JSON object"),
        (b'{"a": "\xff"}\n', "row 1 is not UTF-8"),
    ],
)
def test_a_damaged_file_names_its_row(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "x.jsonl").write_bytes(content)
    with pytest.raises(PreftuneError, match=words) as error:
        files.read_jsonl(tmp_path / "x.jsonl")
    assert "x.jsonl" in str(error.value)


def test_a_truncated_archive_is_named(tmp_path: Path) -> None:
    data = gzip.compress(b'{"a": 1}\n' * 1000)
    (tmp_path / "x.jsonl.gz").write_bytes(data[: len(data) // 2])
    with pytest.raises(PreftuneError, match="truncated"):
        files.read_jsonl(tmp_path / "x.jsonl.gz")


def test_a_failed_write_leaves_the_old_file_and_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "x.txt"
    files.atomic_write_text(target, "old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(PreftuneError, match="No space is left"):
        files.atomic_write_text(target, "new")
    assert target.read_text() == "old" and list(tmp_path.iterdir()) == [target]


def test_tree_hash_sees_names_and_bytes_but_not_the_record(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "a").write_text("1")
    before = files.sha256_tree(folder)
    (folder / "run.json").write_text("{}")
    assert files.sha256_tree(folder) == before
    (folder / "a").rename(folder / "b")
    assert files.sha256_tree(folder) != before
