"""Training mixes: uniform over tasks, seeded, with every left-out item counted."""

import random
from collections import Counter
from functools import partial

import pytest
from datasets import Dataset, DatasetDict, Features, Value

from preftune.data.mixes import (
    PREFERENCE_FEATURES,
    apportion,
    preference_examples,
    sft_examples,
)
from preftune.data.pools import Draft, collect_pools
from preftune.errors import PreftuneError
from preftune.preference.data import read_pairs
from preftune.settings.data import MixSettings
from tests.rows import draw
from tests.tiny import tiny_tokenizer

TEXT = Value("string")


def mix_settings(examples, max_tokens, long="skip", **others):
    return MixSettings(examples=examples, max_tokens=max_tokens, tasks=(), long=long, **others)


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
        return draw(pools, mix_settings(30, 64), seed, partial(sft_examples, tokenizer)).examples

    rows = drawn(0)
    assert Counter(row["task"] for row in rows) == {"cola": 10, "piqa": 10, "dialogues": 10}
    assert rows == drawn(0) != drawn(1)
    assert len({row["example_id"] for row in rows}) == 30
    hello = next(row for row in rows if row["task"] == "dialogues")
    assert tokenizer.decode(hello["completion_ids"]) == "hello<|im_end|>"
    assert tokenizer.decode(hello["prompt_ids"]) == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"


def test_pairs_have_right_and_wrong_answers_and_equal_ones_are_dropped(folders, tokenizer):
    pools = collect_pools(["cola", "piqa", "ultrafeedback"], folders, "preference")
    mix = draw(pools, mix_settings(30, 64), 0, partial(preference_examples, tokenizer))
    for row in mix.examples:
        chosen, rejected = (tokenizer.decode(row[key]) for key in ("chosen_ids", "rejected_ids"))
        assert chosen != rejected
        assert chosen.endswith("<|im_end|>")
        assert rejected.endswith("<|im_end|>")
        if row["task"] == "cola":
            number = int(row["example_id"].split("/")[1].split("-")[1])
            assert chosen.startswith("yes" if number % 2 else "no")
    assert mix.mix.dropped["equal: piqa"] > 0
    assert mix.mix.facts()["tasks"] == {"cola": 10, "piqa": 10, "ultrafeedback": 10}


def test_a_question_of_one_answer_is_no_pair(tokenizer):
    draft = Draft("train-3", "arc-easy", [{"role": "user", "content": "hi"}], "yes", [])
    with pytest.raises(PreftuneError, match="arc-easy, document train-3 has one answer alone, so no pair"):
        preference_examples(tokenizer, draft, random.Random(0))


def test_over_long_items_are_counted_and_a_pool_of_them_is_an_error(folders, tokenizer):
    pools = collect_pools(["cola"], folders, "sft")
    made = [sft_examples(tokenizer, draft, random.Random(0))[0] for draft in pools[0].drafts.read(range(40))]
    lengths = [len(row["prompt_ids"]) + len(row["completion_ids"]) for row in made]
    mix = draw(pools, mix_settings(40, max(lengths) - 1), 0, partial(sft_examples, tokenizer))
    assert mix.mix.dropped["long: cola"] > 0
    assert len(mix.examples) == 40
    with pytest.raises(PreftuneError, match="raise max_tokens"):
        draw(collect_pools(["cola"], folders, "sft"), mix_settings(4, 8), 0, partial(sft_examples, tokenizer))


def test_over_long_items_are_cut_by_the_templates_rule_or_refused(folders, tokenizer):
    """The prompt loses its oldest tokens; the question's end, the assistant's opening and the answer stay."""
    (draft,) = collect_pools(["mmlu-like"], folders, "sft")[0].drafts.read([0])
    (whole,) = sft_examples(tokenizer, draft, random.Random(0))
    draws = {
        long: partial(draw, collect_pools(["mmlu-like"], folders, "sft"), mix_settings(1, 50, long), 0)
        for long in ("truncate", "refuse")
    }
    mix = draws["truncate"](partial(sft_examples, tokenizer))
    (row,) = mix.examples
    assert len(row["prompt_ids"]) + len(row["completion_ids"]) == 50
    assert row["prompt_ids"] == whole["prompt_ids"][-len(row["prompt_ids"]) :]
    assert row["completion_ids"] == whole["completion_ids"]
    assert mix.mix.facts()["truncated"] == {"mmlu-like": 1} and not mix.mix.dropped
    with pytest.raises(PreftuneError, match=r"has 2\d\d tokens but max_tokens is 50"):
        draws["refuse"](partial(sft_examples, tokenizer))


def test_an_answer_that_leaves_no_room_is_dropped_where_prompts_are_cut(folders, tokenizer):
    """An answer is never cut: the pool's next item is taken, and the long one counted."""
    pools = collect_pools(["half-empty"], folders, "sft")
    long = Draft("train-9", "half-empty", [{"role": "user", "content": "hi"}], "cup " * 90, [])
    pools[0].drafts.add(Dataset.from_list([{"place": 0}]), lambda row, index: long)
    mix = draw(pools, mix_settings(4, 40, "truncate"), 0, partial(sft_examples, tokenizer))
    assert mix.mix.dropped["long: half-empty"] > 0 and not mix.mix.truncated


def test_empty_answers_are_dropped_and_counted(folders, tokenizer):
    pools = collect_pools(["half-empty"], folders, "sft")
    mix = draw(pools, mix_settings(4, 64), 0, partial(sft_examples, tokenizer))
    assert mix.mix.dropped["empty: half-empty"] > 0
    assert all(len(row["completion_ids"]) > 1 for row in mix.examples)


