"""Training of a captioner: cross-entropy of one caption of each image, drawn anew at every step."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from preftune.captioning.batch import caption_tree
from preftune.captioning.captioner import Captioner
from preftune.captioning.data import CaptionedImages
from preftune.training.objective import Logged, TreeExample


@dataclass(frozen=True)
class CaptionedImage(TreeExample):
    """An image, by its index, with the caption drawn for it."""

    image: int


class CaptionObjective:
    """Mean negative log-likelihood of the global batch's caption tokens and EOS, in nats.

    Args:
        captions: token ids, without EOS, of every caption of every image.
        seed: with the step and the image it determines which caption is drawn.
    """

    def __init__(
        self,
        captioner: Captioner,
        images: CaptionedImages,
        captions: Sequence[Sequence[list[int]]],
        seed: int,
    ) -> None:
        self.captioner = captioner
        self.images = images
        self.captions = captions
        self.seed = seed

    def __len__(self) -> int:
        return len(self.images)

    def draw(self, index: int, step: int) -> CaptionedImage:
        """The image with one of its captions."""
        caption = random.Random(f"{self.seed} {step} {index}").choice(self.captions[index])
        name = str(self.images.image_ids[index])
        tree = caption_tree(name, self.captioner.bos, self.captioner.eos, self.images.tokens, [caption])
        return CaptionedImage(tree, index)

    def units(self, example: CaptionedImage) -> int:
        """Caption tokens with EOS."""
        return len(example.tree.branches[0])

    def split(self, examples: Sequence[CaptionedImage], budget: int) -> list[list[int]]:
        """As the reader counts."""
        return self.captioner.reader.split([example.tree for example in examples], budget)

    def loss(self, examples: Sequence[CaptionedImage], units: int) -> tuple[Tensor, Logged]:
        """This micro-batch's part of the mean, and its number of caption tokens."""
        features = torch.from_numpy(self.images.take([example.image for example in examples]))
        device = next(self.captioner.parameters()).device
        nll, _ = self.captioner.nll([example.tree for example in examples], features.to(device))
        return nll.sum() / units, {"tokens": len(nll)}
