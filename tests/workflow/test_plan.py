"""`preftune plan`: sums counted by hand, what it prints, and how far its predictions were off for what was published.

`PREFTUNE_WRITE_DOCS=1 pytest tests/workflow/test_plan.py` renews the tables of docs/plan.md.
"""

import json
import os
import re
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from preftune.commands.config import plan_anywhere
from preftune.commands.plan import column_names, format_bytes, format_minutes, list_rows
from preftune.errors import PreftuneError
from preftune.models.encoders.efficientnet_lite import EfficientNetLite
from preftune.provenance.records import PUBLISHED
from preftune.tables.pages import fill_markers
from preftune.workflow.accuracy import Comparison, compare_published
from preftune.workflow.config import Selection, validate_config
from preftune.workflow.costs import SHARED, Costs, count_costs, find_chain
from preftune.workflow.jobs import Job
from preftune.workflow.outputs import list_outputs
from preftune.workflow.resources import Forecast, Needs
from preftune.workflow.state import list_stages
from tests.workflow.needs_page import ROOT, SCALES, plan_of
from tests.workflow.plan_page import render_costs, render_error, render_seeds
from tests.workflow.test_dry_runs import snakemake
from tests.workflow.test_resources import MODELS

PAGE = ROOT / "docs" / "plan.md"


@cache
def costs(scale: str) -> Costs:
    return count_costs(plan_of(scale))


def call(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "preftune", "plan", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("scale", ["demo", "paper", "released"])
def test_as_many_jobs_are_counted_as_snakemake_would_start(scale: str) -> None:
    done = snakemake("-n", "--forceall", "--quiet", "rules", "--configfile", SCALES[scale])
    total = re.findall(r"^total\s+(\d+)$", done.stdout, re.M)[-1]
    assert costs(scale).total.jobs == int(total) - 1  # without the rule all


def test_the_plan_of_the_paper_is_printed_in_time_without_data_or_network() -> None:
    start = time.monotonic()
    done = call("--configfile", "config/paper.yaml")
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - start < 6
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 120
    assert re.search(
        r"^stage +jobs +not done +GPU hours +CPU hours +longest job +disk +download$", done.stdout, re.M
    )
    for row in (
        "DPH",
        "  train_alignment",
        "Context-PEFT",
        "  compute_features",
        SHARED,
        "  fetch_dataset",
        "all",
    ):
        assert any(line.startswith(row) for line in lines), row
    text = " ".join(done.stdout.split())
    assert "a GPU computes 94 TFLOP/s" in text and "Longest chain" in text
    assert re.search(r"On the published demo: [\d.]+ CPU hours predicted, [\d.]+ measured \(x [\d.]+\)", text)


def test_a_config_for_a_cpu_has_no_column_of_gpus_and_a_part_is_less_than_all() -> None:
    whole, part = (plan_of("small-cpu", **more) for more in ({}, {"only": {"paper": "context_peft"}}))
    assert "GPU hours" not in column_names(whole) and "GPU hours" in column_names(plan_of("small-gpu"))
    rows = list_rows(whole, costs("small-cpu"))
    assert rows[-1][0] == "all" and all(len(row) == len(column_names(whole)) for row in rows)
    fewer = count_costs(part)
    assert "train_alignment" not in fewer.stages.get("dph", {})
    assert fewer.paper("context_peft").cpu_hours > 0
    assert 0 < fewer.total.jobs < costs("small-cpu").total.jobs


def test_a_folder_of_raw_rows_may_be_left_open() -> None:
    assert plan_anywhere("config/small-cpu.yaml", {}).scores("dph") == plan_of("small-cpu").scores("dph")
    assert plan_anywhere("config/small-cpu.yaml", {"data_root": "docs"}).config.data_root == "docs"


def test_sums_are_those_of_the_stages_and_of_the_jobs() -> None:
    found, plan = costs("paper"), plan_of("paper")
    forecast, total = Forecast(plan), found.total
    needs = [forecast.of(stage.job) for stage in list_stages(plan)]
    assert total.jobs == len(needs) == total.left  # nothing of it has run
    assert total.gpu_hours == pytest.approx(sum(one.hours for one in needs if one.gpus))
    assert total.cpu_hours == pytest.approx(sum(one.hours for one in needs if not one.gpus))
    assert total.disk == pytest.approx(sum(one.disk for one in needs))
    assert total.longest == max(one.wall for one in needs) and total.scratch == max(
        one.scratch for one in needs
    )


def test_what_is_done_is_not_counted_as_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "preftune.workflow.costs.is_current", lambda output, job: job.rule == "train_captioner"
    )
    found, before = count_costs(plan_of("small-gpu")), costs("small-gpu").total
    captioners = found.stages["context_peft"]["train_captioner"]
    assert captioners.left == 0 < captioners.jobs
    assert found.total.left == before.jobs - captioners.jobs


