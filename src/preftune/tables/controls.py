"""Controls of the captioning runs: blank images, shuffled captions, plain text, and each run against the one that controls it.

A pair is found by settings: the control of a run is the run whose settings differ in what the pair tests and in nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from preftune.tables.assemble import build_records
from preftune.tables.captioners import Captioners, CaptionerSettings, CaptioningTableSettings, main_runs
from preftune.tables.cells import Cell
from preftune.tables.forgetting import measure_bits, measure_text
from preftune.tables.measures import (
    Measure,
    measure_captions,
    measure_field,
    measure_perplexity,
    subtract,
)
from preftune.tables.records import Records
from preftune.tables.scores import ScoreStore
from preftune.tables.sheet import Sheet

# The paper's decoder has 129,024 LoRA parameters a rank in feed-forward layers and 73,728 in attention: as 7 to 4.
FEED_FORWARD, ATTENTION = 7, 4
IMAGE_COLUMNS = (
    ("perplexity", "perplexity", "perplexity"),
    ("perplexity, blank image", "perplexity_blank", "perplexity"),
    ("ratio blank / image", "ratio", "perplexity, blank image;perplexity"),
    ("CIDEr", "CIDEr", "captions"),
    ("CIDEr, shuffled", "CIDEr_shuffled", "captions"),
    ("CIDEr difference", "CIDEr_difference", "CIDEr;CIDEr, shuffled"),
)


def twice_the_rank(run: CaptionerSettings) -> CaptionerSettings | None:
    """Specific LoRA r: agnostic LoRA 2r has as many parameters, and the same rank in all."""
    specific = run.adapter.kind == "lora" and run.adapter.context == "specific" and not run.adapter.groups
    return run.change(context="agnostic", rank=2 * run.adapter.rank) if specific else None


def both_groups(run: CaptionerSettings) -> CaptionerSettings | None:
    """A group for image tokens alone (P-LoRA) or for text alone: both."""
    return run.change(context="specific") if run.adapter.context in ("image", "text") else None


def without_cross_attention(run: CaptionerSettings) -> CaptionerSettings | None:
    """MokA: context-specific LoRA of its rank, that is without its attention from text to the image."""
    return run.change(kind="lora") if run.adapter.kind == "moka" else None


def feed_forward(run: CaptionerSettings) -> CaptionerSettings | None:
    """Attention alone, in a rank that the paper's model has as many parameters at as in the feed-forward layers alone."""
    rank, rest = divmod(run.adapter.rank * ATTENTION, FEED_FORWARD)
    attention = run.adapter.kind == "lora" and run.adapter.targets == "A" and not rest
    return run.change(targets="F", rank=rank) if attention else None


def unscaled(run: CaptionerSettings) -> CaptionerSettings | None:
    """Updates scaled by alpha / r or alpha / sqrt(r): by 1, as the paper's."""
    return run.change(alpha=None, rslora=False) if run.adapter.alpha is not None else None


def all_views(run: CaptionerSettings) -> CaptionerSettings | None:
    """A few views of the training images: all that are stored."""
    return run.model_copy(update={"views": None}) if run.views is not None else None


CONTROLS: tuple[Callable[[CaptionerSettings], CaptionerSettings | None], ...] = (
    twice_the_rank,
    both_groups,
    without_cross_attention,
    feed_forward,
    unscaled,
    all_views,
)


def find_pairs(captioners: Captioners) -> Iterator[tuple[str, str]]:
    """Each run with its control, kind by kind, where the scale has both."""
    runs = main_runs(captioners)
    for control in CONTROLS:
        for run in runs:
            wanted = control(captioners[run])
            found = next((other for other in runs if captioners[other] == wanted), None)
            if wanted is not None and found is not None:
                yield run, found


def tabulate_controls(
    sheet: Sheet, store: ScoreStore, records: Records, settings: CaptioningTableSettings
) -> None:
    """Every run by every measure, then the difference of each pair."""
    for run in main_runs(settings.captioners):
        cells = [
            Cell("controls", run, column, metric, run=run, task=task)
            for column, metric, task in IMAGE_COLUMNS
        ]
        sheet.records += build_records(cells, store, sheet.setting)
        for column, metric, measured in other_measures(store, run):
            sheet.add(run, column, metric, measured, run=run, missing=f"scores of {run}")
    for run, control in find_pairs(settings.captioners):
        add_difference(sheet, store, run, control)


def other_measures(store: ScoreStore, run: str) -> list[tuple[str, str, Measure | None]]:
    """Column, metric and measure of what does not compare images."""
    return [
        ("text perplexity", "text_perplexity", measure_text(store, run)),
        ("bits per character", "bits_per_character", measure_bits(store, run)),
        ("LM parameters", "lm_trainable_parameters", _parameters(store, run)),
    ]


def _parameters(store: ScoreStore, run: str) -> Measure | None:
    return measure_field(store, run, "perplexity", "lm_trainable_parameters")


def add_difference(sheet: Sheet, store: ScoreStore, run: str, control: str) -> None:
    """A row of what a run has more than its control, paired over images or passages."""
    metrics = {
        "perplexity": ("difference", lambda one: measure_perplexity(store, one, "perplexity", "perplexity")),
        "CIDEr": ("CIDEr_difference", lambda one: measure_captions(store, one, "CIDEr")),
        "text perplexity": ("difference", lambda one: measure_text(store, one)),
        "bits per character": ("bits_per_character", lambda one: measure_bits(store, one)),
        "LM parameters": ("lm_trainable_parameters", lambda one: _parameters(store, one)),
    }
    for column, (metric, measure) in metrics.items():
        a, b = measure(run), measure(control)
        difference = a and b and subtract(a, b, f"{run} - {control}")
        missing = f"scores of {run} and {control}"
        sheet.add(f"{run} − {control}", column, metric, difference, run=run, missing=missing)
