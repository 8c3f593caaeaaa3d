"""All embedded language data in the layout and columns of the raw data root."""

from collections.abc import Iterator
from pathlib import Path

from preftune.data.embedded import choice, glue, reading, reasoning
from preftune.data.embedded.dialogues import split_dialogues
from preftune.data.embedded.preferences import (
    held_out_preferences,
    orca_pairs,
    preferences,
    reward_bench_pairs,
)
from preftune.data.embedded.world import Block, Row, Splits, draw_splits
from preftune.files import write_jsonl

TUNED = ("train", "validation")
TESTED = ("train", "validation", "test")
# Folder of a data set, its splits, and the column that numbers its rows.
CHOICES = {
    "openbookqa": ("openbookqa", TESTED, "id"),
    "arc-easy": ("arc_easy", TESTED, "id"),
    "arc-challenge": ("arc_challenge", TESTED, "id"),
    "mmlu": ("mmlu", TESTED, ""),
    "hellaswag": ("hellaswag", TUNED, "ind"),
    "piqa": ("piqa", TUNED, ""),
    "winogrande": ("winogrande", TUNED, ""),
}
READINGS = {
    "race-middle": ("race/middle", TESTED, "example_id"),
    "race-high": ("race/high", TESTED, "example_id"),
    "boolq": ("boolq", TUNED, ""),
    "squad-v2": ("squad_v2", TUNED, "id"),
}
REASONINGS = {
    "gsm8k": ("gsm8k", ("train", "test"), ""),
    "truthfulqa-mc1": ("truthful_qa", ("validation",), ""),
}


def generate(dialogues: list[Row], train: int, evaluation: int, seed: int) -> Iterator[tuple[str, Splits]]:
    """Yield folder and splits of every data set: `train` training rows, `evaluation` rows of every other
    split.
    """

    def counts(splits: tuple[str, ...]) -> dict[str, int]:
        return {split: train if split == "train" else evaluation for split in splits}

    def draw_glue(name: str, block: Block, splits: tuple[str, ...]) -> Splits:
        return number(hide_labels(draw_splits(name, block, counts(splits), seed)), "idx", "")

    for name, block in glue.BLOCKS.items():
        yield f"glue/{name}", draw_glue(name, block, TESTED)
    matched = draw_glue("mnli-matched", glue.mnli_matched, ("train", "validation_matched", "test_matched"))
    mismatched = draw_glue(
        "mnli-mismatched", glue.mnli_mismatched, ("validation_mismatched", "test_mismatched")
    )
    yield "glue/mnli", matched | mismatched
    yield "glue/ax", draw_glue("ax", glue.ax, ("test",))
    for blocks, layout in (
        (choice.BLOCKS, CHOICES),
        (reading.BLOCKS, READINGS),
        (reasoning.BLOCKS, REASONINGS),
    ):
        for name, (folder, splits, identifier) in layout.items():
            drawn = draw_splits(name, blocks[name], counts(splits), seed)
            yield folder, number(drawn, identifier, f"{name}-")
    talks = split_dialogues(dialogues, counts(TUNED), seed)
    yield "dialogues", talks
    pairs = draw_splits("ultrafeedback", preferences(talks["train"]), counts(("train",)), seed)
    fresh = held_out_preferences(talks["validation"], pairs["train"])
    yield (
        "ultrafeedback",
        pairs | draw_splits("ultrafeedback-validation", fresh, counts(("validation",)), seed),
    )
    yield "orca_dpo_pairs", draw_splits("orca-dpo-pairs", orca_pairs, counts(("train",)), seed)
    yield "reward_bench", draw_splits("reward-bench", reward_bench_pairs, counts(("test",)), seed)


def hide_labels(splits: Splits) -> Splits:
    """Return the rows with the label -1 in every test split, as GLUE's are published."""
    return {
        split: [row | {"label": type(row["label"])(-1)} for row in rows] if split.startswith("test") else rows
        for split, rows in splits.items()
    }


def number(splits: Splits, identifier: str, prefix: str) -> Splits:
    """Return the rows with their identifier column: whole numbers for `idx` and `ind`, else texts with the
    split.
    """
    if not identifier:
        return splits
    return {
        split: [
            row | {identifier: index if identifier in ("idx", "ind") else f"{prefix}{split}-{index}"}
            for index, row in enumerate(rows)
        ]
        for split, rows in splits.items()
    }


def write_language_data(
    folder: Path, dialogues: list[Row], train: int, evaluation: int, seed: int
) -> dict[str, int]:
    """Write every file below `folder`; return the number of rows of each."""
    written = {}
    for name, splits in generate(dialogues, train, evaluation, seed):
        for split, rows in splits.items():
            path = folder / name / f"{split}.jsonl.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_jsonl(path, rows)
            written[f"{name}/{split}"] = len(rows)
    return written
