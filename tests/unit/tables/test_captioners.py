"""Captioning runs by their settings: methods, points of grids, and pairs of a run and its control."""

from typing import Any

from preftune.tables.captioners import CaptionerSettings, find_methods, main_runs
from preftune.tables.controls import find_pairs
from tests.unit.figures.synthetic import captioner


def known(**runs: dict[str, Any]) -> dict[str, CaptionerSettings]:
    return {
        name.replace("_", "-"): CaptionerSettings.model_validate(settings) for name, settings in runs.items()
    }


def lora(rank: int = 8, context: str = "specific", **adapter: Any) -> dict[str, Any]:
    return captioner(kind="lora", rank=rank, context=context, **adapter)


def test_a_method_is_made_of_runs_that_differ_in_rate_and_part_alone() -> None:
    full = captioner(kind="full")
    runs = known(
        lora_8=lora(),
        full_ft=full,
        full_ft_24=full | {"steps": 300},
        full_ft_low=full | {"learning_rate": 1e-5},
        full_ft_part_high=full | {"train_fraction": 0.1, "steps": 30},
        full_ft_part_low=full | {"train_fraction": 0.1, "learning_rate": 1e-5, "steps": 30},
        full_ft_large=captioner("swinv2-large", kind="full"),
        full_ft_view=full | {"views": 1},
    )
    methods = {method.name: method.candidates for method in find_methods(runs)}
    assert methods == {
        "lora-8": {1.0: ("lora-8",)},
        "full-ft": {0.1: ("full-ft-part-low", "full-ft-part-high"), 1.0: ("full-ft-low", "full-ft")},
        "full-ft-large": {1.0: ("full-ft-large",)},
        "full-ft-view": {1.0: ("full-ft-view",)},
    }
    assert main_runs(runs) == ["lora-8", "full-ft", "full-ft-24", "full-ft-large", "full-ft-view"]


def test_what_is_read_of_settings_is_found_again_in_them() -> None:
    training = {"learning_rate": 1e-4, "steps": 5, "batch": 3}
    adapter = {"kind": "lora", "context": "specific", "rank": 4, "groups": None, "targets": "AF"}
    run = {"encoder": "e", "connector": "mlp", "train_fraction": 0.5, "views": None, "training": training}
    found = CaptionerSettings.of(run | {"adapter": adapter, "max_caption_tokens": 9})
    assert found["adapter"] == {"kind": "lora", "rank": 4}  # defaults are left out: command lines are short
    assert CaptionerSettings.model_validate(found).adapter.context == "specific"


def test_each_run_is_held_against_the_one_that_differs_in_one_thing() -> None:
    runs = known(
        specific_4=lora(4),
        specific_8=lora(8),
        agnostic_8=lora(8, "agnostic"),
        agnostic_16=lora(16, "agnostic"),
        image=lora(8, "image"),
        text=lora(8, "text"),
        moka=captioner(kind="moka", rank=8),
        attention=lora(14, targets="A"),
        feed_forward=lora(8, targets="F"),
        scaled=lora(8, alpha=16.0),
        rooted=lora(8, alpha=4.0, rslora=True),
        one_view=lora() | {"views": 1},
        other_encoder=captioner("swinv2-large", kind="lora", context="agnostic", rank=16),
        part=lora(16, "agnostic") | {"train_fraction": 0.1},
    )
    assert list(find_pairs(runs)) == [
        ("specific-4", "agnostic-8"),
        ("specific-8", "agnostic-16"),
        ("image", "specific-8"),
        ("text", "specific-8"),
        ("moka", "specific-8"),
        ("attention", "feed-forward"),
        ("scaled", "specific-8"),
        ("rooted", "specific-8"),
        ("one-view", "specific-8"),
    ]
