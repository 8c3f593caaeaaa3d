"""The captioner: image features through a linear connector into a language model with context adapters."""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from preftune.adapters.context import Contexts, Segment
from preftune.adapters.install import InstalledAdapters, install_adapters
from preftune.errors import PreftuneError
from preftune.settings.captioning import AdapterSettings
from preftune.settings.training import TrainingSettings
from preftune.training.packing import Layout
from preftune.training.reader import TreeReader
from preftune.training.trees import Tree


@dataclass(frozen=True)
class Prefix:
    """`[BOS] image` of each row, read once: keys, values and the last position's state [rows, width]."""

    cache: DynamicCache
    state: Tensor


class Captioner(nn.Module):
    """A language model that reads `[BOS] image x N caption` and predicts the caption and EOS (Context-PEFT,
    section 3).

    Causal attention throughout, ordinary positions 0, 1, ...; the context of exactly the N image positions is
    `image`, of all others `text`. The loss is on caption and EOS: the last image position predicts the first
    word. The language model is frozen (`adapters` or neither) or trained whole (`full`).
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

    def nll(self, trees: Sequence[Tree], features: Tensor) -> tuple[Tensor, Layout]:
        """Negative log-likelihood of each caption token and EOS in nats, fp32 [tokens], and whose token it is.

        trees: of `caption_tree`; features [trees, N, encoder width].
        """
        layout = self.reader.layout(trees)
        images = self.connector(features)  # [trees, N, width]
        inner = layout.starts[:, None] + torch.arange(1, 1 + images.shape[1], device=layout.starts.device)
        embeddings = self.embed_tokens(layout.input_ids)  # [rows, seq, width]
        filled = embeddings.flatten(0, 1).index_copy(
            0, inner.flatten(), images[layout.tree].flatten(0, 1).to(embeddings.dtype)
        )
        with self.scope(self._contexts_of(layout, inner)):
            states = self.reader.states(layout, filled.view_as(embeddings))
        logps, _ = self.reader.log_probabilities(states, layout)
        return -logps, layout

    def read_images(self, features: Tensor) -> Prefix:
        """Read `[BOS] image` for features [rows, N, encoder width] into a cache."""
        cache = DynamicCache()
        images = self.embed_images(features)
        return Prefix(cache, self.hidden(images, image=images.shape[1] - 1, cache=cache)[:, -1])

    def embed_images(self, features: Tensor) -> Tensor:
        """Embeddings of `[BOS] image` [rows, 1 + N, width] from features [rows, N, encoder width]."""
        bos = self.embed_tokens(torch.full((features.shape[0], 1), self.bos, device=features.device))
        return torch.cat([bos, self.connector(features).to(bos.dtype)], dim=1)

    def embed_tokens(self, ids: Tensor) -> Tensor:
        """Embeddings [rows, seq, width] of token ids [rows, seq]."""
        return self.language_model.get_input_embeddings()(ids)

    def hidden(self, embeddings: Tensor, image: int, cache: DynamicCache | None = None) -> Tensor:
        """Last states [rows, seq, width] of the present step's embeddings, for decoding and for attention maps.

        `image` is the number of image positions, which follow BOS; 0 for a step of text alone. `cache` holds
        earlier steps and grows. No padding mask: all rows have the same length.
        """
        contexts = None
        if self.adapters is not None:
            contexts = caption_contexts(self.adapters.groups, embeddings.shape[0], embeddings.shape[1], image)
        with self.scope(contexts):
            output = self.language_model.base_model(
                inputs_embeds=embeddings, past_key_values=cache, use_cache=cache is not None
            )
        return output.last_hidden_state

    def scope(self, contexts: Contexts | None) -> AbstractContextManager[None]:
        """The adapters see `contexts` inside the block."""
        return nullcontext() if self.adapters is None or contexts is None else self.adapters.use(contexts)

    def logits(self, hidden: Tensor) -> Tensor:
        """Next-token logits [..., vocabulary] in fp32."""
        head = self.language_model.get_output_embeddings()
        return head(hidden.to(head.weight.dtype)).float()

    def _contexts_of(self, layout: Layout, image: Tensor) -> Contexts | None:
        """Contexts of a layout whose image positions are `image` [copies, N] (flat)."""
        if self.adapters is None:
            return None
        groups = self.adapters.groups
        if groups == ("all",):
            rows, length = layout.input_ids.shape
            return caption_contexts(groups, rows, length, image=0)
        ids = torch.full_like(layout.input_ids, groups.index("text"))
        ids.view(-1)[image.flatten()] = groups.index("image")
        return Contexts.from_ids(ids)


def caption_contexts(groups: tuple[str, ...], rows: int, length: int, image: int) -> Contexts:
    """Contexts of `[BOS] image x image text...`, or of text alone (image = 0); one group takes all tokens."""
    if groups == ("all",):
        return Contexts.from_segments(rows, (Segment(0, 0, length),))
    picture, text = groups.index("image"), groups.index("text")
    if image == 0:
        return Contexts.from_segments(rows, (Segment(text, 0, length),))
    segments = (Segment(text, 0, 1), Segment(picture, 1, 1 + image), Segment(text, 1 + image, length))
    return Contexts.from_segments(rows, segments)


def build_captioner(
    language_model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    adapter: AdapterSettings,
    encoder_width: int,
    connector_dropout: float,
    seed: int = 0,
) -> Captioner:
    """A captioner before training: dropout and one linear layer as connector, adapters without effect.

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
    connector = _make_connector(encoder_width, language_model.config.hidden_size, connector_dropout, seed)
    connector = connector.to(language_model.device)
    return Captioner(
        language_model, connector, adapters, reader, tokenizer.bos_token_id, tokenizer.eos_token_id
    )


def _make_connector(encoder_width: int, width: int, dropout: float, seed: int) -> nn.Sequential:
    linear = nn.Linear(encoder_width, width)
    generator, bound = torch.Generator().manual_seed(seed), 1 / math.sqrt(encoder_width)
    with torch.no_grad():
        linear.weight.uniform_(-bound, bound, generator=generator)
        linear.bias.uniform_(-bound, bound, generator=generator)
    return nn.Sequential(nn.Dropout(dropout), linear)
