"""The official archives of GLUE, RACE, ARC and others as they unpack: where each split stands, and how its rows become the hub's.

A folder may hold an archive's own folder, or a folder of archives (`glue_data/CoLA`). What the hub's copy has and a file lacks is
filled in as the hub has it: the numbers of rows, and the labels of hidden splits (-1, or an empty text).
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from preftune.data.row_files import Placed, Reader, SplitFiles, read_files, read_lines, read_text
from preftune.errors import PreftuneError
from preftune.progress import say

Row = dict[str, Any]
HIDDEN = -1
ENTAILMENT = {"entailment": 0, "neutral": 1, "contradiction": 2}
BINARY_ENTAILMENT = {"entailment": 0, "not_entailment": 1}


@dataclass(frozen=True)
class Table:
    """A tab-separated file without quoting; its columns by the hub's names, `names` where it has no header."""

    texts: Mapping[str, str]
    label: str = "label"
    labels: Mapping[str, int] | None = None
    number: Callable[[str], float] = int
    names: tuple[str, ...] = ()
    hidden: float = HIDDEN
    skip_incomplete: bool = False

    def __call__(self, paths: Sequence[Path]) -> Iterator[Placed]:
        """Yield the rows, each with its number `idx`; where `skip_incomplete`, rows that lack a column are left out, as the
        hub's copy leaves them out, and their number is said.
        """
        (path,) = paths
        lines = ((place, line.split("\t")) for place, line in read_text(path) if line)
        names = self.names or next(lines, ("", []))[1]
        self._check_header(path, names)
        incomplete = 0
        for idx, (place, values) in enumerate(lines):
            row = dict(zip(names, values, strict=False))
            if len(values) >= len(names):
                yield place, self.convert(row, place) | {"idx": idx}
            elif self.skip_incomplete:
                incomplete += 1
            else:
                raise PreftuneError(
                    f"{place} has {len(values)} of {len(names)} columns: fetch or copy the file again."
                )
        if incomplete:
            say(f"{path}: {incomplete} rows lack columns and are left out, as the hub's copy leaves them out")

    def _check_header(self, path: Path, names: Sequence[str]) -> None:
        missing = [column for column in self.texts.values() if column not in names]
        if names and missing:
            raise PreftuneError(
                f"{path} has no column {missing[0]!r} (it has {', '.join(names)}): take the file of the official archive."
            )

    def convert(self, row: Mapping[str, str], place: str) -> Row:
        """Return the hub's columns of a row."""
        texts: Row = {name: row[column] for name, column in self.texts.items()}
        if self.label not in row:
            return texts | {"label": self.hidden}
        text = row[self.label]
        try:
            return texts | {"label": self.labels[text] if self.labels else self.number(text)}
        except (KeyError, ValueError) as error:
            known = ", ".join(self.labels) if self.labels else "a number"
            raise PreftuneError(
                f"{place} has the label {text!r}, which is not {known}: correct the row or take it out."
            ) from error


def read_paraphrases(paths: Sequence[Path], validation: bool) -> Iterator[Placed]:
    """Yield MRPC's training rows whose pair of ids is not among those of the second file, or for validation those that are."""
    path, ids = paths
    held = {tuple(line.split("\t")) for _, line in read_text(ids)}
    pairs = Table({**PARAPHRASES.texts, "one": "#1 ID", "other": "#2 ID"}, "Quality")
    for place, row in pairs((path,)):
        if ((row.pop("one"), row.pop("other")) in held) == validation:
            yield place, row


def read_passages(paths: Sequence[Path]) -> Iterator[Placed]:
    """Yield RACE's rows: each file is a passage with its questions."""
    (folder,) = paths
    for path in sorted(folder.glob("*.txt"), key=lambda path: (len(path.stem), path.stem)):
        try:
            passage = json.loads(path.read_text(encoding="utf-8"))
            parts = zip(passage["questions"], passage["options"], passage["answers"], strict=True)
            shared = {"example_id": passage.get("id", path.name), "article": passage["article"]}
            for number, (question, options, answer) in enumerate(parts, start=1):
                row = shared | {"answer": answer, "question": question, "options": options}
                yield f"{path}, question {number}", row
        except (ValueError, KeyError, TypeError) as error:
            raise PreftuneError(
                f"{path} is no passage of RACE ({error}): take the file of the official archive."
            ) from error


