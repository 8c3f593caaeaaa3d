"""Questions about texts from a prepared data set of passages (SQuAD), for sources that have questions about images alone."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from preftune.data.prepared import open_split
from preftune.errors import PreftuneError
from preftune.settings.questions import TextQuestionSettings


def read_text_questions(folder: Path, settings: TextQuestionSettings, seed: int) -> list[dict[str, Any]]:
    """Rows of `text_questions.parquet`; a document is a passage, the kind a question's first word.

    Questions without an answer and about longer texts than `max_words` are left out; of several answers the first is taken.
    A limit keeps questions drawn from the whole split, which is sorted by article.

    Raises:
        PreftuneError: a split is not there, has other columns or holds no such question.
    """
    documents: dict[str, int] = {}
    found: list[dict[str, Any]] = []
    for split, source in settings.splits.items():
        rows = list(_read(folder, settings, source))
        order = random.Random(f"text questions {seed} {split}").sample(range(len(rows)), len(rows))
        kept = sorted(order[: settings.limit.get(split)])
        if not rows:
            raise PreftuneError(
                f"{folder} has no answered question about a text of {settings.max_words} words in its split {source}: raise "
                "max_words or name another data set."
            )
        for number in kept:
            row = rows[number]
            found.append({
                "question_id": f"{settings.dataset}-{split}-{number}",
                "document": documents.setdefault(row["context"], len(documents)), "split": split,
                "kind": row["question"].split()[0].lower(), "context": row["context"],
                "question": row["question"].strip(), "answer": row["answers"]["text"][0],
            })  # fmt: skip
    return found


def _read(folder: Path, settings: TextQuestionSettings, source: str) -> Iterator[dict[str, Any]]:
    rows = open_split(settings.dataset, source, {settings.dataset: folder}, "the multi-task experiment")
    missing = {"context", "question", "answers"} - set(rows.column_names)
    if missing:
        raise PreftuneError(
            f"the data set {settings.dataset} has no column '{min(missing)}': name another one in multitask.questions.text."
        )
    for row in rows:
        if (
            row["answers"]["text"]
            and row["question"].split()
            and len(row["context"].split()) <= settings.max_words
        ):
            yield row
