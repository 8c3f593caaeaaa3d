"""The captioner: image features through a connector into a language model with context adapters."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from preftune.adapters.contexts import Contexts, Segment, domain
from preftune.adapters.install import InstalledAdapters, install_adapters
from preftune.captioning.batch import CAPTION, Task
from preftune.captioning.connector import ConnectorKind, make_connector
from preftune.errors import PreftuneError
from preftune.settings.adapters import AdapterSettings
from preftune.settings.training import TrainingSettings
from preftune.training.packing import Layout
from preftune.training.reader import TreeReader
from preftune.training.trees import Ids, Tree


@dataclass(frozen=True)
class Prefix:
    """What a decoding starts from: `[BOS] image question`, padded on the left.

    embeddings [rows, seq, width]; mask, contexts [rows, seq]; images: positions of the image tokens [rows, N], or None.
    """

    embeddings: Tensor
    mask: Tensor
    contexts: Tensor
    images: Tensor | None


class Captioner(nn.Module):
    """A language model that reads `[BOS] image x N caption` and predicts the caption and EOS (Context-PEFT, section 3).

    Causal attention throughout, ordinary positions 0, 1, ...; the modality of exactly the N image positions is `image`,
    of all others `text`. The loss is on caption and EOS: the last image position predicts the first word. The language
    model is frozen (`adapters` or neither) or trained whole (`full`).
    """

    def __init__(
        self,
        language_model: PreTrainedModel,
        connector: nn.Sequential,
        adapters: InstalledAdapters | None,
        reader: TreeReader,
        bos: int,
        eos: int,
    ) -> None:
        super().__init__()
        self.language_model = language_model
        self.connector = connector
        self.adapters = adapters
        self.reader = reader
        self.bos, self.eos = bos, eos

    def train(self, mode: bool = True) -> "Captioner":
        """Only the connector has a training mode: the language model runs without dropout."""
        super().train(mode)
        self.language_model.eval()
        return self

    def trainable(self) -> list[nn.Parameter]:
        """Tensors that training changes."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def prepare(self, settings: TrainingSettings) -> None:
        """See `TreeReader.prepare`; layers that are computed again see the contexts of the first time."""
        context_fn = None if self.adapters is None else self.adapters.holder.checkpoint_contexts
        self.reader.prepare(settings, context_fn)

    def nll(
        self, trees: Sequence[Tree], features: Tensor | None, task: Task = CAPTION
    ) -> tuple[Tensor, Layout]:
        """Negative log-likelihood of each branch token (EOS included) in nats, fp32 [tokens], and whose token it is.

        trees: of `image_tree`; features [trees, N, encoder width] (None: no images).

        Raises:
            PreftuneError: a prompt has more or fewer places for an image than its image has vectors.
        """
        layout = self.reader.layout(trees)
        embeddings = self.embed_tokens(layout.input_ids)  # [rows, seq, width]
        inner = None
        if features is not None:
            self._check_places(trees, features)
            images = self.connector(features)  # [trees, N, width]
            inner = layout.starts[:, None] + torch.arange(1, 1 + images.shape[1], device=layout.starts.device)
            embeddings = (
                embeddings.flatten(0, 1)
                .index_copy(0, inner.flatten(), images[layout.tree].flatten(0, 1).to(embeddings.dtype))
                .view_as(embeddings)
            )
        with self.scope(self._contexts_of(layout, trees, inner, task)):
            states = self.reader.states(layout, embeddings)
        logps, _ = self.reader.log_probabilities(states, layout)
        return -logps, layout

    def _check_places(self, trees: Sequence[Tree], features: Tensor) -> None:
        if len(trees) != len(features):
            raise PreftuneError(
                f"{len(features)} images were given for {len(trees)} examples: give one each."
            )
        for tree in trees:
            places = (
                next((i for i, token in enumerate(tree.prompt) if token != self.bos), len(tree.prompt)) - 1
            )
            if places != features.shape[1]:
                raise PreftuneError(
                    f"example {tree.name} has {places} places for image vectors but its image has {features.shape[1]}: "
                    "make the tree with the encoder's number of image tokens."
                )

    def prefix(self, features: Tensor | None, questions: Sequence[Ids] | None, task: Task) -> Prefix:
        """The prompts of a decoding, for features [rows, N, encoder width] and token ids of questions, or one of both."""
        rows = len(features) if features is not None else len(questions or ())
        tails = [list(ids) for ids in questions] if questions is not None else [[] for _ in range(rows)]
        count, longest = (0 if features is None else features.shape[1]), max(map(len, tails))
        length, device = 1 + count + longest, self.language_model.device
        ids = torch.full((rows, length), self.bos, device=device)
        mask = torch.zeros(rows, length, dtype=torch.long, device=device)
        contexts = torch.full_like(ids, domain("text", task.prompt))
        for row, tail in enumerate(tails):
            mask[row, longest - len(tail) :] = 1
            ids[row, length - len(tail) :] = torch.tensor(tail, dtype=torch.long, device=device)
        embeddings, places = self.embed_tokens(ids), None
        if features is not None:
            starts = torch.tensor([longest - len(tail) + 1 for tail in tails], device=device)
            places = starts[:, None] + torch.arange(count, device=device)  # [rows, N]
            contexts.scatter_(1, places, domain("image", task.prompt))
            images = self.connector(features).to(embeddings.dtype)
            embeddings = embeddings.scatter(1, places[..., None].expand_as(images), images)
        return Prefix(embeddings, mask, contexts, places)

    @contextmanager
    def decoding(self, prefix: Prefix, task: Task, beams: int) -> Iterator[None]:
        """Inside the block the language model's passes have contexts: the prefix first, then one token of the branch a row.

        Rows are those of the prefix, each `beams` times.
        """
        if self.adapters is None or not self.adapters.routed:
            yield
            return
        contexts = prefix.contexts.repeat_interleave(beams, dim=0)
        memory: dict[int, Tensor] = {}
        rows, length = contexts.shape
        images = prefix.images
        if images is not None:
            offsets = length * torch.arange(rows, device=images.device)
            images = images.repeat_interleave(beams, dim=0) + offsets[:, None]
        first = Contexts.from_ids(contexts, images, memory)
        then = Contexts.from_segments(rows, (Segment(domain("text", task.branch), 0, 1),), memory=memory)
        with self.adapters.follow(self.language_model.base_model, (first, then)):
            yield

    def merged(self, task: Task) -> AbstractContextManager[None]:
        """Inside the block, decoding steps cost no more than without adapters; see `InstalledAdapters.merged`."""
        return nullcontext() if self.adapters is None else self.adapters.merged("text", task.branch)

    def embed_images(self, features: Tensor) -> Tensor:
        """Embeddings of `[BOS] image` [rows, 1 + N, width] from features [rows, N, encoder width]."""
        return self.prefix(features, None, CAPTION).embeddings

    def embed_tokens(self, ids: Tensor) -> Tensor:
        """Embeddings [rows, seq, width] of token ids [rows, seq]."""
        return self.language_model.get_input_embeddings()(ids)

    def scope(self, contexts: Contexts | None) -> AbstractContextManager[None]:
        """The adapters see `contexts` inside the block."""
        return nullcontext() if self.adapters is None else self.adapters.use(contexts)

    def _contexts_of(
        self, layout: Layout, trees: Sequence[Tree], images: Tensor | None, task: Task
    ) -> Contexts | None:
        """Contexts of a layout whose image positions are `images` [copies, N] (flat)."""
        if self.adapters is None or not self.adapters.routed:
            return None
        ids = torch.full_like(layout.input_ids, domain("text", task.branch))
        flat = ids.view(-1)
        if task.prompt != task.branch:
            for start, tree in zip(layout.starts.tolist(), layout.tree.tolist(), strict=True):
                flat[start : start + len(trees[tree].prompt)] = domain("text", task.prompt)
        if images is not None:
            flat[images.flatten()] = domain("image", task.prompt)
        return Contexts.from_ids(ids, images)


