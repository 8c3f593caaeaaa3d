"""Answers written by the model, and the best of several samples by its reward head.

Source: Hadji-Kyriacou and Arandjelovic (2024), arXiv 2405.20053: inference with a reward head is to sample several
answers and to keep the one with the highest reward.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel

from preftune.data.chat import encode_prompt, marker_id
from preftune.errors import PreftuneError
from preftune.preference.heads import PreferenceModel
from preftune.preference.scoring import score_trees
from preftune.progress import track
from preftune.settings.best_of import SamplingSettings
from preftune.training.trees import Tree

Conversation = Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class Answer:
    """An answer: its text and its token ids, both without `<|im_end|>`.

    One that is not `ended` was cut off at the greatest number of tokens; the model closed the others with `<|im_end|>`.
    """

    text: str
    token_ids: tuple[int, ...]
    ended: bool


@torch.no_grad()
def generate(
    model: PreferenceModel,
    conversations: Sequence[Conversation],
    *,
    max_new_tokens: int,
    count: int = 1,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    batch: int = 16,
) -> list[list[Answer]]:
    """`count` answers to each conversation, in order; the model is in eval mode meanwhile.

    Args:
        conversations: lists of {"role", "content"}, each up to the message that is to be answered.
        max_new_tokens: tokens of an answer at most, `<|im_end|>` included.
        temperature: 0 takes the likeliest token at each step; above it, tokens are drawn from
            softmax(logits / temperature).
        top_p: only the likeliest tokens that together reach this probability are drawn.
        seed: of the draws, which torch's global generator does not notice.
        batch: answers written at once; greedy answers depend on it in rounding alone, sampled ones also in the order of
            the draws.

    Raises:
        PreftuneError: several greedy answers (all equal) are asked for, or a prompt leaves no room (`leaves_room`).
    """
    if count > 1 and temperature == 0:
        raise PreftuneError(
            f"{count} greedy answers would all be equal: set temperature above 0, or ask for one answer."
        )
    prompts = [encode_prompt(model.tokenizer, list(conversation)) for conversation in conversations]
    _check_room(model, prompts, max_new_tokens)
    # Neighbours by length share a batch, so that little is padded.
    rows = sorted((i for i in range(len(prompts)) for _ in range(count)), key=lambda i: len(prompts[i]))
    answers: list[list[Answer]] = [[] for _ in prompts]
    marker = marker_id(model.tokenizer)
    settings = _generation_settings(marker, max_new_tokens, temperature, top_p)
    with _ready(model, settings), _seeded(model.device, seed):
        for start in track(range(0, len(rows), batch), "writing answers", unit="batch"):
            group = rows[start : start + batch]
            unique = list(dict.fromkeys(group))
            owners = torch.tensor([unique.index(i) for i in group])
            written = _write(model, [prompts[i] for i in unique], owners, marker)
            for i, ids in zip(group, written, strict=True):
                answers[i].append(_read_answer(model, ids, marker))
    return answers


def reward_answers(
    model: PreferenceModel,
    conversations: Sequence[Conversation],
    answers: Sequence[Sequence[Answer]],
    head: str | None = None,
) -> list[list[float]]:
    """Rewards of the answers to each conversation, in their order; a prompt and equal answers are read once.

    Read are the tokens that were written, not their text, which another tokenisation could lengthen. Every answer is
    rewarded at an `<|im_end|>` after them, also one that was cut off, whose reward says less: see `Answer.ended`. `head`
    names the reward head where there are several.

    Raises:
        PreftuneError: the model has no head, or none of that name.
    """
    model.rewards([], head)  # an unknown head ends it before anything is read
    written = [list(dict.fromkeys(answer.token_ids for answer in found)) for found in answers]
    marker = marker_id(model.tokenizer)
    trees = []
    for i, conversation in enumerate(conversations):
        branches = tuple([*ids, marker] for ids in written[i])
        trees.append(Tree(f"prompt {i + 1}", encode_prompt(model.tokenizer, list(conversation)), branches))
    by_head = score_trees(model, trees, log_probabilities=False, description="rewarding answers").rewards
    (values,) = by_head.values() if head is None else (by_head[head],)
    places = ((i, ids) for i, own in enumerate(written) for ids in own)
    rewards = dict(zip(places, values.tolist(), strict=True))
    return [[rewards[i, answer.token_ids] for answer in found] for i, found in enumerate(answers)]


def write_answers(
    model: PreferenceModel, conversations: Sequence[Conversation], settings: SamplingSettings, seed: int
) -> tuple[list[list[Answer]], list[list[float]]]:
    """The sampled answers to each conversation and after them the greedy one, and the reward of each.

    Raises:
        PreftuneError: the model has no reward head, or several; and as `generate` does.
    """
    model.rewards([])  # a model without head ends it before anything is written
    limits = {"max_new_tokens": settings.max_new_tokens, "batch": settings.batch}
    sampled = generate(
        model,
        conversations,
        count=settings.count,
        temperature=settings.temperature,
        top_p=settings.top_p,
        seed=seed,
        **limits,
    )
    greedy = generate(model, conversations, **limits)
    answers = [[*several, *one] for several, one in zip(sampled, greedy, strict=True)]
    return answers, reward_answers(model, conversations, answers)


def best_of(
    model: PreferenceModel,
    conversation: Conversation,
    count: int,
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    seed: int = 0,
    batch: int = 16,
    head: str | None = None,
) -> list[tuple[Answer, float]]:
    """`count` sampled answers with their rewards, best first (of equal rewards, the one sampled first).

    Arguments as in `generate`; rewards as in `reward_answers`.

    Raises:
        PreftuneError: the model has no head, or none of that name; and as `generate` does.
    """
    model.rewards([], head)  # an unknown head ends it before anything is written
    (answers,) = generate(
        model,
        [conversation],
        max_new_tokens=max_new_tokens,
        count=count,
        temperature=temperature,
        top_p=top_p,
        seed=seed,
        batch=batch,
    )
    (rewards,) = reward_answers(model, [conversation], [answers], head)
    return sorted(zip(answers, rewards, strict=True), key=lambda pair: -pair[1])


def leaves_room(model: PreferenceModel, prompt: Sequence[int], max_new_tokens: int) -> bool:
    """Whether the context holds the prompt, `max_new_tokens` after it, and the `<|im_end|>` that closes a cut-off answer."""
    return len(prompt) + max_new_tokens + 1 <= model.reader.context


def _check_room(model: PreferenceModel, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> None:
    longest = max(prompts, key=len, default=())
    if not leaves_room(model, longest, max_new_tokens):
        raise PreftuneError(
            f"a prompt of {len(longest)} tokens, an answer of {max_new_tokens} and the <|im_end|> after one that is cut off "
            f"exceed the model's context of {model.reader.context}: shorten the prompt or lower max_new_tokens."
        )


def _generation_settings(
    marker: int, max_new_tokens: int, temperature: float, top_p: float
) -> GenerationConfig:
    sampling: dict[str, Any] = {"temperature": temperature, "top_p": top_p, "top_k": 0} if temperature else {}
    return GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=bool(sampling),
        eos_token_id=marker,
        pad_token_id=marker,
        **sampling,
    )


@contextmanager
def _ready(model: PreferenceModel, settings: GenerationConfig) -> Iterator[None]:
    """In eval mode and with `settings` alone: a folder's own would fill in what they leave out (penalties, top-k)."""
    causal_lm: PreTrainedModel = model.causal_lm
    training, before = model.training, causal_lm.generation_config
    causal_lm.generation_config = settings
    model.eval()
    try:
        yield
    finally:
        causal_lm.generation_config = before
        model.train(training)


