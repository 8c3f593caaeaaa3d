"""Five ways of saying exactly what a scene shows."""

from preftune.data.embedded.scenes import Scene, Thing

NUMBERS = {1: "one", 2: "two", 3: "three"}
SYNONYMS = {"small": "little", "large": "big"}
# relation of the first thing to the second: (phrase, the same told from the second, place of each)
RELATION_WORDS = {
    "left": ("to the left of", "to the right of", "on the left", "on the right"),
    "above": ("above", "below", "at the top", "at the bottom"),
}


def plural(shape: str) -> str:
    """Return the plural of a shape's name."""
    return f"{shape}es" if shape.endswith("s") else f"{shape}s"


def with_article(phrase: str) -> str:
    """Put `a` or `an` before a phrase."""
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def single_captions(scene: Scene) -> list[str]:
    """Describe one shape."""
    size, colour, shape = scene.first.size, scene.first.colour, scene.first.shape
    return [
        f"a {size} {colour} {shape} on a {scene.background} background",
        f"there is one {SYNONYMS[size]} {colour} {shape} in the picture",
        f"a {scene.background} picture with a single {size} {colour} {shape}",
        f"the image shows {with_article(colour)} {shape} that is {size}",
        f"one {colour} {shape}, {size} in size, in front of a {scene.background} background",
    ]


def pair_captions(scene: Scene, first: Thing, second: Thing) -> list[str]:
    """Describe two shapes and where they are."""
    relation, reverse, place, other_place = RELATION_WORDS[scene.relation or "left"]
    return [
        f"a {first.size} {first.colour} {first.shape} {relation} "
        f"a {second.size} {second.colour} {second.shape}",
        f"there is a {SYNONYMS[second.size]} {second.colour} {second.shape} {reverse} "
        f"a {SYNONYMS[first.size]} {first.colour} {first.shape}",
        f"a {scene.background} picture with a {first.size} {first.colour} {first.shape} {place} "
        f"and a {second.size} {second.colour} {second.shape} {other_place}",
        f"the image shows {with_article(first.colour)} {first.shape} {place} "
        f"and {with_article(second.colour)} {second.shape} {other_place}",
        f"two shapes, {with_article(second.colour)} {second.shape} {reverse} "
        f"{with_article(first.colour)} {first.shape}, in front of a {scene.background} background",
    ]


def group_captions(scene: Scene) -> list[str]:
    """Describe several equal shapes."""
    number, size, colour = NUMBERS[scene.count], scene.first.size, scene.first.colour
    shapes = plural(scene.first.shape)
    return [
        f"{number} {size} {colour} {shapes} on a {scene.background} background",
        f"there are {number} {SYNONYMS[size]} {colour} {shapes} in the picture",
        f"a {scene.background} picture with {number} {size} {colour} {shapes}",
        f"the image shows {colour} {shapes}, {number} of them, all {size}",
        f"a group of {number} {colour} {shapes}, {size} in size, in front of a {scene.background} background",
    ]


def captions_of(scene: Scene) -> list[str]:
    """Return five different captions, each of which is true of the scene."""
    if scene.kind == "pair" and scene.second is not None:
        return pair_captions(scene, scene.first, scene.second)
    return group_captions(scene) if scene.kind == "group" else single_captions(scene)
