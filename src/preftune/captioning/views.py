"""Views of a picture for training: flipped, cropped, recoloured by draws that only (seed, image, view) decide.

View 0 is the picture itself, which evaluation reads. Source: Context-PEFT paper, section 4.1, which names flip, crop
and colour jitter without magnitudes.
"""

import math
import random

from PIL import Image, ImageEnhance

from preftune.settings.captioning import FeatureSettings

PLAIN = 0


def make_view(
    picture: Image.Image, settings: FeatureSettings, seed: int, image_id: int, view: int
) -> Image.Image:
    """Return view `view` of an RGB picture: the picture itself for 0, else one of the same proportions."""
    if view == PLAIN:
        return picture
    draw = random.Random(f"{seed} {image_id} {view}")
    # As in the paper, though a mirrored picture contradicts "left" and "right" in its captions: one reason why only the
    # paper's scale has more than one view.
    if draw.random() < settings.flip:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    picture = crop(picture, draw, settings.crop)
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        picture = enhance(picture).enhance(draw.uniform(1 - settings.colour, 1 + settings.colour))
    return picture


def crop(picture: Image.Image, draw: random.Random, smallest: float) -> Image.Image:
    """Cut a window of the picture's proportions, of `smallest` to all of its area, at a random place."""
    side = math.sqrt(draw.uniform(smallest, 1))
    width, height = max(1, round(side * picture.width)), max(1, round(side * picture.height))
    left, top = draw.randint(0, picture.width - width), draw.randint(0, picture.height - height)
    return picture.crop((left, top, left + width, top + height))
