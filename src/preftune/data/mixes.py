"""Training mixes: prompts with an answer (SFT) or with a preferred and a dispreferred answer, as token ids.

Tasks are drawn uniformly, whatever their number of rows; a task's rows come in a seeded order, cycled (DPH
code, mixes
of weight 1). At each draw one negative is picked at random from the question's wrong candidates.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, List, Value, load_from_disk

from preftune.data.chat import ChatTokenizer, encode_completion, encode_prompt, truncate_prompt
from preftune.data.tasks.base import Task
from preftune.data.tasks.registry import TASKS_FILE, nearest, read_tasks
from preftune.errors import PreftuneError
from preftune.settings import MixSettings

IDS = List(Value("int32"))
TEXT = Value("string")
SFT_FEATURES = Features({"example_id": TEXT, "task": TEXT, "prompt_ids": IDS, "completion_ids": IDS})
PREFERENCE_FEATURES = Features(
    {"example_id": TEXT, "task": TEXT, "prompt_ids": IDS, "chosen_ids": IDS, "rejected_ids": IDS}
)
PAIR_COLUMNS = ("prompt", "chosen", "rejected")
DIALOGUE_COLUMNS = ("prompt", "response")

Example = dict[str, Any]


@dataclass(frozen=True)
class Draft:
    """One training item in words: the positive answers' first and all negatives (none in an SFT-only
    source).
    """

    document: str
    task: str
    messages: list[dict[str, str]]
    positive: str
    negatives: list[str]


@dataclass
class Pool:
    """All rows of one task group, read in a seeded order that is cycled; `cycle` counts the passes."""

    name: str
    drafts: list[Callable[[], Draft]]
    order: list[int] = field(default_factory=list)
    cycle: int = -1

    def next(self, rng: random.Random) -> Draft:
        """Return the next item."""
        if not self.order:
            self.order = rng.sample(range(len(self.drafts)), len(self.drafts))
            self.cycle += 1
        return self.drafts[self.order.pop()]()


@dataclass
class Mix:
    """Examples drawn so far, what was left out, by reason and task, and whose prompts were cut, by task."""

    examples: list[Example]
    dropped: Counter[str]
    truncated: Counter[str]

    def facts(self) -> dict[str, Any]:
        """Return the counts for the record."""
        tokens = sum(len(ids) for row in self.examples for key, ids in row.items() if key.endswith("_ids"))
        tasks = Counter(row["task"] for row in self.examples)
        return {
            "examples": len(self.examples),
            "tokens": tokens,
            "tasks": dict(sorted(tasks.items())),
            "dropped": dict(sorted(self.dropped.items())),
            "truncated": dict(sorted(self.truncated.items())),
        }


def open_train(name: str, folders: Mapping[str, Path], asker: str) -> Dataset:
    """Return the train split of a prepared data set."""
    if name not in folders:
        raise PreftuneError(
            f"the mix takes {asker}, and no prepared folder {name} was given: add it to --datasets."
        )
    try:
        splits = load_from_disk(str(folders[name]))
    except (FileNotFoundError, ValueError) as error:
        raise PreftuneError(
            f"{folders[name]} is not a prepared data set: run the step that prepares it."
        ) from error
    if "train" not in splits:
        raise PreftuneError(f"{folders[name]} has no train split: take {asker} out of the mix's tasks.")
    return splits["train"]


def task_drafts(task: Task, rows: Dataset) -> Iterator[Callable[[], Draft]]:
    """Yield a draft maker for each row of a task's train split."""

    def make(index: int) -> Draft:
        question = task.question(rows[index], index)
        others = [text for place, text in enumerate(question.candidates) if place != question.gold]
        return Draft(
            question.document, task.name, question.messages, question.candidates[question.gold], others
        )

    for index in range(len(rows)):
        yield lambda index=index: make(index)  # type: ignore[misc]


def text_drafts(
    name: str, rows: Dataset, positive: str, negative: str | None
) -> Iterator[Callable[[], Draft]]:
    """Yield a draft maker for each row of a data set of dialogues or of written pairs."""

    def make(index: int) -> Draft:
        row = rows[index]
        messages = [{"role": "user", "content": row["prompt"]}]
        return Draft(row["document"], name, messages, row[positive], [row[negative]] if negative else [])

    for index in range(len(rows)):
        yield lambda index=index: make(index)  # type: ignore[misc]