def read_questions(paths: Sequence[Path], stem: str) -> Iterator[Placed]:
    """Yield the rows of ARC or OpenBookQA, whose question is an object; the hub calls its text `stem`."""
    for place, row in read_lines(paths[0]):
        try:
            choices = row["question"]["choices"]
            lists = {part: [choice[part] for choice in choices] for part in ("text", "label")}
            yield (
                place,
                {
                    "id": row["id"],
                    stem: row["question"]["stem"],
                    "choices": lists,
                    "answerKey": row["answerKey"],
                },
            )
        except (KeyError, TypeError) as error:
            raise PreftuneError(
                f"{place} has no question with stem, choices and answerKey ({error}): take the file of the official archive."
            ) from error


def read_labelled(paths: Sequence[Path]) -> Iterator[Placed]:
    """Yield PIQA's rows with their labels, which stand in a file of their own (the test split has none)."""
    labels = [line for _, line in read_text(paths[1])] if len(paths) > 1 else None
    count = 0
    for count, (place, row) in enumerate(read_lines(paths[0]), start=1):
        if labels is None:
            yield place, row | {"label": HIDDEN}
        elif count > len(labels) or not labels[count - 1].isdecimal():
            raise PreftuneError(f"{place} has no label in {paths[1]}: take both files of one archive.")
        else:
            yield place, row | {"label": int(labels[count - 1])}
    if labels is not None and count != len(labels):
        raise PreftuneError(
            f"{paths[1]} has {len(labels)} labels for the {count} rows of {paths[0]}: take both files of one archive."
        )


def read_defaults(paths: Sequence[Path], **hidden: Any) -> Iterator[Placed]:
    """Yield rows of JSON Lines; `hidden` has the columns that hidden splits lack, as the hub fills them."""
    for place, row in read_lines(paths[0]):
        yield place, hidden | row


@dataclass(frozen=True)
class Archive:
    """Files of an official archive that hold one split of a data set; the first of `choices` that is whole is taken."""

    dataset: str
    split: str
    choices: tuple[tuple[str, ...], ...]
    reader: Reader
    layout: str = field(default="the official archive")


PAIR = {"sentence1": "sentence1", "sentence2": "sentence2"}
NLI = {"premise": "sentence1", "hypothesis": "sentence2"}
PARAPHRASES = Table({"sentence1": "#1 String", "sentence2": "#2 String"}, "Quality")
COLA = Table({"sentence": "sentence"})
MNLI = Table(NLI, "gold_label", ENTAILMENT)
"""Table by folder and data set of GLUE; CoLA's labelled files have no header, MRPC's rows stand in a file of its own too."""
GLUE = {
    "glue-sst2": ("SST-2", Table({"sentence": "sentence"})),
    "glue-qqp": ("QQP", Table({"question1": "question1", "question2": "question2"}, "is_duplicate", skip_incomplete=True)),
    "glue-stsb": ("STS-B", Table(PAIR, "score", number=float, hidden=-1.0)),
    "glue-qnli": ("QNLI", Table({"question": "question", "sentence": "sentence"}, labels=BINARY_ENTAILMENT)),
    "glue-rte": ("RTE", Table(PAIR, labels=BINARY_ENTAILMENT)),
    "glue-wnli": ("WNLI", Table(PAIR)),
}  # fmt: skip
FILES = {"train": "train.tsv", "validation": "dev.tsv", "test": "test.tsv"}
MNLI_FILES = {
    "train": "train.tsv",
    **{f"{ours}_{part}": f"{theirs}_{part}.tsv" for ours, theirs in (("validation", "dev"), ("test", "test"))
       for part in ("matched", "mismatched")},
}  # fmt: skip
EVALUATION = {"train": "train", "validation": "dev", "test": "test"}
ARC_PARTS = {"train": "Train", "validation": "Dev", "test": "Test"}


