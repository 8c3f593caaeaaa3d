"""Short dialogues of the chatterbot-corpus package (BSD): the first two turns of a conversation."""

import random
from pathlib import Path
from typing import Any

import yaml

from preftune.data.embedded.world import Row, Splits
from preftune.errors import PreftuneError

LONGEST_WORDS = 12
# Written about the package's own chat program, or needing more than one short answer.
LEFT_OUT = ("ai", "botprofile", "coding", "gossip", "politics", "tech_support")


def read_dialogues(folder: Path) -> list[Row]:
    """Return prompt and response of every short conversation in the YAML files below `folder`, each prompt
    once.
    """
    files = sorted(path for path in folder.rglob("*.yml") if path.stem not in LEFT_OUT)
    if not files:
        raise PreftuneError(f"{folder} holds no .yml file of the chatterbot corpus: fetch the package again.")
    rows: dict[str, Row] = {}
    for path in files:
        for prompt, response in _openings(path):
            if max(len(prompt.split()), len(response.split())) <= LONGEST_WORDS:
                rows.setdefault(prompt.lower(), {"prompt": prompt, "response": response})
    return list(rows.values())


def _openings(path: Path) -> list[tuple[str, str]]:
    try:
        text = path.read_text(encoding="utf-8")
        content: dict[str, Any] = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        turns = list(content["conversations"])
    except (UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError) as error:
        raise PreftuneError(f"{path} is not a file of conversations: fetch the package again.") from error
    return [
        (" ".join(str(turn[0]).split()), " ".join(str(turn[1]).split()))
        for turn in turns
        if isinstance(turn, list) and len(turn) > 1 and str(turn[0]).strip() and str(turn[1]).strip()
    ]


def split_dialogues(rows: list[Row], counts: dict[str, int], seed: int) -> Splits:
    """Return the splits, validation before train: there are fewer dialogues than may be asked for."""
    order = random.Random(f"{seed}/dialogues").sample(rows, len(rows))
    held_out = min(counts["validation"], len(order) // 5)
    return {"train": order[held_out : held_out + counts["train"]], "validation": order[:held_out]}
