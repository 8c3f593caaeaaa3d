"""What alignment did to the language model itself: divergence from the SFT model, perplexity of plain text, and the
form of its greedy answers.

Items are rows with the columns of `COLUMNS`, NaN where a column is not of the item's kind.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from preftune.errors import PreftuneError
from preftune.preference.generation import Answer, Conversation, generate
from preftune.preference.heads import PreferenceModel
from preftune.progress import track
from preftune.training.batches import TOKENS_PER_PASS
from preftune.training.divergence import token_divergences
from preftune.training.packing import Layout
from preftune.training.trees import Tree

COLUMNS = ("kind", "item", "tokens", "kl", "nll", "length", "repeated", "ngrams", "ended")
NGRAM = 4


@torch.no_grad()
def answer_items(
    model: PreferenceModel,
    reference: PreferenceModel | None,
    answers: Sequence[Tree],
    tokens_per_pass: int | None = None,
) -> pd.DataFrame:
    """KL(pi_ref || pi) of each answer, the sum over its tokens and its `<|im_end|>`, whole vocabulary, in nats.

    Args:
        model, reference: in eval mode; None where the model is its own reference, from which it does not diverge.
        answers: trees of one branch.

    Returns:
        One row an answer: kind `answer`, item, tokens, kl.
    """
    sums = torch.zeros(len(answers), dtype=torch.float64)
    if reference is not None:
        for group, layout in _passes(model, answers, tokens_per_pass, "divergence"):
            sums[group] = _divergences(model, reference, layout).cpu()
    tokens = [len(tree.branches[0]) for tree in answers]
    names = [tree.name for tree in answers]
    return _items("answer", item=names, tokens=tokens, kl=sums.numpy())


@torch.no_grad()
def text_items(
    model: PreferenceModel, texts: Sequence[Tree], tokens_per_pass: int | None = None
) -> pd.DataFrame:
    """Negative log-likelihood of each passage but its first token, in nats.

    Args:
        texts: trees whose prompt is the first token and whose one branch is the rest.

    Returns:
        One row a passage: kind `text`, item, tokens (those that are predicted), nll.
    """
    sums = torch.zeros(len(texts), dtype=torch.float64)
    for group, layout in _passes(model, texts, tokens_per_pass, "perplexity"):
        logps, _ = model.reader.log_probabilities(model.reader.states(layout), layout)
        sums[group] = -layout.sum_by_branch(logps.double()).cpu()
    tokens = [len(tree.branches[0]) for tree in texts]
    return _items("text", item=[tree.name for tree in texts], tokens=tokens, nll=sums.numpy())


def generation_items(
    model: PreferenceModel, prompts: Mapping[str, Conversation], max_new_tokens: int, batch: int
) -> pd.DataFrame:
    """The form of the greedy answer to each prompt.

    Returns:
        One row a prompt: kind `generation`, item, length (tokens without `<|im_end|>`), repeated and ngrams (4-grams
        that occurred in the answer before, and all), ended (1: closed by the model, 0: cut off).
    """
    answers = generate(model, list(prompts.values()), max_new_tokens=max_new_tokens, batch=batch)
    rows = [_form(answer) for (answer,) in answers]
    return _items("generation", item=list(prompts), **{name: [row[name] for row in rows] for name in rows[0]})


def count_repeats(ids: Sequence[int], size: int = NGRAM) -> tuple[int, int]:
    """How many n-grams of an answer occurred in it before (all - distinct), and how many it has."""
    ngrams = [tuple(ids[place : place + size]) for place in range(len(ids) - size + 1)]
    return len(ngrams) - len(set(ngrams)), len(ngrams)


def summarise_drift(items: pd.DataFrame) -> dict[str, Any]:
    """The measures of one run.

    Returns:
        kl_per_token: nats over all answer tokens; kl_per_answer: mean of the answers' sums, nats; answers: number.
        text_perplexity: exp(all nats / all tokens); text_tokens: their number.
        length_mean: tokens of a greedy answer; repetition: repeated share of the 4-grams of all answers (None: no
        answer has four tokens); ended: share of answers that the model closed; prompts: their number.
    """
    answers, texts, written = (items[items["kind"] == kind] for kind in ("answer", "text", "generation"))
    ngrams = written["ngrams"].sum()
    return {
        "kl_per_token": float(answers["kl"].sum() / answers["tokens"].sum()),
        "kl_per_answer": float(answers["kl"].mean()),
        "answers": len(answers),
        "text_perplexity": math.exp(texts["nll"].sum() / texts["tokens"].sum()),
        "text_tokens": int(texts["tokens"].sum()),
        "length_mean": float(written["length"].mean()),
        "repetition": float(written["repeated"].sum() / ngrams) if ngrams else None,
        "ended": float(written["ended"].mean()),
        "prompts": len(written),
    }


def _passes(
    model: PreferenceModel, trees: Sequence[Tree], tokens_per_pass: int | None, description: str
) -> Iterator[tuple[list[int], Layout]]:
    """Places of the trees that share a forward pass, and where they lie in it."""
    budget = tokens_per_pass or TOKENS_PER_PASS[model.device.type]
    for group in track(model.reader.split(trees, budget), description, unit="batch"):
        yield group, model.reader.layout([trees[i] for i in group])


def _divergences(model: PreferenceModel, reference: PreferenceModel, layout: Layout) -> Tensor:
    """Of every branch [branches], float64; both models read the same rows."""
    if model.reader.packs != reference.reader.packs:
        raise PreftuneError(
            "the run and its reference differ in architecture; pass the SFT checkpoint that the run started from."
        )
    hidden, reference_hidden = (one.reader.states(layout)[layout.predictors] for one in (model, reference))
    head, reference_head = (one.causal_lm.get_output_embeddings() for one in (model, reference))
    values = token_divergences(hidden, reference_hidden, head, reference_head, layout.predictor)
    return layout.sum_by_branch(values.double())


def _form(answer: Answer) -> dict[str, float]:
    repeated, ngrams = count_repeats(answer.token_ids)
    return {
        "length": float(len(answer.token_ids)),
        "repeated": float(repeated),
        "ngrams": float(ngrams),
        "ended": float(answer.ended),
    }


def _items(kind: str, **columns: Any) -> pd.DataFrame:
    """Rows of one kind; every column but kind and item is a float."""
    table = pd.DataFrame({"kind": kind, **columns}).reindex(columns=COLUMNS)
    return table.astype(dict.fromkeys(COLUMNS[2:], float))
