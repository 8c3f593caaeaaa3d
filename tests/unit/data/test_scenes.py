"""Scenes: captions are true of them, pictures show them, and the same seed gives the same bytes."""

import io
import re

import numpy as np
import pytest
from scipy import ndimage

from preftune.data.embedded.captions import captions_of
from preftune.data.embedded.scenes import BACKGROUNDS, COLOURS, SHAPES, SIZE, Scene, draw, draw_scenes
from preftune.errors import PreftuneError

SIZES = {"small": "small", "little": "small", "large": "large", "big": "large"}
NUMBERS = {"a": 1, "an": 1, "one": 1, "single": 1, "two": 2, "three": 3}
ORDERS = {
    "to the left of": ("left", 1), "to the right of": ("left", -1), "above": ("above", 1), "below":
    ("above", -1),
}  # fmt: skip
PLACES = {("on the left", "on the right"): "left", ("at the top", "at the bottom"): "above"}
PLURALS = {f"{shape}es" if shape == "cross" else f"{shape}s": shape for shape in SHAPES}


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return draw_scenes(300, seed=3)


def told_things(caption: str) -> list[tuple[str, str]]:
    """Read (colour, shape) in the order told."""
    shapes = {**{shape: shape for shape in SHAPES}, **PLURALS}
    return [
        (c, shapes[s])
        for c, s in re.findall(
            rf"({'|'.join(COLOURS)}) ({'|'.join(sorted(shapes, reverse=True))})\b", caption
        )
    ]


def told_sizes(caption: str) -> list[str]:
    return [SIZES[word] for word in re.findall(r"\b(small|little|large|big)\b", caption)]


def told_relation(caption: str) -> tuple[str, int]:
    """Read the relation, and 1 where the thing told first is the one on the left or above, else -1."""
    for words, told in ORDERS.items():
        if f" {words} " in caption:
            return told
    for (first, second), relation in PLACES.items():
        if first in caption:
            assert caption.index(first) < caption.index(second)
            return relation, 1
    raise AssertionError(f"no relation in: {caption}")


def check_pair(scene: Scene, caption: str) -> None:
    assert scene.second is not None
    relation, direction = told_relation(caption)
    assert relation == scene.relation
    truth = [scene.first, scene.second][::direction]
    assert told_things(caption) == [(thing.colour, thing.shape) for thing in truth]
    assert told_sizes(caption) in ([], [thing.size for thing in truth])
    if "shapes" in caption:
        assert "two shapes" in caption


def check_equal_things(scene: Scene, caption: str) -> None:
    assert told_things(caption) == [(scene.first.colour, scene.first.shape)]
    assert told_sizes(caption) == [scene.first.size]
    number = re.search(
        rf"\b(two|three|one|single)\b|^(an?) (?:small|large)|shows (an?) (?:{'|'.join(COLOURS)})", caption
    )
    assert number and NUMBERS[next(word for word in number.groups() if word)] == scene.count
    assert any(plural in caption for plural in PLURALS) == (scene.count > 1)


def test_captions_are_true_of_the_scene(scenes: list[Scene]) -> None:
    for scene in scenes:
        for caption in captions_of(scene):
            (check_pair if scene.kind == "pair" else check_equal_things)(scene, caption)
            background = re.findall(rf"\b({'|'.join(BACKGROUNDS)})\b", caption)
            assert background in ([], [scene.background])


def test_five_ways_of_saying_it(scenes: list[Scene]) -> None:
    for scene in scenes:
        captions = captions_of(scene)
        assert len(captions) == len(set(captions)) == 5
        assert len({caption.split()[0:3].__repr__() for caption in captions}) >= 4
        assert not any(re.search(r"\ba [aeiou]", caption) for caption in captions)


def test_scenes_are_all_different_and_of_every_kind(scenes: list[Scene]) -> None:
    assert len(set(scenes)) == len(scenes)
    assert {scene.kind for scene in scenes} == {"single", "pair", "group"}
    assert {scene.count for scene in scenes} == {1, 2, 3}
    assert {scene.first.shape for scene in scenes} == set(SHAPES)
    assert {scene.first.colour for scene in scenes} == set(COLOURS)


def coloured(scene: Scene, picture: np.ndarray, colour: str) -> np.ndarray:
    """Return the mask `[rows, columns]` of the pixels of one colour."""
    return np.abs(picture.astype(int) - np.array(COLOURS[colour])).sum(axis=-1) < 12


def test_pictures_show_the_scene(scenes: list[Scene]) -> None:
    for number, scene in enumerate(scenes[:120]):
        picture = np.array(draw(scene, f"test-{number}"))  # [rows, columns, 3]
        assert picture.shape == (SIZE, SIZE, 3)
        assert tuple(picture[0, 0]) == BACKGROUNDS[scene.background]
        first = coloured(scene, picture, scene.first.colour)
        assert ndimage.label(first, structure=np.ones((3, 3)))[1] == scene.count
        extent = max(np.ptp(np.nonzero(ndimage.label(first)[0] == 1)[0]), 1)
        assert (extent > 70) == (scene.first.size == "large")
        if scene.second is not None:
            one = ndimage.center_of_mass(first)
            two = ndimage.center_of_mass(coloured(scene, picture, scene.second.colour))
            axis = 1 if scene.relation == "left" else 0
            assert two[axis] - one[axis] > 80
            assert abs(two[1 - axis] - one[1 - axis]) < 60


def test_the_same_seed_gives_the_same_bytes() -> None:
    def encode(seed: int) -> bytes:
        stream = io.BytesIO()
        for scene in draw_scenes(5, seed):
            draw(scene, f"scene-{seed}").save(stream, format="PNG")
        return stream.getvalue()

    assert encode(1) == encode(1) != encode(2)


def test_more_scenes_than_the_world_has() -> None:
    with pytest.raises(PreftuneError, match="closed world"):
        draw_scenes(12_000, seed=0)
