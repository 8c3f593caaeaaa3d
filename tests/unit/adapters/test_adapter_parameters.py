"""Counts of trainable parameters: Table 3 of the Context-PEFT paper, from formulae and from real modules."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from preftune.adapters.install import install_adapters
from preftune.adapters.parameters import (
    PAPER_DECODER,
    adapter_parameters,
    llama_decoder,
    paper_parameter_table,
)
from preftune.models.lsw import PAPER_150M, LswConfig, LswForCausalLM
from preftune.settings.captioning import AdapterSettings


def paper_model() -> LswForCausalLM:
    """The paper's language model on the meta device: shapes without memory."""
    with torch.device("meta"):
        return LswForCausalLM(LswConfig(**PAPER_150M))


PUBLISHED = {
    "IA3": (55_296, 110_592),
    "BitFit": (119_808, 239_616),
    "LoRA-1": (202_752, 405_504),
    "LoRA-8": (1_622_016, 3_244_032),
    "LoRA-64": (12_976_128, 25_952_256),
    "Full FT": (153_196_032, None),
}


def test_table_3() -> None:
    rows = {row["adaptor"]: (row["agnostic"], row["specific"]) for row in paper_parameter_table()}
    assert rows == PUBLISHED


def test_full_fine_tuning_of_the_paper_s_shape() -> None:
    assert sum(parameter.numel() for parameter in paper_model().parameters()) == 153_196_032


@pytest.mark.parametrize(
    ("kind", "rank", "row"),
    [
        ("ia3", 1, "IA3"),
        ("bitfit", 1, "BitFit"),
        ("lora", 1, "LoRA-1"),
        ("lora", 8, "LoRA-8"),
        ("lora", 64, "LoRA-64"),
    ],
)
@pytest.mark.parametrize("context", ["agnostic", "specific"])
def test_installed_adapters_have_table_3_s_counts(kind: str, rank: int, row: str, context: str) -> None:
    settings = AdapterSettings.model_validate(
        {"kind": kind, "context": context, "targets": "AF", "rank": rank}
    )
    assert install_adapters(paper_model(), settings).count() == PUBLISHED[row][context == "specific"]


@pytest.mark.parametrize(
    ("kind", "targets", "count"),
    [("lora", "A", 73_728), ("lora", "F", 129_024), ("bitfit", "A", 36_864), ("bitfit", "F", 82_944),
     ("ia3", "A", 18_432), ("ia3", "F", 36_864)],
)  # fmt: skip
def test_subsets(kind: str, targets: str, count: int) -> None:
    assert adapter_parameters(PAPER_DECODER, kind, targets, 1) == count


@pytest.mark.parametrize("kind", ["lora", "bitfit", "ia3"])
@pytest.mark.parametrize("targets", ["A", "F", "AF"])
def test_formulae_agree_with_a_llama(kind: str, targets: str) -> None:
    config = LlamaConfig(vocab_size=20, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
                         num_attention_heads=4, num_key_value_heads=2)  # fmt: skip
    settings = AdapterSettings.model_validate({"kind": kind, "targets": targets, "rank": 3})
    installed = install_adapters(LlamaForCausalLM(config), settings)
    assert installed.count() == adapter_parameters(llama_decoder(config.to_dict()), kind, targets, 2, 3)