def test_the_longest_chain_is_found_and_parallel_jobs_do_not_lengthen_it() -> None:
    class Fixed:
        def of(self, job: Job) -> Needs:
            return Needs(1, 1, job.settings["hours"], job.settings.get("gpus", 0))

    first = Job("a", {"hours": 1}, 0, "a")
    short, long = (
        Job("b", {"hours": 2}, 0, "b", (first,)),
        Job("c", {"hours": 8, "gpus": 2}, 0, "c", (first,)),
    )
    last = Job("d", {"hours": 1}, 0, "d", (short, long))
    chain = find_chain(Fixed(), [last, short, long, first])  # type: ignore[arg-type]
    assert [job.rule for job in chain] == [
        "a",
        "c",
        "d",
    ]  # two GPUs halve the eight hours, which are still the longest


def test_disk_and_downloads_are_those_of_hand_arithmetic() -> None:
    plan = plan_of("paper")
    forecast = Forecast(plan)
    n = 550_978_560
    joint = forecast.of(plan.train("dph-joint", 0))
    # The whole model and its head as float32; two checkpoints of weights, two moments and the start.
    assert joint.disk == pytest.approx(4 * n, rel=0.05) and joint.disk > 4 * n
    assert joint.scratch == pytest.approx(2 * 16 * n, rel=0.05)
    assert forecast.of(plan.train("dph-freeze-lora", 0)).disk < 0.1 * joint.disk
    # 8 views of 113,287 images and one of 10,000, 64 positions of 768 or 1,536 features, 2 bytes each.
    views = 8 * 113_287 + 10_000
    assert forecast.of(plan.compute_features("swinv2-tiny")).disk == views * 64 * 768 * 2
    assert forecast.of(plan.compute_features("swinv2-large")).disk == views * 64 * 1536 * 2
    # Pairs of token ids.
    assert forecast.of(plan.prepare_mix("preference_mix")).disk == pytest.approx(
        1_474_560 * 187 * 5, rel=0.01
    )


def test_positions_and_widths_of_pictures_are_those_of_the_encoders() -> None:
    stated = plan_of("paper").models
    for name in (name for name, model in stated.items() if model["kind"] == "encoder"):
        config: Any = MODELS[name]
        if config is None:
            with torch.device("meta"):
                encoder = EfficientNetLite(name)
            found = encoder.grid[0] * encoder.grid[1], encoder.width
        else:
            halved = 2 ** (len(config.depths) - 1)
            found = (config.image_size // config.patch_size // halved) ** 2, config.embed_dim * halved
        assert (stated[name]["positions"], stated[name]["width"]) == found, name


def test_every_stage_that_fetches_says_how_much_and_no_other_does() -> None:
    for scale in ("paper", "small-gpu", "demo"):
        for stages in costs(scale).stages.values():
            for stage, cost in stages.items():
                assert (cost.download > 0) == stage.startswith("fetch_"), (scale, stage)


def test_pictures_are_those_of_cocos_archives() -> None:
    """Karpathy's split is of the 2014 pictures, 13.5 and 6.6 GB; small-gpu takes those of 2017, 19.3 and 0.8 GB, if it fetches."""
    for scale, size in (("paper", 20.2e9), ("small-gpu", 20.4e9)):
        plan = plan_of(scale, data="hub", data_root=None)
        (coco,) = [job for job in dict(list_outputs(plan)).values()
                   if job.rule == "fetch_dataset" and job.settings["name"].startswith("coco")]  # fmt: skip
        assert Forecast(plan).of(coco).download == pytest.approx(size, rel=0.01)


def test_the_small_scales_stay_small() -> None:
    assert 0.25 < costs("small-gpu").total.gpu_hours < 0.4
    assert count_costs(plan_of("small-gpu", only={"seeds": 1})).total.gpu_hours < 0.12
    assert (
        count_costs(plan_of("small-cpu", only={"seeds": 1})).total.cpu_hours < 7
    )  # jobs of one thread, two at once
    assert costs("small-cpu").total.cpu_hours < 21
    fetched = count_costs(plan_of("small-cpu", data="hub", data_root=None))
    assert fetched.total.download > 20e9 and fetched.total.cpu_hours < 22
    plan = plan_of("small-gpu", device="cpu")
    assert plan.config.training_gpus == 0 and count_costs(plan).total.gpu_hours == 0


@pytest.mark.parametrize("scale", ["small-gpu", "small-cpu"])
def test_the_small_scales_have_three_seeds_or_more_of_the_papers_main_rows(scale: str) -> None:
    """Ten of a head on a frozen model, five of an adapter. The base model is one: nothing is drawn in it."""
    plan = plan_of(scale)
    main = ["sft", "dph-joint", "dpo-only", "dph-only", "sft-chosen", "none", "full-ft", "lora-8-af-agnostic",
            "lora-8-af-specific", "lora-16-af-agnostic", "bitfit-af-specific", "ia3-af-specific"]  # fmt: skip
    counts = dict.fromkeys(main, 3) | {"dph-frozen": 10, "none": 5}
    counts |= {name: 5 for name in main if "-af-" in name}
    assert {name: plan.run(name).seeds for name in counts} == {
        name: tuple(range(n)) for name, n in counts.items()
    }


def test_small_cpu_is_sized_for_parts_of_a_night() -> None:
    dph = plan_of("small-cpu").dph
    assert dph.evaluation.limit == 100 and dph.preference_mix.max_tokens == 256
    training = dph.alignment.training
    assert (training.steps, training.batch) == (100, 4)
    assert costs("small-cpu").total.longest < 100 / 60  # no job exceeds 100 minutes
    assert "dolly-hhrlhf" in dph.sft_mix.tasks and "hh-rlhf-harmless" not in str(dph)


def test_predictions_of_the_published_demo_are_compared_with_its_records() -> None:
    found = compare_published("config.yaml", PUBLISHED / "demo", {})
    total = sum(found.values(), Comparison())
    assert total.jobs == costs("demo").total.jobs and total.done > 0.9 * total.jobs
    assert found["train_captioner"].done == found["train_captioner"].jobs
    # Means over public rows and one rate for all of CPUs: a half more or less, and nothing near it on the disk.
    assert 0.67 < total.ratio < 1.5
    assert total.predicted_disk == pytest.approx(total.measured_disk, rel=0.2)
    for stage in (
        "train_captioner",
        "train_alignment",
        "evaluate_tasks",
        "evaluate_captioner",
        "compute_features",
    ):
        assert 0.5 < found[stage].ratio < 2, stage


def test_records_are_predicted_from_their_own_settings(tmp_path: Path) -> None:
    """What was published may be older than the config: here its mix had twice as many pairs."""
    predicted = []
    for factor in (1, 2):
        folder = tmp_path / str(factor)
        for place in ("data/preference-mix", "reference/sft/seed-0"):
            record = json.loads((PUBLISHED / "small-cpu/dph" / place / "run.json").read_text())
            if "examples" in record["settings"]:
                record["settings"]["examples"] *= factor
            (folder / "dph" / place).mkdir(parents=True)
            (folder / "dph" / place / "run.json").write_text(json.dumps(record))
        found = compare_published("config/small-cpu.yaml", folder, {"data_root": "tests"})
        assert found["compute_reference"].done == 1
        predicted.append(found["compute_reference"].predicted)
    assert predicted[1] > 1.5 * predicted[0]


def test_a_folder_without_records_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PreftuneError, match="holds no records"):
        compare_published("config.yaml", tmp_path, {})


