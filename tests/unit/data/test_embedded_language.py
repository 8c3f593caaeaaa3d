"""The embedded language data: seeded, without repeats, balanced and in the columns of the public files."""

import json
from collections import Counter

import pytest

from preftune.data.embedded.dialogues import read_dialogues, split_dialogues
from preftune.data.embedded.glue import BLOCKS
from preftune.data.embedded.language import generate, write_language_data
from preftune.data.embedded.world import draw_splits
from preftune.data.raw import find_source
from preftune.data.tasks.registry import read_tasks
from preftune.errors import PreftuneError
from tests.rows import prepare_splits

TALKS = [{"prompt": f"What about {n}?", "response": f"Answer {n}."} for n in range(50)]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("language")
    write_language_data(folder, TALKS, train=60, evaluation=24, seed=0)
    return folder


def test_equal_seeds_give_equal_bytes_and_others_do_not(root, tmp_path):
    write_language_data(tmp_path / "same", TALKS, train=60, evaluation=24, seed=0)
    write_language_data(tmp_path / "other", TALKS, train=60, evaluation=24, seed=1)
    files = sorted(path.relative_to(root) for path in root.rglob("*.gz"))
    assert len(files) > 45
    for name in files:
        assert (root / name).read_bytes() == (tmp_path / "same" / name).read_bytes()
    assert any((root / name).read_bytes() != (tmp_path / "other" / name).read_bytes() for name in files)


def test_no_row_occurs_twice_and_counts_are_as_asked():
    for folder, splits in generate(TALKS, 60, 24, seed=0):
        rows = [
            json.dumps(
                {key: row[key] for key in row if key not in ("idx", "ind", "id", "example_id")},
                sort_keys=True,
            )
            for split in splits.values()
            for row in split
        ]
        assert len(set(rows)) == len(rows), folder
        if folder != "dialogues":
            for split, drawn in splits.items():
                assert len(drawn) == (60 if split == "train" else 24), (folder, split)


@pytest.mark.parametrize("name", sorted(read_tasks()))
def test_every_task_reads_its_rows(root, name):
    task = read_tasks()[name]
    prepared = prepare_splits(task.dataset, root)
    for split in {"train", task.split} & set(prepared):
        questions = task.questions(prepared[split])
        assert all(len(set(question.candidates)) == len(question.candidates) for question in questions)
        if not task.metrics:
            assert {question.gold for question in questions} == {None}
            continue
        golds = Counter(question.gold for question in questions)
        assert len(golds) >= len(questions[0].candidates) - 1
        if len(questions) >= 24:
            assert max(golds.values()) <= 0.7 * len(questions)


def test_labels_of_glues_test_splits_are_hidden_and_of_no_other():
    hidden = {}
    for folder, splits in generate(TALKS, 60, 24, seed=0):
        for split, rows in splits.items():
            if folder.startswith("glue/"):
                labels = {row["label"] for row in rows}
                assert (-1 in labels) == (labels == {-1}) == split.startswith("test"), (folder, split)
                hidden[folder, split] = labels == {-1}
            assert [row["idx"] for row in rows if "idx" in row] in ([], list(range(len(rows))))
    tasks = [task for task in read_tasks().values() if not task.metrics]
    files = {find_source(task.dataset).files[task.split].removesuffix(".jsonl.gz") for task in tasks}
    assert {f"{folder}/{split}" for (folder, split), is_hidden in hidden.items() if is_hidden} == files
    assert len(files) == 11


def test_test_splits_leave_the_other_splits_as_they_were():
    """Each split is drawn after those before it, so that a new last one moves no row."""
    counts = {"train": 60, "validation": 24}
    for name, block in BLOCKS.items():
        longer = draw_splits(name, block, counts | {"test": 24}, seed=0)
        assert draw_splits(name, block, counts, seed=0) == {split: longer[split] for split in counts}


def test_held_out_pairs_ask_what_no_training_pair_asks():
    splits = dict(generate(TALKS, 60, 24, seed=0))["ultrafeedback"]
    prompts = {split: {row["prompt"] for row in rows} for split, rows in splits.items()}
    assert len(splits["validation"]) == 24
    assert not prompts["train"] & prompts["validation"]


def test_a_world_too_small_is_an_error():
    with pytest.raises(PreftuneError, match="fewer than 5 different rows of toy"):
        draw_splits("toy", lambda rng: [{"a": rng.randrange(4)}], {"train": 5}, seed=0)


def test_dialogues_are_read_short_and_once(tmp_path):
    (tmp_path / "english").mkdir()
    long = " ".join(["word"] * 40)
    (tmp_path / "english" / "food.yml").write_text(
        "categories:\n- food\nconversations:\n- - Hello there\n  - Hi\n- - hello there\n  - Hey\n- - "
        f"Why?\n  - {long}\n- - Alone\n"
    )
    assert read_dialogues(tmp_path) == [{"prompt": "Hello there", "response": "Hi"}]
    splits = split_dialogues(TALKS, {"train": 100, "validation": 24}, seed=0)
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 40, "validation": 10}
    assert not {row["prompt"] for row in splits["train"]} & {row["prompt"] for row in splits["validation"]}


@pytest.mark.parametrize("text", ["conversations: 3\n", "[", "categories: []\n"])
def test_a_damaged_dialogue_file_is_named(tmp_path, text):
    with pytest.raises(PreftuneError, match=r"holds no \.yml"):
        read_dialogues(tmp_path)
    (tmp_path / "food.yml").write_text(text)
    with pytest.raises(PreftuneError, match=r"food\.yml is not a file of conversations"):
        read_dialogues(tmp_path)
