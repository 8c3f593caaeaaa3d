"""Pairs of Anthropic's HH-RLHF: two whole dialogues in one text each, which are the same up to the last answer."""

import re
from typing import Any

Row = dict[str, Any]
Message = dict[str, str]

_TURN = re.compile(r"\n\n(Human|Assistant): ?")
_ROLES = {"Human": "user", "Assistant": "assistant"}


def pair_dialogues(row: Row) -> Row:
    """Return a pair's prompt (the last shared message), both answers behind it, and the messages before it.

    Raises:
        ValueError: a text is no dialogue, the dialogues share no message of the human, or part before the last answer.
    """
    dialogues = [read_dialogue(row[column], column) for column in ("chosen", "rejected")]
    shared = 0
    for one, other in zip(*dialogues, strict=False):
        if one != other:
            break
        shared += 1
    # A dialogue that continues the other one shares its answer: that belongs to both answers.
    while shared and dialogues[0][shared - 1]["role"] == "assistant":
        shared -= 1
    if not shared:
        raise ValueError("the pair has no shared prompt: its dialogues open with different messages")
    chosen, rejected = (_answer(dialogue[shared:]) for dialogue in dialogues)
    opening, prompt = dialogues[0][: shared - 1], dialogues[0][shared - 1]["content"]
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, "opening": opening}


def read_dialogue(text: str, column: str) -> list[Message]:
    """Return the messages of a text of `Human:` and `Assistant:` turns."""
    head, *turns = _TURN.split(text)
    if head.strip() or not turns:
        raise ValueError(f"column {column} is no dialogue that opens with 'Human:'")
    return [
        {"role": _ROLES[speaker], "content": content}
        for speaker, content in zip(turns[::2], turns[1::2], strict=True)
    ]


def _answer(messages: list[Message]) -> str:
    """One answer, which may stand in several turns."""
    if any(message["role"] == "user" for message in messages):
        raise ValueError("the pair's dialogues part before the last answer")
    return "\n\n".join(message["content"] for message in messages)
