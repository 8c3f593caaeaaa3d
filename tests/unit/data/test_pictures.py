"""Pictures of every kind become upright 8-bit RGB; each file that is no use is one sentence with its name."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from preftune.data.pictures import Picture, open_picture
from preftune.errors import PreftuneError


def stored(folder: Path, picture: Image.Image, name: str = "picture.png", **options: object) -> Picture:
    """The picture after a round through a file."""
    picture.save(folder / name, **options)
    return open_picture(folder / name)


def colour(picture: Picture) -> object:
    assert picture.image.mode == "RGB"
    return picture.image.getpixel((1, 1))


def test_modes_are_converted(tmp_path: Path) -> None:
    size = (8, 6)
    rgb = stored(tmp_path, Image.new("RGB", size, (10, 20, 30)))
    assert (colour(rgb), rgb.mode, rgb.stored_size, rgb.turned) == ((10, 20, 30), "RGB", size, False)
    grey = stored(tmp_path, Image.new("L", size, 40))
    assert (colour(grey), grey.mode) == ((40, 40, 40), "L")
    ink = stored(tmp_path, Image.new("CMYK", size, (0, 255, 255, 0)), "ink.jpg", quality=100)
    assert ink.mode == "CMYK" and np.allclose(colour(ink), (255, 0, 0), atol=3)  # type: ignore[arg-type]
    palette = Image.new("P", size, 1)
    palette.putpalette([0, 0, 0, 200, 100, 0])
    assert colour(stored(tmp_path, palette)) == (200, 100, 0)


def test_what_is_transparent_lies_on_white(tmp_path: Path) -> None:
    """Black that nobody sees: Pillow's own conversion would show it."""
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([9, 9, 9, 0, 0, 0])
    assert colour(stored(tmp_path, palette, transparency=1)) == (255, 255, 255)
    assert colour(stored(tmp_path, palette, transparency=0)) == (0, 0, 0)
    assert colour(stored(tmp_path, palette, transparency=b"\x00\x80")) == (127, 127, 127)
    assert colour(stored(tmp_path, Image.new("RGBA", (4, 4), (0, 0, 0, 0)))) == (255, 255, 255)
    assert colour(stored(tmp_path, Image.new("RGBA", (4, 4), (0, 0, 255, 128)))) == (127, 127, 255)
    assert colour(stored(tmp_path, Image.new("LA", (4, 4), (0, 255)))) == (0, 0, 0)


@pytest.mark.parametrize("name", ["deep.png", "deep.tiff"])
def test_16_bits_keep_their_upper_byte(name: str, tmp_path: Path) -> None:
    """Pillow's own conversion would clip at 255 and leave a white picture."""
    values = np.array([[0, 255], [0x1200, 0x12FF], [0x8000, 0xFFFF]], dtype=np.uint16)
    deep = stored(tmp_path, Image.fromarray(values), name)
    assert deep.mode == "I;16"
    assert np.asarray(deep.image)[:, :, 0].tolist() == [[0, 0], [0x12, 0x12], [0x80, 0xFF]]


def test_the_exif_orientation_is_applied(tmp_path: Path) -> None:
    """6: the camera was held upright, so that the stored left column is the picture's top row."""
    pixels = np.zeros((2, 3, 3), dtype=np.uint8)
    pixels[:, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = stored(tmp_path, Image.fromarray(pixels), exif=exif)
    assert (turned.stored_size, turned.image.size, turned.turned) == ((3, 2), (2, 3), True)
    assert np.asarray(turned.image)[:, :, 0].tolist() == [[255, 255], [0, 0], [0, 0]]
    exif[0x0112] = 3  # upside down: the size stays
    assert stored(tmp_path, Image.fromarray(pixels), exif=exif).turned
    exif[0x0112] = 1
    assert not stored(tmp_path, Image.fromarray(pixels), exif=exif).turned


def refuse(path: Path, *words: str) -> None:
    with pytest.raises(PreftuneError) as error:
        open_picture(path)
    message = str(error.value)
    assert all(word in message for word in (str(path), *words)), message
    assert message.endswith(".") and "\n" not in message


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    for name in ("photo.jpg", "photo.png"):
        path = tmp_path / name
        noise.save(path)
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        refuse(path, "does not decode", "truncated", "fetch or copy it again")
        path.write_bytes(b"no picture" + whole)
        refuse(path, "does not decode (of no known format)", "remove it from the data")
        path.write_bytes(b"")
        refuse(path, "is an empty file", "fetch or copy it again")
        path.unlink()
        refuse(path, "does not exist", "fetch or copy it again")
    path = tmp_path / "corrupt.png"
    noise.save(path)
    whole = bytearray(path.read_bytes())
    whole[60:70] = b"0123456789"  # inside of the compressed pixels
    path.write_bytes(whole)
    refuse(path, "does not decode", "fetch or copy it again")


def test_32_bits_are_refused(tmp_path: Path) -> None:
    Image.new("F", (4, 4), 0.5).save(tmp_path / "float.tiff")
    refuse(tmp_path / "float.tiff", "32-bit pixels", "save it with 8 bits")


@pytest.mark.parametrize("limit", [1000, 600])  # Pillow warns at its limit and raises at twice that
def test_decompression_bombs_are_refused(limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (40, 40)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    refuse(tmp_path / "bomb.png", f"more than {limit:,} pixels", "make it smaller")
