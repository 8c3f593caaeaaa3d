"""docs/deviations.md answers what the papers leave open, and the report prints it."""

import importlib
import re

import pytest

from preftune.report.markdown import render_markdown

# What the DPH paper's code leaves open or does in a way that had to be kept or not, and what the Context-PEFT paper does not say.
DPH = ("Rows", "Vocabulary stage", "SFT mix", "SFT rows", "Seeds", "Data order", "Steps", "Frozen Qwen", "Learning curves",
       "Separable loss", "Optimiser", "Precision", "Rewards", "Answer tokens", "Decay to the start", "Packing", "Negatives",
       "Tasks", "System messages", "UltraFeedback", "SQuAD v2", "STS-B", "RTE", "MNLI", "Prompts", "Scores", "GLUE",
       "Comparability", "Sources", "Best of N")  # fmt: skip
CONTEXT_PEFT = ("Language model", "Image vectors", "LoRA", "BitFit", "Context of BOS, EOS and padding", "Perplexity",
                "Choice of weights", "Split", "Sampling", "Augmentation", "SwinV2-Tiny", "Encoders", "Projection",
                "Residual dropout", "Full fine-tuning", "Optimiser", "Rank sweep", "Attention figure", "Learning rate",
                "Scale of updates", "A against F", "Equal data")  # fmt: skip


def sections() -> dict[str, str]:
    """The rendered list, by paper."""
    path = importlib.import_module("export_report").DEVIATIONS  # what the step prints
    text = path.read_text(encoding="utf-8")
    _, dph, context_peft = re.split(r"^## (?:Direct Preference Heads|Context-PEFT)$", text, flags=re.M)
    return {"dph": render_markdown(dph), "context_peft": render_markdown(context_peft)}


@pytest.mark.parametrize(
    ("paper", "entry"), [("dph", one) for one in DPH] + [("context_peft", one) for one in CONTEXT_PEFT]
)
def test_what_a_paper_leaves_open_has_an_entry_in_the_report(paper: str, entry: str) -> None:
    assert re.search(rf"<li><strong>{re.escape(entry)}\b", sections()[paper])
