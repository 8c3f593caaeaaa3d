"""A causal language model with reward heads: log-probabilities and rewards from one forward pass.

Source: Hadji-Kyriacou and Arandjelovic (2024), arXiv 2405.20053 (Direct Preference Heads).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from preftune.data.chat import encode_completion, encode_prompt, marker_id
from preftune.errors import PreftuneError
from preftune.models.policy import load_policy, save_policy
from preftune.preference.reward_head import (
    HEAD_CONFIG,
    HeadConfig,
    RewardHead,
    load_head,
    save_head,
    state_width,
)
from preftune.preference.scoring import score_trees
from preftune.training.packing import Layout
from preftune.training.reader import TreeReader
from preftune.training.trees import Tree


@dataclass(frozen=True)
class PreferenceOutput:
    """Result of one forward pass.

    layout: which token belongs to which branch.
    token_log_probabilities: log p of every branch token given its path, nats, fp32 [tokens]; None where not asked for.
    greedy: whether each token is the most likely one [tokens]; None where not asked for.
    rewards: by head name, fp32 [branches]; empty for a model without heads.
    states: what the heads read, the state after the final norm at each branch's last `<|im_end|>` [branches, width]; None
        where it was neither asked for nor needed.
    hidden: states after the final norm of every position of the layout [rows * seq, width].
    """

    layout: Layout
    token_log_probabilities: Tensor | None
    greedy: Tensor | None
    rewards: Mapping[str, Tensor]
    states: Tensor | None
    hidden: Tensor

    @property
    def log_probabilities(self) -> Tensor:
        """Log-probability of each whole branch, the sum over its tokens, in nats [branches]."""
        if self.token_log_probabilities is None:
            raise PreftuneError("log-probabilities were not asked for: pass log_probabilities=True.")
        return self.layout.sum_by_branch(self.token_log_probabilities)


class PreferenceModel(nn.Module):
    """A causal language model of transformers, with or without a PEFT adapter, and optionally reward heads.

    The heads read the state after the final norm at the last `<|im_end|>` of each branch, so nothing after it
    matters. Their gradient reaches whatever of the language model is trainable.
    """

    def __init__(self, language_model: nn.Module, tokenizer: Any, head: RewardHead | None = None) -> None:
        super().__init__()
        self.language_model = language_model
        self.tokenizer = tokenizer
        self.head = head
        if head is not None:
            _check_fit(head.config, state_width(self.causal_lm.config), tokenizer)
        self.reader = TreeReader(self.causal_lm)

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
        shape = head_shape(_unwrapped(language_model).config, tokenizer)
        head = RewardHead(HeadConfig(pooler, **shape, names=tuple(names), dropout=dropout))
        return cls(language_model, tokenizer, head.to(next(language_model.parameters()).device))

    @classmethod
    def from_pretrained(
        cls,
        folder: Path,
        base: Path | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        trainable: bool = False,
        exact: bool = False,
    ) -> "PreferenceModel":
        """Load a checkpoint folder with its heads, if it has any, on top of a whole model or of an adapter.

        Args:
            base: the adapter's base model; None: the folder that the adapter names itself.
            trainable, exact: as in `load_policy`.
        """
        language_model, tokenizer = load_policy(folder, base, device, dtype, trainable, exact)
        head = load_head(Path(folder)).to(device) if (Path(folder) / HEAD_CONFIG).exists() else None
        return cls(language_model, tokenizer, head).train(trainable)

    def merge_adapter(self) -> None:
        """Add the adapter into the weights that it adapts: an ordinary whole model is left."""
        if self.causal_lm is not self.language_model:
            self.language_model = self.language_model.merge_and_unload()  # type: ignore[operator]

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

    def forward(
        self,
        trees: Sequence[Tree],
        log_probabilities: bool = True,
        greedy: bool = False,
        states: bool = False,
    ) -> PreferenceOutput:
        """Log-probabilities of every branch token and rewards of every branch; each prompt is read once.

        Args:
            trees: prompts with their branches; with heads every branch must hold `<|im_end|>`.
            log_probabilities: false leaves the language-model head out.
            greedy: whether each token is the most likely one is wanted too.
            states: whether the states that heads read are wanted, although the model may have none.

        Raises:
            PreftuneError: a state is read and a branch holds no `<|im_end|>`, or a tree exceeds the context.
        """
        reads = states or self.head is not None
        layout = self.reader.layout(trees, marker_id(self.tokenizer) if reads else None)
        hidden = self.reader.states(layout)
        logps = is_greedy = None
        if log_probabilities:
            logps, is_greedy = self.reader.log_probabilities(hidden, layout, greedy)
        pooled = hidden[layout.markers] if reads else None
        rewards = {} if self.head is None else self.head(pooled)
        return PreferenceOutput(layout, logps, is_greedy, rewards, pooled, hidden)

    def rewards(
        self, conversations: Sequence[Sequence[Mapping[str, str]]], name: str | None = None
    ) -> Tensor:
        """Rewards `[conversations]` of finished conversations, whose last message is the answer to be judged.

        Each conversation is a list of {"role", "content"}; the closing `<|im_end|>` is appended here.
        """
        name = self._head_name(name)
        trees = [self._encode(conversation, str(i)) for i, conversation in enumerate(conversations)]
        return torch.from_numpy(score_trees(self, trees, log_probabilities=False).rewards[name])

    def _head_name(self, name: str | None) -> str:
        names = self.head.config.names if self.head is not None else ()
        if name is None and len(names) == 1:
            return names[0]
        if name not in names:
            raise PreftuneError(
                f"unknown reward head '{name}'; this model's heads are: {', '.join(names) or 'none'}"
            )
        return name

    def _encode(self, conversation: Sequence[Mapping[str, str]], name: str) -> Tree:
        if not conversation or conversation[-1]["role"] != "assistant":
            raise PreftuneError(
                "a conversation to be rewarded must end with an assistant message; append the answer"
            )
        prompt = encode_prompt(self.tokenizer, list(conversation[:-1]))
        return Tree(name, prompt, (encode_completion(self.tokenizer, conversation[-1]["content"]),))


def head_shape(config: Any, tokenizer: Any) -> dict[str, int]:
    """What a head must know of its language model: width, inner_width of the SwiGLU poolers, marker_id."""
    width = state_width(config)
    # Models that name no inner width (GPT-2) use four times the width, their own default.
    inner_width = getattr(config, "intermediate_size", None) or 4 * width
    return {"width": width, "inner_width": inner_width, "marker_id": marker_id(tokenizer)}


def _check_fit(config: HeadConfig, width: int, tokenizer: Any) -> None:
    if config.width != width:
        raise PreftuneError(
            f"the reward head was saved for hidden size {config.width} but the language model's is "
            f"{width}; load it with the base model that it was trained on"
        )
    if config.marker_id != marker_id(tokenizer):
        raise PreftuneError(
            f"the reward head reads at token {config.marker_id} but this tokenizer's <|im_end|> is {marker_id(tokenizer)}; "
            "load the head with the tokenizer that it was trained with"
        )


def _unwrapped(language_model: Any) -> Any:
    return language_model.get_base_model() if hasattr(language_model, "get_base_model") else language_model
