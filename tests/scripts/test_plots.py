"""The command lines of the figures and the report on synthetic inputs: sizes, bytes, one-sentence errors."""

import importlib
import json
from pathlib import Path

import pytest
from PIL import Image

from tests.unit.figures import synthetic
from tests.unit.tables.alignment_folders import write_random_drift, write_random_pairs, write_record
from tests.unit.tables.score_folders import write_captioner

CELLS = str(Path(__file__).parents[2] / "config" / "cells.tsv")
STAMP = {"scale": "demo", "data": "embedded"}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Command lines without outputs, by script."""
    root = tmp_path_factory.mktemp("inputs")
    files = synthetic.write_images(root / "images", 4)
    captions = synthetic.write_captions(root / "captions", "lora-8-af-specific", files)
    archive, index = synthetic.write_attention(root / "attention", files, images=2)
    synthetic.write_captioners(root / "perplexity")
    synthetic.write_systems(root / "scores")
    models = [str(path) for path in synthetic.write_models(root / "models")]
    facts = write_alignments(root / "alignments")
    pairs = ["--scores", str(root / "alignments" / "scores")]
    drifts = [*pairs, "--drift", str(root / "alignments" / "drift")]
    heads = dict.fromkeys(("dph-joint", "dph-only"), facts["noise-0.0"])
    noise = json.dumps({**STAMP, "runs": list(facts), "settings": facts})
    captioners = {
        run: synthetic.captioner(kind=run.split("-")[0])
        for run in ("none", "bitfit-af-specific", "lora-8-af-specific")
    }
    cells = ["--cells", CELLS, "--scores", str(root / "perplexity")]
    return {
        "plot_loss_landscape": ["--settings", json.dumps({**STAMP, "epsilons": [0.1]})],
        "plot_training_curves": ["--models", *models],
        "plot_task_scores": ["--scores", str(root / "scores")],
        "plot_reward_distributions": pairs,
        "plot_reliability": [*pairs, "--settings", json.dumps({**STAMP, "settings": heads})],
        "plot_label_noise": [*pairs, "--settings", noise],
        "plot_alignment_cost": drifts,
        "plot_accuracy_against_kl": drifts,
        "plot_best_of": ["--best-of", str(synthetic.write_choices(root / "choices"))],
        "plot_adaptors": cells,
        "plot_encoders": cells,
        "plot_rank_sweep": cells,
        "plot_pareto": [*cells[2:], "--settings", json.dumps({**STAMP, "captioners": captioners})],
        "plot_equal_data": write_grid(root / "grid"),
        "plot_attention": [
            "--attention",
            str(archive),
            "--images",
            str(root / "images"),
            "--index",
            str(index),
        ],
        "plot_gallery": ["--captions", str(captions), "--images", str(root / "images")],
    }


def write_alignments(root: Path) -> dict[str, dict[str, object]]:
    """Scores and drift of three runs, one of them without a head; returns the settings of the two noise runs."""
    for run in ("sft", "dph-joint", "dph-only"):
        write_random_pairs(root / "scores", run, 0, 1.0, reward=run != "sft")
        write_random_drift(root / "drift", run, 0, 0.1 * (run != "sft"), 3.0, 20)
    facts: dict[str, dict[str, object]] = {}
    for share in (0.0, 0.2):
        run = f"noise-{share}"
        write_random_pairs(root / "scores", run, 0, 1.0 - share)
        facts[run] = {
            "dph": "separable", "policy": "none", "pooler": "bert", "label_smoothing": 0.1, "freeze": "model",
            "flipped": share,
        }  # fmt: skip
    return facts


def write_grid(root: Path) -> list[str]:
    """Command line of two methods at three numbers of images; their curves cross."""
    captioners, records = {}, []
    levels = {"full-ft": (2.6, 2.2, 1.8), "lora-8-af-specific": (2.2, 2.05, 1.95)}
    for method, kind in (("full-ft", "full"), ("lora-8-af-specific", "lora")):
        for nats, part in zip(levels[method], (0.1, 0.3, 1.0), strict=True):
            run = method if part == 1 else f"{method}-part{100 * part:03.0f}"
            captioners[run] = synthetic.captioner(kind=kind) | {"train_fraction": part}
            for seed in range(3):
                write_captioner(root / "scores", run, seed, nats, cider=3 - nats)
                records.append(str(write_record(root / "models", run, seed, images=int(2000 * part))))
    stated = json.dumps({**STAMP, "captioners": captioners})
    return ["--scores", str(root / "scores"), "--records", *records, "--settings", stated]


def draw(script: str, words: list[str], folder: Path) -> tuple[Path, Path]:
    """Run one script in this process; returns its PNG and PDF."""
    png, pdf = folder / "figure.png", folder / "figure.pdf"
    settings = [] if "--settings" in words else ["--settings", json.dumps(STAMP)]
    importlib.import_module(script).main([*words, *settings, "--output", str(png), "--pdf", str(pdf)])
    return png, pdf


# Width and least height in pixels, at 150 dots per inch.
SIZES = {
    "plot_loss_landscape": (780, 840),
    "plot_training_curves": (1950, 1230),
    "plot_task_scores": (1200, 1200),
    "plot_reward_distributions": (1110, 375),
    "plot_reliability": (1080, 435),
    "plot_label_noise": (1290, 540),
    "plot_alignment_cost": (1875, 400),
    "plot_accuracy_against_kl": (1290, 630),
    "plot_best_of": (1290, 510),
    "plot_adaptors": (1650, 660),
    "plot_encoders": (1650, 660),
    "plot_rank_sweep": (1575, 570),
    "plot_equal_data": (1500, 585),
    "plot_pareto": (1200, 700),
    "plot_attention": (1447, 585),
    "plot_gallery": (1740, 400),
}

SCORED = (
    "plot_task_scores",
    "plot_reward_distributions",
    "plot_reliability",
    "plot_label_noise",
    "plot_alignment_cost",
    "plot_accuracy_against_kl",
)


@pytest.mark.parametrize("script", SIZES)
def test_figure_has_its_size_and_records(script: str, inputs: dict[str, list[str]], tmp_path: Path) -> None:
    png, pdf = draw(script, inputs[script], tmp_path)
    with Image.open(png) as image:
        assert image.size[0] == SIZES[script][0]
        assert image.size[1] >= SIZES[script][1]
        assert len(image.convert("RGB").getcolors(1 << 24)) > 20
    assert pdf.read_bytes().startswith(b"%PDF")
    assert b"CreationDate" not in pdf.read_bytes()
    assert json.loads((tmp_path / "figure.run.json").read_text())["rule"] == script


@pytest.mark.parametrize("script", ["plot_rank_sweep", "plot_adaptors", "plot_equal_data", "plot_gallery"])
def test_same_inputs_give_the_same_bytes(script: str, inputs: dict[str, list[str]], tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, second = draw(script, inputs[script], tmp_path / "a"), draw(script, inputs[script], tmp_path / "b")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_captioning_runs_alone_give_one_panel(tmp_path: Path) -> None:
    models = [str(synthetic.write_metrics(tmp_path, run)) for run in ("none", "ia3-af-specific")]
    png, _ = draw("plot_training_curves", ["--models", *models], tmp_path)
    with Image.open(png) as image:
        assert image.size[0] == 1200


def test_nothing_run_is_said_not_an_error(tmp_path: Path) -> None:
    for script in ("plot_adaptors", "plot_rank_sweep"):
        draw(script, ["--cells", CELLS], tmp_path)
    (tmp_path / "empty").mkdir()
    empty = str(tmp_path / "empty")
    for script in ("plot_reward_distributions", "plot_reliability", "plot_label_noise"):
        draw(script, ["--scores", empty], tmp_path)
    for script in ("plot_alignment_cost", "plot_accuracy_against_kl"):
        draw(script, ["--scores", empty, "--drift", empty], tmp_path)
    for script in ("plot_pareto", "plot_equal_data"):
        draw(script, ["--scores", empty], tmp_path)
    draw("plot_best_of", ["--best-of", empty], tmp_path)


def break_input(script: str, words: list[str], folder: Path) -> list[str]:
    """The command line with its first input replaced by an empty file, or by a folder with an empty one."""
    empty = folder / "run" / "seed-0.jsonl"
    empty.parent.mkdir(exist_ok=True)
    empty.write_bytes(b"")
    for run in ("dph-joint", "noise-0.0"):
        damaged = folder / "scores" / run / "seed-0" / "ultrafeedback.json"
        damaged.parent.mkdir(parents=True, exist_ok=True)
        damaged.write_bytes(b"")
    choices = folder / "choices" / "dph-joint" / "seed-0" / "best_of.json"
    choices.parent.mkdir(parents=True, exist_ok=True)
    choices.write_bytes(b"")
    place = {"plot_training_curves": empty.parent, "plot_gallery": empty, "plot_best_of": choices}
    place |= dict.fromkeys(SCORED, folder / "scores")
    for file in ("none/seed-0/perplexity.json", "full-ft/seed-0/validation.json"):
        captioner = folder / "captioners" / file
        captioner.parent.mkdir(parents=True, exist_ok=True)
        captioner.write_bytes(b"")
    place |= dict.fromkeys(("plot_pareto", "plot_equal_data"), folder / "captioners")
    return [words[0], str(place.get(script, empty)), *words[2:]]


@pytest.mark.parametrize("script", [name for name in SIZES if name != "plot_loss_landscape"])
def test_empty_or_missing_input_is_one_sentence(
    script: str, inputs: dict[str, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = inputs[script] if script != "plot_training_curves" else inputs[script][:2]
    for broken in (break_input(script, words, tmp_path), [words[0], str(tmp_path / "absent"), *words[2:]]):
        with pytest.raises(SystemExit) as stop:
            draw(script, broken, tmp_path)
        assert stop.value.code == 1
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1 and lines[0].endswith(".")
        assert not (tmp_path / "figure.png").exists()


def test_unknown_setting_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        draw("plot_loss_landscape", ["--settings", json.dumps({**STAMP, "epsilon": [0.1]})], tmp_path)
    assert "key epsilon" in capsys.readouterr().err


def test_report_is_exported(inputs: dict[str, list[str]], tmp_path: Path) -> None:
    figures = tmp_path / "results" / "dph" / "figures"
    figures.mkdir(parents=True)
    png, _ = draw("plot_loss_landscape", inputs["plot_loss_landscape"], tmp_path)
    png.rename(figures / "loss_landscape.png")
    words = ["--results", str(tmp_path / "results"), *inputs["plot_gallery"], "--settings", json.dumps(STAMP)]
    output = tmp_path / "results" / "report.html"
    module = importlib.import_module("export_report")
    module.main([*words, "--output", str(output)])
    first = output.read_bytes()
    assert first.count(b"data:image/png;base64,") == 1 + 4
    record = json.loads(output.with_suffix(".run.json").read_text())
    assert any(entry["path"].endswith("loss_landscape.png") for entry in record["inputs"]["files"])
    module.main([*words, "--output", str(output)])
    assert output.read_bytes() == first
