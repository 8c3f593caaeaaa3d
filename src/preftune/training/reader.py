"""Reading trees with a causal language model of transformers: the one forward pass of training and scoring."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.utils import logging as transformers_logging

from preftune.errors import PreftuneError
from preftune.models.freezing import transformer_blocks
from preftune.progress import say
from preftune.settings.training import TrainingSettings
from preftune.training.attention import NAME, CannotPackError, TreeAttention, packed_pass
from preftune.training.batches import TOKENS_PER_PASS, split_by_area, split_by_tokens
from preftune.training.logprobs import token_log_probabilities
from preftune.training.packing import Layout, pack, pad
from preftune.training.trees import Tree

_PROBE = (Tree("probe", [5, 3, 7], ([2, 6, 4], [1, 8], [9])), Tree("probe", [4, 6], ([3, 5, 7],)))
_TOLERANCE = {torch.float32: 1e-4}
_COARSE = 5e-2  # bfloat16 and float16; a wrong mask or position differs by tenths
_said: set[str] = set()


class TreeReader:
    """States and log-probabilities of trees under one model.

    The model computes tree attention through transformers' attention-function registry, or, where a small trial shows
    that its architecture cannot (recurrent layers, windows, position biases), reads padded batches; this is said once.

    Attributes:
        packs: whether packed rows are used.
        fill: rows are filled to multiples of this many positions, where compiled layers want one shape.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        """Try the model on two small trees.

        Raises:
            PreftuneError: its logits are not its output embedding applied to its states.
        """
        self.model = model
        self.fill: int | None = None
        name, tolerance = type(model).__name__, _TOLERANCE.get(model.dtype, _COARSE)
        with _quiet_trial(model):
            if not self._try_head() < tolerance:
                raise PreftuneError(
                    f"{name} changes its logits after the output embedding (scale, cap or extra layer), which is not supported: "
                    "choose another language model."
                )
            self.packs = self._try_packing(tolerance)
        if not self.packs and name not in _said:
            _said.add(name)
            say(f"{name} cannot read packed trees: padded batches are used, which is slower")

    @property
    def context(self) -> int:
        """Tokens that the model reads at most.

        Long-rope models (Phi-3 128k) choose their rotary frequencies by the longest path of a whole pass, so that a path's
        result would depend on its neighbours: they are read up to the length where the first choice ends.
        """
        config = self.model.config
        rope = getattr(config, "rope_parameters", None) or {}
        if rope.get("rope_type") == "longrope":
            return int(rope["original_max_position_embeddings"])
        return int(getattr(config, "max_position_embeddings", sys.maxsize))

    def layout(self, trees: Sequence[Tree], marker: int | None = None) -> Layout:
        """Where the trees lie in one forward pass; `marker` as in `preftune.training.packing.pack`.

        Raises:
            PreftuneError: a tree is longer than the model's context, lacks the marker, or has ids that the model has not.
        """
        longest = max(trees, key=lambda tree: tree.longest)
        # A last token that is only predicted needs no position.
        if longest.longest - (marker is None) > self.context:
            raise PreftuneError(
                f"example {longest.name} has {longest.longest} tokens but the model reads {self.context} at most: lower "
                "max_tokens of its mix, or set long: truncate."
            )
        layout = pack(trees, marker, self.fill) if self.packs else pad(trees, marker)
        largest, words = int(max(layout.input_ids.max(), layout.targets.max())), self.model.config.vocab_size
        if largest >= words:
            raise PreftuneError(
                f"the token id {largest} of a pass with example {trees[0].name} is beyond the model's {words} words: these "
                "rows are of another tokenizer; prepare them with this model's."
            )
        return layout.to(self.model.device)

    def split(self, trees: Sequence[Tree], budget: int) -> list[list[int]]:
        """Places of the trees that share a pass of at most `budget` positions, padding included."""
        if self.packs:
            return split_by_tokens([tree.tokens for tree in trees], budget)
        return split_by_area([(len(tree.branches), tree.longest) for tree in trees], budget)

    def states(self, layout: Layout, embeddings: Tensor | None = None) -> Tensor:
        """States after the final norm of every position [rows * seq, width].

        `embeddings` [rows, seq, width] take the place of the layout's ids.
        """
        inputs: dict[str, Any] = (
            {"input_ids": layout.input_ids} if embeddings is None else {"inputs_embeds": embeddings}
        )
        inputs |= {"position_ids": layout.position_ids, "use_cache": False}
        scope: AbstractContextManager[None] = nullcontext()
        if layout.spans is None:
            inputs["attention_mask"] = layout.attention_mask
        else:
            length = layout.position_ids.shape[1]
            inputs["trees"] = TreeAttention.build(layout.spans, length, layout.position_ids.device)
            scope = packed_pass()
        with scope:
            states = self.model.base_model(**inputs).last_hidden_state
        return states.flatten(0, 1)

    def log_probabilities(
        self, states: Tensor, layout: Layout, greedy: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """log p of every branch token given its path, nats in fp32 [tokens]; where asked whether it is the likeliest."""
        head = self.model.get_output_embeddings()
        return token_log_probabilities(
            states[layout.predictors], head, layout.predictor, layout.targets, greedy=greedy
        )

    def prepare(self, settings: TrainingSettings, context_fn: Callable[[], Any] | None = None) -> None:
        """Gradient checkpointing and compiled layers, where the settings ask for them.

        `context_fn` is `torch.utils.checkpoint`'s: contexts of a layer's first and of its second computation.
        """
        layers = list(transformer_blocks(self.model))
        if settings.gradient_checkpointing:
            # transformers' own switch works in training mode alone, which would turn a frozen model's dropout on.
            options: dict[str, Any] = {"context_fn": context_fn} if context_fn else {}
            for layer in layers:
                layer.forward = partial(checkpoint, layer.forward, use_reentrant=False, **options)
        if settings.compile and self.model.device.type == "cuda":
            # Few shapes to compile, and room to halve the passes where memory lacks.
            self.fill = max(1, (settings.tokens_per_pass or TOKENS_PER_PASS["cuda"]) // 4)
            for layer in layers:
                layer.compile(dynamic=False)

    def _try_head(self) -> float:
        """Relative difference between the model's logits and its output embedding applied to its states."""
        layout = pad(_PROBE).to(self.model.device)
        inputs = {"position_ids": layout.position_ids, "attention_mask": layout.attention_mask}
        if self.model.base_model is self.model:  # no body of its own that would give states
            return float("inf")
        wanted = self.model(input_ids=layout.input_ids, use_cache=False, **inputs).logits
        found = self.model.get_output_embeddings()(self.states(layout))
        return _difference(found[layout.predictors], wanted.flatten(0, 1)[layout.predictors])

    def _try_packing(self, tolerance: float) -> bool:
        """Whether packed states are those of padded rows; a model that cannot be packed gets its own attention back."""
        before = self.model.config._attn_implementation
        wanted = self._probe_states(pad(_PROBE))
        try:
            self.model.set_attn_implementation(NAME)
            if _difference(self._probe_states(pack(_PROBE)), wanted) < tolerance:
                return True
        except (CannotPackError, ValueError, TypeError):
            pass
        self.model.set_attn_implementation(before)
        return False

    def _probe_states(self, layout: Layout) -> Tensor:
        layout = layout.to(self.model.device)
        return self.states(layout)[layout.predictors][layout.predictor]


def _difference(found: Tensor, wanted: Tensor) -> float:
    return float((found.float() - wanted.float()).norm() / wanted.float().norm())


@contextmanager
def _quiet_trial(model: PreTrainedModel) -> Iterator[None]:
    """Without gradients, dropout and transformers' warnings; the model's mode returns."""
    training, before = model.training, transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)
        transformers_logging.set_verbosity(before)
