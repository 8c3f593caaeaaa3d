"""A closed world of coloured shapes: seeded scenes, drawn at 224 x 224, whose every fact is known.

A scene holds one shape, two different shapes in a relation, or two or three equal shapes. Where exactly a
shape sits is drawn at random and never told, so that no two pictures of one description are alike.
"""

import math
import random
from dataclasses import asdict, dataclass
from typing import Any, Literal

from PIL import Image, ImageDraw

from preftune.errors import PreftuneError

SIZE = 224  # pixels of a side
OVERSAMPLING = 4  # drawn larger and reduced, so that edges are smooth
SHAPES = ("circle", "square", "triangle", "star", "heart", "cross")
COLOURS = {
    "red": (230, 0, 0), "green": (0, 170, 0), "blue": (0, 40, 255),
    "yellow": (255, 240, 0), "purple": (130, 0, 160), "orange": (255, 130, 0),
}  # fmt: skip
BACKGROUNDS = {"white": (250, 250, 250), "grey": (150, 150, 150), "black": (15, 15, 15)}
RADII = {"small": 28, "large": 46}  # half of a shape's side, in pixels
RELATIONS = (
    "left",
    "above",
)  # of the first thing to the second; right and below are the same scenes told in reverse
KINDS = {"single": 0.35, "pair": 0.4, "group": 0.25}
DISTINCT_SCENES = 216 + 21_600 + 432  # singles, pairs, groups


@dataclass(frozen=True)
class Thing:
    """A kind of shape: what captions can say about it."""

    size: Literal["small", "large"]
    colour: str
    shape: str


@dataclass(frozen=True)
class Scene:
    """All told facts of a picture; two equal scenes have the same captions.

    `count` copies of `first` (1 to 3), or one `first` and one `second` with `first` to the left of or above
    it.
    """

    kind: Literal["single", "pair", "group"]
    background: str
    first: Thing
    count: int = 1
    second: Thing | None = None
    relation: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the facts as JSON values."""
        return asdict(self)


def draw_thing(rng: random.Random) -> Thing:
    """Draw size, colour and shape uniformly."""
    size: Literal["small", "large"] = rng.choice(("small", "large"))
    return Thing(size, rng.choice(tuple(COLOURS)), rng.choice(SHAPES))


def draw_scene(rng: random.Random) -> Scene:
    """Draw a kind by its share and the facts uniformly; a pair's things differ in colour and in shape."""
    kind = rng.choices(tuple(KINDS), weights=tuple(KINDS.values()))[0]
    background, first = rng.choice(tuple(BACKGROUNDS)), draw_thing(rng)
    if kind == "single":
        return Scene("single", background, first)
    if kind == "group":
        return Scene("group", background, first, count=rng.choice((2, 3)))
    second = draw_thing(rng)
    while second.colour == first.colour or second.shape == first.shape:
        second = draw_thing(rng)
    return Scene("pair", background, first, second=second, relation=rng.choice(RELATIONS))


def draw_scenes(count: int, seed: int) -> list[Scene]:
    """Return `count` different scenes; PreftuneError where the closed world has too few."""
    if count > DISTINCT_SCENES // 2:
        raise PreftuneError(
            f"{count} scenes are asked for, but the closed world has {DISTINCT_SCENES} different ones: "
            f"set train + validation + test to at most {DISTINCT_SCENES // 2}."
        )
    rng, scenes = random.Random(f"scenes-{seed}"), dict[Scene, None]()
    while len(scenes) < count:
        scenes[draw_scene(rng)] = None  # a dict keeps the order of drawing, a set would not
    return list(scenes)


def place(scene: Scene, rng: random.Random) -> list[tuple[Thing, float, float]]:
    """Return each shape with its centre in pixels: relations are clear, nothing overlaps or is cut off."""
    if scene.kind == "single":
        margin = RADII[scene.first.size] + 12
        return [(scene.first, rng.uniform(margin, SIZE - margin), rng.uniform(margin, SIZE - margin))]
    things = [scene.first] * scene.count if scene.second is None else [scene.first, scene.second]
    # three large shapes do not fit in one row: the middle one is lowered
    if scene.count == 3:
        shift = rng.uniform(-4, 4)
        centres = [(58 + shift, 62.0), (166 + shift, 62.0), (112 + shift, 164.0)]
    else:
        across = rng.uniform(70, SIZE - 70)
        centres = [(58.0, across + rng.uniform(-14, 14)), (166.0, across + rng.uniform(-14, 14))]
        upright = scene.relation == "above" or (scene.kind == "group" and rng.random() < 0.5)
        if upright:
            centres = [(y, x) for x, y in centres]
    return [
        (thing, x + rng.uniform(-5, 5), y + rng.uniform(-5, 5))
        for thing, (x, y) in zip(things, centres, strict=True)
    ]


def outline(shape: str, radius: float) -> list[tuple[float, float]]:
    """Return the corners of a shape around (0, 0), y downwards."""
    r = radius
    if shape == "square":
        return [(-r, -r), (r, -r), (r, r), (-r, r)]
    if shape == "triangle":
        return [(0, -r), (r, r), (-r, r)]
    if shape == "cross":
        t = r * 0.34
        return [
            (-t, -r),
            (t, -r),
            (t, -t),
            (r, -t),
            (r, t),
            (t, t),
            (t, r),
            (-t, r),
            (-t, t),
            (-r, t),
            (-r, -t),
            (-t, -t),
        ]
    if shape == "star":
        angles = [math.pi * k / 5 - math.pi / 2 for k in range(10)]
        radii = [1.1 * r if k % 2 == 0 else 0.45 * r for k in range(10)]
        return [(q * math.cos(a), q * math.sin(a)) for q, a in zip(radii, angles, strict=True)]
    if shape == "circle":
        return [(r * math.cos(math.tau * k / 90), r * math.sin(math.tau * k / 90)) for k in range(90)]
    turns = [math.tau * k / 90 for k in range(90)]  # heart
    return [
        (
            r * math.sin(t) ** 3,
            -r * (13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) / 16,
        )
        for t in turns
    ]


def draw(scene: Scene, seed: str) -> Image.Image:
    """Draw the scene as an RGB image of 224 x 224; `seed` decides the untold positions."""
    rng = random.Random(seed)
    canvas = Image.new("RGB", (SIZE * OVERSAMPLING, SIZE * OVERSAMPLING), BACKGROUNDS[scene.background])
    pen = ImageDraw.Draw(canvas)
    for thing, x, y in place(scene, rng):
        corners = outline(thing.shape, RADII[thing.size])
        pen.polygon(
            [((x + dx) * OVERSAMPLING, (y + dy) * OVERSAMPLING) for dx, dy in corners],
            fill=COLOURS[thing.colour],
        )
    return canvas.resize((SIZE, SIZE), Image.Resampling.BOX)
