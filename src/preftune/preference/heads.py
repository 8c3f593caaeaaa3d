"""A causal language model with reward heads: log-probabilities and rewards from one forward pass.

Source: Hadji-Kyriacou and Arandjelovic (2024), arXiv 2405.20053 (Direct Preference Heads).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import DynamicCache

from preftune.data.chat import encode_completion, encode_prompt, marker_id
from preftune.errors import PreftuneError
from preftune.files import read_json, write_json
from preftune.preference.batches import Completion, collate_completions, length_sorted_batches
from preftune.preference.poolers import build_pooler
from preftune.training.checkpoints import load_policy, save_policy

HEAD_WEIGHTS = "head.safetensors"
HEAD_CONFIG = "head.json"
INITIAL_STD = 0.02


@dataclass(frozen=True)
class HeadConfig:
    """What a reward head is: enough to rebuild it around its weights."""

    pooler: str
    width: int
    inner_width: int
    marker_id: int
    names: tuple[str, ...] = ("reward",)
    dropout: float = 0.0


@dataclass(frozen=True)
class PreferenceOutput:
    """Result of one forward pass.

    token_log_probabilities: log p(token) in nats, fp32 `[rows, seq]`, zero outside the completion; None when
        no completion mask was given.
    rewards: by head name, fp32 `[rows]`; empty for a model without heads.
    """

    token_log_probabilities: Tensor | None
    rewards: Mapping[str, Tensor]


class RewardHead(nn.Module):
    """Named linear reward heads w^T f(h) on one shared pooler f, kept and computed in fp32."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        if not config.names or len(set(config.names)) < len(config.names):
            raise PreftuneError(
                f"reward heads {list(config.names)} are empty or repeat a name; name each head once"
            )
        self.config = config
        self.pooler = build_pooler(config.pooler, config.width, config.inner_width, config.dropout)
        self.heads = nn.ModuleDict({name: nn.Linear(config.width, 1, bias=False) for name in config.names})
        self.apply(_initialise)

    def forward(self, hidden: Tensor) -> dict[str, Tensor]:
        """Rewards `[rows]` of each head from hidden states `[rows, width]`."""
        with torch.autocast(hidden.device.type, enabled=False):
            pooled = self.pooler(hidden.float())
            return {name: head(pooled).squeeze(-1) for name, head in self.heads.items()}


@dataclass(frozen=True)
class Prefix:
    """Cached keys and values of prompts, and their attention mask `[prompts, seq]`."""

    cache: DynamicCache
    attention_mask: Tensor

    def select(self, rows: Sequence[int]) -> "Prefix":
        """The prefix of each row, by index of its prompt; the cache is taken over, not copied."""
        indices = torch.tensor(rows, device=self.attention_mask.device)
        self.cache.batch_select_indices(indices)
        return Prefix(self.cache, self.attention_mask[indices])


