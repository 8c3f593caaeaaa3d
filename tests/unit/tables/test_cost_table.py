"""The table of costs: facts of records, words for what was not measured, and what it took to reach a perplexity."""

import json
from pathlib import Path
from typing import Any

import pytest

from preftune.tables.assemble import Setting
from preftune.tables.captioner_costs import cost_records, find_reference, look_up
from preftune.tables.captioners import CaptioningTableSettings
from preftune.tables.cells import CellRecord
from preftune.tables.records import Records
from preftune.tables.render import render_markdown
from tests.unit.figures.synthetic import captioner

FULL, LORA = captioner(kind="full"), captioner(kind="lora", context="agnostic")
FACTS: dict[str, Any] = {
    "parameters": {"language_model": 2000, "connector": 300}, "files": {"adapter": 9_000_000, "predicted": 8_500_000},
    "optimizer_state_bytes": 5_000_000, "flops_per_token": 2_000_000.0, "training_seconds": 40.0, "steps": 8, "tokens": 800,
    "memory": {"predicted": {"weights": 1_000_000, "gradients": 2_000_000, "optimizer": 4_000_000, "activations": 3_000_000},
               "pass": {"baseline": 10_000_000, "peak": 16_500_000, "reserved": None},
               "training": {"baseline": 10_000_000, "peak": 30_000_000, "reserved": None}},
}  # fmt: skip


def settings(**captioners: dict[str, Any]) -> CaptioningTableSettings:
    known = {name.replace("_", "-"): one for name, one in captioners.items()}
    return CaptioningTableSettings.model_validate(
        {
            "paper": "context_peft",
            "scale": "demo",
            "data": "embedded",
            "runs": list(known),
            "captioners": known,
        }
    )


