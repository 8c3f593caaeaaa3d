"""Files for the GLUE server: a zip of one TSV file a test split, made from score tables, and the check of such a zip.

The format is that of gluebenchmark.com's FAQ: eleven files with the columns index and prediction at the top level of the
zip, the index counting the rows of the split as published, from 0. That is the number in a document's name: preparing a
hidden test split refuses a file in another order (`preftune.data.raw.read_split`).
"""

import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from preftune.errors import PreftuneError
from preftune.evaluation.files import read_scores
from preftune.evaluation.metrics import candidate_scores

HEADER = "index\tprediction"
HIGHEST = 5.0
_FIRST_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can hold


@dataclass(frozen=True)
class ServerFile:
    """One file of a submission: its name, and the server's words for a task's labels in their order (none: a number from
    0 to 5, the similarity of STS-B).
    """

    name: str
    labels: tuple[str, ...] = ()


_DIGITS = ("0", "1")
_PAIR = ("entailment", "not_entailment")
_TRIPLE = ("entailment", "neutral", "contradiction")
FILES = {
    "ax": ServerFile("AX.tsv", _TRIPLE),
    "cola-test": ServerFile("CoLA.tsv", _DIGITS),
    "mnli-matched-test": ServerFile("MNLI-m.tsv", _TRIPLE),
    "mnli-mismatched-test": ServerFile("MNLI-mm.tsv", _TRIPLE),
    "mrpc-test": ServerFile("MRPC.tsv", _DIGITS),
    "qnli-test": ServerFile("QNLI.tsv", _PAIR),
    "qqp-test": ServerFile("QQP.tsv", _DIGITS),
    "rte-test": ServerFile("RTE.tsv", _PAIR),
    "sst2-test": ServerFile("SST-2.tsv", _DIGITS),
    "stsb-test": ServerFile("STS-B.tsv"),
    "wnli-test": ServerFile("WNLI.tsv", _DIGITS),
}


def predict_labels(table: pd.DataFrame, task: str, score: str) -> list[str]:
    """The server's word for the best candidate of every document under `score`, in the order of the raw split's rows.

    A tie goes to the first candidate. Prepared rows are shuffled, so the order is that of the numbers in their names.

    Raises:
        PreftuneError: the table lacks the score, or a document's name has no number.
    """
    scores = candidate_scores(table, score)
    if scores.isna().any():
        raise PreftuneError(
            f"task {task}: the run has no {score} score of every candidate: ask for a score that it has."
        )
    named = table["document"].str.extract(r"-(\d+)$", expand=False)
    if named.isna().any():
        raise PreftuneError(
            f"task {task}: the document {table.loc[named.isna(), 'document'].iloc[0]} does not name its row: "
            "prepare the data set again."
        )
    rows = table.assign(score=scores, row=named.astype(int)).sort_values(
        ["row", "candidate"], ignore_index=True
    )
    best = rows.loc[rows.groupby("row")["score"].idxmax(), "candidate"]  # the first one of equals
    labels = FILES[task].labels
    return [labels[place] if labels else f"{place:.3f}" for place in best]


def read_predictions(folder: Path, score: str) -> dict[str, list[str]]:
    """What a run answers to every test split, by task, from its score folder."""
    return {task: predict_labels(read_scores(folder, task), task, score) for task in FILES}


def write_submission(path: Path, predictions: Mapping[str, list[str]]) -> None:
    """Write the zip; equal predictions give equal bytes."""
    with zipfile.ZipFile(path, "w") as archive:
        for task, file in FILES.items():
            rows = [f"{index}\t{label}" for index, label in enumerate(predictions[task])]
            entry = zipfile.ZipInfo(file.name, _FIRST_TIME)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, "\n".join([HEADER, *rows, ""]), zipfile.ZIP_DEFLATED, 9)


def check_submission(path: Path, counts: Mapping[str, int]) -> None:
    """Refuse a zip that the server would refuse; `counts` are the rows of each test split, by task.

    Raises:
        PreftuneError: no zip; a file too many or too few; in one of them the header, the number of rows, an index or a
            prediction is wrong; or a task has no count.
    """
    if uncounted := sorted(set(FILES) - set(counts)):
        raise PreftuneError(
            f"the counts lack {', '.join(uncounted)}: give the rows of every test split, or none."
        )
    try:
        with zipfile.ZipFile(path) as archive:
            texts = [(entry.filename, archive.read(entry).decode()) for entry in archive.infolist()]
    except (OSError, RuntimeError, zipfile.BadZipFile, zlib.error, UnicodeDecodeError) as error:
        raise PreftuneError(
            f"{path} is not a zip of text files ({error}): write the submission again."
        ) from error
    found, wanted = sorted(name for name, _ in texts), sorted(file.name for file in FILES.values())
    if found != wanted:
        raise PreftuneError(
            f"{path} must hold {', '.join(wanted)} at its top level, each once, and nothing else, but it holds "
            f"{', '.join(found) or 'nothing'}: write the submission again."
        )
    files = dict(texts)
    for task, file in FILES.items():
        _check_file(file.name, files[file.name], file.labels, counts[task])


def _check_file(name: str, text: str, labels: tuple[str, ...], count: int) -> None:
    header, *rows = text.removesuffix("\n").split("\n")
    if header != HEADER:
        raise PreftuneError(
            f"{name} starts with {header!r} and not with {HEADER!r}: write the submission again."
        )
    if len(rows) != count:
        raise PreftuneError(
            f"{name} has {len(rows)} rows where {count} are expected: answer the whole test split, without a limit."
        )
    for place, row in enumerate(rows):
        index, _, label = row.partition("\t")
        if index != str(place):
            raise PreftuneError(
                f"{name} has the index {index!r} where {place} is expected: write every row once, in order."
            )
        if not (label in labels if labels else _is_similarity(label)):
            known = ", ".join(labels) if labels else f"a number from 0 to {HIGHEST:g}"
            raise PreftuneError(
                f"{name} has the prediction {label!r} at index {index}, where the server expects {known}: "
                "write the submission again."
            )


def _is_similarity(text: str) -> bool:
    return re.fullmatch(r"[0-9]+(\.[0-9]+)?", text) is not None and float(text) <= HIGHEST