def caption_contexts(rows: int, length: int, image: int, device: torch.device) -> Contexts:
    """Contexts of `[BOS] image x image caption...` in every row."""
    text, picture = domain("text", CAPTION.branch), domain("image", CAPTION.prompt)
    segments = (Segment(text, 0, 1), Segment(picture, 1, 1 + image), Segment(text, 1 + image, length))
    starts = length * torch.arange(rows, device=device)
    images = starts[:, None] + torch.arange(1, 1 + image, device=device)
    return Contexts.from_segments(rows, segments, images)


def build_captioner(
    language_model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    adapter: AdapterSettings,
    connector: ConnectorKind,
    encoder_width: int,
    connector_dropout: float,
    seed: int = 0,
) -> Captioner:
    """A captioner before training: its connector, and adapters without effect.

    `none` trains the connector alone, `full` the connector and the whole language model, embeddings included.
    """
    if tokenizer.bos_token_id is None or tokenizer.eos_token_id is None:
        raise PreftuneError(
            "The tokenizer has no BOS or no EOS token, which captions start and end with: choose another."
        )
    reader = TreeReader(language_model)  # before the adapters, which want to know the contexts of its trial
    adapters = None
    if adapter.kind in ("none", "full"):
        language_model.requires_grad_(adapter.kind == "full")
    else:
        adapters = install_adapters(language_model, adapter, seed)
    width = language_model.get_input_embeddings()(torch.tensor([[0]], device=language_model.device)).shape[-1]
    layers = make_connector(connector, encoder_width, width, connector_dropout, seed)
    return Captioner(
        language_model, layers.to(language_model.device), adapters, reader,
        tokenizer.bos_token_id, tokenizer.eos_token_id,
    )  # fmt: skip
