"""Questions about images and about texts, read from the prepared folder, as prompts; and their greedy answers."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from preftune.captioning.batch import QUESTION
from preftune.captioning.captioner import Captioner
from preftune.captioning.generate import generate
from preftune.captioning.store import FeatureSource, read_table
from preftune.errors import PreftuneError
from preftune.progress import track


@dataclass(frozen=True)
class Question:
    """A question with its answers; `document` is what it is about: its image, or the text that its prompt begins with."""

    question_id: str
    document: str
    kind: str
    prompt: str
    answers: tuple[str, ...]
    image_id: int | None = None

    def row(self) -> dict[str, Any]:
        """What `preftune.captioning.answers` scores."""
        return {"question_id": self.question_id, "kind": self.kind, "answers": self.answers}


def load_image_questions(
    folder: Path, split: str, features: FeatureSource, limit: int | None = None
) -> tuple[list[Question], int]:
    """Questions of a split whose images have features, `limit` of them (None: all), and how many of it have none.

    Which ones are kept follows from their ids, so that they are about many images and a larger limit keeps them.

    Raises:
        PreftuneError: the table is not there or holds no such question.
    """
    columns = ("question_id", "image_id", "split", "kind", "question", "answers")
    rows = _of_split(Path(folder) / "questions.parquet", columns, split)
    found = [
        Question(row["question_id"], str(row["image_id"]), row["kind"], f"{row['question']}\n",
                 tuple(row["answers"]), int(row["image_id"]))
        for row in rows
        if features.views(int(row["image_id"]))
    ]  # fmt: skip
    if not found:
        raise PreftuneError(
            f"No image of {folder}/questions.parquet, split {split}, has features: prepare captions and questions of the "
            "same images."
        )
    return _choose(found, limit), len(rows) - len(found)


def _choose(questions: list[Question], limit: int | None) -> list[Question]:
    def key(question: Question) -> bytes:
        return hashlib.sha256(question.question_id.encode()).digest()

    kept = {question.question_id for question in sorted(questions, key=key)[:limit]}
    return [question for question in questions if question.question_id in kept]


def load_text_questions(folder: Path, split: str, limit: int | None = None) -> list[Question]:
    """Questions about texts of a split, `limit` of them (None: all), chosen in the same way; errors as above."""
    columns = ("question_id", "document", "split", "kind", "context", "question", "answer")
    rows = _of_split(Path(folder) / "text_questions.parquet", columns, split)
    found = [
        Question(row["question_id"], str(row["document"]), row["kind"], f"{row['context']} {row['question']}\n",
                 (row["answer"],))
        for row in rows
    ]  # fmt: skip
    return _choose(found, limit)


def _of_split(path: Path, columns: tuple[str, ...], split: str) -> list[dict[str, Any]]:
    table = read_table(path, columns)
    rows: list[dict[str, Any]] = table[table["split"] == split].to_dict("records")
    if not rows:
        raise PreftuneError(f"{path} holds no question of split {split}: prepare the questions again.")
    return rows


def tokenize_texts(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text, without special tokens."""
    ids: list[list[int]] = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    return ids


def answer_questions(
    captioner: Captioner,
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[Question],
    features: FeatureSource | None,
    max_new_tokens: int,
    batch: int,
) -> dict[str, str]:
    """Greedy answers by question id; `features` of the images that they are about (None: about texts)."""
    prompts = tokenize_texts(tokenizer, [question.prompt for question in questions])
    order = sorted(range(len(questions)), key=lambda place: len(prompts[place]))  # little padding
    found: dict[str, str] = {}
    with captioner.merged(QUESTION):
        for start in track(range(0, len(order), batch), "answers", unit="batch"):
            chosen = order[start : start + batch]
            seen = None
            if features is not None:
                images = [_image_of(questions[place]) for place in chosen]
                taken = features.take(images, [0] * len(images))
                seen = torch.from_numpy(taken).to(next(captioner.parameters()).device)
            ids = [prompts[place] for place in chosen]
            rows = generate(captioner, seen, max_new_tokens, questions=ids, task=QUESTION)
            texts = (str(tokenizer.decode(row, skip_special_tokens=True)).strip() for row in rows)
            found |= {questions[place].question_id: text for place, text in zip(chosen, texts, strict=True)}
    return found


def _image_of(question: Question) -> int:
    if question.image_id is None:
        raise PreftuneError(
            f"Question {question.question_id} is about no image: give load_image_questions' questions."
        )
    return question.image_id
