"""What a captioning run costs, measured on its own first batch before it trains, and read from its files after."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from preftune.captioning import memory
from preftune.captioning.captioner import Captioner
from preftune.captioning.io import CONNECTOR, LANGUAGE_MODEL
from preftune.captioning.objective import CaptionedImage, CaptionObjective
from preftune.models.devices import computing_in, is_out_of_memory
from preftune.processes import rank, world_size
from preftune.settings.training import TrainingSettings
from preftune.training.batches import TOKENS_PER_PASS, epoch_order, share_of_rank
from preftune.training.costs import PeakMemory, SavedTensors, count_flops
from preftune.training.loop import Place

COUNTED_TOKENS = 1024
"""Tokens of the pass whose operations are counted: the counter runs attention without its fused kernels."""


def measure_pass(
    captioner: Captioner,
    objective: CaptionObjective,
    settings: TrainingSettings,
    place: Place,
    warn: Callable[[str], None],
) -> dict[str, Any]:
    """Facts of one forward and backward pass of the first step; gradients and random draws are as before.

    Returns:
        flops_per_token: of forward and backward, the frozen image encoder left out (None: not counted).
        memory: `predicted` bytes of weights, gradients, optimizer and, counted in the step's largest micro-batch,
            activations; and what that micro-batch took, `pass` (see `PeakMemory`).
    """
    examples = _first_examples(objective, settings, place)
    split = objective.split(examples, settings.tokens_per_pass or TOKENS_PER_PASS[place.device.type])
    largest = max(([examples[i] for i in places] for places in split), key=_tokens)
    try:
        with torch.random.fork_rng():
            saved, peak = _backward(captioner, objective, largest, place, warn)
            flops = _count(captioner, objective, examples, place, warn)
    finally:
        for parameter in captioner.parameters():
            parameter.grad = None
    predicted = {
        "weights": memory.weight_bytes(captioner),
        "gradients": memory.gradient_bytes(captioner),
        "optimizer": memory.optimizer_bytes(captioner, settings),
        "activations": saved,
    }
    return {"flops_per_token": flops, "memory": {"predicted": predicted, "pass": peak}}


def _first_examples(
    objective: CaptionObjective, settings: TrainingSettings, place: Place
) -> list[CaptionedImage]:
    order = epoch_order(len(objective), settings.batch, 1, place.seed)[0]
    drawn = [objective.draw(index, 1) for index in order]
    return [drawn[i] for i in share_of_rank([one.tokens for one in drawn], rank(), world_size())]


def _backward(
    captioner: Captioner,
    objective: CaptionObjective,
    examples: list[CaptionedImage],
    place: Place,
    warn: Callable[[str], None],
) -> tuple[int | None, dict[str, int | None]]:
    """Bytes saved for the backward pass, and the memory that both passes took; nothing where it does not fit."""
    peak = PeakMemory(place.device)
    try:
        with peak:
            with SavedTensors(captioner) as saved, computing_in(place.device, place.compute):
                loss, _ = objective.loss(examples, 1)
            saved.add_graph(loss)
            loss.backward()
        return saved.bytes, peak.facts
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
    warn("the memory of a pass could not be measured, since it does not fit: the training halves its passes")
    if place.device.type == "cuda":
        torch.cuda.empty_cache()
    return None, dict.fromkeys(peak.facts)


def _count(
    captioner: Captioner,
    objective: CaptionObjective,
    examples: list[CaptionedImage],
    place: Place,
    warn: Callable[[str], None],
) -> float | None:
    """Operations a token of some examples, one a pass: attention across examples is masked and would be counted."""
    chosen = [examples[i] for i in objective.split(examples, COUNTED_TOKENS)[0]]

    def run() -> None:
        for one in chosen:
            with computing_in(place.device, place.compute):
                loss = objective.loss([one], 1)[0]
            loss.backward()

    fill, captioner.reader.fill = captioner.reader.fill, None
    try:
        return count_flops(run) / _tokens(chosen)
    # What torch raises where a kernel (flex_attention, a compiled one) cannot run under its counter: the training itself can
    # go on, and the table says "not measured".
    except (NotImplementedError, TypeError, RuntimeError) as error:
        warn(f"the operations of a pass could not be counted ({type(error).__name__}: {error})")
        return None
    finally:
        captioner.reader.fill = fill


def _tokens(examples: list[CaptionedImage]) -> int:
    return sum(example.tokens for example in examples)


def file_bytes(captioner: Captioner, folder: Path) -> dict[str, int]:
    """Bytes of a saved captioner: {connector, adapter, predicted}; `adapter` are all its groups' files, or the whole model's.

    `predicted` is what the values in the adapter's files alone take.
    """
    groups = [] if captioner.adapters is None else [Path(folder) / name for name in captioner.adapters.groups]
    files = [
        file for place in (*groups, Path(folder) / LANGUAGE_MODEL) for file in place.glob("*.safetensors")
    ]
    return {
        "connector": (Path(folder) / CONNECTOR).stat().st_size,
        "adapter": sum(file.stat().st_size for file in files),
        "predicted": memory.adapter_bytes(captioner),
    }