@pytest.mark.parametrize(
    ("total", "weights", "shares"),
    [
        (10, [1, 1], [5, 5]),
        (7, [40, 3, 1], [6, 1, 0]),  # quotas 6.36, 0.48, 0.16
        (6, [40, 3, 1], [6, 0, 0]),  # quotas 5.45, 0.41, 0.14: the largest remainder is the first one's
        (5, [2, 1, 1], [3, 1, 1]),  # quotas 2.5, 1.25, 1.25
    ],
)
def test_draws_are_apportioned_by_the_largest_remainder(total, weights, shares):
    assert apportion(total, weights) == shares


@pytest.mark.parametrize(
    ("elbow", "counts"),
    [(None, {"cola": 40, "piqa": 3, "dialogues": 1}), (3, {"cola": 19, "piqa": 19, "dialogues": 6})],
)
def test_sampling_by_size_draws_in_proportion_to_the_rows_up_to_an_elbow(folders, tokenizer, elbow, counts):
    """40, 3 and 1 rows; with an elbow of 3 the weights are 3, 3 and 1, the quotas of 44 draws 18.86, 18.86 and 6.29."""

    def drawn(seed):
        pools = collect_pools(["cola", "piqa", "dialogues"], folders, "sft")
        settings = mix_settings(44, 64, sampling="size", elbow=elbow)
        return draw(pools, settings, seed, partial(sft_examples, tokenizer)).examples

    rows = drawn(0)
    assert Counter(row["task"] for row in rows) == counts
    assert rows == drawn(0) != drawn(1)
    assert [row["task"] for row in rows] != sorted((row["task"] for row in rows), key=list(counts).index)


def test_copies_of_a_document_stand_after_their_answered_predecessors(folders, tokenizer):
    """Together the examples' answers are the row's: each is conditioned on what stands before it in the row."""
    pools = collect_pools(["dialogues"], folders, "sft")
    encode = partial(sft_examples, tokenizer, copies=3)
    rows = draw(pools, mix_settings(6, 200), 0, encode, copies=3).examples
    turn = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    assert [tokenizer.decode(row["prompt_ids"]) for row in rows[:3]] == [
        turn,
        turn + "hello<|im_end|>\n" + turn,
        turn + "hello<|im_end|>\n" + turn + "hello<|im_end|>\n" + turn,
    ]
    whole = rows[2]["prompt_ids"] + rows[2]["completion_ids"]
    for row in rows[:3]:
        assert row["completion_ids"] == rows[0]["completion_ids"]
        path = row["prompt_ids"] + row["completion_ids"]
        assert path == whole[: len(path)]
    assert [row["example_id"] for row in rows[:3]] == [
        f"dialogues/train-0/{rows[0]['example_id'].split('/')[2]}/{copy}" for copy in range(3)
    ]
    with pytest.raises(PreftuneError, match="examples: 7, no multiple of copies: 3"):
        draw(pools, mix_settings(7, 200), 0, encode, copies=3)


def test_a_row_of_copies_is_dropped_whole_where_its_last_copy_is_too_long(folders, tokenizer):
    pools = collect_pools(["cola"], folders, "sft")
    encode = partial(sft_examples, tokenizer, copies=2)
    lengths = [
        [len(e["prompt_ids"]) + len(e["completion_ids"]) for e in encode(draft, None)]
        for draft in pools[0].drafts.read(range(40))
    ]
    limit = max(last for _, last in lengths) - 1
    assert max(first for first, _ in lengths) < limit
    mix = draw(pools, mix_settings(80, limit), 0, encode, copies=2)
    assert mix.mix.dropped["long: cola"] > 0
    documents = Counter(row["example_id"].rsplit("/", 1)[0] for row in mix.examples)
    assert set(documents.values()) == {2}


def test_the_authors_loader_pairs_the_prompt_with_itself(folders, tokenizer, tmp_path):
    """UltraFeedback only: its answers are lists of messages, of which the first is the prompt."""
    for faithful_bugs in (False, True):
        pools = collect_pools(["cola", "ultrafeedback"], folders, "preference")
        encode = partial(preference_examples, tokenizer, faithful_bugs=faithful_bugs)
        mix = draw(pools, mix_settings(8, 64), 0, encode)
        bugs = [row for row in mix.examples if row["faithful_bug"]]
        assert mix.mix.facts()["faithful_bugs"] == len(bugs) == 4 * faithful_bugs
        for row in bugs:
            assert row["task"] == "ultrafeedback"
            assert tokenizer.decode(row["chosen_ids"]) == "hi<|im_end|>"
            assert row["rejected_ids"] == row["chosen_ids"]
        Dataset.from_list(mix.examples, features=PREFERENCE_FEATURES).save_to_disk(
            tmp_path / str(faithful_bugs)
        )
    equal = [len(set(map(tuple, pair.branches))) == 1 for pair in read_pairs(tmp_path / "True")]
    assert equal == [row["faithful_bug"] for row in mix.examples]
    unmarked = Dataset.load_from_disk(tmp_path / "True").remove_columns("faithful_bug")
    unmarked.save_to_disk(tmp_path / "unmarked")
    with pytest.raises(PreftuneError, match="two equal answers"):
        read_pairs(tmp_path / "unmarked")


@pytest.mark.parametrize(
    ("names", "mix", "message"),
    [
        (["wnli"], "sft", "not trained on"),
        (["rte"], "sft", "needs a prepared folder glue-rte"),
        (["glue-cola"], "sft", "lacks the columns prompt, response"),
        (["dialogs"], "sft", "did you mean 'dialogues'"),
        (["dialogues"], "preference", "no wrong answers"),
        (["ultrafeedback"], "sft", "not trained on in the sft mix"),
    ],
)
def test_what_a_mix_cannot_take(folders, names, mix, message):
    with pytest.raises(PreftuneError, match=message):
        collect_pools(names, folders, mix)
