"""Which context each token of a forward pass has, and so which groups of adapters are on at it."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import get_args

import torch
from torch import Tensor

from preftune.errors import PreftuneError
from preftune.settings.adapters import GroupSettings, Modality, Role

MODALITIES: tuple[Modality, ...] = get_args(Modality)
ROLES: tuple[Role, ...] = get_args(Role)
DOMAINS = len(MODALITIES) * len(ROLES)


def domain(modality: Modality, role: Role) -> int:
    """The context number of tokens of this modality and role."""
    return MODALITIES.index(modality) * len(ROLES) + ROLES.index(role)


def domains_of(group: GroupSettings) -> frozenset[int]:
    """The context numbers at which a group is on."""
    modalities, roles = group.modalities or MODALITIES, group.roles or ROLES
    return frozenset(domain(modality, role) for modality in modalities for role in roles)


@dataclass(frozen=True)
class Segment:
    """Positions start <= p < stop of every row have one context."""

    domain: int
    start: int
    stop: int


@dataclass(frozen=True)
class Contexts:
    """Context numbers of a batch: `ids` [rows, seq] in general, `segments` where every row has the same layout.

    images [copies, N]: flat positions of each image's tokens, for adapters that look from text to images (MokA);
    memory: what such an adapter keeps of the images for the steps of a cached decoding.
    """

    rows: int
    length: int
    present: frozenset[int]
    segments: tuple[Segment, ...] | None = None
    ids: Tensor | None = field(default=None, repr=False)
    images: Tensor | None = field(default=None, repr=False)
    memory: dict[int, Tensor] | None = field(default=None, repr=False)

    @classmethod
    def from_ids(
        cls, ids: Tensor, images: Tensor | None = None, memory: dict[int, Tensor] | None = None
    ) -> "Contexts":
        """Context numbers [rows, seq] (int64), one per token.

        Raises:
            PreftuneError: a number is of no context.
        """
        present = frozenset(ids.unique().tolist())
        unknown = sorted(present - set(range(DOMAINS)))
        if unknown:
            raise PreftuneError(
                f"{unknown[0]} is no context number: take preftune.adapters.contexts.domain(modality, role)."
            )
        return cls(ids.shape[0], ids.shape[1], present, ids=ids, images=images, memory=memory)

    @classmethod
    def from_segments(
        cls,
        rows: int,
        segments: tuple[Segment, ...],
        images: Tensor | None = None,
        memory: dict[int, Tensor] | None = None,
    ) -> "Contexts":
        """Contiguous, gapless segments from position 0 that hold in every row; empty ones are dropped."""
        kept = tuple(segment for segment in segments if segment.stop > segment.start)
        expected = 0
        for segment in kept:
            if segment.start != expected:
                raise PreftuneError(
                    f"Context segments leave a gap or overlap at position {expected}: {kept}; give one after another."
                )
            expected = segment.stop
        present = frozenset(segment.domain for segment in kept)
        return cls(rows, expected, present, segments=kept, images=images, memory=memory)

    def to_ids(self, device: torch.device) -> Tensor:
        """Context numbers [rows, seq]; [1, seq] where every row has the same."""
        if self.ids is not None:
            return self.ids.to(device)
        row = torch.empty(1, self.length, dtype=torch.long, device=device)
        for segment in self.segments or ():
            row[:, segment.start : segment.stop] = segment.domain
        return row


class Routing:
    """Where each group of a model's adapters is on in one forward pass; computed once and read by every layer.

    Attributes:
        contexts: the contexts of the pass.
        ids: context numbers [rows or 1, seq].
        on: for each group, whether it is on at each context number [domains].
        absent: groups that are on at no token.
        everywhere: groups that are on at all tokens.
        spans: with segments, the (start, stop) of each group along the sequence.
    """

    def __init__(
        self, contexts: Contexts, groups: Mapping[str, frozenset[int]], device: torch.device
    ) -> None:
        self.contexts = contexts
        self.shape = (contexts.rows, contexts.length)
        self.ids = contexts.to_ids(device)
        numbers = torch.arange(DOMAINS)
        self.on = {
            name: torch.isin(numbers, torch.tensor(sorted(domains))).to(device)
            for name, domains in groups.items()
        }
        self.absent = {name for name, domains in groups.items() if not domains & contexts.present}
        self.everywhere = {name for name, domains in groups.items() if contexts.present <= domains}
        self.spans = None
        if contexts.segments is not None:
            self.spans = {
                name: tuple((part.start, part.stop) for part in contexts.segments if part.domain in domains)
                for name, domains in groups.items()
            }
        self._masks: dict[str, Tensor] = {}
        self._indices: dict[str, Tensor] = {}
        self._columns: dict[object, Tensor | None] = {}

    def mask(self, group: str) -> Tensor:
        """Whether a group is on at each token [rows * seq]."""
        if group not in self._masks:
            self._masks[group] = self.on[group][self.ids].expand(self.shape).reshape(-1)
        return self._masks[group]

    def index(self, group: str) -> Tensor:
        """Flat positions of the tokens at which a group is on [n]."""
        if group not in self._indices:
            self._indices[group] = self.mask(group).nonzero().flatten()
        return self._indices[group]

    def selection(self, group: str, dtype: torch.dtype) -> Tensor:
        """Column of the selection matrix S of the paper's algorithm 1 [rows * seq, 1]."""
        return self.mask(group).to(dtype)[:, None]

    def columns(self, groups: tuple[tuple[str, int, float], ...], dtype: torch.dtype) -> Tensor | None:
        """S of groups (name, width, scale) side by side, times their scales [rows * seq, sum of widths].

        None where all of it is 1. Layers of one shape share it.
        """
        if (groups, dtype) not in self._columns:
            alike = self.everywhere.issuperset(name for name, _, _ in groups)
            one = alike and all(scale == 1 for _, _, scale in groups)
            parts = [(self.selection(name, dtype) * scale).expand(-1, width) for name, width, scale in groups]
            self._columns[groups, dtype] = None if one else torch.cat(parts, dim=1)
        return self._columns[groups, dtype]


class ContextHolder:
    """Hands the routing of a forward pass to every adapted layer of one model.

    The layers only read: nothing is cleared after a layer's own forward, so that a layer that runs twice (gradient
    checkpointing) sees the same contexts. A plain attribute, not a thread-local one, because autograd recomputes on its
    own threads.
    """

    def __init__(self) -> None:
        self.current: Routing | None = None

    @contextmanager
    def use(self, routing: Routing | None) -> Iterator[None]:
        """Hold `routing` until the block ends, then what was held before."""
        before, self.current = self.current, routing
        try:
            yield
        finally:
            self.current = before

    def require(self, x: Tensor) -> Routing:
        """The routing held, checked against the layer input `x` [rows, seq, width] or [rows * seq, width] (OPT's)."""
        routing = self.current
        if routing is None:
            raise PreftuneError(
                "A model with context adapters ran without contexts: run it in `with adapters.use(contexts)`."
            )
        rows, length = routing.shape
        if tuple(x.shape[:-1]) not in (routing.shape, (rows * length,)):
            raise PreftuneError(
                f"Contexts of {list(routing.shape)} tokens were given for an input of {list(x.shape[:-1])}: give those "
                "of the current step."
            )
        return routing

    def checkpoint_contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        """`context_fn` of `torch.utils.checkpoint` (non-reentrant): the recomputation sees the forward's contexts.

        Without it a backward pass outside the `use` block would recompute the layers without any context.
        """
        held = self.current
        return nullcontext(), self.use(held) if held is not None else nullcontext()
