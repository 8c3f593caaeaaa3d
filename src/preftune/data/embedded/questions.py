"""Questions about scenes with one exact answer each, asked of a picture or of its description in words.

What a question says tells nothing of its answer: colours, shapes, sizes and backgrounds are drawn alike for all
scenes, yes and no are drawn with a coin, and as many scenes with one as with two and with three shapes are asked for
their number. Every scene has the same number of questions, so that choosing among them keeps that balance.
"""

import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from preftune.data.embedded.captions import NUMBERS, RELATION_WORDS, captions_of, plural, with_article
from preftune.data.embedded.scenes import BACKGROUNDS, COLOURS, SHAPES, Scene, Thing, draw_scene

QUESTIONS_PER_SCENE = 6
ANSWERS = {
    "colour": tuple(COLOURS),
    "shape": SHAPES,
    "size": ("small", "large"),
    "background": tuple(BACKGROUNDS),
    "number": tuple(NUMBERS.values()),
    "presence": ("yes", "no"),
    "relation": ("yes", "no"),
    "place": SHAPES,
}
"""Every answer of each kind of question."""

# Two wordings of a kind: of one thing, then of several equal ones.
WORDINGS = {
    "colour": (
        ("what colour is the {shape}?", "which colour does the {shape} have?"),
        ("what colour are the {shapes}?", "which colour do the {shapes} have?"),
    ),
    "shape": (
        ("what shape is the {colour} thing?", "which shape does the {colour} thing have?"),
        ("what shape are the {colour} things?", "which shape do the {colour} things have?"),
    ),
    "size": (
        ("what size is the {colour} {shape}?", "is the {colour} {shape} small or large?"),
        ("what size are the {colour} {shapes}?", "are the {colour} {shapes} small or large?"),
    ),
}


@dataclass(frozen=True)
class Question:
    """A question of one of the kinds in `ANSWERS`, and its only answer."""

    kind: str
    text: str
    answer: str


def count_shapes(scene: Scene) -> int:
    """Return how many shapes a scene shows, 1 to 3."""
    return scene.count if scene.second is None else 2


def things_of(scene: Scene) -> list[Thing]:
    """Return the different things of a scene: one, or a pair's two."""
    return [scene.first] if scene.second is None else [scene.first, scene.second]


def ask_fact(kind: str, scene: Scene, rng: random.Random) -> Question:
    """Ask for colour, shape or size of one of the scene's things."""
    thing = rng.choice(things_of(scene))
    wording = rng.choice(WORDINGS[kind][scene.count > 1])
    text = wording.format(colour=thing.colour, shape=thing.shape, shapes=plural(thing.shape))
    return Question(kind, text, str(getattr(thing, kind)))


def ask_background(scene: Scene, rng: random.Random) -> Question:
    """Ask for the background's colour."""
    text = rng.choice(("what colour is the background?", "which colour does the background have?"))
    return Question("background", text, scene.background)


def ask_number(scene: Scene, rng: random.Random) -> Question:
    """Ask for the number of shapes."""
    text = rng.choice(("how many shapes are there?", "how many shapes are in the picture?"))
    return Question("number", text, NUMBERS[count_shapes(scene)])


def ask_presence(scene: Scene, rng: random.Random, present: bool) -> Question:
    """Ask whether the scene has a thing, or one of another colour or of another shape, which it has not."""
    thing = rng.choice(things_of(scene))
    colour, shape = thing.colour, thing.shape
    if not present:
        # a pair's things share neither, so that no single change makes one of them the other
        if rng.random() < 0.5:
            colour = rng.choice([other for other in COLOURS if other != colour])
        else:
            shape = rng.choice([other for other in SHAPES if other != shape])
    if scene.count > 1:
        text = rng.choice(("are there any {}?", "can you see any {}?")).format(f"{colour} {plural(shape)}")
    else:
        text = rng.choice(("is there {}?", "can you see {}?")).format(with_article(f"{colour} {shape}"))
    return Question("presence", text, "yes" if present else "no")


