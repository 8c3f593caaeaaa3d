"""Training mixes: prompts with an answer (SFT) or with a preferred and a dispreferred answer, as token ids.

Tasks are drawn uniformly, whatever their number of rows (DPH code, mixes of weight 1), or by size up to an elbow (the
authors' follow-up code); a task's rows come in a seeded order, cycled. At each draw one negative is picked at random
from the question's wrong candidates.
"""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets import Features, List, Value

from preftune.data.arrow import Spill, write_dataset
from preftune.data.chat import ChatTokenizer, encode_completion, encode_prompt, truncate_prompt
from preftune.data.pools import Ahead, Draft, Pool
from preftune.errors import PreftuneError
from preftune.progress import track
from preftune.settings.data import MixSettings

IDS = List(Value("int32"))
TEXT = Value("string")
SFT_FEATURES = Features({"example_id": TEXT, "task": TEXT, "prompt_ids": IDS, "completion_ids": IDS})
PREFERENCE_FEATURES = Features(
    {
        "example_id": TEXT,
        "task": TEXT,
        "prompt_ids": IDS,
        "chosen_ids": IDS,
        "rejected_ids": IDS,
        "faithful_bug": Value("bool"),
    }
)
# Tasks whose answers are lists of messages, of which the authors' loader takes the first one: the prompt itself.
ECHOED = ("ultrafeedback",)

Example = dict[str, Any]
Encode = Callable[[Draft, random.Random], list[Example]]


@dataclass
class Mix:
    """Examples drawn so far, by task, and their tokens; what was left out, by reason and task; whose prompts were cut, by task."""

    tasks: Counter[str] = field(default_factory=Counter)
    tokens: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    truncated: Counter[str] = field(default_factory=Counter)
    faithful_bugs: int = 0

    def count(self, example: Example) -> None:
        """Count an example."""
        self.tasks[example["task"]] += 1
        self.tokens += sum(len(ids) for key, ids in example.items() if key.endswith("_ids"))
        self.faithful_bugs += example.get("faithful_bug", False)

    def facts(self) -> dict[str, Any]:
        """Return the counts for the record; `faithful_bugs` counts the pairs that were kept although equal."""
        return {
            "examples": self.tasks.total(),
            "tokens": self.tokens,
            "tasks": dict(sorted(self.tasks.items())),
            "dropped": dict(sorted(self.dropped.items())),
            "truncated": dict(sorted(self.truncated.items())),
            "faithful_bugs": self.faithful_bugs,
        }


def sft_examples(
    tokenizer: ChatTokenizer, draft: Draft, rng: random.Random, copies: int = 1
) -> list[Example]:
    """Return prompt and completion ids of a draft, once for each of its `copies` in a row.

    In the authors' SFT rows one document stands N times, each answer after the earlier ones and each trained (DPH code,
    "5-shot"). Such a row is N examples here: the k-th prompt is the k - 1 earlier copies with their answers, then the
    prompt again. Every answer keeps its context, so the sum of the examples' losses is the loss of the row.
    """
    answered = [*draft.messages, {"role": "assistant", "content": draft.positive}]
    return [
        {
            "prompt_ids": encode_prompt(tokenizer, [*answered * earlier, *draft.messages]),
            "completion_ids": encode_completion(tokenizer, draft.positive),
        }
        for earlier in range(copies)
    ]


def preference_examples(
    tokenizer: ChatTokenizer, draft: Draft, rng: random.Random, faithful_bugs: bool = False
) -> list[Example]:
    """Return prompt, chosen and rejected ids of a draft, with a random one of its negatives.

    With `faithful_bugs`, an UltraFeedback pair is what the authors' loader makes of it: it reads the first message of
    both answers, which is the prompt, so chosen and rejected are the prompt echoed as the answer.
    """
    echoed = faithful_bugs and draft.task in ECHOED
    if not echoed and not draft.negatives:
        raise PreftuneError(
            f"{draft.task}, document {draft.document} has one answer alone, so no pair: take the row out."
        )
    prompt = draft.messages[0]["content"]
    chosen, rejected = (prompt, prompt) if echoed else (draft.positive, rng.choice(draft.negatives))
    return [
        {
            "prompt_ids": encode_prompt(tokenizer, draft.messages),
            "chosen_ids": encode_completion(tokenizer, chosen),
            "rejected_ids": encode_completion(tokenizer, rejected),
            "faithful_bug": echoed,
        }
    ]


def fault_of(example: Example, max_tokens: int) -> str | None:
    """Return what is wrong with an example, or None: "empty" (an answer without a token), "equal" (chosen = rejected, but
    for a faithful bug), "long" (a path exceeds `max_tokens`).
    """
    branches = _branches(example)
    if min(map(len, branches)) < 2:  # <|im_end|> alone
        return "empty"
    if len(branches) == 2 and branches[0] == branches[1] and not example["faithful_bug"]:
        return "equal"
    return "long" if _excess(example, max_tokens) > 0 else None


