"""Predicted bytes against those of the tensors themselves, and against the peak of a process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from preftune.adapters.contexts import Contexts, Segment, domain
from preftune.captioning import memory
from preftune.captioning.batch import CAPTION
from preftune.captioning.captioner import Captioner
from preftune.captioning.costs import file_bytes, measure_pass
from preftune.captioning.data import load_captioned_images
from preftune.captioning.io import save_captioner
from preftune.captioning.objective import CaptionObjective
from preftune.settings.captioning import CaptioningSettings
from preftune.settings.training import TrainingSettings
from preftune.training.costs import optimizer_bytes, tensor_bytes
from preftune.training.loop import Place
from preftune.training.optimizers import make_optimizer
from tests.unit.captioning.captioner_helpers import RUNS, tiny_batch, tiny_captioner, write_data

every_run = pytest.mark.parametrize(("kind", "context"), RUNS)
PEAK = Path(__file__).with_name("peak_of_a_pass.py")
TOLERANCE = 0.15
"""Of the peak of a process: the C library rounds and keeps blocks."""


def training(optimizer: str = "adam") -> TrainingSettings:
    return TrainingSettings.model_validate(
        {"steps": 1, "batch": 4, "learning_rate": 1e-3, "optimizer": optimizer}
    )


def backward(captioner: Captioner) -> None:
    """Gradients of one pass."""
    captioner.nll(*tiny_batch())[0].sum().backward()


@every_run
@pytest.mark.parametrize("optimizer", ["adam", "laprop"])
def test_training_takes_what_is_predicted(kind: str, context: str, optimizer: str, tmp_path: Path) -> None:
    """Weights, gradients and optimiser state, to the byte."""
    captioner = tiny_captioner(tmp_path, kind, context).train()
    state = {**captioner.state_dict(), **dict(captioner.named_buffers())}
    assert memory.weight_bytes(captioner) == tensor_bytes(state.values())
    backward(captioner)
    made, _ = make_optimizer([{"params": captioner.trainable()}], training(optimizer))
    made.step()
    gradients = [parameter.grad for parameter in captioner.parameters() if parameter.grad is not None]
    assert memory.gradient_bytes(captioner) == tensor_bytes(gradients)
    assert memory.optimizer_bytes(captioner, training(optimizer)) == optimizer_bytes(made)


@every_run
@torch.no_grad()
def test_decoding_takes_what_is_predicted(kind: str, context: str, tmp_path: Path) -> None:
    """Keys and values, and the folded weights, to the byte."""
    captioner = tiny_captioner(tmp_path, kind, context).eval()
    ids = torch.arange(14).view(2, 7)
    with captioner.scope(None if captioner.adapters is None else _text(2, 7)):
        cache = captioner.language_model(ids, use_cache=True).past_key_values
    kept = [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]
    weights = {id(parameter) for parameter in captioner.parameters()}
    folded: list[torch.Tensor] = []
    with captioner.merged(CAPTION):
        for layer in () if captioner.adapters is None else captioner.adapters.layers.values():
            _, *tensors = getattr(layer, "folded", None) or (None,)
            folded += [one for one in tensors if one is not None and id(one) not in weights]
        assert memory.decoding_bytes(captioner, 2, 7) == tensor_bytes(kept) + tensor_bytes(folded)


def _text(rows: int, length: int) -> Contexts:
    return Contexts.from_segments(rows, (Segment(domain("text", "caption"), 0, length),))


@every_run
def test_files_hold_what_is_predicted(kind: str, context: str, tmp_path: Path) -> None:
    """Beside the values a file has names and shapes: less than 160 bytes a tensor here."""
    captioner = tiny_captioner(tmp_path / "base", kind, context)
    captions, features = write_data(tmp_path / "data")
    images = load_captioned_images(captions, features, "train")
    settings = CaptioningSettings.model_validate(
        {"adapter": {"kind": kind, "context": context}, "training": training().model_dump()}
    )
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "base")
    save_captioner(captioner, tokenizer, settings, images, tmp_path / "saved")
    found = file_bytes(captioner, tmp_path / "saved")
    stored = (
        list(captioner.language_model.parameters())
        if kind == "full"
        else []
        if captioner.adapters is None
        else [parameter for _, parameter in captioner.adapters.named_parameters()]
    )
    assert 0 <= found["adapter"] - found["predicted"] <= 160 * (len(stored) + 1)
    assert found["connector"] > 4 * (6 * 32 + 32)


def test_a_measured_pass_leaves_no_trace(tmp_path: Path) -> None:
    captioner = tiny_captioner(tmp_path / "base").train()
    captions, features = write_data(tmp_path / "data")
    images = load_captioned_images(captions, features, "train")
    objective = CaptionObjective(captioner, images, [[[10, 11, 12]]] * len(images), 0)
    place = Place(torch.device("cpu"), torch.float32, 0, tmp_path / "metrics.jsonl", "test")
    before, state = [p.detach().clone() for p in captioner.parameters()], torch.random.get_rng_state()
    warnings: list[str] = []
    facts = measure_pass(captioner, objective, training(), place, warnings.append)
    assert warnings == []
    assert all(torch.equal(a, b) for a, b in zip(before, captioner.parameters(), strict=True))
    assert all(parameter.grad is None for parameter in captioner.parameters())
    assert torch.equal(state, torch.random.get_rng_state())
    assert set(facts["memory"]["predicted"]) == {"weights", "gradients", "optimizer", "activations"}
    # Forward and backward of the frozen body, each 2 operations a weight and token, are the least that it can be.
    body = sum(layer.get_base_layer().weight.numel() for layer in captioner.adapters.layers.values())  # type: ignore[union-attr]
    assert facts["flops_per_token"] > 4 * body


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux alone says this")
@pytest.mark.parametrize("kind", ["none", "lora", "full"])
def test_prediction_is_near_the_peak_of_a_process(kind: str) -> None:
    """Gradients and activations of a pass, in a process whose C library gives large blocks back."""
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(1 << 16)}
    done = subprocess.run(
        [sys.executable, str(PEAK), kind], capture_output=True, text=True, check=True, env=environment
    )
    predicted, measured = map(float, done.stdout.split())
    assert measured == pytest.approx(predicted, rel=TOLERANCE)
