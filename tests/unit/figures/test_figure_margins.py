"""The figure of margins: its closed forms, the runs that it picks, and what it reads of their held-out pairs."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import plot_margins
import pytest
import torch
from matplotlib.axes import Axes
from PIL import Image

from preftune.errors import PreftuneError
from preftune.figures.losses import optimal_margin
from preftune.figures.margins import draw_margins, gradient_size, read_margins, select_runs
from preftune.figures.settings import MarginFigureSettings
from preftune.preference.losses import contrastive_dph_loss, separable_dph_loss
from preftune.tables.scores import ScoreStore
from preftune.tables.settings import RunFacts

RUNS = {  # run -> loss, epsilon, freeze, mean of its margins
    "dph-joint": ("separable", 0.1, "none", 1.5),
    "bradley-terry": ("contrastive", 0.0, "none", 2.5),
    "frozen-sep-0": ("separable", 0.0, "model", 6.0),
    "frozen-sep-1": ("separable", 0.1, "model", 3.0),
    "frozen-sep-2": ("separable", 0.2, "model", 2.0),
    "frozen-con-0": ("contrastive", 0.0, "model", 4.0),
    "frozen-con-1": ("contrastive", 0.1, "model", 1.6),
    "frozen-con-2": ("contrastive", 0.2, "model", 1.0),
}


def facts(
    dph: str, epsilon: float, freeze: str, flipped: float = 0.0, pooler: str = "swiglu_bert"
) -> RunFacts:
    return RunFacts.model_validate(
        {
            "dph": dph,
            "policy": "none",
            "label_smoothing": epsilon,
            "freeze": freeze,
            "flipped": flipped,
            "pooler": pooler,
        }
    )


def make_settings(**changes: object) -> MarginFigureSettings:
    known = {run: facts(*values[:3]) for run, values in RUNS.items()}
    return MarginFigureSettings(
        scale="demo", data="synthetic", **{"runs": tuple(known), "settings": known} | changes
    )


def write_pairs(root: Path, run: str, margins: np.ndarray, seed: int = 0) -> Path:
    """Held-out pairs with the given margins; every second one has its preferred answer as the second candidate."""
    folder = root / run / f"seed-{seed}"
    folder.mkdir(parents=True)
    rows = [
        {
            "document": f"pair-{i:03}", "candidate": candidate, "label": str(candidate), "gold": str(i % 2), "tokens": 3,
            "log_probability": -3.0, "is_gold": candidate == i % 2,
            "reward": 0.7 + (margin if candidate == i % 2 else 0.0),
        }
        for i, margin in enumerate(margins) for candidate in (0, 1)
    ]  # fmt: skip
    pd.DataFrame(rows).to_parquet(folder / "ultrafeedback.parquet")
    metrics = {"log": {"accuracy": 0.5}, "reward": {"accuracy": float((margins > 0).mean())}}
    record = {
        "task": "ultrafeedback",
        "suite": "preference",
        "split": "validation",
        "n": len(margins),
        "metrics": metrics,
    }
    (folder / "ultrafeedback.json").write_text(json.dumps(record))
    return folder


def write_runs(root: Path, pairs: int = 300) -> list[Path]:
    generator = np.random.default_rng(0)
    return [
        write_pairs(root, run, mean + (0.6 + mean / 2) * generator.normal(size=pairs))
        for run, (*_, mean) in RUNS.items()
    ]


@pytest.mark.parametrize("epsilon", [0.0, 0.05, 0.2])
@pytest.mark.parametrize("margin", [-4.0, 0.0, 1.0, 2.944439, 7.0])
def test_gradient_is_the_losses(margin: float, epsilon: float) -> None:
    """Autograd of the trained losses at r_w = margin / 2 = -r_l."""
    for name, loss in (("contrastive", contrastive_dph_loss), ("separable", separable_dph_loss)):
        chosen = torch.tensor([margin / 2], requires_grad=True)
        loss(chosen, torch.tensor([-margin / 2]), epsilon).backward()
        found = gradient_size(name, np.array(margin), epsilon)
        assert found == pytest.approx(abs(chosen.grad.item()), abs=1e-6)
        if epsilon:
            cap = optimal_margin(name, epsilon)
            assert gradient_size(name, np.array(cap), epsilon) == pytest.approx(0, abs=1e-12)


def test_one_run_of_each_kind_by_epsilon() -> None:
    """The first of equal ones; no flipped pairs, no other pooler, no run without a head or of another scale."""
    more = {
        "again": facts("separable", 0.1, "model"),
        "layers": facts("separable", 0.1, "layers"),
        "flipped": facts("separable", 0.3, "model", flipped=0.2),
        "identity": facts("separable", 0.3, "model", pooler="identity"),
        "dpo-only": facts("none", 0.3, "none"),
        "elsewhere": facts("separable", 0.3, "none"),
    }
    known = make_settings().settings | more
    settings = make_settings(settings=known, runs=(*(run for run in known if run != "elsewhere"), "base"))
    assert select_runs(settings, "separable") == ["frozen-sep-0", "dph-joint", "frozen-sep-1", "frozen-sep-2"]
    assert select_runs(settings, "contrastive") == [
        "bradley-terry",
        "frozen-con-0",
        "frozen-con-1",
        "frozen-con-2",
    ]


def test_margins_of_all_seeds(tmp_path: Path) -> None:
    """Preferred minus dispreferred, wherever the preferred answer stands."""
    folders = [write_pairs(tmp_path, "sep", np.array([1.0, -2.0, 0.5]) + seed, seed) for seed in (0, 1)]
    found = read_margins(ScoreStore(folders), "sep", 0.1)
    assert found is not None and sorted(found.margins) == pytest.approx([-2.0, -1.0, 0.5, 1.0, 1.5, 2.0])
    assert found.accuracy == pytest.approx(4 / 6)
    assert read_margins(ScoreStore(folders), "other", 0.1) is None


def test_damaged_pairs_are_named(tmp_path: Path) -> None:
    folder = write_pairs(tmp_path, "sep", np.ones(3))
    frame = pd.read_parquet(folder / "ultrafeedback.parquet")
    frame.iloc[:-1].to_parquet(folder / "ultrafeedback.parquet")
    with pytest.raises(PreftuneError, match=r"ultrafeedback\.json"):
        read_margins(ScoreStore([folder]), "sep", 0.1)


def words(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_panels(tmp_path: Path) -> None:
    """Gradients above runs of the same loss over the same margins; every cap is in view and stands where it should."""
    figure = draw_margins(write_runs(tmp_path), make_settings(labels={"frozen-con-1": "frozen"}))
    contrastive, separable, con_runs, sep_runs = figure.axes
    for above, below, loss in ((contrastive, con_runs, "contrastive"), (separable, sep_runs, "separable")):
        assert above.get_title().startswith(loss) and above.get_xlim() == below.get_xlim()
        assert above.get_xlim()[1] > optimal_margin(loss, 0.05)
        assert sum(text.startswith("mean ") for text in words(below)) == 4
    assert words(con_runs)[::2] == [
        "bradley-terry (ε = 0, no cap)", "frozen-con-0 (ε = 0, no cap)", "frozen (ε = 0.1)", "frozen-con-2 (ε = 0.2)"
    ]  # fmt: skip
    caps = {round(float(line.get_xdata()[0]), 4) for line in sep_runs.lines}
    assert {4.3944, 2.7726} <= caps and 2.1972 not in caps
    assert {2.1972, 1.3863} <= {round(float(line.get_xdata()[0]), 4) for line in con_runs.lines}


def test_nothing_run_is_said(tmp_path: Path) -> None:
    folder = write_pairs(tmp_path, "frozen-con-1", np.ones(4))
    _, separable, con_runs, sep_runs = draw_margins([folder], make_settings()).axes
    assert len(separable.get_xticks()) > 3
    assert words(con_runs) == ["frozen-con-1 (ε = 0.1)", "mean 1.00, 100 % right"]
    assert words(sep_runs) == ["no run with this loss at this scale"]


def test_script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Size and record, the same bytes twice, one sentence for a missing folder."""
    folders = write_runs(tmp_path / "scores", 40)
    settings = ["--settings", make_settings().model_dump_json()]
    for name in ("a", "b"):
        paths = ["--output", str(tmp_path / f"{name}.png"), "--pdf", str(tmp_path / f"{name}.pdf")]
        plot_margins.main(["--scores", *map(str, folders), *settings, *paths])
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.pdf").read_bytes() == (tmp_path / "b.pdf").read_bytes()
    assert json.loads((tmp_path / "a.run.json").read_text())["rule"] == "plot_margins"
    with Image.open(tmp_path / "a.png") as image:
        assert image.size[0] == 1440 and image.size[1] > 700
    with pytest.raises(SystemExit):
        plot_margins.main(["--scores", str(tmp_path / "absent"), *settings, *paths])
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and errors[0].endswith(".")