def test_sizes_and_times_are_words() -> None:
    assert [format_bytes(one) for one in (0, 10, 2.34e6, 54e6, 1.2e12)] == [
        "–",
        "< 1 MB",
        "2.3 MB",
        "54 MB",
        "1.2 TB",
    ]
    assert [format_minutes(one) for one in (0.001, 0.5, 26.75)] == ["4 s", "0:30 h", "26:45 h"]


def test_help_and_a_wrong_config_are_understood() -> None:
    assert "longest chain of jobs" in " ".join(call("--help").stdout.split())
    done = call("--configfile", "none.yaml")
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "none.yaml" in done.stderr


def test_the_page_of_one_gpu_says_what_its_seeds_take() -> None:
    page = ROOT / "docs/gpu.md"
    wanted = fill_markers(page.read_text(encoding="utf-8"), {"seeds": render_seeds()}, page.name)
    if os.environ.get("PREFTUNE_WRITE_DOCS"):
        page.write_text(wanted, encoding="utf-8")
    assert page.read_text(encoding="utf-8") == wanted, "PREFTUNE_WRITE_DOCS=1 renews the table of docs/gpu.md"


def test_the_audit_of_some_seeds_asks_for_these_alone() -> None:
    part = plan_of("small-cpu", only={"seeds": 1, "paper": "dph"}).audit().settings["config"]
    assert validate_config(part, "audit").only == Selection(seeds=1)
    assert "only" not in plan_of("small-cpu", only={"paper": "dph"}).audit().settings["config"]


def test_the_page_says_what_is_counted() -> None:
    text = PAGE.read_text(encoding="utf-8")
    blocks = {"costs": render_costs()} | {
        f"error-{scale}": render_error(scale) for scale in ("demo", "small-cpu")
    }
    wanted = fill_markers(text, blocks, PAGE.name)
    if os.environ.get("PREFTUNE_WRITE_DOCS"):
        PAGE.write_text(wanted, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == wanted, (
        "PREFTUNE_WRITE_DOCS=1 renews the tables of docs/plan.md"
    )
