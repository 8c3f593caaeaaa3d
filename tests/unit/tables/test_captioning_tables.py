"""Tables of captioning runs, against numbers worked out by hand."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from preftune.errors import PreftuneError
from preftune.figures.equal_data import interpolate
from preftune.tables.assemble import Setting
from preftune.tables.captioners import CaptioningTableSettings
from preftune.tables.captioning import captioning_records
from preftune.tables.cells import NOT_RUN, CellRecord, read_cells
from preftune.tables.claims import judge_claims, name_runs, read_claims
from preftune.tables.equal_data import describe_crossings, find_crossings, picked_runs
from preftune.tables.records import Records
from preftune.tables.render import render_latex, render_markdown
from preftune.tables.scores import ScoreStore
from tests.unit.figures.synthetic import captioner
from tests.unit.tables.alignment_folders import write_record
from tests.unit.tables.score_folders import write_captioner

DEMO = Setting("demo", "embedded")
CONFIG = Path(__file__).parents[3] / "config"
CELLS = read_cells(CONFIG / "cells.tsv")
FULL, LORA = captioner(kind="full"), captioner(kind="lora", rank=8)


def settings(**captioners: dict[str, Any]) -> CaptioningTableSettings:
    known = {name.replace("_", "-"): one for name, one in captioners.items()}
    stated = {"paper": "context_peft", "scale": "demo", "data": "embedded", "runs": list(known)}
    return CaptioningTableSettings.model_validate(stated | {"captioners": known})


def tabulate(table: str, root: Path, own: CaptioningTableSettings) -> dict[tuple[str, str], CellRecord]:
    records = Records.read((root / "models").glob("*/*/run.json"))
    made = captioning_records(table, ScoreStore([root / "scores"], own.runs), records, own)
    return {(record.row, record.column): record for record in made}


def write_grid(root: Path) -> CaptioningTableSettings:
    """Full FT and LoRA with 10 and 100 images. Of full FT's rates validation prefers the high one, test the low one."""
    half = {"train_fraction": 0.1}
    runs = {
        "full-ft": (FULL, 100, {"nats": 1.8, "validation": 2.0, "cider": 0.9}),
        "full-ft-low": (FULL | {"learning_rate": 1e-5}, 100, {"nats": 1.2, "validation": 2.3, "cider": 2.0}),
        "full-ft-part": (FULL | half, 10, {"nats": 2.4, "validation": 2.4, "cider": 0.4}),
        "lora-8": (LORA, 100, {"nats": 2.0, "validation": 2.0, "cider": 0.8}),
        "lora-8-part": (LORA | half, 10, {"nats": 2.2, "validation": 2.2, "cider": 0.5}),
    }
    for run, (_, images, levels) in runs.items():
        for seed in (0, 1):
            write_captioner(root / "scores", run, seed, **levels)
            write_record(root / "models", run, seed, images=images)
    return settings(**{run: one for run, (one, _, _) in runs.items()})


def test_the_learning_rate_is_picked_on_validation_alone(tmp_path: Path) -> None:
    own = write_grid(tmp_path)
    found = tabulate("equal_data", tmp_path, own)
    rate, perplexity = found["full-ft, 100 %", "learning rate"], found["full-ft, 100 %", "perplexity"]
    assert (rate.value, rate.split, rate.interval) == (1e-4, "validation", None)
    assert perplexity.run == "full-ft"
    assert perplexity.split == "test"
    assert perplexity.value == pytest.approx(np.exp(1.8), rel=0.05)  # not the better test score, exp(1.2)
    assert found["full-ft, 100 %", "CIDEr"].value == pytest.approx(90, abs=5)
    # Every candidate's validation perplexity stands beside the choice, with its files.
    assert found["full-ft, 100 %", "validation, 1e-05"].value == pytest.approx(np.exp(2.3), rel=0.05)
    assert found["full-ft, 100 %", "validation, 1e-05"].run == "full-ft-low"
    assert {Path(file).parents[1].name for file in rate.score_files} == {"full-ft", "full-ft-low"}
    assert found["lora-8, 10 %", "validation, 1e-05"].verdict == "not applicable"
    assert found["lora-8, 10 %", "training images"].value == 10
    store = ScoreStore([tmp_path / "scores"], own.runs)
    assert picked_runs(store, own.captioners) == {
        "full-ft@0.1": "full-ft-part",
        "full-ft@1": "full-ft",
        "lora-8@0.1": "lora-8-part",
        "lora-8@1": "lora-8",
    }


