"""Score generated captions: BLEU-1 to 4, METEOR, ROUGE-L, CIDEr, CIDEr with the captions shuffled, and SPICE where its
jars are configured.

Input: JSON Lines with image_id, caption and references. Output: the corpus scores (JSON) and each image's
(Parquet).
"""

from pathlib import Path
from typing import Any

import _repo  # noqa: F401
import pandas as pd
from preftune.captioning.metrics import score_captions
from preftune.errors import PreftuneError
from preftune.files import read_jsonl, write_json
from preftune.settings.captioning import CaptionMetricSettings
from preftune.command_line import step_parser
from preftune.step import Step

COLUMNS = ["image_id", "cider", "bleu4", "meteor", "rouge_l", "cider_shuffled"]


def read_captions(path: Path) -> tuple[dict[int, list[str]], dict[int, str]]:
    """Return references and captions by image; an incomplete or repeated row raises PreftuneError.

    A caption may be empty (a model can end at once) but must be there; a reference must have text.
    """
    references: dict[int, list[str]] = {}
    candidates: dict[int, str] = {}
    for number, row in enumerate(read_jsonl(path), start=1):
        check_row(path, number, row)
        if row["image_id"] in candidates:
            raise PreftuneError(
                f"{path}, row {number}: image {row['image_id']} has a caption already: remove one row."
            )
        candidates[row["image_id"]] = row["caption"]
        references[row["image_id"]] = row["references"]
    return references, candidates


def check_row(path: Path, number: int, row: dict[str, Any]) -> None:
    """Raise PreftuneError for a row without image, caption or references."""
    texts = row.get("references")
    problems = {
        "no image_id (an integer)": isinstance(row.get("image_id"), int),
        "no caption": isinstance(row.get("caption"), str),
        "no references": isinstance(texts, list) and bool(texts),
        "an empty reference": all(isinstance(text, str) and text.strip() for text in texts or []),
    }
    for problem, fine in problems.items():
        if not fine:
            raise PreftuneError(f"{path}, row {number} has {problem}: generate the captions again.")


def main(argv: list[str] | None = None) -> None:
    """Score all captions of a file."""
    parser = step_parser(__doc__)
    parser.add_argument("--captions", type=Path, required=True, help="captions to score (.jsonl)")
    parser.add_argument("--output", type=Path, required=True, help="corpus scores (.json)")
    parser.add_argument("--items", type=Path, required=True, help="scores of each image (.parquet)")
    with Step.start(
        parser, argv, rule="evaluate_captions", inputs=("captions",), outputs=("output", "items")
    ) as step:
        references, candidates = read_captions(step.arguments.captions)
        folder = step.settings(CaptionMetricSettings).spice
        spice = None if folder is None else Path(folder).expanduser()
        report, columns = score_captions(references, candidates, step.arguments.seed, spice=spice)
        write_json(step.out(), report)
        pd.DataFrame(columns)[[*COLUMNS, *(["spice"] if spice else [])]].to_parquet(
            step.out("items"), index=False
        )
        step.note(
            images=len(candidates), empty_captions=sum(not text.strip() for text in candidates.values())
        )


if __name__ == "__main__":
    main()
