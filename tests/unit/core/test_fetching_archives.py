"""Archives that climb, link, lie, explode or are damaged: refused by name, with nothing left behind; good ones are taken apart."""

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from preftune.errors import PreftuneError
from preftune.fetching.archives import find_damage, unpack

MEMBERS = {
    "train/a.txt": b"a" * 1000,
    "train/deep/b.txt": b"b",
    "annotations/captions_x.json": b"{}",
    "README": b"read",
}
ALL = {"train/": "coco/train", "annotations/captions_*.json": "coco/annotations"}


def make_zip(path: Path, members: dict[str, bytes] | None = None, change: Callable[[zipfile.ZipInfo], None] | None = None) -> Path:  # fmt: skip
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in (MEMBERS if members is None else members).items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            if change:
                change(info)
            archive.writestr(info, data)
    return path


def make_tar(path: Path, members: dict[str, bytes] | None = None, **fields: object) -> Path:
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for name, data in (MEMBERS if members is None else members).items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for key, value in fields.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(data))
    return path


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}  # fmt: skip


def refuse(archive: Path, says: str, output: Path, take: dict[str, str] | None = None, limit: int | None = None) -> None:  # fmt: skip
    with pytest.raises(PreftuneError, match=says) as error:
        unpack(archive, take or {"train/": "coco/train"}, output, limit)
    assert archive.name in str(error.value)
    assert not output.exists() or not list(output.iterdir())
    assert [path.name for path in output.parent.iterdir() if path != archive and path != output] == []


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz"])
def test_members_go_where_the_row_says_and_no_others_come(tmp_path: Path, name: str) -> None:
    archive = (make_zip if name.endswith("zip") else make_tar)(tmp_path / name)
    found = unpack(archive, ALL, tmp_path / "out")
    assert files(tmp_path / "out") == {
        "coco/train/a.txt": MEMBERS["train/a.txt"],
        "coco/train/deep/b.txt": b"b",
        "coco/annotations/captions_x.json": b"{}",
    }
    assert [path.name for path in found["train/"]] == ["a.txt", "b.txt"]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_tar_is_read_however_it_is_compressed(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    plain = make_tar(tmp_path / "a.tar").read_bytes()
    (tmp_path / "b.tar").write_bytes(pack(plain))
    unpack(tmp_path / "b.tar", {"README": ""}, tmp_path / "out")
    assert files(tmp_path / "out") == {"README": b"read"}


CLIMBING = ["../evil", "train/../../evil", "/etc/evil", "..\\evil", "C:/evil", "train/..", "./../evil"]


@pytest.mark.parametrize("name", CLIMBING)
@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_a_path_that_leaves_the_archive_is_refused_even_where_nobody_takes_it(
    tmp_path: Path, name: str, make: Callable[..., Path]
) -> None:
    archive = make(tmp_path / "a.archive", MEMBERS | {name: b"evil"})
    refuse(archive, "climbs out of|absolute path", tmp_path / "out")
    assert not (tmp_path / "evil").exists() and not (tmp_path.parent / "evil").exists()


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_of_a_tar_are_refused(tmp_path: Path, kind: bytes) -> None:
    archive = make_tar(tmp_path / "a.tar", {"train/a.txt": b""}, type=kind, linkname="../../secret")
    refuse(archive, "'train/a.txt' is a link or a device", tmp_path / "out")


def test_links_of_a_zip_are_refused(tmp_path: Path) -> None:
    def link(info: zipfile.ZipInfo) -> None:
        info.external_attr = 0o120777 << 16

    refuse(
        make_zip(tmp_path / "a.zip", {"train/a": b"../../secret"}, link),
        "'train/a' is a link",
        tmp_path / "out",
    )


def test_encrypted_members_are_refused(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"train/a": b"x"})
    data = bytearray(archive.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    archive.write_bytes(data)
    refuse(archive, "'train/a' is encrypted", tmp_path / "out")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("twin", ["train/a.txt", "train//a.txt", "./train/a.txt"])
def test_a_member_that_stands_twice_is_refused(tmp_path: Path, twin: str) -> None:
    for name, opener in (("a.zip", zipfile.ZipFile), ("a.tar", tarfile.open)):
        with opener(tmp_path / name, "w") as archive:  # type: ignore[operator]
            for member in ("train/a.txt", twin):
                if isinstance(archive, zipfile.ZipFile):
                    archive.writestr(member, b"x")
                else:
                    archive.addfile(tarfile.TarInfo(member))
        out = tmp_path / f"{name}-out"
        with pytest.raises(PreftuneError, match=r"'train/a\.txt' stands twice"):
            unpack(tmp_path / name, ALL, out)
        assert not out.exists()


@pytest.mark.parametrize("inner", ["train/a", "train/a/b/c"])
def test_a_file_that_is_a_folder_as_well_is_refused(tmp_path: Path, inner: str) -> None:
    refuse(
        make_zip(tmp_path / "a.zip", {"train": b"x", inner: b"y"}),
        "needs a folder where a file",
        tmp_path / "out",
    )


def test_a_bomb_is_refused_by_what_it_declares(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"train/zeros": bytes(30 << 20)})
    assert archive.stat().st_size < 100_000
    refuse(archive, "declares 31,457,280 bytes, more than the 1,000,000", tmp_path / "out", limit=1_000_000)