def test_test_scores_change_no_choice(tmp_path: Path) -> None:
    """Without the test scores the same rate is picked; without one candidate the choice is among the others."""
    own = write_grid(tmp_path)
    for run in ("full-ft", "full-ft-low"):
        for seed in (0, 1):
            (tmp_path / "scores" / run / f"seed-{seed}" / "perplexity.json").unlink()
    found = tabulate("equal_data", tmp_path, own)
    assert found["full-ft, 100 %", "learning rate"].value == 1e-4
    assert found["full-ft, 100 %", "perplexity"].verdict == NOT_RUN
    for seed in (0, 1):
        (tmp_path / "scores" / "full-ft" / f"seed-{seed}" / "validation.json").unlink()
    assert tabulate("equal_data", tmp_path, own)["full-ft, 100 %", "learning rate"].value == 1e-5


def test_crossings_by_hand() -> None:
    a, b = {10: 5.0, 100: 4.0, 1000: 3.0}, {10: 7.0, 100: 4.5, 1000: 2.5}
    # a - b: -2, -0.5, 0.5: half of the way from 100 to 1000 in the logarithm.
    assert find_crossings(a, b) == pytest.approx([math.sqrt(100 * 1000)])
    assert find_crossings(a, {n: value + 1 for n, value in a.items()}) == []
    flat = {10: 2.0, 100: 2.0, 1000: 2.0}
    assert find_crossings({10: 1.0, 100: 2.0, 1000: 3.0}, flat) == [100]
    assert (
        find_crossings({10: 1.0, 100: 2.0, 1000: 1.0}, flat)
        == find_crossings({10: 1.0, 100: 2.0}, flat)
        == []
    )
    assert find_crossings({10: 1.0, 20: 3.0}, {10: 2.0, 30: 2.0}) == []  # one shared number of images
    assert interpolate(b, math.sqrt(1000)) == pytest.approx((7.0 + 4.5) / 2)
    assert interpolate(b, 100) == 4.5


def test_the_note_says_where_the_curves_cross(tmp_path: Path) -> None:
    own = write_grid(tmp_path)
    found = tabulate("equal_data", tmp_path, own)
    lines = describe_crossings(list(found.values()))
    assert lines[0].startswith("Crossing with full-ft by perplexity: lora-8: at ")
    assert lines[1].startswith("Crossing with full-ft by CIDEr: lora-8: at ")
    images = float(lines[0].split(" at ")[1].split(" images")[0])
    assert 10 < images < 100
    text = render_markdown("equal_data", list(found.values()), DEMO)
    assert lines[0] in text and "| Method, part of the images | training images | learning rate |" in text
    assert "| 0.00010 |" in text and "| validation, 1e-05 |" in text
    assert r"full-ft, 10 \%" in render_latex("equal_data", list(found.values()), DEMO)
    better = settings(**{run: one.model_dump() for run, one in own.captioners.items() if "low" not in run})
    for seed in (0, 1):
        write_captioner(tmp_path / "scores", "lora-8", seed, nats=1.0, cider=0.95)
    lines = describe_crossings(list(tabulate("equal_data", tmp_path, better).values()))
    assert "lora-8: none within the range (better throughout)" in lines[0]


def test_claims_name_points_of_equal_data(tmp_path: Path) -> None:
    claims = [claim for claim in read_claims(CONFIG / "claims.tsv", CELLS) if "@" in claim.a]
    named = name_runs(claims, {"full-ft@0.1": "full-ft-part", "lora-8-af-specific@0.1": "lora-8-part"})
    assert (named[0].a, named[0].b) == ("lora-8-part:perplexity", "full-ft-part:perplexity")
    (tmp_path / "scores").mkdir()
    (record, *_) = judge_claims(claims, CELLS, ScoreStore([tmp_path / "scores"]))
    assert record.verdict.startswith(
        "not testable at this scale: full-ft@0.1, lora-8-af-specific@0.1 are not run"
    )


