"""The captioner: image features through a linear connector into a language model with context adapters."""

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from preftune.adapters.context import Contexts, Segment
from preftune.adapters.install import InstalledAdapters, install_adapters
from preftune.captioning.batch import CaptionBatch
from preftune.errors import PreftuneError
from preftune.settings import AdapterSettings


@dataclass(frozen=True)
class Prefix:
    """`[BOS] image` of each row, read once: keys, values and the last position's state [rows, width]."""

    cache: DynamicCache
    state: Tensor

    def select(self, rows: Tensor) -> "Prefix":
        """Rows of the prefix, repeated or reordered, in a cache of their own."""
        layers = [(layer[0][rows], layer[1][rows]) for layer in self.cache]
        return Prefix(DynamicCache(layers), self.state[rows])


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
        bos: int,
        eos: int,
        compute: torch.dtype,
    ) -> None:
        super().__init__()
        self.language_model = language_model
        self.connector = connector
        self.adapters = adapters
        self.bos, self.eos = bos, eos
        self.compute = compute

    def train(self, mode: bool = True) -> "Captioner":
        """Only the connector has a training mode: the language model runs without dropout."""
        super().train(mode)
        self.language_model.eval()
        return self

    def trainable(self) -> list[nn.Parameter]:
        """Tensors that training changes."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def nll(self, batch: CaptionBatch) -> Tensor:
        """Negative log-likelihood of each caption token and EOS in nats, fp32 [captions, longest], 0 at PAD.

        One forward pass over whole sequences; each caption needs its own image row (`batch.image`).
        """
        images = self.embed_images(batch.features)[batch.image]
        count = images.shape[1]
        # EOS is only ever a target, so the last column is not read.
        words = self.embed_tokens(batch.targets[:, :-1])
        hidden = self.hidden(torch.cat([images, words], dim=1), image=count - 1)
        return self._token_nll(hidden[:, count - 1 :], batch)

    def loss(self, batch: CaptionBatch) -> Tensor:
        """Mean of `nll` over the batch's caption tokens and EOS."""
        return self.nll(batch).sum() / batch.lengths.sum()

    def read_images(self, features: Tensor) -> Prefix:
        """Read `[BOS] image` for features [rows, N, encoder width] into a cache."""
        cache = DynamicCache()
        images = self.embed_images(features)
        return Prefix(cache, self.hidden(images, image=images.shape[1] - 1, cache=cache)[:, -1])

    def cached_nll(self, prefix: Prefix, batch: CaptionBatch) -> Tensor:
        """`nll` by way of a prefix that the captions of an image share; one row of it per row of features."""
        own = prefix.select(batch.image)
        hidden = self.hidden(self.embed_tokens(batch.targets[:, :-1]), image=0, cache=own.cache)
        return self._token_nll(torch.cat([own.state[:, None], hidden], dim=1), batch)

    def embed_images(self, features: Tensor) -> Tensor:
        """Embeddings of `[BOS] image` [rows, 1 + N, width] from features [rows, N, encoder width]."""
        bos = self.embed_tokens(torch.full((features.shape[0], 1), self.bos, device=features.device))
        return torch.cat([bos, self.connector(features).to(bos.dtype)], dim=1)

    def embed_tokens(self, ids: Tensor) -> Tensor:
        """Embeddings [rows, seq, width] of token ids [rows, seq]."""
        return self.language_model.get_input_embeddings()(ids)

    def hidden(self, embeddings: Tensor, image: int, cache: DynamicCache | None = None) -> Tensor:
        """Last states [rows, seq, width] of the present step's embeddings.

        `image` is the number of image positions, which follow BOS; 0 for a step of text alone. `cache` holds
        earlier steps and grows. No padding mask: PAD stands on the right, out of sight of causal attention.
        """
        with self.scope(embeddings, image):
            output = self.language_model.base_model(
                inputs_embeds=embeddings, past_key_values=cache, use_cache=cache is not None
            )
        return output.last_hidden_state

    def scope(self, embeddings: Tensor, image: int) -> AbstractContextManager[None]:
        """Contexts of a step (see `hidden`), and mixed precision where weights and arithmetic differ."""
        if self.adapters is None:
            own = next(self.language_model.parameters()).dtype
            if self.compute == own:
                return nullcontext()
            return torch.autocast(embeddings.device.type, dtype=self.compute)
        return self.adapters.use(
            caption_contexts(self.adapters.groups, embeddings.shape[0], embeddings.shape[1], image)
        )

    def logits(self, hidden: Tensor) -> Tensor:
        """Next-token logits [..., vocabulary] in fp32."""
        head = self.language_model.get_output_embeddings()
        return head(hidden.to(head.weight.dtype)).float()

    def _token_nll(self, hidden: Tensor, batch: CaptionBatch) -> Tensor:
        # The vocabulary is large: logits only where a caption token or EOS is predicted.
        mask = batch.mask
        nll = hidden.new_zeros(mask.shape, dtype=torch.float32)
        values = nn.functional.cross_entropy(self.logits(hidden[mask]), batch.targets[mask], reduction="none")
        return nll.masked_scatter(mask, values)


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
    compute: torch.dtype,
    seed: int = 0,
) -> Captioner:
    """A captioner before training: dropout and one linear layer as connector, adapters without effect.

    `none` trains the connector alone, `full` the connector and the whole language model, embeddings included.
    """
    if tokenizer.bos_token_id is None or tokenizer.eos_token_id is None:
        raise PreftuneError(
            "The tokenizer has no BOS or no EOS token, which captions start and end with: choose another."
        )
    adapters = None
    if adapter.kind in ("none", "full"):
        language_model.requires_grad_(adapter.kind == "full")
    else:
        adapters = install_adapters(language_model, adapter, seed)
    connector = _make_connector(encoder_width, language_model.config.hidden_size, connector_dropout, seed)
    connector = connector.to(language_model.device)
    return Captioner(
        language_model, connector, adapters, tokenizer.bos_token_id, tokenizer.eos_token_id, compute
    )


def _make_connector(encoder_width: int, width: int, dropout: float, seed: int) -> nn.Sequential:
    linear = nn.Linear(encoder_width, width)
    generator, bound = torch.Generator().manual_seed(seed), 1 / math.sqrt(encoder_width)
    with torch.no_grad():
        linear.weight.uniform_(-bound, bound, generator=generator)
        linear.bias.uniform_(-bound, bound, generator=generator)
    return nn.Sequential(nn.Dropout(dropout), linear)
