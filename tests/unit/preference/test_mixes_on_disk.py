"""Training mixes on disk as trees, and what is refused."""

from collections.abc import Callable
from pathlib import Path

import pytest
from datasets import Dataset, load_from_disk
from transformers import AutoTokenizer

from preftune.errors import PreftuneError
from preftune.preference.data import read_completions, read_pairs
from preftune.training.trees import Tree
from tests.unit.preference.helpers import make_model, make_pairs, save_mixes


def test_mixes_are_read_and_checked(base: Path, tmp_path: Path) -> None:
    sft, preference = save_mixes(make_model(base).tokenizer, tmp_path, 3)
    pairs = read_pairs(preference)
    assert [list(row.branches[0]) for row in read_completions(sft)] == [
        list(pair.branches[0]) for pair in pairs
    ]
    rows = load_from_disk(str(preference))
    assert [list(pair.prompt) for pair in pairs] == rows["prompt_ids"]
    assert [list(pair.branches[1]) for pair in pairs] == rows["rejected_ids"]
    with pytest.raises(PreftuneError, match="lacks the columns chosen_ids, rejected_ids"):
        read_pairs(sft)
    with pytest.raises(PreftuneError, match="not a prepared training mix"):
        read_pairs(tmp_path / "nowhere")


def test_a_mix_of_several_files_and_batches_is_read_in_order(tmp_path: Path) -> None:
    rows = [
        {"example_id": str(i), "prompt_ids": [i, i + 1], "completion_ids": list(range(i % 5 + 1))}
        for i in range(2500)
    ]
    Dataset.from_list(rows).save_to_disk(str(tmp_path), num_shards=3)
    assert [
        {"example_id": tree.name, "prompt_ids": list(tree.prompt), "completion_ids": list(tree.branches[0])}
        for tree in read_completions(tmp_path)
    ] == rows


def test_equal_answers_are_refused(base: Path, tmp_path: Path) -> None:
    tokenizer = make_model(base).tokenizer
    _, preference = save_mixes(tokenizer, tmp_path, 3)
    rows = load_from_disk(str(preference)).map(
        lambda row, i: row | ({"rejected_ids": row["chosen_ids"]} if i == 1 else {}), with_indices=True
    )
    rows.save_to_disk(str(tmp_path / "equal"))
    with pytest.raises(PreftuneError, match="pair pair-1 has two equal answers"):
        read_pairs(tmp_path / "equal")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda rows: rows.remove_columns("prompt_ids"),
            "lacks the columns prompt_ids; prepare this mix again",
        ),
        (lambda rows: rows.map(lambda _: {"prompt_ids": []}), "example pair-0 has an empty prompt"),
        (lambda rows: rows.map(lambda _: {"rejected_ids": []}), "example pair-0: branch 1 is empty"),
    ],
    ids=["no prompt", "empty prompt", "empty answer"],
)
def test_mixes_that_hold_no_pairs_are_refused(
    base: Path, tmp_path: Path, change: Callable[[Dataset], Dataset], sentence: str
) -> None:
    """A pair has one prompt, which both answers share."""
    _, preference = save_mixes(AutoTokenizer.from_pretrained(base), tmp_path, 3)
    change(load_from_disk(str(preference))).save_to_disk(str(tmp_path / "changed"))
    with pytest.raises(PreftuneError, match=sentence):
        read_pairs(tmp_path / "changed")


def test_a_mix_of_another_tokenizer_is_refused(base: Path) -> None:
    model = make_model(base)
    (pair,) = make_pairs(model.tokenizer, 1)
    foreign = Tree("foreign", pair.prompt, ([*pair.branches[0][:-1], 512, 2], pair.branches[1]))
    with pytest.raises(
        PreftuneError, match="512 of a pass with example foreign is beyond the model's 512 words"
    ):
        model([foreign])


def test_a_mix_without_rows_is_refused(base: Path, tmp_path: Path) -> None:
    _, preference = save_mixes(make_model(base).tokenizer, tmp_path, 1)
    load_from_disk(str(preference)).select([]).save_to_disk(str(tmp_path / "none"))
    with pytest.raises(PreftuneError, match="holds no rows"):
        read_pairs(tmp_path / "none")