def ask_relation(scene: Scene, rng: random.Random) -> Question:
    """Ask whether one of a pair is to the left of, right of, above or below the other."""
    forward, reverse, _, _ = RELATION_WORDS[scene.relation or "left"]
    things = things_of(scene)
    true = rng.random() < 0.5
    swapped = rng.random() < 0.5
    words = (forward, reverse)[true == swapped]
    one, other = (f"the {thing.colour} {thing.shape}" for thing in things[:: -1 if swapped else 1])
    return Question("relation", f"is {one} {words} {other}?", "yes" if true else "no")


def ask_place(scene: Scene, rng: random.Random) -> Question:
    """Ask which shape of a pair is at one of its two places."""
    end = rng.randrange(2)
    place = RELATION_WORDS[scene.relation or "left"][2 + end]
    text = rng.choice(("which shape is {}?", "what shape is {}?")).format(place)
    return Question("place", text, things_of(scene)[end].shape)


ASK: dict[str, Callable[[Scene, random.Random], Question]] = {
    "background": ask_background,
    "number": ask_number,
    "relation": ask_relation,
    "place": ask_place,
}


def choose_kinds(scene: Scene, rng: random.Random, number: bool) -> list[str]:
    """Return the kinds of a scene's six questions; presence may be among them twice."""
    kinds = ["colour", "shape", "size", "background", "presence"]
    if scene.kind == "pair":
        kinds = [*rng.sample(kinds, 3), "relation", "place"]
    return [*kinds, "number" if number else "presence"]


def questions_of(scene: Scene, key: str, number: bool) -> list[Question]:
    """Return a scene's six different questions, drawn by `key` alone.

    `number` says whether the number of shapes is asked for (see `choose_number`). Where presence is asked twice,
    one answer is yes and the other no.
    """
    rng = random.Random(f"questions-{key}")
    present = rng.random() < 0.5
    questions = []
    for kind in choose_kinds(scene, rng, number):
        if kind == "presence":
            questions.append(ask_presence(scene, rng, present))
            present = not present
        elif kind in ASK:
            questions.append(ASK[kind](scene, rng))
        else:
            questions.append(ask_fact(kind, scene, rng))
    return questions


def choose_number(scenes: Mapping[int, Scene], seed: int) -> set[int]:
    """Return the ids of the scenes that are asked for their number of shapes: equally many of each number.

    A few scenes may lack one of the numbers 1, 2 and 3; where all have the same one, none is asked. Each scene's
    place in the draw depends on the seed and its id, not on the order of the scenes.
    """
    by_count: dict[int, list[int]] = {}
    for scene_id, scene in scenes.items():
        by_count.setdefault(count_shapes(scene), []).append(scene_id)
    least = min(map(len, by_count.values())) if len(by_count) > 1 else 0
    drawn = {scene_id: random.Random(f"number-{seed}-{scene_id}").random() for scene_id in scenes}
    return {scene_id for ids in by_count.values() for scene_id in sorted(ids, key=drawn.__getitem__)[:least]}


def ask_about(scenes: Mapping[int, Scene], seed: int) -> dict[int, list[Question]]:
    """Return the six questions of each scene, by its id."""
    numbered = choose_number(scenes, seed)
    return {
        scene_id: questions_of(scene, f"{seed}-{scene_id}", scene_id in numbered)
        for scene_id, scene in scenes.items()
    }


def describe(scene: Scene, key: str) -> str:
    """Return a description that answers every question about the scene, in a wording drawn by `key`."""
    captions = captions_of(scene)
    if scene.kind == "pair":
        # of a pair's captions only the third tells all facts: the first two lack the background
        background = f"on a {scene.background} background"
        complete = [captions[2], f"{captions[0]} {background}", f"{captions[1]} {background}"]
    else:
        complete = [captions[0], captions[2], captions[4]]
    return random.Random(f"description-{key}").choice(complete)


def draw_text_scenes(count: int, excluded: Collection[Scene], seed: int) -> list[Scene]:
    """Return `count` different scenes, none of them in `excluded`, to be described and never drawn.

    The generator is its own, so that pictures do not depend on them.
    """
    rng, scenes = random.Random(f"text-scenes-{seed}"), dict[Scene, None]()
    held_out = set(excluded)
    while len(scenes) < count:
        scene = draw_scene(rng)
        if scene not in held_out:
            scenes[scene] = None
    return list(scenes)