def write(root: Path, run: str, curve: dict[int, float], seed: int = 0, **facts: Any) -> Path:
    """The record and the metrics of one training."""
    folder = root / "models" / run / f"seed-{seed}"
    folder.mkdir(parents=True)
    record = {"facts": FACTS | facts, "time": {}, "energy": {"watt_hours": None, "method": "unavailable"}}
    (folder / "run.json").write_text(json.dumps(record))
    rows = [
        {"step": step, "loss": 1.0, **({"validation_perplexity": curve[step]} if step in curve else {})}
        for step in range(1, 9)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "run.json"


def tabulate(
    given: CaptioningTableSettings,
    trainings: list[Path],
    decodings: list[Path] = [],  # noqa: B006 (read only)
) -> dict[tuple[str, str], CellRecord]:
    records = cost_records(given, Records.read(trainings), Records.read(decodings))
    return {(record.row, record.column): record for record in records}


def test_facts_become_cells(tmp_path: Path) -> None:
    path = write(tmp_path, "lora-8-af-agnostic", {})
    decoding = tmp_path / "captions" / "lora-8-af-agnostic" / "seed-0.run.json"
    decoding.parent.mkdir(parents=True)
    memory = {"predicted": {"decoding": 1_500_000}, "decoding": {"baseline": 5_000_000, "peak": 7_000_000}}
    decoding.write_text(json.dumps({"facts": {"memory": memory}}))
    found = tabulate(settings(lora_8_af_agnostic=LORA), [path], [decoding])
    wanted = {
        "LM parameters": 2000, "connector parameters": 300, "adapter file": 9, "adapter file, predicted": 8.5,
        "weights": 1, "optimizer state": 5, "optimizer state, predicted": 4, "pass": 6.5, "pass, predicted": 5,
        "peak of training": 30, "decoding": 2, "decoding, predicted": 1.5, "peak of decoding": 7, "operations": 2,
        "training time (s)": 40,
    }  # fmt: skip
    for column, value in wanted.items():
        assert found["lora-8-af-agnostic", column].value == pytest.approx(value), column
    assert found["lora-8-af-agnostic", "energy (Wh)"].verdict == "not measured"
    assert found["lora-8-af-agnostic", "reserved"].verdict == "not measured"


def test_what_is_not_there_is_said_in_words(tmp_path: Path) -> None:
    given = settings(lora_8_af_agnostic=LORA, none=captioner(kind="none"))
    path = write(tmp_path, "lora-8-af-agnostic", {4: 9.0, 8: 8.0})
    records = cost_records(given, Records.read([path]), Records.read([]))
    text = render_markdown("costs", records, Setting("demo", "embedded"))
    (row,) = [line for line in text.splitlines() if line.startswith("| lora-8")]
    assert "not measured" in row and "not run at this scale" in row and "–" not in row
    (row,) = [line for line in text.splitlines() if line.startswith("| none")]
    assert set(row.split(" | ")[1:-1]) == {"not run at this scale"}


def test_cost_of_a_perplexity(tmp_path: Path) -> None:
    """Full fine-tuning ends with 8 at best; LoRA is there after step 6 of 8 in one seed and 8 in the other, IA3 never."""
    given = settings(full_ft=FULL, lora_8_af_specific=captioner(kind="lora"), ia3=captioner(kind="ia3"))
    paths = [
        write(tmp_path, "full-ft", {4: 9.0, 6: 8.0, 8: 8.5}),
        write(tmp_path, "lora-8-af-specific", {2: 9.0, 6: 7.9, 8: 7.0}),
        write(tmp_path, "lora-8-af-specific", {2: 9.0, 6: 8.1, 8: 8.0}, seed=1, training_seconds=80.0),
        write(tmp_path, "ia3", {8: 12.0}),
    ]
    found = tabulate(given, paths)
    assert {found[run, "perplexity to reach"].value for run in given.runs} == {8.0}
    assert found["full-ft", "steps to it"].value == 6
    lora = found["lora-8-af-specific", "time to it (s)"]
    assert lora.per_seed == {"0": 30.0, "1": 80.0}
    assert found["lora-8-af-specific", "operations to it"].per_seed["0"] == pytest.approx(
        0.75 * 800 * 2e6 / 1e12
    )
    assert {
        found["ia3", column].verdict for column in ("steps to it", "time to it (s)", "operations to it")
    } == {"not reached"}


def test_the_reference_reaches_its_own_best_in_every_seed(tmp_path: Path) -> None:
    """The mean of the seeds' bests, 8, is below the best of the second; a run in between reaches it in both."""
    given = settings(full_ft=FULL, lora_8_af_specific=captioner(kind="lora"))
    paths = [
        write(tmp_path, "full-ft", {4: 7.5, 8: 7.0}),
        write(tmp_path, "full-ft", {4: 9.0, 8: 9.5}, seed=1),
        write(tmp_path, "lora-8-af-specific", {4: 8.5, 8: 7.9}),
    ]
    found = tabulate(given, paths)
    assert found["lora-8-af-specific", "perplexity to reach"].value == 8.0
    assert found["full-ft", "steps to it"].per_seed == {"0": 8, "1": 4}
    assert found["lora-8-af-specific", "steps to it"].value == 8


def test_reference_is_of_the_same_encoder() -> None:
    large = captioner("large", kind="full")
    given = settings(
        lora_8_af_specific=captioner(kind="lora"),
        lora_8_af_agnostic=LORA,
        none_large=captioner("large", kind="none"),
    )
    assert find_reference(given, "lora-8-af-specific") == "lora-8-af-agnostic"
    assert find_reference(given, "none-large") is None
    given = settings(lora_8_af_agnostic=LORA, full_ft_large=large, none_large=captioner("large", kind="none"))
    assert find_reference(given, "none-large") == "full-ft-large"
    assert find_reference(given, "unknown") is None


def test_look_up() -> None:
    facts = {"a": {"b": 3, "c": None, "d": True}}
    assert [look_up(facts, path) for path in ("a.b", "a.b+a.b", "a.b-a.b", "a.c", "a.d", "a.b-a.c", "x.y")] == [
        3, 6, 0, None, None, None, None
    ]  # fmt: skip