def _branches(example: Example) -> list[list[int]]:
    return [ids for key, ids in example.items() if key.endswith("_ids") and key != "prompt_ids"]


def _excess(example: Example, max_tokens: int) -> int:
    return len(example["prompt_ids"]) + max(map(len, _branches(example))) - max_tokens


def apportion(total: int, weights: Sequence[int]) -> list[int]:
    """Return whole numbers that add up to `total` in proportion to `weights`, by the largest remainder (ties: the first)."""
    whole = sum(weights)
    shares = [total * weight // whole for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda place: -(total * weights[place] % whole))
    for place in by_remainder[: total - sum(shares)]:
        shares[place] += 1
    return shares


def _turns(pools: Sequence[Pool], settings: MixSettings, rows: int) -> list[Pool]:
    """The pool of each draw."""
    if settings.sampling == "uniform":
        return [pools[place % len(pools)] for place in range(rows)]
    sizes = [len(pool.drafts) for pool in pools]
    weights = [size if settings.elbow is None else min(size, settings.elbow) for size in sizes]
    return [pool for pool, count in zip(pools, apportion(rows, weights), strict=True) for _ in range(count)]


def draw_mix(
    pools: Sequence[Pool],
    settings: MixSettings,
    seed: int,
    encode: Encode,
    features: Features,
    folder: Path,
    *,
    copies: int = 1,
    ahead: Ahead = lambda texts: None,
) -> Mix:
    """Write the examples of a mix in a seeded order as a `datasets` folder of these features: from every pool the same number (to within one), or
    with sampling by size in proportion to min(its rows, elbow). The `copies` examples that `encode` makes of one item stay
    together. `ahead` is told the texts of items that will follow, and may tokenise them together.

    An item that cannot be used is counted and the pool's next one is taken; a pool without any usable item
    in one whole pass, and examples that are no multiple of `copies`, are PreftuneErrors.
    """
    if settings.examples % copies:
        raise PreftuneError(
            f"the mix has examples: {settings.examples}, no multiple of copies: {copies}: change one of them."
        )
    rng = random.Random(seed)
    mix = Mix()
    turns = _turns(pools, settings, settings.examples // copies)
    spill = Spill(folder / ".rows", features)
    for pool in track(turns, "items drawn", unit="item"):
        for example in _usable(pool, settings, rng, encode, ahead, mix):
            mix.count(example)
            spill.add(example)
    spill.finish()
    order = list(range(len(turns)))
    rng.shuffle(order)
    write_dataset(spill, [row * copies + copy for row in order for copy in range(copies)], folder)
    return mix


def _usable(
    pool: Pool,
    settings: MixSettings,
    rng: random.Random,
    encode: Encode,
    ahead: Ahead,
    mix: Mix,
) -> list[Example]:
    for _ in range(2 * len(pool.drafts)):  # holds one whole pass, wherever the present one stands
        draft = pool.next(rng, ahead)
        row = encode(draft, rng)
        faults = [_mend(example, draft, settings, mix) for example in row]
        fault = next(filter(None, faults), None)
        if fault is None:
            name = f"{draft.task}/{draft.document}/{pool.cycle}"
            names = [name] if len(row) == 1 else [f"{name}/{copy}" for copy in range(len(row))]
            return [
                {"example_id": name, "task": draft.task, **example}
                for name, example in zip(names, row, strict=True)
            ]
        mix.dropped[f"{fault}: {draft.task}"] += 1
    raise PreftuneError(
        f"no item of {pool.name} can be used (longer than max_tokens = {settings.max_tokens}, or an answer empty, or both "
        "answers equal): raise max_tokens or take it out of the mix's tasks."
    )


def _mend(example: Example, draft: Draft, settings: MixSettings, mix: Mix) -> str | None:
    """Return an example's fault, or None; a prompt too long is cut in place where the settings say so."""
    fault = fault_of(example, settings.max_tokens)
    excess = _excess(example, settings.max_tokens)
    if fault == "long" and settings.long == "refuse":
        raise PreftuneError(
            f"{draft.task}, document {draft.document} has {settings.max_tokens + excess} tokens but max_tokens is "
            f"{settings.max_tokens}: raise it, or set long: skip or long: truncate."
        )
    # An answer is never cut: where it is too long on its own, the item is dropped.
    if fault == "long" and settings.long == "truncate" and excess < len(example["prompt_ids"]):
        example["prompt_ids"] = truncate_prompt(example["prompt_ids"], excess)
        mix.truncated[draft.task] += 1
        return None
    return fault
