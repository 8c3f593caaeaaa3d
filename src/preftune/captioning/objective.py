"""Training of a captioner: cross-entropy of one caption of each image, drawn anew at every step with one view of it."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from preftune.captioning.batch import image_tree
from preftune.captioning.captioner import Captioner
from preftune.captioning.data import CaptionedImages
from preftune.training.objective import Logged, TreeExample


@dataclass(frozen=True)
class CaptionedImage(TreeExample):
    """An image, by its index, with the caption and the view drawn for it."""

    image: int
    view: int


class CaptionObjective:
    """Mean negative log-likelihood of the global batch's caption tokens and EOS, in nats.

    Args:
        captions: token ids, without EOS, of every caption of every image.
        views: how many of an image's views are drawn from; None: all.
        seed: with the step and the image it determines which caption and which view are drawn.
    """

    def __init__(
        self,
        captioner: Captioner,
        images: CaptionedImages,
        captions: Sequence[Sequence[list[int]]],
        seed: int,
        views: int | None = None,
    ) -> None:
        self.captioner = captioner
        self.images = images
        self.captions = captions
        self.seed = seed
        self.views = views

    def __len__(self) -> int:
        return len(self.images)

    def draw(self, index: int, step: int) -> CaptionedImage:
        """The image with one of its captions, in one of its views."""
        choose = random.Random(f"{self.seed} {step} {index}")
        caption, view = choose.choice(self.captions[index]), choose.randrange(self._views(index))
        name = str(self.images.image_ids[index])
        tree = image_tree(name, self.captioner.bos, self.captioner.eos, self.images.tokens, [caption])
        return CaptionedImage(tree, index, view)

    def _views(self, index: int) -> int:
        stored = self.images.views(index)
        return stored if self.views is None else min(self.views, stored)

    def units(self, example: CaptionedImage) -> int:
        """Caption tokens with EOS."""
        return len(example.tree.branches[0])

    def split(self, examples: Sequence[CaptionedImage], budget: int) -> list[list[int]]:
        """As the reader counts."""
        return self.captioner.reader.split([example.tree for example in examples], budget)

    def loss(self, examples: Sequence[CaptionedImage], units: int) -> tuple[Tensor, Logged]:
        """This micro-batch's part of the mean, and its number of caption tokens."""
        taken = self.images.take([one.image for one in examples], [one.view for one in examples])
        device = next(self.captioner.parameters()).device
        nll, _ = self.captioner.nll(
            [example.tree for example in examples], torch.from_numpy(taken).to(device)
        )
        return nll.sum() / units, {"tokens": len(nll)}