def test_a_bomb_that_lies_is_stopped_at_the_bytes_that_it_holds(tmp_path: Path) -> None:
    """The central directory and the local header both declare 10 bytes of 5 million."""
    archive = make_zip(tmp_path / "a.zip", {"train/zeros": bytes(5_000_000)})
    data = archive.read_bytes().replace(struct.pack("<L", 5_000_000), struct.pack("<L", 10))
    archive.write_bytes(data)
    refuse(archive, "damaged|holds more bytes", tmp_path / "out", limit=1_000_000)


def test_a_tar_that_unpacks_into_too_much_is_stopped_while_it_is_read(tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "a.tar.gz", {"train/zeros": bytes(30 << 20)})
    refuse(archive, "more than the 1,000,000", tmp_path / "out", limit=1_000_000)


def test_the_default_limit_stops_what_no_data_set_is(tmp_path: Path) -> None:
    """1.1 GB of zeros in a megabyte."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive, archive.open("train/z", "w") as member:  # fmt: skip
        for _ in range(1100):
            member.write(bytes(1_000_000))
    refuse(path, "declares 1,100,000,000 bytes", tmp_path / "out")


def test_damage_is_found_by_the_checksum(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"train/a": bytes(range(256)) * 100})
    data = bytearray(archive.read_bytes())
    data[60] ^= 0xFF
    archive.write_bytes(data)
    refuse(archive, "is damaged", tmp_path / "out")
    packed = tmp_path / "sub/b.tar.gz"
    packed.parent.mkdir()
    make_tar(packed, {"train/a": bytes(range(256)) * 100})
    data = bytearray(packed.read_bytes())
    data[-8] ^= 0xFF  # of the checksum itself, behind the last member
    packed.write_bytes(data)
    refuse(packed, "is damaged", packed.parent / "out")


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz"])
@pytest.mark.parametrize("part", [0.3, 0.7, 0.98])
def test_a_truncated_archive_is_refused(tmp_path: Path, name: str, part: float) -> None:
    archive = (make_zip if name.endswith("zip") else make_tar)(
        tmp_path / name, {"train/a": bytes(range(256)) * 300}
    )
    kept = archive.read_bytes() if name != "a.tar" else archive.read_bytes()[: 512 + 256 * 300]
    archive.write_bytes(kept[: int(len(kept) * part)])
    assert find_damage(archive)
    refuse(archive, "is damaged", tmp_path / "out")


@pytest.mark.parametrize("change", ["a wrong byte", "the end"])
def test_a_tar_whose_members_end_before_its_end_mark_is_damaged(tmp_path: Path, change: str) -> None:
    """A header is checked by itself; nothing else says how many members there are."""
    archive = make_tar(tmp_path / "a.tar", {"train/a": b"1", "train/b": b"2"})
    data = bytearray(archive.read_bytes())
    data[1024] ^= 0xFF  # the first byte of the second header
    archive.write_bytes(data if change == "a wrong byte" else data[:1024])
    assert find_damage(archive)
    refuse(archive, "is damaged", tmp_path / "out")


def test_a_whole_archive_has_no_damage_and_a_page_is_none(tmp_path: Path) -> None:
    assert find_damage(make_zip(tmp_path / "a.zip")) == find_damage(make_tar(tmp_path / "a.tar.gz")) == ""
    (tmp_path / "page.zip").write_text("<html>404</html>")
    assert "no whole archive" in find_damage(tmp_path / "page.zip")


def test_a_layout_that_has_changed_is_named(tmp_path: Path) -> None:
    refuse(make_zip(tmp_path / "a.zip"), "holds no val/", tmp_path / "out", take={"val/": "val"})


def test_two_members_never_become_one_file(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"x/a.json": b"1", "y/a.json": b"2"})
    refuse(archive, "two members would be the same file", tmp_path / "out", take={"*/a.json": "all"})
