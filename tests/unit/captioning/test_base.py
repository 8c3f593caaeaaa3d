"""Which language models captioners may start from: a stand-in gives every word of the text one probability."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from preftune.captioning.base import check_trained
from preftune.errors import PreftuneError

WORDS = 500


class Knowing:
    """A model and its tokenizer in one: what comes next has `chance`, and all other words share the rest."""

    device = torch.device("cpu")
    bos_token_id, eos_token_id = 0, 2

    def __init__(self, chance: float, **stated: Any) -> None:
        self.config, self.chance = SimpleNamespace(**stated), chance

    def __call__(self, text: str = "", input_ids: torch.Tensor | None = None, **_: Any) -> Any:
        if input_ids is None:
            return {"input_ids": [ord(letter) for letter in text]}
        rest = math.log((1 - self.chance) / (WORDS - 1))
        logits = torch.full((1, input_ids.shape[1], WORDS), rest)
        following = input_ids.roll(-1, 1)[..., None]
        return SimpleNamespace(logits=logits.scatter(2, following, math.log(self.chance)))


@pytest.mark.parametrize("perplexity", [1.5, WORDS / 11])
def test_a_model_that_knows_english_passes_with_its_perplexity(perplexity: float) -> None:
    model: Any = Knowing(1 / perplexity)
    assert check_trained(model, model) == pytest.approx(perplexity, rel=1e-3)


@pytest.mark.parametrize("perplexity", [WORDS / 9, WORDS, 1e30, math.nan])
def test_one_that_does_not_is_refused_unless_its_weights_are_random_on_purpose(perplexity: float) -> None:
    model: Any = Knowing(1 / perplexity)
    with pytest.raises(PreftuneError, match="little better than random weights would"):
        check_trained(model, model)
    marked: Any = Knowing(1 / perplexity, random_weights=True)
    check_trained(marked, marked)
