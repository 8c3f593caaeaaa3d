"""Questions about images as their sources have them: VQAv2's, GQA's and the embedded scenes' layouts.

VQAv2 (Goyal et al. 2017, arXiv 1612.00837) has a file of questions and a file of ten answers each, about
COCO's images of 2014; GQA (Hudson and Manning 2019, arXiv 1902.09506) has one file of questions with one answer
each, about images of Visual Genome and Flickr; the scenes have VQAv2's layout with one answer each, and questions
about descriptions in words beside them.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preftune.errors import PreftuneError
from preftune.files import read_json

FLICKR_IDS = 10_000_000
"""GQA's image "n123" (of Flickr) has the id FLICKR_IDS + 123: Visual Genome's are below three million."""

# Where users and archives put annotation files and pictures, relative to the raw folder.
ANNOTATION_FOLDERS = {
    "scenes": ("coco/annotations", "annotations"),
    "vqav2": tuple(
        f"{base}{name}"
        for base in ("", "vqav2/")
        for name in ("annotations", ".", "Questions", "Annotations")
    ),
    "gqa": ("questions", ".", "gqa/questions", "gqa"),
}
# COCO's files of 2017 are those of 2014 under other names.
IMAGE_FILES = {
    "scenes": ("coco/{source}/{image:06d}.png", "{source}/{image:06d}.png"),
    "vqav2": tuple(
        f"{base}{name}"
        for base in ("", "coco/", "vqav2/", "Images/mscoco/")
        for name in (
            "{source}/COCO_{source}_{image:012d}.jpg", "train2017/{image:012d}.jpg", "val2017/{image:012d}.jpg",
        )
    ),
    "gqa": ("images/{image}.jpg", "gqa/images/{image}.jpg"),
}  # fmt: skip


@dataclass(frozen=True)
class RawQuestion:
    """A question as its source has it; `image` is the id in the name of the image's file."""

    question_id: str
    image: int | str
    kind: str
    question: str
    answers: list[str]


def find_file(raw: Path, names: Iterable[str], what: str) -> Path:
    """Return the first of `names` below `raw` that is a file; else PreftuneError names all of them."""
    names = list(names)
    for name in names:
        if (raw / name).is_file():
            return raw / name
    raise PreftuneError(f"{raw} has no {what}: place it there as {' or '.join(names)}.")


def image_number(image: int | str) -> int:
    """Return the integer id of an image; GQA's are strings of digits, those of Flickr's images with an n."""
    match = re.fullmatch(r"(n?)([0-9]+)", str(image))
    if not match:
        raise PreftuneError(
            f"Image id {image!r} is neither digits nor n and digits: fetch the questions again."
        )
    return int(match[2]) + (FLICKR_IDS if match[1] else 0)


