"""The engine's CUDA paths: flex attention, bfloat16 with fp32 master weights, compiled layers, real lack of memory."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from preftune.models.devices import computing_in
from preftune.preference.alignment import AlignmentObjective, parameter_groups, start_alignment
from preftune.preference.frozen import CachedPairs, HeadObjective, head_group
from preftune.preference.heads import PreferenceModel
from preftune.preference.reference import reference_table
from preftune.settings.alignment import AlignmentSettings
from preftune.settings.training import TrainingSettings
from preftune.training.attention import TreeAttention, attend_by_flex, attend_by_loop
from preftune.training.loop import Place, fit
from preftune.training.packing import Span
from preftune.training.sft import SftObjective
from tests.unit.preference.helpers import make_pairs, make_rows, place_in

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
SPANS = (Span(0, 70, (40, 33, 5)), Span(148, 9, (200,)), Span(357, 30, (60, 61, 62, 63)))
LENGTH = 704


@pytest.mark.parametrize("kv_heads", [4, 2])
def test_flex_attention_is_the_loop_forwards_and_backwards(kv_heads: int) -> None:
    """fp32 without TF32: 1e-4 of the largest value; positions after the last tree are nobody's."""
    torch.manual_seed(0)
    cuda = torch.device("cuda")
    shapes = [(1, heads, LENGTH, 64) for heads in (4, kv_heads, kv_heads)]
    end = SPANS[-1].stop
    weights = torch.randn(1, 4, end, 64, device=cuda)
    results = []
    for trees, run in (
        (TreeAttention.build(SPANS, LENGTH, cuda), attend_by_flex),
        (TreeAttention(SPANS), attend_by_loop),
    ):
        torch.manual_seed(1)
        inputs = [torch.randn(shape, device=cuda, requires_grad=True) for shape in shapes]
        output = run(*inputs, trees, None, 0.0)[:, :, :end]
        (output * weights).sum().backward()
        results.append([output.detach(), *(value.grad[:, :, :end] for value in inputs)])
    for found, wanted in zip(*results, strict=True):
        assert (found - wanted).abs().max() < 1e-4 * wanted.abs().max()


@pytest.mark.parametrize(
    ("compute", "compile_layers", "tolerance"),
    [(torch.float32, False, 1e-4), (torch.bfloat16, False, 2e-2), (torch.bfloat16, True, 2e-2)],
)
def test_training_gives_the_losses_of_the_cpu(
    base: Path, tmp_path: Path, compute: torch.dtype, compile_layers: bool, tolerance: float
) -> None:
    def last_loss(device: str, dtype: torch.dtype, compiled: bool) -> float:
        model = PreferenceModel.from_pretrained(base, device=device, trainable=True)
        settings = TrainingSettings(
            steps=5, batch=8, learning_rate=1e-3, compile=compiled, tokens_per_pass=512
        )
        model.reader.prepare(settings)
        place = Place(torch.device(device), dtype, 0, tmp_path / "metrics.jsonl", "test")
        objective = SftObjective(model, make_rows(model.tokenizer, 8))
        facts = fit([{"params": list(model.parameters())}], objective, settings, place)
        assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
        return float(facts["last_loss"])

    expected = last_loss("cpu", torch.float32, False)
    assert last_loss("cuda", compute, compile_layers) == pytest.approx(expected, rel=tolerance)


def test_lack_of_memory_halves_the_passes(base: Path, tmp_path: Path) -> None:
    model = PreferenceModel.from_pretrained(base, device="cuda", trainable=True)
    rows = make_rows(model.tokenizer, 512)
    settings = TrainingSettings(steps=1, batch=512, learning_rate=1e-3, tokens_per_pass=1 << 20)
    place = Place(torch.device("cuda"), torch.float32, 0, tmp_path / "metrics.jsonl", "test")
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_allocated() + (96 << 20)) / total)
    said: list[str] = []
    try:
        facts = fit(
            [{"params": list(model.parameters())}], SftObjective(model, rows), settings, place, said.append
        )
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert said and facts["tokens_per_pass"] < 1 << 20


@pytest.mark.parametrize("freeze", ["none", "lora"])
def test_the_anchor_compares_with_the_start_in_bfloat16(base: Path, freeze: str) -> None:
    """Autocast keeps casts of the policy's weights: the pass with the starting weights must not get them. 5 %: bfloat16."""
    training = {"steps": 1, "batch": 4, "learning_rate": 1e-3}
    settings = AlignmentSettings.model_validate(
        {"dph": "none", "policy": "kl", "freeze": freeze, "training": training}
    )
    values = {}
    for device, dtype in (("cpu", torch.float32), ("cuda", torch.bfloat16)):
        model = start_alignment(None, base, settings, 0, device, torch.float32)
        objective = AlignmentObjective(model, make_pairs(model.tokenizer, 4), None, settings)
        generator = torch.Generator().manual_seed(7)
        with torch.no_grad():
            for name, parameter in model.language_model.named_parameters():
                if "proj" in name and parameter.requires_grad:
                    parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator).to(device))
        with computing_in(torch.device(device), dtype):
            values[device] = objective.loss([objective.draw(i, 1) for i in range(4)], 4)[0].item()
    assert values["cpu"] > 0.01 and values["cuda"] == pytest.approx(values["cpu"], rel=0.05)


def test_a_head_on_cached_states_is_that_of_the_whole_model(base: Path, tmp_path: Path) -> None:
    """On the card in fp32: losses to 1e-4."""
    training = {"steps": 5, "batch": 4, "learning_rate": 1e-2}
    values = {"dph": "separable", "policy": "none", "freeze": "model", "pooler": "bert", "training": training}
    settings = AlignmentSettings.model_validate(values)
    place = replace(place_in(tmp_path), device=torch.device("cuda"))
    model = start_alignment(None, base, settings, 0, "cuda", torch.float32)
    pairs = make_pairs(model.tokenizer, 8)
    head = copy.deepcopy(model.head)
    whole = fit(
        parameter_groups(model, settings),
        AlignmentObjective(model, pairs, None, settings),
        settings.training,
        place,
    )
    table, states = reference_table(model, pairs, states=True)
    cached = CachedPairs(
        tuple(table["example_id"]), tuple(table["chosen_tokens"] + table["rejected_tokens"]), states
    )
    alone = fit(
        [head_group(head, settings)], HeadObjective(head, cached, settings, 0), settings.training, place
    )
    for name in ("first_loss", "last_loss"):
        assert alone[name] == pytest.approx(whole[name], abs=1e-4)
    assert whole["last_loss"] < whole["first_loss"]
