"""Costs of training: operations of our custom functions, saved tensors, peak memory, energy counters."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from preftune import memory
from preftune.adapters.forms import lora_by_mask, lora_by_part
from preftune.training import energy
from preftune.training.costs import PeakMemory, SavedTensors, count_flops, optimizer_bytes, tensor_bytes
from preftune.training.logprobs import token_log_probabilities

TOKENS, WIDTH, OUT, RANK = 20, 8, 6, 3


@pytest.mark.parametrize("form", ["mask", "slices", "positions"])
def test_every_product_of_our_lora_is_counted(form: str) -> None:
    """x W and its gradient to x, and three passes of x A and x A B; torch's counter alone misses those added in place."""
    x = torch.randn(2, 10, WIDTH, requires_grad=True)
    weight, a, b = torch.randn(OUT, WIDTH), torch.randn(RANK, WIDTH), torch.randn(OUT, RANK)
    a.requires_grad_()
    b.requires_grad_()
    forms = {
        "mask": lambda: lora_by_mask(x.flatten(0, 1), weight, None, [(a, b)], None),
        "slices": lambda: lora_by_part(x, weight, None, [(a, b, 1.0, ((0, 4), (4, 10)))]),
        "positions": lambda: lora_by_part(
            x.flatten(0, 1), weight, None, [(a, b, 1.0, (torch.arange(TOKENS),))]
        ),
    }
    found = count_flops(lambda: forms[form]().sum().backward())
    assert found == 2 * (2 * TOKENS * WIDTH * OUT) + 3 * 2 * TOKENS * RANK * (WIDTH + OUT)


def test_attention_on_a_cpu_is_counted() -> None:
    """Two products forward, five backward, with grouped keys."""
    query = torch.randn(1, 4, 5, 8, requires_grad=True)
    key = torch.randn(1, 2, 5, 8, requires_grad=True)
    found = count_flops(
        lambda: (
            scaled_dot_product_attention(query, key, key, is_causal=True, enable_gqa=True).sum().backward()
        )
    )
    assert found == 7 * 2 * 4 * 5 * 5 * 8


def test_saved_tensors_are_those_of_the_backward_pass() -> None:
    """tanh keeps its output, the linear layer its input, the log-softmax its scores as an attribute of its function."""
    linear, head = nn.Linear(4, 6), nn.Linear(6, 50, bias=False)
    x = torch.randn(3, 4)
    with SavedTensors(nn.ModuleList([linear, head])) as saved:
        states = linear(x).tanh()
    assert saved.bytes == 4 * (3 * 4 + 3 * 6)
    with SavedTensors(head) as saved:
        logps, _ = token_log_probabilities(states, head, torch.arange(3), torch.arange(3))
    loss = logps.sum()
    before = saved.bytes
    saved.add_graph(loss)
    assert saved.bytes - before == 4 * 3 * 50


def test_shared_storage_counts_once() -> None:
    whole = torch.zeros(10)
    assert tensor_bytes([whole, whole[:5], torch.zeros(2)]) == 4 * 12


def test_optimizer_state() -> None:
    """Two moments a value, and a counter a tensor."""
    parameters = [nn.Parameter(torch.ones(7)), nn.Parameter(torch.ones(2, 3))]
    optimizer = torch.optim.AdamW(parameters, fused=True)
    assert optimizer_bytes(optimizer) == 0
    sum(parameter.sum() for parameter in parameters).backward()  # type: ignore[union-attr]
    optimizer.step()
    assert optimizer_bytes(optimizer) == 2 * 4 * 13 + 4 * 2


needs_proc = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux alone says this")


@needs_proc
def test_peak_of_a_block() -> None:
    """In a process of its own: 40 MB inside a block after a peak of 200 MB before it, which the record keeps."""
    code = (
        "import torch\n"
        "from preftune import memory\n"
        "from preftune.training.costs import PeakMemory\n"
        "large = torch.ones(50_000_000); del large\n"
        "with PeakMemory(torch.device('cpu')) as peak:\n"
        "    torch.ones(10_000_000)\n"
        "assert memory.peak_bytes() >= 200e6 + peak.facts['baseline'] - 30e6\n"
        "print(peak.facts['peak'] - peak.facts['baseline'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) == pytest.approx(40e6, rel=0.1)


def test_peak_is_unknown_where_the_system_does_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_CLEAR", Path("/nowhere/clear_refs"))
    with PeakMemory(torch.device("cpu")) as peak:
        pass
    assert set(peak.facts.values()) == {None}
    assert memory.peak_bytes() > 0


def write_package(folder: Path, name: str, limit: int, value: int) -> Path:
    place = folder / name
    place.mkdir()
    (place / "max_energy_range_uj").write_text(f"{limit}\n")
    (place / "energy_uj").write_text(f"{value}\n")
    return place / "energy_uj"


def test_energy_of_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One package counts on, the other starts anew; parts of a package are in its counter already."""
    first = write_package(tmp_path, "intel-rapl:0", 10**12, 5)
    second = write_package(tmp_path, "intel-rapl:1", 10**9, 10**9 - 50)
    write_package(tmp_path, "intel-rapl:0:0", 10**9, 0)
    monkeypatch.setattr(energy, "find_packages", lambda found=energy.find_packages: found(tmp_path))
    with energy.EnergyMeter(torch.device("cpu")) as meter:
        first.write_text(str(5 + 7_200_000_000))
        second.write_text(str(50))
    assert meter.facts == {"watt_hours": pytest.approx(2.0), "method": "rapl"}


@pytest.mark.skipif(os.geteuid() == 0 and any(energy.POWERCAP.glob("intel-rapl:*")), reason="it has counters")
def test_energy_without_counters() -> None:
    with energy.EnergyMeter(torch.device("cpu")) as meter:
        pass
    assert meter.facts == {"watt_hours": None, "method": "unavailable"}