def collect_pools(
    names: Sequence[str], folders: Mapping[str, Path], mix: str, tasks_file: Path = TASKS_FILE
) -> list[Pool]:
    """Return the pools of a mix ("sft" or "preference"); `names` are tasks, or data sets of dialogues or
    pairs.
    """
    tasks = read_tasks(tasks_file)
    pools: dict[str, Pool] = {}
    for name in names:
        if name in tasks:
            task = tasks[name]
            if mix not in task.mixes:
                raise PreftuneError(
                    f"the task {name} is not trained on ({tasks_file}): take it out of the {mix} mix."
                )
            drafts = task_drafts(task, open_train(task.dataset, folders, f"the task {name}"))
            pools.setdefault(task.group, Pool(task.group, [])).drafts.extend(drafts)
        elif name in folders:
            pools[name] = Pool(name, list(_written(name, folders, mix)))
        else:
            raise PreftuneError(
                f"{name!r} is neither a task of {tasks_file} nor a prepared data set: "
                f"{nearest(name, [*tasks, *folders])}."
            )
    return list(pools.values())


def _written(name: str, folders: Mapping[str, Path], mix: str) -> Iterator[Callable[[], Draft]]:
    rows = open_train(name, folders, name)
    wanted = DIALOGUE_COLUMNS if mix == "sft" else PAIR_COLUMNS
    missing = [column for column in wanted if column not in rows.column_names]
    if missing:
        raise PreftuneError(
            f"{folders[name]} lacks the columns {', '.join(missing)} of a data set for the {mix} mix: "
            f"take {name} out of its tasks."
        )
    if mix == "sft":
        return text_drafts(name, rows, "response", None)
    return text_drafts(name, rows, "chosen", "rejected")


def sft_example(tokenizer: ChatTokenizer, draft: Draft, rng: random.Random) -> Example:
    """Return prompt and completion ids of a draft."""
    return {
        "prompt_ids": encode_prompt(tokenizer, draft.messages),
        "completion_ids": encode_completion(tokenizer, draft.positive),
    }


def preference_example(tokenizer: ChatTokenizer, draft: Draft, rng: random.Random) -> Example:
    """Return prompt, chosen and rejected ids of a draft, with a random one of its negatives."""
    return {
        "prompt_ids": encode_prompt(tokenizer, draft.messages),
        "chosen_ids": encode_completion(tokenizer, draft.positive),
        "rejected_ids": encode_completion(tokenizer, rng.choice(draft.negatives)),
    }


def fault_of(example: Example, max_tokens: int) -> str | None:
    """Return what is wrong with an example, or None: "empty" (an answer without a token), "equal" (chosen = rejected),
    "long" (a path exceeds `max_tokens`).
    """
    branches = _branches(example)
    if min(map(len, branches)) < 2:  # <|im_end|> alone
        return "empty"
    if len(branches) == 2 and branches[0] == branches[1]:
        return "equal"
    return "long" if _excess(example, max_tokens) > 0 else None


def _branches(example: Example) -> list[list[int]]:
    return [ids for key, ids in example.items() if key.endswith("_ids") and key != "prompt_ids"]


def _excess(example: Example, max_tokens: int) -> int:
    return len(example["prompt_ids"]) + max(map(len, _branches(example))) - max_tokens


def draw_mix(
    pools: Sequence[Pool],
    settings: MixSettings,
    seed: int,
    encode: Callable[[Draft, random.Random], Example],
) -> Mix:
    """Return the examples of a mix, the same number (to within one) from every pool, in a seeded order.

    An item that cannot be used is counted and the pool's next one is taken; a pool without any usable item
    in one whole pass is a PreftuneError.
    """
    rng = random.Random(seed)
    mix = Mix([], Counter(), Counter())
    for place in range(settings.examples):
        mix.examples.append(_usable(pools[place % len(pools)], settings, rng, encode, mix))
    rng.shuffle(mix.examples)
    return mix


def _usable(
    pool: Pool,
    settings: MixSettings,
    rng: random.Random,
    encode: Callable[[Draft, random.Random], Example],
    mix: Mix,
) -> Example:
    for _ in range(2 * len(pool.drafts)):  # holds one whole pass, wherever the present one stands
        draft = pool.next(rng)
        example = encode(draft, rng)
        fault = fault_of(example, settings.max_tokens)
        excess = _excess(example, settings.max_tokens)
        if fault == "long" and settings.long == "refuse":
            raise PreftuneError(
                f"{draft.task}, document {draft.document} has {settings.max_tokens + excess} tokens but max_tokens is "
                f"{settings.max_tokens}: raise it, or set long: skip or long: truncate."
            )
        # An answer is never cut: where it is too long on its own, the item is dropped.
        if fault == "long" and settings.long == "truncate" and excess < len(example["prompt_ids"]):
            example |= {"prompt_ids": truncate_prompt(example["prompt_ids"], excess)}
            mix.truncated[draft.task] += 1
            fault = None
        if fault is None:
            return {
                "example_id": f"{draft.task}/{draft.document}/{pool.cycle}",
                "task": draft.task,
                **example,
            }
        mix.dropped[f"{fault}: {draft.task}"] += 1
    raise PreftuneError(
        f"no item of {pool.name} can be used (longer than max_tokens = {settings.max_tokens}, or an answer empty, or both "
        "answers equal): raise max_tokens or take it out of the mix's tasks."
    )