def test_forgetting_by_hand(tmp_path: Path) -> None:
    """Before, after and their ratio; what is drawn is the same for both, so that a constant shift has no interval."""
    for run, text in (("none", 3.0), ("lora-8-af-image", 3.0), ("full-ft", 3.5)):
        for seed in (0, 1):
            write_captioner(tmp_path / "scores", run, seed, nats=2.0, text=text)
    own = settings(
        none=captioner(kind="none"), lora_8_af_image=captioner(kind="lora", context="image"), full_ft=FULL,
        absent=LORA,
    )  # fmt: skip
    found = tabulate("forgetting", tmp_path, own)
    tokens, noise = np.arange(10, 18), np.linspace(-0.1, 0.1, 8)
    before = np.exp(3.0 + (tokens * noise).sum() / tokens.sum())
    assert found["full-ft", "before"].value == pytest.approx(before)
    assert found["full-ft", "after"].value == pytest.approx(before * np.exp(0.5))
    ratio = found["full-ft", "after / before"]
    assert ratio.value == pytest.approx(np.exp(0.5))
    assert ratio.interval == pytest.approx((np.exp(0.5), np.exp(0.5)))
    assert ratio.interval_method == "bootstrap over items and 2 seeds"
    assert found["full-ft", "after"].interval[1] > found["full-ft", "after"].value  # type: ignore[index]
    assert found["lora-8-af-image", "after / before"].value == 1.0  # exactly
    assert found["lora-8-af-image", "after / before"].interval == (1.0, 1.0)
    assert found["absent", "after / before"].verdict == NOT_RUN


def test_forgetting_says_what_is_wrong(tmp_path: Path) -> None:
    write_captioner(tmp_path / "scores", "full-ft", 0, nats=2.0)
    found = tabulate("forgetting", tmp_path, settings(full_ft=FULL))
    assert found["full-ft", "after / before"].reason == "missing: plain text read by a run without an adapter"
    assert found["full-ft", "after"].value is not None
    path = tmp_path / "scores" / "full-ft" / "seed-0" / "text.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"text_perplexity": 5.0}))
    with pytest.raises(PreftuneError, match=r"text\.json: text_perplexity is 5\.0000 but its items give"):
        tabulate("forgetting", tmp_path, settings(full_ft=FULL))


def test_controls_measure_each_run_and_each_difference(tmp_path: Path) -> None:
    for run, nats, parameters in (("lora-8", 1.9, 2000), ("lora-16", 2.0, 2000), ("none", 2.5, 0)):
        write_captioner(tmp_path / "scores", run, 0, nats=nats, blank=2.5, parameters=parameters)
    own = settings(
        none=captioner(kind="none"), lora_8=LORA, lora_16=captioner(kind="lora", rank=16, context="agnostic")
    )
    found = tabulate("controls", tmp_path, own)
    ratio, drop = found["lora-16", "ratio blank / image"], found["lora-16", "CIDEr difference"]
    assert ratio.value == pytest.approx(np.exp(0.5))
    assert ratio.interval == pytest.approx((np.exp(0.5), np.exp(0.5)))  # paired: one ratio for every image
    assert drop.interval is not None and drop.interval[0] > 0
    bits = found["lora-16", "bits per character"]
    assert bits.value == pytest.approx(2.0 / np.log(2) / 4, rel=0.02)
    assert bits.interval is not None and bits.interval[0] < bits.value < bits.interval[1]  # type: ignore[operator]
    assert found["none", "LM parameters"].value == 0
    row = "lora-8 − lora-16"
    difference = found[row, "perplexity"]
    assert difference.value == pytest.approx(np.exp(1.9) - np.exp(2.0), rel=0.05)
    assert difference.interval is not None and difference.interval[1] < 0
    assert found[row, "bits per character"].interval == pytest.approx((-0.1 / np.log(2) / 4,) * 2)
    assert (found[row, "CIDEr"].value, found[row, "LM parameters"].value) == (0, 0)
    assert found[row, "text perplexity"].interval == (0, 0)
    assert (row, "perplexity, blank image") not in found


def test_captions_list_the_runs_that_stand_for_themselves(tmp_path: Path) -> None:
    own = write_grid(tmp_path)
    captions = tabulate("captions", tmp_path, own)
    assert {row for row, _ in captions} == {"full-ft", "lora-8"}
    assert captions["lora-8", "BLEU-1"].value == 50
    assert captions["lora-8", "BLEU-4"].interval is None
    assert captions["lora-8", "CIDEr"].interval is not None


def test_an_unknown_table_is_named_and_an_empty_one_says_so(tmp_path: Path) -> None:
    with pytest.raises(PreftuneError, match="no table glue: give one of captions, controls"):
        captioning_records("glue", ScoreStore([]), Records.read([]), settings())
    (record,) = captioning_records("equal_data", ScoreStore([]), Records.read([]), settings(full_ft=FULL))
    assert record.verdict == NOT_RUN
