"""What one job computes and holds, and the numbers by which that is counted.

N parameters and T tokens are 2 N T operations in a forward pass and 6 N T in training. A model that stays as it is costs 4 N T
there, for its weights have no gradients, and its adapter of P parameters 6 P T.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from preftune.settings.adapters import CONTEXTS

TOKEN_BYTES = 45
"""Host memory for a token of a caption or a question, which stand in Python lists (measured)."""
TREE_BYTES = 650
"""The same for an example of a mix, whose ids stay in mapped files (measured)."""
STREAM_BYTES = 1e9
"""The same for data sets and mixes of any size, which are read, drawn and put into order in parts (measured: 0.6 to 1.3 GB with the
libraries)."""
CHECKED_BYTES, CHECKED_SECONDS = 100, 1e-4
"""Memory and time for a raw row that is checked (measured: 25 to 80 microseconds on a fast machine)."""
ROW_BYTES, ROW_SECONDS = 2_000, 5e-4
"""The same for a row that is worded or tokenised (measured)."""
ITEM_BYTES, ITEM_SECONDS, ITEMS_HELD = 250, 5e-5, 7_000_000
"""The same for a scored candidate or caption that a table reads, and how many of them it holds at once (512 files)."""
TEXT_BYTES, IDS_BYTES, SCORE_BYTES, SHOWN_BYTES = 5, 5, 120, 0.5e6
"""On the disk: a token as text and as an id in Arrow, a scored candidate or caption in Parquet, all that a table or a figure is (all
measured on the published records)."""
PICTURE_SECONDS = 0.02
"""Reading, cutting and scaling one view of a photograph."""
DOWNLOAD = 10e6
"""Bytes a second of a slow line."""
DECODING_SECONDS = 0.05
"""One step of decoding, whatever the batch: many small kernels, one after another."""
ENCODER_OPERATIONS = 500
"""Operations for a picture, per parameter of its encoder: 430 to 490 of SwinV2 at 256 pixels, up to 360 of EfficientNet-lite."""
ADAPTER_SHARE = 1 / 750
"""Parameters of a LoRA of rank 1 on all layers, to those of the model: Context-PEFT's (SmolLM2-135M: 1/440, where ranks are low)."""
PART_SHARE = 1 / 4
"""Parameters that train where the blocks do not, to all: the embeddings, 7 % (LoveLace) to 27 % (Qwen2.5-0.5B)."""
WIDTH_SHARE = 1 / 230
"""Square of the width to all parameters at most; the largest reward head has 8 such squares."""
TRAINED_BYTES = 16
"""For a parameter that trains, beside the weight itself: gradient, two moments, and the best weights so far."""
CHECKPOINT_BYTES, CHECKPOINTS = 16, 2
"""For a parameter that trains, in a checkpoint: the weight, two moments, and the best weights or those of the start; and how many
are kept."""


@dataclass(frozen=True)
class Work:
    """What one job does.

    Attributes:
        operations: floating-point operations of its model, which has so many `parameters`.
        seconds: time on one thread that no device shortens.
        bytes: host memory beside the libraries'.
        disk: bytes that it leaves behind.
        scratch: bytes of the checkpoints that lie there while it trains.
        download: bytes that it fetches from the network.
    """

    operations: float = 0
    parameters: float = 0
    seconds: float = 0
    bytes: float = 0
    disk: float = 0
    scratch: float = 0
    download: float = 0


@dataclass(frozen=True)
class Trained:
    """How many parameters train: those of the model itself, and those of each group of an adapter."""

    own: float = 0
    group: float = 0
    groups: int = 1

    @property
    def bytes(self) -> float:
        """Memory of what an optimiser keeps of them, and of the adapter's weights."""
        return TRAINED_BYTES * self.own + (4 + TRAINED_BYTES) * self.group * self.groups

    @property
    def checkpoints(self) -> float:
        """Bytes on the disk while they train."""
        return CHECKPOINTS * CHECKPOINT_BYTES * (self.own + self.group * self.groups)

    def saved(self, n: float) -> float:
        """Bytes of the model in the end, as float32: all n parameters where any of its own trains, else the adapter alone."""
        return 4 * (n if self.own else self.group * self.groups)


def model_work(
    n: float, operations: float = 0, *, seconds: float = 0, held: float = 0, disk: float = 0
) -> Work:
    """Work of a model of n parameters, loaded as float32."""
    return Work(operations, n, seconds, 4 * n + held, disk)


def head_parameters(n: float) -> float:
    """Of the largest reward head on a model of n parameters."""
    return 8 * WIDTH_SHARE * n


def connector_parameters(n: float, width: float) -> float:
    """Of a linear map from features of a width to a language model of n parameters."""
    return width * (WIDTH_SHARE * n) ** 0.5


def state_bytes(n: float, answers: float) -> float:
    """Of the float32 states that reward heads read."""
    return 4 * (WIDTH_SHARE * n) ** 0.5 * answers


def language_part(n: float, level: str, lora: Mapping[str, Any] | None) -> Trained:
    """What trains of a language model at a level of freezing."""
    if level == "lora":
        assert lora is not None  # this level has an adapter
        return Trained(group=ADAPTER_SHARE * n * lora["rank"])
    return Trained(n if level == "none" else PART_SHARE * n)


def context_adapter(n: float, adapter: Mapping[str, Any]) -> Trained:
    """What a context adapter trains; of its groups one is at work at a token."""
    if adapter["kind"] == "full":
        return Trained(n)
    groups = len(adapter["groups"] or CONTEXTS[adapter["context"]])
    rank = {"none": 0, "lora": adapter["rank"], "moka": adapter["rank"]}.get(adapter["kind"], 1)
    return Trained(group=ADAPTER_SHARE * n * rank, groups=groups)


def optimise(
    n: float,
    training: Mapping[str, Any],
    length: float,
    trained: Trained,
    *,
    held: float,
    read: float = 0,
    more: float = 0,
) -> Work:
    """A training on examples of `length` tokens each, which also only reads `read` tokens.

    Beside what trains of the model it saves `more` parameters: a head, or a connector.
    """
    tokens = training["steps"] * training["batch"] * length
    operations = (4 * n + 2 * trained.own + 6 * trained.group) * tokens + 2 * n * read
    scratch = trained.checkpoints + CHECKPOINTS * CHECKPOINT_BYTES * more
    work = model_work(n, operations, held=trained.bytes + held, disk=trained.saved(n) + 4 * more)
    return replace(work, scratch=scratch)