def _one(dataset: str, split: str, reader: Reader, *files: str) -> Archive:
    return Archive(dataset, split, tuple((file,) for file in files), reader)


ARCHIVES = [
    *(
        _one(name, split, table, f"{folder}/{file}")
        for name, (folder, table) in GLUE.items()
        for split, file in FILES.items()
    ),
    *(
        _one("glue-cola", split, Table(COLA.texts, names=("source", "label", "star", "sentence")), f"CoLA/{FILES[split]}")
        for split in ("train", "validation")
    ),
    _one("glue-cola", "test", COLA, "CoLA/test.tsv"),
    *(_one("glue-mnli", split, MNLI, f"MNLI/{file}") for split, file in MNLI_FILES.items()),
    _one("passage-contradiction", "validation", MNLI, "MNLI/dev_matched.tsv"),
    _one("glue-ax", "test", Table(NLI, labels=ENTAILMENT), "AX/diagnostic.tsv", "diagnostic/diagnostic.tsv"),
    *(
        Archive("glue-mrpc", split, (("MRPC/msr_paraphrase_train.txt", "MRPC/dev_ids.tsv"),),
                partial(read_paraphrases, validation=split == "validation"))
        for split in ("train", "validation")
    ),
    _one("glue-mrpc", "test", PARAPHRASES, "MRPC/msr_paraphrase_test.txt"),
    *(_one("glue-mrpc", split, PARAPHRASES, f"MRPC/{file}") for split, file in FILES.items()),
    *(
        _one(f"race-{part}", split, read_passages, f"RACE/{folder}/{part}")
        for part in ("middle", "high")
        for split, folder in EVALUATION.items()
    ),
    *(
        _one(name, split, partial(read_questions, stem="question"), f"ARC-V1-Feb2018-2/{part}/{part}-{ending}.jsonl")
        for name, part in (("arc-easy", "ARC-Easy"), ("arc-challenge", "ARC-Challenge"))
        for split, ending in ARC_PARTS.items()
    ),
    *(
        _one("openbookqa", split, partial(read_questions, stem="question_stem"),
             f"OpenBookQA-V1-Sep2018/Data/Main/{file}.jsonl")
        for split, file in EVALUATION.items()
    ),
    *(
        _one("winogrande", split, partial(read_defaults, answer=""), f"winogrande_1.1/{file}.jsonl")
        for split, file in {**EVALUATION, "train": "train_xl"}.items()
    ),
    *(
        _one("hellaswag", split, partial(read_defaults, label=""), f"hellaswag_{file}.jsonl")
        for split, file in {**EVALUATION, "validation": "val"}.items()
    ),
    *(
        Archive("piqa", split, tuple((f"{folder}/{file}.jsonl", f"{folder}/{file}-labels.lst")
                                     for folder in ("physicaliqa-train-dev", "piqa")), read_labelled)
        for split, file in (("train", "train"), ("validation", "dev"))
    ),
    _one("piqa", "test", read_labelled, "physicaliqa-train-dev/tests.jsonl", "piqa/tests.jsonl"),
    _one("boolq", "train", read_files, "BoolQ/train.jsonl"),
    _one("boolq", "validation", read_files, "BoolQ/dev.jsonl", "boolq/dev.jsonl", "BoolQ/val.jsonl"),
    _one("boolq", "test", partial(read_defaults, label=HIDDEN), "BoolQ/test.jsonl"),
]  # fmt: skip


def find_archive(dataset: str, split: str, root: Path) -> Iterator[SplitFiles]:
    """Yield the places of a split in official archives: under `root` or in a folder of it."""
    for folder in (root, *sorted(path for path in root.iterdir() if path.is_dir())) if root.is_dir() else ():
        for archive in ARCHIVES:
            if (archive.dataset, archive.split) == (dataset, split):
                # What may not be read (a disk's lost+found) is not there for `os.path.exists`, but an error for `Path.exists`.
                wholes = (tuple(folder / file for file in files) for files in archive.choices)
                whole = next((paths for paths in wholes if all(os.path.exists(path) for path in paths)), None)
                if whole:
                    yield SplitFiles(whole, archive.reader, archive.layout)
                    break
