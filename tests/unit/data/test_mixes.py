"""Training mixes: uniform over tasks, seeded, with every left-out item counted."""

import random
from collections import Counter
from functools import partial

import pytest
from datasets import Dataset, DatasetDict, Features, Value

from preftune.data.mixes import (
    PREFERENCE_FEATURES,
    SFT_FEATURES,
    Draft,
    collect_pools,
    draw_mix,
    preference_example,
    sft_example,
)
from preftune.errors import PreftuneError
from preftune.settings import MixSettings
from tests.tiny import tiny_tokenizer

TEXT = Value("string")


def mix_settings(examples, max_tokens, long="skip"):
    return MixSettings(examples=examples, max_tokens=max_tokens, tasks=(), long=long)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return tiny_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def save(folder, name, rows):
    columns = {key: TEXT if isinstance(value, str) else Value("int64") for key, value in rows[0].items()}
    DatasetDict({"train": Dataset.from_list(rows, features=Features(columns))}).save_to_disk(folder / name)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    save(
        folder,
        "glue-cola",
        [{"document": f"train-{i}", "sentence": f"The cup {i}.", "label": i % 2} for i in range(40)],
    )
    save(folder, "piqa", [
        {"document": f"train-{i}", "goal": "a", "sol1": first, "sol2": "same", "label": 0}
        for i, first in enumerate(("same", "x1", "x2"))
    ])  # fmt: skip
    save(folder, "dialogues", [{"document": "train-0", "prompt": "hi", "response": "hello"}])
    save(
        folder, "ultrafeedback", [{"document": "train-0", "prompt": "hi", "chosen": "yes", "rejected": "no"}]
    )
    save(folder, "mmlu-like", [{"document": "train-0", "prompt": "cup " * 200, "response": "yes"}])
    save(
        folder,
        "half-empty",
        [{"document": f"train-{i}", "prompt": "hi", "response": "yes" * i} for i in range(2)],
    )
    save(folder, "mmlu", [{"document": "train-0", "question": "cup " * 200, "label": 0}])
    return {path.name: path for path in folder.iterdir()}


def test_the_sft_mix_is_uniform_over_tasks_and_seeded(folders, tokenizer):
    def drawn(seed):
        pools = collect_pools(["cola", "piqa", "dialogues"], folders, "sft")
        return draw_mix(pools, mix_settings(30, 64), seed, partial(sft_example, tokenizer)).examples

    rows = drawn(0)
    assert Counter(row["task"] for row in rows) == {"cola": 10, "piqa": 10, "dialogues": 10}
    assert rows == drawn(0) != drawn(1)
    assert len({row["example_id"] for row in rows}) == 30
    Dataset.from_list(rows, features=SFT_FEATURES)
    hello = next(row for row in rows if row["task"] == "dialogues")
    assert tokenizer.decode(hello["completion_ids"]) == "hello<|im_end|>"
    assert tokenizer.decode(hello["prompt_ids"]) == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"


def test_pairs_have_right_and_wrong_answers_and_equal_ones_are_dropped(folders, tokenizer):
    pools = collect_pools(["cola", "piqa", "ultrafeedback"], folders, "preference")
    mix = draw_mix(pools, mix_settings(30, 64), 0, partial(preference_example, tokenizer))
    Dataset.from_list(mix.examples, features=PREFERENCE_FEATURES)
    for row in mix.examples:
        chosen, rejected = (tokenizer.decode(row[key]) for key in ("chosen_ids", "rejected_ids"))
        assert chosen != rejected
        assert chosen.endswith("<|im_end|>")
        assert rejected.endswith("<|im_end|>")
        if row["task"] == "cola":
            number = int(row["example_id"].split("/")[1].split("-")[1])
            assert chosen.startswith("yes" if number % 2 else "no")
    assert mix.dropped["equal: piqa"] > 0
    assert mix.facts()["tasks"] == {"cola": 10, "piqa": 10, "ultrafeedback": 10}


def test_over_long_items_are_counted_and_a_pool_of_them_is_an_error(folders, tokenizer):
    pools = collect_pools(["cola"], folders, "sft")
    made = [sft_example(tokenizer, draft(), random.Random(0)) for draft in pools[0].drafts]
    lengths = [len(row["prompt_ids"]) + len(row["completion_ids"]) for row in made]
    mix = draw_mix(pools, mix_settings(40, max(lengths) - 1), 0, partial(sft_example, tokenizer))
    assert mix.dropped["long: cola"] > 0
    assert len(mix.examples) == 40
    with pytest.raises(PreftuneError, match="raise max_tokens"):
        draw_mix(
            collect_pools(["cola"], folders, "sft"), mix_settings(4, 8), 0, partial(sft_example, tokenizer)
        )


def test_over_long_items_are_cut_by_the_templates_rule_or_refused(folders, tokenizer):
    """The prompt loses its oldest tokens; the question's end, the assistant's opening and the answer stay."""
    whole = sft_example(
        tokenizer, collect_pools(["mmlu-like"], folders, "sft")[0].drafts[0](), random.Random(0)
    )
    draws = {
        long: partial(draw_mix, collect_pools(["mmlu-like"], folders, "sft"), mix_settings(1, 50, long), 0)
        for long in ("truncate", "refuse")
    }
    mix = draws["truncate"](partial(sft_example, tokenizer))
    (row,) = mix.examples
    assert len(row["prompt_ids"]) + len(row["completion_ids"]) == 50
    assert row["prompt_ids"] == whole["prompt_ids"][-len(row["prompt_ids"]) :]
    assert row["completion_ids"] == whole["completion_ids"]
    assert mix.facts()["truncated"] == {"mmlu-like": 1} and not mix.dropped
    with pytest.raises(PreftuneError, match=r"has 2\d\d tokens but max_tokens is 50"):
        draws["refuse"](partial(sft_example, tokenizer))


def test_an_answer_that_leaves_no_room_is_dropped_where_prompts_are_cut(folders, tokenizer):
    """An answer is never cut: the pool's next item is taken, and the long one counted."""
    pools = collect_pools(["half-empty"], folders, "sft")
    long = Draft("train-9", "half-empty", [{"role": "user", "content": "hi"}], "cup " * 90, [])
    pools[0].drafts.append(lambda: long)
    mix = draw_mix(pools, mix_settings(4, 40, "truncate"), 0, partial(sft_example, tokenizer))
    assert mix.dropped["long: half-empty"] > 0 and not mix.truncated


def test_empty_answers_are_dropped_and_counted(folders, tokenizer):
    pools = collect_pools(["half-empty"], folders, "sft")
    mix = draw_mix(pools, mix_settings(4, 64), 0, partial(sft_example, tokenizer))
    assert mix.dropped["empty: half-empty"] > 0
    assert all(len(row["completion_ids"]) > 1 for row in mix.examples)


@pytest.mark.parametrize(
    ("names", "mix", "message"),
    [
        (["wnli"], "sft", "not trained on"),
        (["rte"], "sft", "no prepared folder glue-rte"),
        (["dialogs"], "sft", "did you mean 'dialogues'"),
        (["dialogues"], "preference", "lacks the columns chosen, rejected"),
        (["ultrafeedback"], "sft", "lacks the columns response"),
    ],
)
def test_what_a_mix_cannot_take(folders, names, mix, message):
    with pytest.raises(PreftuneError, match=message):
        collect_pools(names, folders, mix)