@contextmanager
def _seeded(device: torch.device, seed: int) -> Iterator[None]:
    """Draws inside the block follow from `seed`; torch's generators go on after it as if nothing had been drawn."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _write(
    model: PreferenceModel, prompts: Sequence[Sequence[int]], owners: Tensor, marker: int
) -> list[list[int]]:
    """New ids of each row of one batch, whose prompt is that of its owner [rows].

    Prompts are padded on the left, so that all answers begin in one column.
    """
    width = max(map(len, prompts))
    padding = [[marker] * (width - len(prompt)) for prompt in prompts]
    ids = torch.tensor([[*pad, *prompt] for pad, prompt in zip(padding, prompts, strict=True)])
    mask = torch.tensor(
        [[0] * len(pad) + [1] * len(prompt) for pad, prompt in zip(padding, prompts, strict=True)]
    )
    ids, mask, owners = (tensor.to(model.device) for tensor in (ids, mask, owners))
    shared = {} if len(prompts) == len(owners) else {"past_key_values": _read_once(model, ids, mask, owners)}
    # transformers counts the positions of every row from its mask.
    written: Any = model.causal_lm.generate(  # [rows, width + new tokens]
        input_ids=ids[owners], attention_mask=mask[owners], **shared
    )
    new: Tensor = written[:, width:]
    return new.tolist()  # type: ignore[no-any-return]


def _read_once(model: PreferenceModel, ids: Tensor, mask: Tensor, owners: Tensor) -> Any:
    """Keys and values of all but the last token of each row's prompt: the samples of a prompt share one reading of it."""
    seen = mask[:, :-1]
    positions = (seen.cumsum(-1) - 1).clamp(min=0)
    output = model.causal_lm(
        input_ids=ids[:, :-1], attention_mask=seen, position_ids=positions, use_cache=True, logits_to_keep=1
    )
    output.past_key_values.batch_select_indices(owners)
    return output.past_key_values


def _read_answer(model: PreferenceModel, ids: Sequence[int], marker: int) -> Answer:
    """The answer up to its first `<|im_end|>`."""
    ended = marker in ids
    kept = tuple(ids[: ids.index(marker)] if ended else ids)
    return Answer(model.tokenizer.decode(list(kept)), kept, ended)
