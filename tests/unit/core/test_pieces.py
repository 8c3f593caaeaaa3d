"""Files in small pieces: the same bytes come back, whatever is missing or damaged is one sentence, nothing is half written."""

import io
import tarfile
from pathlib import Path

import pytest

from preftune.errors import PreftuneError
from preftune.pieces import join_pieces, read_manifest, write_pieces

LIMIT = 30_000


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "large").write_bytes(bytes(range(256)) * 400)  # more than three pieces
    (tmp_path / "small").write_text("small")
    (tmp_path / "empty").touch()
    return {
        "models/large.whl": tmp_path / "large",
        "rows/small": tmp_path / "small",
        "empty": tmp_path / "empty",
    }


@pytest.mark.parametrize("compress", [False, True])
def test_what_was_packed_comes_back_and_no_piece_is_larger_than_told(
    tmp_path: Path, files: dict[str, Path], compress: bool
) -> None:
    pieces = write_pieces(files, tmp_path / "pack", LIMIT, {"kind": "results"}, compress)
    assert all(0 < piece.stat().st_size <= LIMIT for piece in pieces)
    assert (len(pieces) == 1) if compress else (len(pieces) > 3)
    manifest = join_pieces(tmp_path / "pack", tmp_path / "back")
    assert (manifest["kind"], manifest["files"], len(manifest["parts"])) == ("results", 3, len(pieces))
    found = {path.relative_to(tmp_path / "back").as_posix(): path.read_bytes()
             for path in (tmp_path / "back").rglob("*") if path.is_file()}  # fmt: skip
    assert found == {name: path.read_bytes() for name, path in files.items()}


def test_equal_files_give_equal_pieces_and_joined_by_hand_they_are_a_tar(
    tmp_path: Path, files: dict[str, Path]
) -> None:
    first = write_pieces(files, tmp_path / "one", LIMIT, {})
    (tmp_path / "small").touch()
    (tmp_path / "small").chmod(0o755)
    second = write_pieces(dict(reversed(files.items())), tmp_path / "two", LIMIT, {})
    assert [piece.read_bytes() for piece in first] == [piece.read_bytes() for piece in second]
    assert read_manifest(tmp_path / "one") == read_manifest(tmp_path / "two")
    with tarfile.open(fileobj=io.BytesIO(b"".join(piece.read_bytes() for piece in first))) as tar:
        members = tar.getmembers()
    assert [member.name for member in members] == sorted(files)
    assert {(member.mtime, member.uid, member.uname, member.mode) for member in members} == {
        (0, 0, "", 0o644)
    }


def test_an_older_pack_leaves_no_piece_behind(tmp_path: Path, files: dict[str, Path]) -> None:
    write_pieces(files, tmp_path / "pack", LIMIT, {})
    pieces = write_pieces({"small": files["rows/small"]}, tmp_path / "pack", LIMIT, {})
    assert sorted((tmp_path / "pack").glob("part-*")) == pieces and len(pieces) == 1


@pytest.mark.parametrize("fault", ["missing", "damaged", "no manifest"])
def test_a_faulty_folder_is_one_sentence_and_writes_nothing(
    tmp_path: Path, files: dict[str, Path], fault: str
) -> None:
    pack = tmp_path / "pack"
    write_pieces(files, pack, LIMIT, {})
    second = pack / "part-02.tar"
    if fault == "missing":
        second.unlink()
    elif fault == "damaged":
        data = bytearray(second.read_bytes())
        data[100] ^= 1
        second.write_bytes(data)
    else:
        (pack / "manifest.json").unlink()
    said = {
        "missing": "lacks part-02.tar of ",
        "damaged": "part-02.tar is not the piece",
        "no manifest": "holds no manifest.json",
    }
    with pytest.raises(PreftuneError, match=said[fault]):
        join_pieces(pack, tmp_path / "back")
    assert not (tmp_path / "back").exists()
