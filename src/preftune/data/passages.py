"""Held-out passages of plain text as trees, on which a language model is compared before and after a training."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from preftune.data.prepared import open_column
from preftune.errors import PreftuneError
from preftune.training.trees import Tree


def read_passages(
    tokenizer: PreTrainedTokenizerBase,
    context: int,
    dataset: str,
    split: str,
    folders: Sequence[Path],
    count: int,
    tokens: int,
) -> list[Tree]:
    """The first `count` distinct passages (column `article` of the split), each cut to `tokens` tokens.

    Without chat template: the passage's first token is the prompt, the rest of it the branch. `context` is the model's.
    """
    names: dict[str, str] = {}
    for place, row in enumerate(open_column(dataset, split, "article", folders, "perplexity of plain text")):
        names.setdefault(row["article"], str(row.get("document", f"row-{place}")))
    length = min(tokens, context)
    encoded = (
        (name, tokenizer.encode(text, add_special_tokens=False)[:length]) for text, name in names.items()
    )
    found = list(islice((Tree(name, ids[:1], (ids[1:],)) for name, ids in encoded if len(ids) > 1), count))
    if not found:
        raise PreftuneError(f"the data set {dataset} has no passage of two tokens: name another data set.")
    return found
