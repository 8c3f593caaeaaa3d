"""Questions about texts out of a prepared data set of passages."""

from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, DatasetDict

from preftune.data.reading_questions import read_text_questions
from preftune.errors import PreftuneError
from preftune.settings.questions import QuestionSettings, TextQuestionSettings

SETTINGS: dict[str, Any] = {
    "dataset": "squad-v2",
    "splits": {"train": "train", "test": "validation"},
    "max_words": 4,
}


def row(context: str, question: str, *answers: str) -> dict[str, Any]:
    return {"id": question, "context": context, "question": question, "answers": {"text": list(answers)}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    train = [
        row("the cup is red", "What is red?", "the cup", "cup"),
        row("the cup is red", "Who is blue?"),
        row("the cup on the table is red", "What is red?", "the cup"),
        row("the cup is red", "Which colour has it?", "red"),
    ]
    test = [row("a dog runs", "Who runs?", "a dog")]
    splits = {"train": Dataset.from_list(train), "validation": Dataset.from_list(test)}
    DatasetDict(splits).save_to_disk(str(tmp_path / "squad-v2"))
    return tmp_path / "squad-v2"


def test_answered_questions_about_short_texts(folder: Path) -> None:
    rows = read_text_questions(folder, TextQuestionSettings(**SETTINGS), 0)
    assert [(one["split"], one["document"], one["kind"], one["answer"]) for one in rows] == [
        ("train", 0, "what", "the cup"), ("train", 0, "which", "red"), ("test", 1, "who", "a dog"),
    ]  # fmt: skip
    assert len({one["question_id"] for one in rows}) == 3
    assert len(read_text_questions(folder, TextQuestionSettings(**SETTINGS, limit={"train": 1}), 0)) == 2


def test_what_is_missing_is_named(folder: Path, tmp_path: Path) -> None:
    for change, sentence in (
        ({"max_words": 2}, "no answered question about a text of 2 words in its split train"),
        ({"splits": {"train": "trein"}}, "has no trein split"),
    ):
        with pytest.raises(PreftuneError, match=sentence):
            read_text_questions(folder, TextQuestionSettings(**{**SETTINGS, **change}), 0)
    DatasetDict({"train": Dataset.from_list([{"question": "why?"}])}).save_to_disk(str(tmp_path / "other"))
    with pytest.raises(PreftuneError, match="has no column 'answers'"):
        read_text_questions(tmp_path / "other", TextQuestionSettings(**SETTINGS), 0)


def test_the_scenes_have_texts_of_their_own() -> None:
    splits = {"train": "train", "test": "test"}
    with pytest.raises(ValueError, match="the scenes have questions about texts of their own"):
        QuestionSettings.model_validate({"format": "scenes", "splits": splits, "text": SETTINGS})
