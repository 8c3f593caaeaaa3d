"""Captioned images with their features, read from the prepared folders."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from preftune.captioning.store import BLANK_IMAGE_ID, FeatureSource, open_features, read_table
from preftune.errors import PreftuneError


@dataclass(frozen=True)
class CaptionedImages:
    """Images of one split: ids, files, captions, and where their features come from."""

    image_ids: list[int]
    files: list[str]
    captions: list[list[str]]
    features: FeatureSource

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def tokens(self) -> int:
        """Image tokens of one image."""
        return self.features.shape[0]

    @property
    def width(self) -> int:
        """Width of the encoder's features."""
        return self.features.shape[1]

    @cached_property
    def blank(self) -> np.ndarray:
        """Features [tokens, width] of a uniform grey picture, fp32."""
        return self.features.take([BLANK_IMAGE_ID], [0])[0]

    def views(self, index: int) -> int:
        """Number of views of an image, the plain one counted."""
        return self.features.views(self.image_ids[index])

    def take(self, indices: Sequence[int], views: Sequence[int] | None = None) -> np.ndarray:
        """Features [len(indices), tokens, width] of one view of each image, in fp32; by default of the plain pictures."""
        return self.features.take([self.image_ids[index] for index in indices], views or [0] * len(indices))

    def part(self, fraction: float, seed: int) -> "CaptionedImages":
        """A part of the images, at least one, in the order of these; of one seed's parts the smaller lie in the larger."""
        order = list(range(len(self)))
        random.Random(f"images {seed}").shuffle(order)
        chosen = sorted(order[: max(1, round(fraction * len(self)))])
        return replace(
            self,
            image_ids=[self.image_ids[index] for index in chosen],
            files=[self.files[index] for index in chosen],
            captions=[self.captions[index] for index in chosen],
        )


def load_captioned_images(
    captions: Path, features: Path, split: str, limit: int | None = None
) -> CaptionedImages:
    """The first `limit` images of a split (None: all) with their captions in order and their stored features."""
    images = read_table(Path(captions) / "images.parquet", ("image_id", "split", "file"))
    sentences = read_table(Path(captions) / "captions.parquet", ("image_id", "caption_index", "caption"))
    images = images[images["split"] == split].head(limit if limit is not None else len(images))
    if images.empty:
        raise PreftuneError(f"{captions} holds no image of split {split}: prepare the captions again.")
    stored = open_features(features)
    by_image = sentences.sort_values("caption_index").groupby("image_id")["caption"].apply(list).to_dict()
    identifiers = [int(image) for image in images["image_id"]]
    for image in (BLANK_IMAGE_ID, *identifiers):
        if not stored.views(image):
            raise PreftuneError(f"{features} has no features of image {image}: compute the features again.")
        if image != BLANK_IMAGE_ID and image not in by_image:
            raise PreftuneError(
                f"{captions}/captions.parquet has no caption of image {image}: prepare it again."
            )
    return CaptionedImages(
        image_ids=identifiers,
        files=[str(file) for file in images["file"]],
        captions=[by_image[image] for image in identifiers],
        features=stored,
    )
