"""Perplexity against trainable parameters: the front, the points, and what tells them apart."""

import math
from pathlib import Path

import pytest

from preftune.errors import PreftuneError
from preftune.figures.pareto import draw_pareto, pareto_front, read_points
from preftune.figures.settings import ParetoFigureSettings
from tests.unit.figures.synthetic import captioner, write_perplexity

RUNS = {
    "none": (14.0, 0, captioner(kind="none")),
    "ia3-af-specific": (15.0, 1000, captioner(kind="ia3")),
    "lora-1-af-specific": (9.0, 50_000, captioner(kind="lora", rank=1)),
    "lora-8-af-specific": (8.0, 400_000, captioner(kind="lora", rank=8)),
    "lora-8-a-agnostic": (8.5, 400_000, captioner(kind="lora", rank=8, targets="A", context="agnostic")),
    "full-ft": (8.2, 100_000_000, captioner(kind="full")),
}


@pytest.fixture
def drawn(tmp_path: Path) -> tuple[Path, ParetoFigureSettings]:
    for run, (value, parameters, _) in RUNS.items():
        for seed in (0, 1):
            write_perplexity(tmp_path, run, math.log(value), seed=seed, parameters=parameters)
    known = {run: settings for run, (_, _, settings) in RUNS.items()}
    return tmp_path, ParetoFigureSettings.model_validate(
        {"scale": "demo", "data": "embedded", "captioners": known}
    )


def test_front_holds_the_runs_that_none_beats(drawn: tuple[Path, ParetoFigureSettings]) -> None:
    points = read_points([drawn[0]], drawn[1])
    assert {point.run: point.parameters for point in points} == {
        run: count for run, (_, count, _) in RUNS.items()
    }
    assert all(len(point.seeds) == 2 for point in points)
    assert [point.run for point in pareto_front(points)] == [
        "none",
        "lora-1-af-specific",
        "lora-8-af-specific",
    ]


def test_marks_differ_without_colour(drawn: tuple[Path, ParetoFigureSettings]) -> None:
    figure = draw_pareto([drawn[0]], drawn[1])
    (axes,) = figure.axes
    assert axes.get_xscale() == "symlog" and axes.get_title() == "image encoder: swinv2-tiny"
    entries = {text.get_text(): handle for text, handle in zip(
        figure.legends[0].get_texts(), figure.legends[0].legend_handles, strict=True)}  # fmt: skip
    assert list(entries) == [
        "projection only",
        "IA3, specific",
        "LoRA, agnostic",
        "LoRA, specific",
        "Full FT",
        "Pareto front",
    ]
    looks = {(one.get_marker(), one.get_fillstyle(), one.get_linestyle()) for one in entries.values()}
    assert len(looks) == len(entries)
    assert {text.get_text() for text in axes.texts} >= {"1", "8", "A"}


def test_one_panel_an_encoder(tmp_path: Path) -> None:
    write_perplexity(tmp_path, "none", 2.0, parameters=0)
    known = {"none": captioner(kind="none"), "none-large": captioner("large", kind="none")}
    settings = ParetoFigureSettings.model_validate({"scale": "demo", "data": "embedded", "captioners": known})
    left, right = draw_pareto([tmp_path], settings).axes
    assert right.texts[0].get_text() == "not run at this scale" and left.get_xlabel().endswith("(log scale)")
    (tmp_path / "none" / "seed-0" / "perplexity.json").write_text('{"perplexity": null}')
    with pytest.raises(PreftuneError, match="perplexity is None, not a number"):
        draw_pareto([tmp_path], settings)
