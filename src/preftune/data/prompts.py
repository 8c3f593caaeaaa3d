"""A user's own prompts: conversations from a text file or from JSON Lines."""

from pathlib import Path
from typing import Any

from preftune.errors import PreftuneError
from preftune.files import read_jsonl

Messages = list[dict[str, str]]
ROLES = ("system", "user", "assistant")


def read_conversations(path: Path) -> list[Messages]:
    """Conversations up to the message that is to be answered, in the file's order.

    A .txt has one prompt a line (empty lines do not count); a .jsonl or .jsonl.gz has one object a line, with `prompt`, a
    text, or `messages`, a list of {"role", "content"} that ends with the user's.

    Raises:
        PreftuneError: the file is of another kind, holds no prompt, or a row of it is none.
    """
    if path.name.endswith((".jsonl", ".jsonl.gz")):
        return [
            _read_row(row, f"{path}, row {number}") for number, row in enumerate(read_jsonl(path), start=1)
        ]
    if path.suffix != ".txt":
        raise PreftuneError(
            f"{path}: prompts are read from a .txt, one a line, or a .jsonl: convert the file."
        )
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise PreftuneError(f"{path} cannot be read as UTF-8 text ({error}): convert the file.") from error
    if not any(lines):
        raise PreftuneError(f"{path} holds no prompt: write one a line.")
    return [[{"role": "user", "content": line}] for line in lines if line]


def _read_row(row: dict[str, Any], place: str) -> Messages:
    prompt, messages = row.get("prompt"), row.get("messages")
    if isinstance(prompt, str) and prompt.strip() and messages is None:
        return [{"role": "user", "content": prompt}]
    if prompt is not None or not isinstance(messages, list) or not messages:
        raise PreftuneError(f'{place}: give either "prompt", a text, or "messages", a list.')
    for message in messages:
        fields = message if isinstance(message, dict) else {}
        if fields.get("role") not in ROLES or not isinstance(fields.get("content"), str):
            raise PreftuneError(
                f'{place}: a message needs a "role" ({", ".join(ROLES)}) and a "content", a text.'
            )
    if messages[-1]["role"] != "user":
        raise PreftuneError(f"{place}: the last message must be the user's, which is to be answered.")
    return [{"role": message["role"], "content": message["content"]} for message in messages]