class PreferenceModel(nn.Module):
    """A causal language model of transformers, with or without a PEFT adapter, and optionally reward heads.

    The heads read the hidden state after the final norm at the last `<|im_end|>` of each row, so nothing
    after it matters. Their gradient reaches whatever of the language model is trainable.
    """

    def __init__(self, language_model: nn.Module, tokenizer: Any, head: RewardHead | None = None) -> None:
        super().__init__()
        self.language_model = language_model
        self.tokenizer = tokenizer
        self.head = head
        _check_body(self.causal_lm.config, head)

    @classmethod
    def with_new_head(
        cls,
        language_model: nn.Module,
        tokenizer: Any,
        pooler: str = "swiglu_bert",
        names: Sequence[str] = ("reward",),
        dropout: float = 0.0,
    ) -> "PreferenceModel":
        """Attach new heads: N(0, 0.02^2) weights from torch's global generator, zero biases."""
        config = _config_of(language_model)
        width = config.hidden_size
        # Models that name no inner width (GPT-2) use four times the width, their own default.
        inner_width = getattr(config, "intermediate_size", None) or 4 * width
        head = RewardHead(HeadConfig(pooler, width, inner_width, marker_id(tokenizer), tuple(names), dropout))
        return cls(language_model, tokenizer, head.to(next(language_model.parameters()).device))

    @classmethod
    def from_pretrained(
        cls,
        folder: Path,
        base: Path | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        trainable: bool = False,
    ) -> "PreferenceModel":
        """Load a checkpoint folder (adapter on `base`, or whole model) with its heads, if it has any."""
        language_model, tokenizer = load_policy(folder, base, device, dtype, trainable)
        head = load_head(Path(folder)).to(device) if (Path(folder) / HEAD_CONFIG).exists() else None
        return cls(language_model, tokenizer, head).train(trainable)

    def save_pretrained(self, folder: Path) -> None:
        """Write the adapter or the whole model, and the heads beside it."""
        save_policy(self.language_model, self.tokenizer, folder)
        if self.head is not None:
            save_head(self.head, folder)

    @property
    def causal_lm(self) -> Any:
        """The transformers model inside, adapter layers included."""
        return _unwrapped(self.language_model)

    @property
    def device(self) -> torch.device:
        return next(self.language_model.parameters()).device

    def read_prefix(self, input_ids: Tensor, attention_mask: Tensor) -> "Prefix":
        """Keys and values of right-padded prompts `[prompts, seq]`, to be continued by several answers each."""
        cache = DynamicCache(config=self.causal_lm.config)
        self.causal_lm.base_model(
            input_ids=input_ids, attention_mask=attention_mask, past_key_values=cache, use_cache=True
        )
        return Prefix(cache, attention_mask)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        completion_mask: Tensor | None = None,
        prefix: "Prefix | None" = None,
    ) -> PreferenceOutput:
        """Log-probabilities of the completion tokens and rewards of right-padded rows.

        Args:
            input_ids: prompt and completion `[rows, seq]`.
            attention_mask: 1 at real tokens, 0 at padding `[rows, seq]`.
            completion_mask: true at the tokens whose log-probability is wanted `[rows, seq]`, never at
                position 0.
            prefix: what each row continues, one prompt a row; the row then starts with the prompt's last token.

        Raises:
            PreftuneError: the model has heads and a row holds no `<|im_end|>` with attention mask 1.
        """
        body = self.causal_lm.base_model
        given: dict[str, Any] = {"attention_mask": attention_mask, "use_cache": False}
        if prefix is not None:
            steps = torch.arange(input_ids.shape[1], device=input_ids.device)
            given = {
                "attention_mask": torch.cat([prefix.attention_mask, attention_mask], dim=1),
                "position_ids": prefix.attention_mask.sum(dim=1, keepdim=True) + steps,
                "past_key_values": prefix.cache,
                "use_cache": True,
            }
        hidden = body(input_ids=input_ids, **given).last_hidden_state
        token_logps = None
        if completion_mask is not None:
            token_logps = self._token_logps(hidden, input_ids, completion_mask)
        if self.head is None:
            return PreferenceOutput(token_logps, {})
        positions = last_marker_positions(input_ids, attention_mask, self.head.config.marker_id)
        rows = torch.arange(len(positions), device=positions.device)
        return PreferenceOutput(token_logps, self.head(hidden[rows, positions]))

    def rewards(
        self, conversations: Sequence[Sequence[Mapping[str, str]]], name: str | None = None, batch: int = 8
    ) -> Tensor:
        """Rewards `[conversations]` of finished conversations, whose last message is the answer to be judged.

        Each conversation is a list of {"role", "content"}; the closing `<|im_end|>` is appended here.
        """
        name = self._head_name(name)
        marker = marker_id(self.tokenizer)
        rows = [self._encode(conversation) for conversation in conversations]
        result = torch.empty(len(rows))
        training = self.training
        self.eval()
        with torch.no_grad():
            for indices in length_sorted_batches([len(row) for row in rows], batch):
                inputs = collate_completions([rows[i] for i in indices], marker, self.device)
                result[indices] = self(inputs.input_ids, inputs.attention_mask).rewards[name].cpu()
        self.train(training)
        return result

    def _token_logps(self, hidden: Tensor, input_ids: Tensor, completion_mask: Tensor) -> Tensor:
        # The logits of position t - 1 predict token t: only those of completion tokens are computed.
        predicts = completion_mask[:, 1:].bool()
        logits = self.causal_lm.get_output_embeddings()(
            hidden[:, :-1][predicts]
        )  # [completion tokens, vocab]
        logps = -F.cross_entropy(logits.float(), input_ids[:, 1:][predicts], reduction="none")
        result = torch.zeros(input_ids.shape, dtype=torch.float32, device=hidden.device)
        result[:, 1:][predicts] = logps
        return result

    def _head_name(self, name: str | None) -> str:
        names = self.head.config.names if self.head is not None else ()
        if name is None and len(names) == 1:
            return names[0]
        if name not in names:
            raise PreftuneError(
                f"unknown reward head '{name}'; this model's heads are: {', '.join(names) or 'none'}"
            )
        return name

    def _encode(self, conversation: Sequence[Mapping[str, str]]) -> Completion:
        if not conversation or conversation[-1]["role"] != "assistant":
            raise PreftuneError(
                "a conversation to be rewarded must end with an assistant message; append the answer"
            )
        prompt = encode_prompt(self.tokenizer, list(conversation[:-1]))
        return Completion(prompt, encode_completion(self.tokenizer, conversation[-1]["content"]))


