"""Perplexity of plain text under a captioner's language model: what its training made it forget."""

import math
from collections.abc import Sequence
from typing import Any

import torch

from preftune.captioning.batch import TEXT
from preftune.captioning.captioner import Captioner
from preftune.progress import track
from preftune.training.batches import TOKENS_PER_PASS
from preftune.training.trees import Tree


@torch.no_grad()
def score_passages(
    captioner: Captioner, passages: Sequence[Tree], tokens_per_pass: int | None = None
) -> list[dict[str, Any]]:
    """One row a passage {passage, tokens, nll}: nats of all its tokens but the first.

    passages: of `preftune.data.passages.read_passages`. Groups for text of any role are on, those for captions alone are
    not; a run without an adapter for text reads as the base model does.
    """
    captioner.eval()
    device = next(captioner.parameters()).device
    rows: dict[int, dict[str, Any]] = {}
    passes = captioner.reader.split(passages, tokens_per_pass or TOKENS_PER_PASS[device.type])
    for group in track(passes, "scoring plain text", unit="batch"):
        chosen = [passages[i] for i in group]
        nll, layout = captioner.nll(chosen, None, TEXT)
        for i, tree, value in zip(group, chosen, layout.sum_by_branch(nll.double()).tolist(), strict=True):
            rows[i] = {"passage": tree.name, "tokens": len(tree.branches[0]), "nll": value}
    return [rows[i] for i in sorted(rows)]


def summarize_passages(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """text_perplexity: exp(all nats / all tokens)."""
    tokens = sum(row["tokens"] for row in rows)
    perplexity = math.exp(sum(row["nll"] for row in rows) / tokens)
    return {"n_passages": len(rows), "tokens": tokens, "text_perplexity": perplexity}
