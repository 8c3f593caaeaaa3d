"""Our scoring engine as a model of lm-eval: its tasks and prompts, each context read once for all its continuations."""

from typing import Any

from lm_eval.api.model import TemplateLM

from preftune.data.texts import encode_text, prefix_id
from preftune.errors import PreftuneError
from preftune.preference.heads import PreferenceModel
from preftune.preference.scoring import score_trees
from preftune.training.trees import Tree

TokenRequest = tuple[tuple[str, str], list[int], list[int]]


class TreeLM(TemplateLM):  # type: ignore[misc]
    """Log-likelihoods of continuations, as lm-eval's `hf` model gives them, for `lm_eval.simple_evaluate(model=...)`.

    Requests with the same context ids are branches of one tree. A request longer than the model's context loses its
    oldest tokens on its own, as in `hf`, and is grouped by what is left. Generation and rolling likelihoods are not offered.
    """

    def __init__(self, model: PreferenceModel, tokens_per_pass: int | None = None) -> None:
        """`model` must have no reward heads: continuations do not end with `<|im_end|>`."""
        super().__init__()
        if model.head is not None:
            raise PreftuneError(
                "TreeLM scores continuations without <|im_end|>: give it a model without reward heads."
            )
        self.model = model
        self.tokenizer = model.tokenizer
        self.tokens_per_pass = tokens_per_pass

    @property
    def eot_token_id(self) -> int:
        """The id that ends a text."""
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """The id that stands before a continuation without context: the tokenizer's bos, else its eos."""
        return prefix_id(self.tokenizer)

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """Ids of a text; special tokens as the tokenizer's own default where nothing is said, but never bos twice."""
        if add_special_tokens is None:
            return encode_text(self.tokenizer, string)
        return list(self.tokenizer.encode(string, add_special_tokens=add_special_tokens))

    def _loglikelihood_tokens(self, requests: list[TokenRequest], **kwargs: Any) -> list[tuple[float, bool]]:
        context = self.model.reader.context
        groups: dict[tuple[int, ...], list[int]] = {}
        for number, (_, prompt, continuation) in enumerate(requests):
            # The last token is only predicted, so context + 1 tokens fit.
            room = context + 1 - len(continuation)
            if room < 1:
                raise PreftuneError(
                    f"request {number}: its continuation has {len(continuation)} tokens but the model reads {context} at most: "
                    "shorten it."
                )
            groups.setdefault(tuple(prompt[-room:]), []).append(number)
        trees = [
            Tree(f"request {members[0]}", list(prompt), tuple(requests[number][2] for number in members))
            for prompt, members in groups.items()
        ]
        scores = score_trees(self.model, trees, tokens_per_pass=self.tokens_per_pass, greedy=True)
        results: list[tuple[float, bool]] = [(0.0, False)] * len(requests)
        order = [number for members in groups.values() for number in members]
        for number, value, greedy in zip(order, scores.log_probabilities, scores.greedy, strict=True):
            results[number] = (float(value), bool(greedy))
        return results

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> list[float]:
        """Not offered."""
        raise PreftuneError(
            "TreeLM scores continuations only: use lm-eval's hf model for perplexities of texts."
        )

    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
        """Not offered."""
        raise PreftuneError("TreeLM scores continuations only: use lm-eval's hf model for generation.")
