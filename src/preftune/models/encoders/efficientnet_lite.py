"""EfficientNet-lite feature extractors: MobileNet-style blocks, ReLU6, no squeeze-and-excitation.

Sources: Tan and Le 2019 (arXiv 1905.11946), compound scaling; the lite variants' changes (stem, head and
the repeats of the first and last stage are not scaled) are those of the TensorFlow release of
EfficientNet-lite.
"""

import math
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from preftune.errors import PreftuneError
from preftune.models.encoders.base import FrozenModule, square_pixels


class Scaling(NamedTuple):
    """Width and depth multipliers and the native image size of one variant."""

    width: float
    depth: float
    image_size: int


SCALINGS = {"efficientnet-lite0": Scaling(1.0, 1.0, 224), "efficientnet-lite2": Scaling(1.1, 1.2, 260)}
STEM_WIDTH, HEAD_WIDTH = 32, 1280
BATCH_NORM_EPSILON = 1e-3


class Stage(NamedTuple):
    """One stage at scale 1: number of blocks, kernel, stride of its first block, expansion, output width."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    width: int


STAGES = (
    Stage(1, 3, 1, 1, 16), Stage(2, 3, 2, 6, 24), Stage(2, 5, 2, 6, 40), Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112), Stage(4, 5, 2, 6, 192), Stage(1, 3, 1, 6, 320),
)  # fmt: skip


def scaled_width(width: int, multiplier: float) -> int:
    """Round a scaled width to a multiple of 8, never more than a tenth below it."""
    scaled = width * multiplier
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded


class ConvolutionNorm(nn.Module):
    """Convolution with TensorFlow's SAME padding, batch norm and (where asked) ReLU6.

    SAME padding puts the odd pixel at the bottom right, which `nn.Conv2d(padding=...)` cannot express; with
    symmetric padding the pretrained features would be shifted by half a stride at every reduction.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, groups: int, activate: bool
    ) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=BATCH_NORM_EPSILON)
        self.kernel, self.stride, self.activate = kernel, stride, activate

    def forward(self, x: Tensor) -> Tensor:
        """Map `[batch, inputs, rows, columns]` to `[batch, outputs, ceil(rows / stride), ...]`."""
        needed = [
            max((math.ceil(n / self.stride) - 1) * self.stride + self.kernel - n, 0) for n in x.shape[-2:]
        ]
        rows, columns = needed
        if rows or columns:
            x = F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
        x = self.norm(self.convolution(x))
        return F.relu6(x) if self.activate else x


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project; with a skip connection where the shape is kept."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.expand = ConvolutionNorm(inputs, hidden, 1, 1, 1, True) if expansion != 1 else nn.Identity()
        self.depthwise = ConvolutionNorm(hidden, hidden, kernel, stride, hidden, True)
        self.project = ConvolutionNorm(hidden, outputs, 1, 1, 1, False)
        self.skip = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map `[batch, inputs, rows, columns]` to `[batch, outputs, rows / stride, columns / stride]`."""
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.skip else y


def residual_blocks(scaling: Scaling) -> list[InvertedResidual]:
    """Return the blocks of all stages; the first and last stage keep their number of blocks."""
    blocks, inputs = [], STEM_WIDTH
    for position, stage in enumerate(STAGES):
        fixed = position in (0, len(STAGES) - 1)
        repeats = stage.repeats if fixed else math.ceil(stage.repeats * scaling.depth)
        outputs = scaled_width(stage.width, scaling.width)
        for repeat in range(repeats):
            stride = stage.stride if repeat == 0 else 1
            blocks.append(InvertedResidual(inputs, outputs, stage.kernel, stride, stage.expansion))
            inputs = outputs
    return blocks


class EfficientNetLite(FrozenModule):
    """Frozen EfficientNet-lite without its classifier: the last feature map as image tokens.

    lite0 at 224 pixels gives 7 x 7 = 49 tokens of 1,280; lite2 at its native 260 pixels gives 9 x 9 = 81.
    """

    def __init__(self, architecture: str) -> None:
        super().__init__()
        if architecture not in SCALINGS:
            raise PreftuneError(
                f"Unknown encoder architecture '{architecture}': use one of {', '.join(SCALINGS)}."
            )
        scaling = SCALINGS[architecture]
        self.name, self.width, self.image_size = architecture, HEAD_WIDTH, scaling.image_size
        side = math.ceil(scaling.image_size / 32)  # five reductions by 2, each rounded up
        self.grid = (side, side)
        self.stem = ConvolutionNorm(3, STEM_WIDTH, 3, 2, 1, True)
        self.blocks = nn.Sequential(*residual_blocks(scaling))
        self.head = ConvolutionNorm(scaled_width(STAGES[-1].width, scaling.width), HEAD_WIDTH, 1, 1, 1, True)
        self.freeze()

    def preprocess(self, image: Image.Image) -> Tensor:
        """Return `[3, image_size, image_size]`, pixels as (x - 127) / 128, as in these weights' training."""
        return (square_pixels(image, self.image_size) - 127.0) / 128.0

    @torch.inference_mode()
    def encode(self, batch: Tensor) -> Tensor:
        """Return `[batch, rows * columns, 1280]` of inputs `[batch, 3, image_size, image_size]`."""
        batch = batch.contiguous(memory_format=torch.channels_last)  # a fifth faster on a CPU
        features = self.head(self.blocks(self.stem(batch)))  # [batch, 1280, rows, columns]
        return features.flatten(2).transpose(1, 2)


def load_efficientnet(folder: Path, architecture: str) -> EfficientNetLite:
    """Build the variant and load `folder/model.safetensors`; weights that do not fit raise PreftuneError."""
    encoder = EfficientNetLite(architecture)
    weights = folder / "model.safetensors"
    try:
        encoder.load_state_dict(load_file(weights), strict=True)
    except Exception as error:  # safetensors raises its own type, torch a RuntimeError of many lines
        reason = str(error).splitlines()[0]
        raise PreftuneError(
            f"The weights {weights} do not load as {architecture} ({reason}): "
            "delete the folder and fetch it again."
        ) from error
    return encoder
