"""Questions about images and about descriptions: question files into checked tables.

What is kept of a large source is drawn by the seed and each image's or question's id, so that another limit keeps
the same ones first.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from preftune.data.captioned import carve_validation
from preftune.data.pictures import open_picture
from preftune.data.question_sources import (
    find_annotations,
    find_image,
    image_number,
    read_described,
    read_source,
)
from preftune.errors import PreftuneError
from preftune.progress import track
from preftune.settings.questions import QuestionSettings, Split


@dataclass
class QuestionTables:
    """Rows of `images.parquet`, `questions.parquet` and, where the source has them, `text_questions.parquet`."""

    images: list[dict[str, Any]] = field(default_factory=list)
    questions: list[dict[str, Any]] = field(default_factory=list)
    text_questions: list[dict[str, Any]] = field(default_factory=list)
    converted_to_rgb: int = 0


def _draw(seed: int, *content: object) -> Callable[[object], bytes]:
    """A sort key that shuffles: it depends on the seed, `content` and the item, not on other items."""

    def key(item: object) -> bytes:
        return hashlib.sha256("-".join(map(str, (seed, *content, item))).encode()).digest()

    return key


def choose(
    rows: Iterable[tuple[int, str]], settings: QuestionSettings, split: Split, seed: int
) -> list[tuple[int, list[str]]]:
    """Choose documents (images) and questions from (document, question id): a seeded order, cut to the limits.

    Returns each document with its chosen question ids in the source's order.
    """
    by_document: dict[int, list[str]] = {}
    for document, question_id in rows:
        by_document.setdefault(document, []).append(question_id)
    kept = sorted(by_document, key=_draw(seed, "document"))[: settings.limit.get(split)]
    result = []
    for document in kept:
        ids = by_document[document]
        drawn = set(sorted(ids, key=_draw(seed, "question"))[: settings.questions_per_image])
        result.append((document, [question_id for question_id in ids if question_id in drawn]))
    return result


def read_split(
    raw: Path, images: Path, settings: QuestionSettings, split: Split, seed: int, tables: QuestionTables
) -> None:
    """Add a split's chosen questions and their images to `tables`; every image is decoded once, `file` relative to `images`."""
    source = settings.splits[split]
    by_id = {row.question_id: row for row in read_source(raw, settings.format, source)}
    chosen = choose([(image_number(row.image), name) for name, row in by_id.items()], settings, split, seed)
    for image_id, names in track(chosen, f"images, {split}", unit="image"):
        # of GQA's ids only the string has the file's name
        image = by_id[names[0]].image if settings.format == "gqa" else image_id
        path = find_image(images, settings.format, source, image)
        picture = open_picture(path)
        tables.converted_to_rgb += picture.mode != "RGB"
        file = path.relative_to(images).as_posix()
        shared = {"image_id": image_id, "split": split}
        tables.images.append(
            {**shared, "file": file, "width": picture.image.width, "height": picture.image.height}
        )
        for name in names:
            row = by_id[name]
            tables.questions.append({
                "question_id": name, **shared, "kind": row.kind, "question": row.question,
                "answers": row.answers, "file": file,
            })  # fmt: skip


def read_text_split(
    raw: Path, settings: QuestionSettings, split: Split, seed: int, tables: QuestionTables
) -> None:
    """Add a split's chosen questions about descriptions; a document is a described scene."""
    source = settings.splits[split]
    by_id = read_described(find_annotations(raw, settings.format, f"text_questions_{source}.json"))
    chosen = choose([(int(row["document"]), name) for name, row in by_id.items()], settings, split, seed)
    for document, names in chosen:
        for name in names:
            row = by_id[name]
            tables.text_questions.append({
                "question_id": name, "document": document, "split": split, "kind": row["question_type"],
                "context": row["context"], "question": row["question"], "answer": row["answer"],
            })  # fmt: skip


def check_disjoint(tables: QuestionTables) -> None:
    """Raise PreftuneError where an image or a question is in two splits: it would be tested on its training."""
    for rows, name in ((tables.images, "image_id"), (tables.questions, "question_id")):
        seen: dict[Any, str] = {}
        for row in rows:
            if seen.setdefault(row[name], row["split"]) != row["split"]:
                raise PreftuneError(
                    f"{name} {row[name]} is in the splits {seen[row[name]]} and {row['split']}: "
                    "give each split a source of its own in the setting 'splits'."
                )


def read_questions(
    raw: Path, settings: QuestionSettings, seed: int, images: Path | None = None
) -> QuestionTables:
    """Read, check and choose the questions of all splits below `raw`, about images below `images` (null: there too)."""
    tables = QuestionTables()
    for split in settings.splits:
        read_split(raw, images or raw, settings, split, seed, tables)
        if settings.format == "scenes":
            read_text_split(raw, settings, split, seed, tables)
    check_disjoint(tables)
    if settings.validation_fraction:
        carve_validation(tables.images, tables.questions, settings.validation_fraction)
    return tables


def compare_splits(
    images: Iterable[Mapping[str, Any]], captioned: Mapping[int, str], strict: bool
) -> dict[str, int]:
    """Count the images that captions have in the same split, in another one, or not at all.

    `captioned` is the split of each captioned image. With `strict`, only the same split will do: features are
    computed for captioned images, and an image of the test must not be one of the training.
    """
    counts = {"same": 0, "other": 0, "absent": 0}
    for image in images:
        split = captioned.get(image["image_id"])
        state = "absent" if split is None else "same" if split == image["split"] else "other"
        counts[state] += 1
        if strict and state != "same":
            raise PreftuneError(
                f"Image {image['image_id']} has questions in {image['split']}, but is "
                f"{'not captioned' if split is None else f'captioned in {split}'}: "
                "give the settings of captions and of questions the same splits."
            )
    return counts