def last_marker_positions(input_ids: Tensor, attention_mask: Tensor, marker: int) -> Tensor:
    """Position `[rows]` of the last token `marker` with attention mask 1; input `[rows, seq]`.

    The mask decides, not the id, because many tokenizers pad with the marker itself.
    """
    present = (input_ids == marker) & attention_mask.bool()
    missing = (~present.any(dim=1)).nonzero().flatten().tolist()
    if missing:
        raise PreftuneError(
            f"row {missing[0]} of the batch holds no <|im_end|> (id {marker}), so it has no reward; "
            "append it to the answer and do not truncate it away"
        )
    positions = torch.arange(input_ids.shape[1], device=input_ids.device)
    return (positions * present).argmax(dim=1)


def save_head(head: RewardHead, folder: Path) -> None:
    """Write `head.safetensors` and `head.json` into `folder`."""
    config = head.config
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in head.state_dict().items()}
    save_file(weights, Path(folder) / HEAD_WEIGHTS)
    write_json(Path(folder) / HEAD_CONFIG, {**vars(config), "names": list(config.names)})


def load_head(folder: Path) -> RewardHead:
    """Read a head from `head.json` and `head.safetensors`; one-sentence errors name the file."""
    path = Path(folder) / HEAD_CONFIG
    fields = read_json(path)
    try:
        config = HeadConfig(**{**fields, "names": tuple(fields["names"])})
    except (KeyError, TypeError) as error:
        raise PreftuneError(
            f"{path} does not describe a reward head ({error}); train the run again"
        ) from error
    head = RewardHead(config)
    weights = Path(folder) / HEAD_WEIGHTS
    if not weights.exists():
        raise PreftuneError(f"{weights} is missing beside {path}; copy both files or train the run again")
    try:
        head.load_state_dict(load_file(weights))
    except RuntimeError as error:
        raise PreftuneError(
            f"{weights} does not fit {path}; they are of different runs, train again"
        ) from error
    return head


def _check_body(config: Any, head: RewardHead | None) -> None:
    if head is not None and head.config.width != config.hidden_size:
        raise PreftuneError(
            f"the reward head was saved for hidden size {head.config.width} but the language model's is "
            f"{config.hidden_size}; load it with the base model that it was trained on"
        )
    for key in ("final_logit_softcapping", "logits_scaling", "logit_scale"):
        if getattr(config, key, None):
            raise PreftuneError(
                f"language models that rescale their logits ({key}) are not supported; choose another"
            )


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=INITIAL_STD)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _unwrapped(language_model: Any) -> Any:
    return language_model.get_base_model() if hasattr(language_model, "get_base_model") else language_model


def _config_of(language_model: Any) -> Any:
    return _unwrapped(language_model).config
