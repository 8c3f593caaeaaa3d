"""The tokenizer of a model folder, without its model."""

from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from preftune.data.chat import marker_id
from preftune.errors import PreftuneError


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a `transformers` folder; one without the ChatML tokens is a PreftuneError."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    except (OSError, ValueError) as error:
        raise PreftuneError(
            f"{folder} holds no tokenizer that can be read: fetch or convert the model again."
        ) from error
    marker_id(tokenizer)
    return tokenizer
