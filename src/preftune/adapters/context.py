"""Which context (image, text) each token of the present forward pass belongs to."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor

from preftune.errors import PreftuneError

GROUPS = {"agnostic": ("all",), "specific": ("image", "text")}


@dataclass(frozen=True)
class Segment:
    """Positions start <= p < stop of every row belong to one group."""

    group: int
    start: int
    stop: int


@dataclass(frozen=True)
class Contexts:
    """Context numbers of a batch: `ids` [batch, seq] in general, `segments` where every row has the same
    layout.

    Adapters take the slices of `segments` where they are known, and the one-hot form of `ids` otherwise; both
    give the same numbers.
    """

    batch: int
    length: int
    segments: tuple[Segment, ...] | None = None
    ids: Tensor | None = field(default=None, repr=False)

    @classmethod
    def from_ids(cls, ids: Tensor) -> "Contexts":
        """Context numbers [batch, seq] (int64), one per token."""
        return cls(batch=ids.shape[0], length=ids.shape[1], ids=ids)

    @classmethod
    def from_segments(cls, batch: int, segments: tuple[Segment, ...]) -> "Contexts":
        """Contiguous, gapless segments from position 0 that hold in every row; empty ones are dropped."""
        kept = tuple(segment for segment in segments if segment.stop > segment.start)
        expected = 0
        for segment in kept:
            if segment.start != expected:
                raise PreftuneError(
                    f"Context segments leave a gap or overlap at position {expected}: {kept}."
                )
            expected = segment.stop
        return cls(batch=batch, length=expected, segments=kept)

    def to_ids(self, device: torch.device) -> Tensor:
        """Context numbers [batch, seq]."""
        if self.ids is not None:
            return self.ids.to(device)
        row = torch.empty(self.length, dtype=torch.long, device=device)
        for segment in self.segments or ():
            row[segment.start : segment.stop] = segment.group
        return row.expand(self.batch, -1)

    def one_hot(self, groups: int, device: torch.device, dtype: torch.dtype) -> Tensor:
        """The selection matrix S of the paper's algorithm 1 [batch, seq, groups]."""
        return torch.nn.functional.one_hot(self.to_ids(device), groups).to(dtype)


class ContextHolder:
    """Hands the contexts of a forward pass to every adapted layer of one model.

    The layers only read: nothing is cleared after a layer's own forward, so that a layer that runs twice
    (gradient checkpointing) sees the same contexts. A plain attribute, not a thread-local one, because
    autograd recomputes on its own threads.
    """

    def __init__(self) -> None:
        self._current: Contexts | None = None

    @contextmanager
    def use(self, contexts: Contexts) -> Iterator[None]:
        """Hold `contexts` until the block ends, then what was held before."""
        before, self._current = self._current, contexts
        try:
            yield
        finally:
            self._current = before

    def require(self, x: Tensor) -> Contexts:
        """The contexts held, checked against the layer input `x` [batch, seq, width]."""
        contexts = self._current
        if contexts is None:
            raise PreftuneError(
                "A model with context adapters ran without contexts: run it in `with adapters.use(contexts)`."
            )
        if (contexts.batch, contexts.length) != tuple(x.shape[:2]):
            raise PreftuneError(
                f"Contexts of [{contexts.batch}, {contexts.length}] tokens were given for an input of "
                f"{list(x.shape[:2])}: give those of the current step."
            )
        return contexts

    def checkpoint_contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        """`context_fn` of `torch.utils.checkpoint` (non-reentrant): the recomputation sees the forward's
        contexts.

        Without it a backward pass outside the `use` block would recompute the layers without any context.
        """
        held = self._current
        return nullcontext(), self.use(held) if held is not None else nullcontext()


def apply_by_segment(x: Tensor, contexts: Contexts, function: Callable[[Tensor, int], Tensor]) -> Tensor:
    """`function(slice of x [batch, n, width], group)` on each segment, joined along the sequence."""
    assert contexts.segments is not None
    parts = [function(x[:, part.start : part.stop], part.group) for part in contexts.segments]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def select_vectors(vectors: Tensor, contexts: Contexts, dtype: torch.dtype) -> Tensor:
    """The vector of each token's group out of `vectors` [groups, width]: [1 or batch, seq, width].

    Slices: one row that all sequences share; otherwise the one-hot product.
    """
    vectors = vectors.to(dtype)
    if contexts.segments is None:
        return contexts.one_hot(vectors.shape[0], vectors.device, dtype) @ vectors
    if len(contexts.segments) == 1:
        return vectors[contexts.segments[0].group].view(1, 1, -1)
    parts = [vectors[part.group].expand(part.stop - part.start, -1) for part in contexts.segments]
    return torch.cat(parts).unsqueeze(0)
