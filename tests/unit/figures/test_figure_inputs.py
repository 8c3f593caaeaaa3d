"""What the figures read and compute before they draw."""

from pathlib import Path

import numpy as np
import pytest

from preftune.errors import PreftuneError
from preftune.figures.attention import read_maps, word_maps
from preftune.figures.gallery import read_pictures
from preftune.figures.perplexities import published_sweep, read_chart_cells, read_perplexities, sweep_points
from preftune.figures.runs import group_by_run, run_and_seed
from preftune.figures.scores import chance_level, order_tasks, read_accuracy
from preftune.figures.settings import System
from preftune.figures.style import Stamp, mark, new_figure
from preftune.figures.training import find_alarms, read_curves, running_mean
from preftune.tables.scores import ScoreStore
from tests.unit.figures import synthetic

CELLS = Path(__file__).parents[3] / "config" / "cells.tsv"


def test_run_and_seed_come_from_the_path() -> None:
    assert run_and_seed(Path("results/dph/models/sft/seed-3")) == ("sft", 3)
    assert run_and_seed(Path("captions/none/seed-0.jsonl")) == ("none", 0)
    with pytest.raises(PreftuneError, match="<run>/seed-<n>"):
        run_and_seed(Path("results/dph/models/sft"))


def test_runs_are_grouped_and_ordered() -> None:
    paths = [Path("m/b/seed-1"), Path("m/a/seed-0"), Path("m/b/seed-0"), Path("m/c/seed-0")]
    found = group_by_run(paths, order=["a"])
    assert list(found) == ["a", "b", "c"]
    assert [path.name for path in found["b"]] == ["seed-0", "seed-1"]


def test_marks_differ_without_colour() -> None:
    looks = [mark(index) for index in range(7)]
    assert len({look.marker for look in looks}) == len({str(look.line) for look in looks}) == 7
    assert len({(m.colour, m.marker) for m in map(mark, range(14))}) == 14


def test_figure_has_title_aid_and_footer() -> None:
    figure, grid = new_figure("A title", Stamp("embedded", "demo"), (5, 3), aid=["Read it so."])
    texts = [text.get_text() for text in figure.texts]
    assert texts == ["A title", "Read it so.", "data: embedded · scale: demo"]
    assert grid.shape == (1, 1)


def test_alarms_name_what_is_wrong(tmp_path: Path) -> None:
    good = synthetic.write_metrics(tmp_path, "good", head=True)
    bad = synthetic.write_metrics(tmp_path, "bad", head=True, healthy=False)
    healthy, ill = read_curves([good, bad])
    assert find_alarms(healthy) == []
    alarms = " ".join(find_alarms(ill))
    assert "margin -" in alarms and "accuracy 0.3" in alarms and "loss rose" in alarms


def test_curves_average_seeds(tmp_path: Path) -> None:
    folders = [synthetic.write_metrics(tmp_path, "sft", seed=seed) for seed in (0, 1)]
    (curves,) = read_curves(folders)
    np.testing.assert_allclose(curves.mean("loss"), np.mean([seed["loss"] for seed in curves.seeds], axis=0))
    assert list(curves.steps("loss")[:3]) == [1, 2, 3]


def test_running_mean_keeps_constants_and_length() -> None:
    np.testing.assert_allclose(running_mean(np.full(40, 2.5)), 2.5)
    assert len(running_mean(np.arange(40.0))) == 40


@pytest.mark.parametrize("text", ["", '{"step": 1}\n', "not json\n"])
def test_bad_metrics_are_named(tmp_path: Path, text: str) -> None:
    folder = tmp_path / "sft" / "seed-0"
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text(text)
    with pytest.raises(PreftuneError, match=r"metrics\.jsonl"):
        read_curves([folder])


def test_accuracy_and_chance(tmp_path: Path) -> None:
    folder = synthetic.write_scores(tmp_path, "sft", 1.0, reward=False)
    store = ScoreStore([folder])
    system = System(run="sft", score="log", label="SFT")
    found = read_accuracy(store, system, "piqa")
    assert found is not None and found.items == 12
    assert found.low <= found.value <= found.high and found.value > 0.7
    assert read_accuracy(store, System(run="sft", score="reward", label=""), "piqa") is None
    assert chance_level(store, "sft", "race-high") == pytest.approx(1 / 4)
    assert list(dict.fromkeys(order_tasks(store, [system]).values())) == ["glue", "gpt4all", "race"]


def test_perplexity_is_the_tables(tmp_path: Path) -> None:
    folder = synthetic.write_perplexity(tmp_path, "lora-8-af-specific", 2.0)
    synthetic.write_perplexity(tmp_path, "stale", 2.0)
    measured = read_perplexities([tmp_path], ["lora-8-af-specific"])
    assert list(measured) == ["lora-8-af-specific"]
    found = measured["lora-8-af-specific"]
    assert found.low < found.value < found.high
    assert found.images == 24
    assert list(sweep_points(measured, "specific")) == [8]
    (folder / "perplexity.json").unlink()
    with pytest.raises(PreftuneError, match=r"perplexity\.json"):
        read_perplexities([folder])


def test_published_numbers_come_from_the_registry() -> None:
    cells = read_chart_cells(CELLS, "encoders")
    assert published_sweep(cells, "Swin-Tiny", "agnostic") == {1: 10.23, 8: 8.48, 64: 7.61}
    assert {cell.group for cell in read_chart_cells(CELLS, "adaptors")} == {"A", "F", "AF"}


def test_word_maps_join_pieces_and_leave_function_words_out(tmp_path: Path) -> None:
    archive, _ = synthetic.write_attention(tmp_path / "attention", ["x.png"] * 4)
    found = read_maps(archive)
    words = word_maps(found, 0, 10)
    assert [word.word for word in words] == ["red", "circle", "left", "square"]
    joined = found.maps[0, 2] + found.maps[0, 3]
    np.testing.assert_allclose(words[1].attention, joined / joined.sum())
    assert len(word_maps(found, 0, 2)) == 2


@pytest.mark.parametrize(
    "change", [{"maps": np.zeros((2, 7, 7))}, {"maps": -np.ones((4, 12, 7, 7))}, {"lengths": [1]}]
)
def test_bad_attention_is_named(tmp_path: Path, change: dict[str, object]) -> None:
    archive, _ = synthetic.write_attention(tmp_path / "attention", ["x.png"] * 4)
    with np.load(archive) as stored:
        arrays = {name: stored[name] for name in stored.files}
    np.savez(archive, **{**arrays, **change})
    with pytest.raises(PreftuneError, match=r"attention\.npz"):
        read_maps(archive)


def test_gallery_takes_the_first_images_of_every_run(tmp_path: Path) -> None:
    files = [f"{number}.png" for number in range(5)]
    paths = [synthetic.write_captions(tmp_path, run, files) for run in ("none", "lora-8-af-specific")]
    pictures = read_pictures(paths, 3, order=["lora-8-af-specific"])
    assert [picture.image_id for picture in pictures] == [0, 1, 2]
    assert list(pictures[0].captions) == ["lora-8-af-specific", "none"]
