"""Tree attention: a token sees its prompt and its own branch, never a sibling branch or another tree.

Registered in transformers' attention-function registry under `NAME`, so that no model is rewritten. Two backends of
one definition: a loop of scaled dot products over the trees (CPU, and the reference), and flex_attention with a block
mask (CUDA). Calls without a layout (generation, padded batches) go to transformers' own SDPA.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from preftune.errors import PreftuneError
from preftune.training.packing import Span

NAME = "preftune_tree"
_GROUP = 96  # measured: 2 to 15 % over one call a branch, and over one call for all of them
_packed: ContextVar[bool] = ContextVar("packed", default=False)


class CannotPackError(PreftuneError):
    """The model's attention has something (a window, sinks, a position bias) that tree attention does not compute."""


@dataclass
class TreeAttention:
    """The trees of one packed row, in the form that a backend reads: built once and used by every layer."""

    spans: tuple[Span, ...]
    block_mask: BlockMask | None = None
    _masks: dict[tuple[int, ...], Tensor] = field(default_factory=dict)

    @classmethod
    def build(cls, spans: tuple[Span, ...], length: int, device: torch.device) -> "TreeAttention":
        """For a row of `length` positions on `device`; on CUDA with a block mask for flex_attention."""
        return cls(spans, make_block_mask(spans, length, device) if device.type == "cuda" else None)

    def mask(self, prompt: int, branches: tuple[int, ...], like: Tensor) -> Tensor:
        """Additive mask [tokens of the branches, prompt and tokens of the branches]."""
        key = (prompt, *branches)
        if key not in self._masks:
            allowed = tree_mask(Span(0, prompt, branches))[prompt:].to(like.device)
            self._masks[key] = torch.zeros_like(allowed, dtype=like.dtype).masked_fill_(
                ~allowed, float("-inf")
            )
        return self._masks[key]


def tree_mask(span: Span) -> Tensor:
    """The definition: which key (column) each query (row) of one tree sees, boolean [tokens, tokens]."""
    branch = torch.cat([torch.full((size,), i) for i, size in enumerate((span.prompt, *span.branches))])
    order = torch.arange(len(branch))
    causal = order[:, None] >= order[None, :]
    return causal & ((branch[:, None] == branch[None, :]) | (branch[None, :] == 0))


def make_block_mask(spans: tuple[Span, ...], length: int, device: torch.device) -> BlockMask:
    """The same for a whole row [length, length]; positions after the last tree see themselves alone."""
    tree, branch = torch.arange(length), torch.zeros(length, dtype=torch.long)
    for span in spans:
        tree[span.start : span.stop] = span.start
        place = span.start + span.prompt
        for number, size in enumerate(span.branches, start=1):
            branch[place : place + size] = number
            place += size
    tree, branch = tree.to(device), branch.to(device)

    def sees(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        own = (branch[query] == branch[key]) | (branch[key] == 0)
        return (query >= key) & (tree[query] == tree[key]) & own

    return create_block_mask(sees, None, None, length, length, device=device, _compile=device.type == "cuda")  # type: ignore[arg-type]


def attend_by_loop(
    query: Tensor, key: Tensor, value: Tensor, trees: TreeAttention, scale: float | None, dropout: float
) -> Tensor:
    """The reference backend: query [1, heads, seq, size], key and value [1, kv heads, seq, size] -> as query.

    Prompt and first branch are one causal sequence. The other branches of a tree go in groups of about `_GROUP` tokens:
    long ones alone, so that nothing masked is computed; short ones together, so that calls are few.
    """
    options: dict[str, Any] = {
        "scale": scale,
        "dropout_p": dropout,
        "enable_gqa": query.shape[1] != key.shape[1],
    }
    dot: Callable[..., Tensor] = partial(F.scaled_dot_product_attention, **options)
    parts = []
    for span in trees.spans:
        prompt = slice(span.start, span.start + span.prompt)
        trunk = slice(span.start, prompt.stop + span.branches[0])
        parts.append(dot(query[:, :, trunk], key[:, :, trunk], value[:, :, trunk], is_causal=True))
        start = trunk.stop
        for group in _group(span.branches[1:]):
            own = slice(start, start + sum(group))
            keys, values = (torch.cat([x[:, :, prompt], x[:, :, own]], dim=2) for x in (key, value))
            mask = trees.mask(span.prompt, group, query)
            parts.append(dot(query[:, :, own], keys, values, attn_mask=mask))
            start = own.stop
    rest = query.shape[2] - trees.spans[-1].stop
    if rest:
        parts.append(query.new_zeros(*query.shape[:2], rest, query.shape[3]))
    return torch.cat(parts, dim=2)


def _group(branches: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Neighbouring branches of at most `_GROUP` tokens together; empty ones are left out."""
    groups: list[list[int]] = []
    for size in filter(None, branches):
        if groups and sum(groups[-1]) + size <= _GROUP:
            groups[-1].append(size)
        else:
            groups.append([size])
    return [tuple(group) for group in groups]


def attend_by_flex(
    query: Tensor, key: Tensor, value: Tensor, trees: TreeAttention, scale: float | None, dropout: float
) -> Tensor:
    """The CUDA backend, shapes as in `attend_by_loop`."""
    if dropout:
        raise PreftuneError(
            "flex_attention has no dropout but the model's attention dropout is not 0: set attention_dropout to 0 in its "
            "config.json."
        )
    gqa = query.shape[1] != key.shape[1]
    run = _compiled_flex if query.device.type == "cuda" else flex_attention
    return run(query, key, value, block_mask=trees.block_mask, scale=scale, enable_gqa=gqa)  # type: ignore[return-value]


_compiled_flex = torch.compile(flex_attention)


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    trees: TreeAttention | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """The registered function: [1, heads, seq, size] -> [1, seq, heads, size], as transformers' own ones."""
    if trees is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **others
        )
    unknown = [
        name
        for name in ("sliding_window", "softcap", "s_aux", "position_bias")
        if others.get(name) is not None
    ]
    if unknown or attention_mask is not None or query.shape[0] != 1 or query.shape[2] != key.shape[2]:
        raise CannotPackError(f"tree attention does not compute {', '.join(unknown) or 'this mask or cache'}")
    backend = attend_by_loop if trees.block_mask is None else attend_by_flex
    return backend(query, key, value, trees, scaling, dropout).transpose(1, 2), None


def _mask(*arguments: Any, **named: Any) -> Any:
    """No mask inside `packed_pass`: the trees are the mask; SDPA's mask otherwise."""
    return None if _packed.get() else sdpa_mask(*arguments, **named)


@contextmanager
def packed_pass() -> Iterator[None]:
    """A model's forward pass inside the block builds no causal mask of its own."""
    token = _packed.set(True)
    try:
        yield
    finally:
        _packed.reset(token)


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, _mask)
