"""The generative sets of the SFT mix: from rows in the hub's columns to what a model is trained on."""

from pathlib import Path

import pytest

from preftune.data.pools import Draft, collect_pools
from preftune.files import read_json, write_jsonl
from tests.scripts.steps import fail, succeed
from tests.tiny import tiny_tokenizer

STORY = {"story": "Tom had a red cup.", "summary": "A cup.", "prompt": "Write about a cup.", "source": "GPT-4",
         "words": ["cup"], "features": ["Dialogue"]}  # fmt: skip
ROWS = {
    "alpaca-cleaned": ("alpaca_cleaned", {"instruction": "Name its colour.", "input": "A red cup.", "output": "Red."}),
    "cnn-dailymail": ("cnn_dailymail", {"article": "A cup broke.", "highlights": "A cup.", "id": "7"}),
    "coqa": ("coqa", {
        "source": "mctest", "story": "The cup is red.", "questions": ["What is red?", "Is it big?", "Why?"],
        "answers": {"input_text": ["The cup", "unknown", "paint"], "answer_start": [0, -1, 3], "answer_end": [7, -1, 8]}}),
    "open-orca": ("open_orca", {"id": "flan.1", "system_prompt": "Be short.", "question": "Q?", "response": "A."}),
    "tinystories-instruct": ("tinystories", STORY),
    "tinystories-summary": ("tinystories", STORY),
}  # fmt: skip


def prepare(name: str, rows: list[dict], folder: Path) -> Path:
    stem, _ = ROWS[name]
    write_jsonl(folder / f"raw/{stem}/train.jsonl.gz", rows)
    settings = {"limit_train": None, "limit_evaluation": None}
    return succeed(
        "prepare_dataset", settings, raw=folder / "raw", dataset=name, output=folder / f"prepared/{name}"
    )


def drafts(name: str, rows: list[dict], folder: Path) -> list[Draft]:
    """What a mix draws of the rows, in their order."""
    (pool,) = collect_pools([name], {name: prepare(name, rows, folder)}, "sft")
    return sorted(pool.drafts.read(range(len(pool.drafts))), key=lambda draft: draft.document)


def talk(draft: Draft) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in draft.messages] + [
        ("answer", draft.positive)
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("alpaca-cleaned", [("user", "Name its colour.\nA red cup."), ("answer", "Red.")]),
        ("cnn-dailymail", [("user", "A cup broke.\nSummarise the article."), ("answer", "A cup.")]),
        ("open-orca", [("system", "Be short."), ("user", "Q?"), ("answer", "A.")]),
        ("tinystories-instruct", [("user", "Write about a cup."), ("answer", "Tom had a red cup.")]),
        (
            "tinystories-summary",
            [("user", "A cup.\nWrite this short story in simple words."), ("answer", "Tom had a red cup.")],
        ),
    ],
)
def test_a_row_becomes_a_conversation(name: str, expected: list, tmp_path: Path) -> None:
    (draft,) = drafts(name, [ROWS[name][1]], tmp_path)
    assert talk(draft) == expected and draft.negatives == []


def test_an_instruction_without_input_and_a_question_without_system_message_stand_alone(
    tmp_path: Path,
) -> None:
    row = ROWS["alpaca-cleaned"][1] | {"input": ""}
    assert talk(drafts("alpaca-cleaned", [row], tmp_path)[0])[0] == ("user", "Name its colour.")
    row = ROWS["open-orca"][1] | {"system_prompt": ""}
    assert talk(drafts("open-orca", [row], tmp_path)[0])[0] == ("user", "Q?")


def test_each_question_of_a_story_is_asked_after_those_before_it(tmp_path: Path) -> None:
    turns = drafts("coqa", [ROWS["coqa"][1]], tmp_path)
    first = ("user", "The cup is red.\nWhat is red?")
    assert [turn.document for turn in turns] == ["train-0/0", "train-0/1", "train-0/2"]
    assert talk(turns[0]) == [first, ("answer", "The cup")]
    assert talk(turns[2]) == [first, ("assistant", "The cup"), ("user", "Is it big?"), ("assistant", "unknown"),
                              ("user", "Why?"), ("answer", "paint")]  # fmt: skip


def test_a_story_with_a_question_too_many_is_refused(tmp_path: Path) -> None:
    row = ROWS["coqa"][1] | {"questions": ["What is red?"]}
    write_jsonl(tmp_path / "raw/coqa/train.jsonl.gz", [row])
    settings = {"limit_train": None, "limit_evaluation": None}
    paths = {"raw": tmp_path / "raw", "output": tmp_path / "prepared/coqa"}
    fail("prepare_dataset", settings, dataset="coqa", **paths)


def test_all_six_are_drawn_alike(tmp_path: Path) -> None:
    tiny_tokenizer(tmp_path / "tokenizer")
    folders = [prepare(name, [row], tmp_path) for name, (_, row) in ROWS.items()]
    settings = {"examples": 12, "max_tokens": 200, "tasks": list(ROWS)}
    mix = succeed("prepare_sft_mix", settings, datasets=folders, tokenizer=tmp_path / "tokenizer",
                  output=tmp_path / "mix")  # fmt: skip
    assert read_json(mix / "run.json")["facts"]["tasks"] == dict.fromkeys(sorted(ROWS), 2)