def read_rows(path: Path, key: str, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the numbered rows of a list in VQAv2's layout; PreftuneError where one lacks a column."""
    content = read_json(path)
    rows = content.get(key) if isinstance(content, dict) else None
    if not isinstance(rows, list) or not rows:
        raise PreftuneError(f"{path} holds no {key} of VQAv2's layout: fetch it again.")
    for number, row in enumerate(rows, start=1):
        missing = [name for name in columns if not isinstance(row, dict) or row.get(name) in (None, "", [])]
        if missing:
            raise PreftuneError(f"{path}, {key}, row {number} has no {missing[0]}: fetch the file again.")
        yield number, row


def _answer_texts(path: Path, row: dict[str, Any]) -> list[str]:
    answers = row["answers"]
    if not all(isinstance(answer, dict) and isinstance(answer.get("answer"), str) for answer in answers):
        raise PreftuneError(
            f"{path}: an answer of question {row['question_id']} has no text: fetch the file again."
        )
    return [answer["answer"] for answer in answers]


def read_vqa(questions: Path, answers: Path) -> list[RawQuestion]:
    """Return the questions of a pair of files in VQAv2's layout, in the file's order.

    A question given twice or without an answer, and an answer of an unknown question, of another image or given
    twice raises PreftuneError. Answers keep the annotators' order.
    """
    asked: dict[Any, dict[str, Any]] = {}
    for number, row in read_rows(questions, "questions", ("question_id", "image_id", "question")):
        if row["question_id"] in asked:
            raise PreftuneError(
                f"{questions}, questions, row {number}: question {row['question_id']} is given twice: remove a row."
            )
        asked[row["question_id"]] = row
    answered: dict[Any, dict[str, Any]] = {}
    for number, row in read_rows(
        answers, "annotations", ("question_id", "image_id", "question_type", "answers")
    ):
        name = row["question_id"]
        where = f"{answers}, annotations, row {number}"
        if name not in asked:
            raise PreftuneError(
                f"{where} answers question {name}, which is not asked: fetch both files again."
            )
        if name in answered:
            raise PreftuneError(f"{where}: question {name} is answered twice: remove a row.")
        if row["image_id"] != asked[name]["image_id"]:
            raise PreftuneError(
                f"{where}: question {name} is about image {asked[name]['image_id']}, "
                f"its answer about image {row['image_id']}: fetch both files again."
            )
        answered[name] = row
    for name in asked:
        if name not in answered:
            raise PreftuneError(f"{answers}: question {name} has no answer: fetch both files again.")
    return [
        RawQuestion(
            question_id=str(name),
            image=row["image_id"],
            kind=answered[name]["question_type"],
            question=row["question"].strip(),
            answers=_answer_texts(answers, answered[name]),
        )
        for name, row in asked.items()
    ]


def read_gqa(path: Path) -> list[RawQuestion]:
    """Return the questions of a file in GQA's layout, {id: {imageId, question, answer, types, ...}}, in its order.

    The kind is `types.structural` (query, verify, choose, logical, compare). A row that lacks a column, as all
    rows of GQA's unlabelled test do, raises PreftuneError.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not content:
        raise PreftuneError(f"{path} holds no questions of GQA's layout: fetch it again.")
    found = []
    for name, row in content.items():
        for column in ("imageId", "question", "answer", "types"):
            if not isinstance(row, dict) or not row.get(column):
                raise PreftuneError(
                    f"{path}: question {name} has no {column}: take a split with answers, or fetch it again."
                )
        kind = row["types"].get("structural") or "unknown"
        found.append(RawQuestion(name, row["imageId"], kind, row["question"].strip(), [str(row["answer"])]))
    return found


def find_annotations(raw: Path, layout: str, name: str) -> Path:
    """Return the annotation file `name` of a layout, found below `raw`."""
    return find_file(raw, [f"{folder}/{name}" for folder in ANNOTATION_FOLDERS[layout]], f"file {name}")


def find_image(raw: Path, layout: str, source: str, image: int | str) -> Path:
    """Return an image's file, found below `raw`; `source` is the split's name in the source."""
    names = [name.format(source=source, image=image) for name in IMAGE_FILES[layout]]
    return find_file(raw, names, f"image {image}")


def read_source(raw: Path, layout: str, source: str) -> list[RawQuestion]:
    """Return the questions about images of one of the source's splits, found below `raw`."""
    if layout == "gqa":
        return read_gqa(find_annotations(raw, layout, f"{source}_questions.json"))
    if layout == "vqav2":
        questions = find_annotations(raw, layout, f"v2_OpenEnded_mscoco_{source}_questions.json")
        return read_vqa(questions, find_annotations(raw, layout, f"v2_mscoco_{source}_annotations.json"))
    questions = find_annotations(raw, layout, f"questions_{source}.json")
    return read_vqa(questions, find_annotations(raw, layout, f"answers_{source}.json"))


def read_described(path: Path) -> dict[str, dict[str, Any]]:
    """Return the rows {document, question_type, context, question, answer} of a file of text questions, by id."""
    columns = ("question_id", "document", "question_type", "context", "question", "answer")
    rows: dict[str, dict[str, Any]] = {}
    for number, row in read_rows(path, "questions", columns):
        if rows.setdefault(str(row["question_id"]), row) is not row:
            raise PreftuneError(
                f"{path}, questions, row {number}: question {row['question_id']} is given twice: remove a row."
            )
    return rows
