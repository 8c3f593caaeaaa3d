"""What jobs ask a cluster for: counted by hand where that is possible, and compared with what was measured.

`PREFTUNE_WRITE_DOCS=1 pytest tests/workflow/test_resources.py` renews the table of docs/cluster.md.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, Swinv2Config, Swinv2Model

from preftune.cluster.outcomes import mark_memory
from preftune.errors import PreftuneError
from preftune.models.encoders.efficientnet_lite import EfficientNetLite
from preftune.models.lsw import LswConfig, LswForCausalLM
from preftune.tables.pages import fill_markers
from preftune.workflow.jobs import Job
from preftune.workflow.outputs import list_outputs
from preftune.workflow.plan import Plan
from preftune.workflow.resources import LONGEST, STAGES, STEP, Forecast, Needs
from preftune.workflow.targets import load_plan
from tests.unit.models.published import LANGUAGE_MODELS
from tests.workflow.needs_page import ROOT, plan_of, render
from tests.workflow.test_dry_runs import rules, snakemake

PAGE = ROOT / "docs" / "cluster.md"
# Snakemake's own words for a job leave its resources out where the rule has a message.
PROBE = """
import json, sys
from snakemake import cli, logging
def tell(self, job):
    return "JOB " + json.dumps([job["rule_name"], dict(job["resources"].items())])
logging.DefaultFormatter.format_job_info = tell
cli.main(sys.argv[1:])
"""
SFT = "results/paper/dph/models/sft/seed-0"


def dry_run(*words: str) -> dict[str, list[dict[str, Any]]]:
    """The resources of every job of a dry run at the paper's scale, by rule."""
    command = [
        sys.executable,
        "-c",
        PROBE,
        "-n",
        "--cores",
        "8",
        "--nolock",
        "--configfile",
        "config/paper.yaml",
    ]
    done = subprocess.run(
        [*command, *words], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    found: dict[str, list[dict[str, Any]]] = {}
    for line in re.findall(r"^JOB (.*)$", done.stdout + done.stderr, re.M):
        rule, resources = json.loads(line)
        found.setdefault(rule, []).append(resources)
    return found


@cache
def forecast(scale: str) -> Forecast:
    return Forecast(plan_of(scale))


def jobs(plan: Plan) -> list[Job]:
    return list(dict(list_outputs(plan)).values())


def of_run(name: str, seed: int = 0, **changes: object) -> Needs:
    plan = plan_of("paper", **changes)
    return Forecast(plan).of(plan.train(name, seed))


MODELS = {
    **LANGUAGE_MODELS,
    "swinv2-tiny": Swinv2Config(image_size=256, embed_dim=96, depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24],
                                window_size=8),
    "swinv2-large": Swinv2Config(image_size=256, embed_dim=192, depths=[2, 2, 18, 2],
                                 num_heads=[6, 12, 24, 48], window_size=16),
    "efficientnet-lite0": None,
    "efficientnet-lite2": None,
}  # fmt: skip


def test_the_registry_states_the_parameters_of_every_model() -> None:
    stated = yaml.safe_load((ROOT / "config/models.yaml").read_text())
    assert stated.keys() == MODELS.keys()
    for name, config in MODELS.items():
        with torch.device("meta"):
            if config is None:
                model: torch.nn.Module = EfficientNetLite(name)
            elif isinstance(config, Swinv2Config):
                model = Swinv2Model(config)
            elif isinstance(config, LswConfig):
                model = LswForCausalLM(config)
            else:
                model = AutoModelForCausalLM.from_config(config)
        assert stated[name]["parameters"] == sum(one.numel() for one in model.parameters()), name
    assert stated["cpeft-lm-150m"]["parameters"] == 153_196_032  # Context-PEFT, Table 3
    assert stated["lovelace-medium-alpha1"]["parameters"] == 550_978_560


def test_a_model_without_its_number_of_parameters_is_an_error(tmp_path: Path) -> None:
    registry = tmp_path / "models.yaml"
    registry.write_text((ROOT / "config/models.yaml").read_text().replace("  parameters: 550_978_560\n", ""))
    with pytest.raises(PreftuneError, match="lovelace-medium-alpha1 has no number of parameters: add"):
        Forecast(plan_of("paper", models=str(registry)))


def test_every_rule_is_counted_and_asks_for_memory_and_time() -> None:
    for file, name, body in rules():
        assert name in STAGES or name.partition("_")[0] in STAGES, name
        asked = re.findall(r"(mem_mb|runtime)=(\w+)\((.*?)\),", body)
        assert [(key, helper) for key, helper, _ in asked] == [
            ("mem_mb", "memory"),
            ("runtime", "runtime"),
        ], file
        assert asked[0][2] == asked[1][2]
        assert "retries:" not in body, f"{name}: a rule's own retry runs inside the same allocation"


def test_every_job_of_the_papers_dry_run_asks_for_what_is_counted() -> None:
    found = dry_run()
    assert sum(map(len, found.values())) > 1700
    for rule, asked in found.items():
        for one in asked if rule != "all" else []:
            assert one["mem_mb"] % 1000 == 0 and one["mem_mb"] >= 1000, rule
            assert one["runtime"] % STEP == 0 and STEP <= one["runtime"] <= LONGEST, rule
    plan = forecast("paper").sizes.plan
    trained = [plan.train(run.name, seed) for run in plan.runs("dph", "alignment") for seed in run.seeds]
    counted = sorted(forecast("paper").of(job).runtime for job in trained)
    assert counted == sorted(one["runtime"] for one in found["train_alignment"] + found["train_heads"])


def test_memory_grows_where_it_ran_out_and_time_never_grows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFTUNE_SCRATCH", str(tmp_path))
    mark_memory(plan_of("paper").train("sft", 0).identity)
    needs = of_run("sft")
    (found,) = [one for one in dry_run("--", SFT)["train_sft"] if one["runtime"] == needs.runtime]
    assert found["mem_mb"] == 2 * needs.memory
    # Another attempt alone asks for no more.
    assert found in dry_run("--attempt", "3", "--", SFT)["train_sft"]


def test_a_dry_run_ends_with_what_it_would_take_unless_it_is_silent() -> None:
    words = ("-n", "--configfile", "config/paper.yaml", "--config", "only={paper: dph}", "--quiet")
    told = [line for line in snakemake(*words, "rules").stderr.splitlines() if "predicted" in line]
    (line,) = told
    assert re.search(r"predicted: about \d+ GPU hours \(train_alignment \d+, ", line), line
    assert "predicted" not in snakemake(*words, "all").stderr


def test_a_profile_overrides_what_is_counted_and_gpus_reach_trainings_alone(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("set-resources:\n  train_sft: {runtime: 600}\n")
    found = dry_run(
        "--profile", str(tmp_path), "--config", "gpus=4", "--", SFT.replace("models", "reference")
    )
    assert {one["runtime"] for one in found["train_sft"]} == {600}
    assert {one["gpu"] for one in found["train_sft"]} == {4}
    assert {one["gpu"] for one in found["compute_reference"]} == {1}


def test_gpus_change_no_identity_and_share_the_time() -> None:
    one, four = plan_of("paper"), plan_of("paper", gpus=4)
    assert [job.identity for job in jobs(one)] == [job.identity for job in jobs(four)]
    assert one.audit().identity == four.audit().identity
    alone, shared = of_run("dph-joint"), of_run("dph-joint", gpus=4)
    assert shared.runtime < alone.runtime and shared.memory > 3 * alone.memory
    assert shared.hours == pytest.approx(alone.hours, rel=0.05)


def test_several_gpus_on_a_cpu_are_an_error() -> None:
    with pytest.raises(PreftuneError, match="device is cpu, so the key gpus must be 1"):
        plan_of("small-cpu", gpus=2)


def test_gpu_hours_are_those_of_hand_arithmetic() -> None:
    """At 30 % of 312 TFLOP/s = 9.4e13 operations a second, and 0.306 times that for the model of 153 M parameters."""
    # 6,144 steps x 128 examples x 131 tokens x 6 x 551 M = 3.4e17: 1.0 h.
    assert of_run("sft").hours == pytest.approx(1.0, rel=0.1)
    # 23,040 steps x 64 pairs x 187 tokens x 6 x 551 M = 9.1e17: 2.7 h.
    assert of_run("dph-joint").hours == pytest.approx(2.7, rel=0.1)
    # The same with a pass of the starting model, 8 for 6.
    assert of_run("dph-kl").hours == pytest.approx(2.7 * 8 / 6, rel=0.1)
    # 47,229 steps x 96 captions x 78 tokens x 6 x 153 M = 3.3e17 at 2.9e13: 3.2 h.
    assert of_run("full-ft").hours == pytest.approx(3.2, rel=0.1)
    # 8 views of 113,287 images and 10,000 more: 916,000 of 0.02 s: 5.1 h, and less than one for the encoder.
    plan = plan_of("paper")
    assert 5.1 < Forecast(plan).of(plan.compute_features("swinv2-large")).hours < 6.1


def test_gpu_hours_of_the_paper_and_of_a_small_gpu() -> None:
    """459 captioners of 2 h in the mean and 75 alignments of 2.7 h are 1,120 h; all else is a tenth of that.

    The small scale's 234 steps on its GPU start in 15 s and load in 2.7 s, eight at once: 0.14 h, and 0.02 h of decoding. At 27 %
    of the rate its 76 captioners' 120 x 16 x 63 tokens, times 4 or 6 x 135 M, are 3 s each, its 15 alignments of 150 x 16 pairs
    10 s, its 3 SFT models 21 s, its 19 evaluations 8 s: 0.2 h with all else.
    """
    paper, small = (
        sum(needs.hours for needs in map(one.of, jobs(one.sizes.plan)) if needs.gpus)
        for one in (forecast("paper"), forecast("small-gpu"))
    )
    assert 1000 < paper < 1400
    assert 0.33 < small < 0.4


def test_steps_that_share_a_gpu_start_at_the_same_time_and_compute_one_after_another() -> None:
    alone, shared = (Forecast(plan_of("small-gpu", steps_per_gpu=n)) for n in (1, 8))
    plan = alone.sizes.plan
    assert plan.audit().identity == shared.sizes.plan.audit().identity
    one, other = (forecast.of(plan.train("none", 0)) for forecast in (alone, shared))
    assert other.wall == pytest.approx(one.wall) and one.beside == 0
    operations = alone.of(plan.train("none", 0)).wall - 8 / 7 * other.beside
    assert 0 < operations < other.hours < one.hours
    assert other.hours == pytest.approx(operations + (one.hours - operations) / 8)
    heads = plan.train("dph-frozen", 0)  # on the CPU
    assert alone.of(heads) == shared.of(heads)


def test_a_training_on_several_gpus_shares_none() -> None:
    with pytest.raises(PreftuneError, match="set steps_per_gpu to 1"):
        plan_of("small-gpu", gpus=2)


def test_more_steps_and_a_larger_model_ask_for_more() -> None:
    raw = yaml.safe_load((ROOT / "config/paper.yaml").read_text())["dph"]
    once = of_run("sft")
    longer = raw["sft"] | {"training": raw["sft"]["training"] | {"steps": 12288}}
    twice = of_run("sft", dph=raw | {"sft": longer})
    assert twice.runtime > once.runtime and twice.hours == pytest.approx(2 * once.hours, rel=0.05)
    assert twice.memory == once.memory
    assert of_run("sft", dph=raw | {"model": "opt-125m"}).memory < once.memory


def test_what_continues_from_a_checkpoint_asks_for_a_day_at_most_and_nothing_else_is_cut() -> None:
    raw = yaml.safe_load((ROOT / "config/paper.yaml").read_text())
    raw["dph"]["alignment"]["training"]["steps"] = 10**7
    raw["dph"]["preference_mix"]["examples"] = 10**8
    plan = load_plan(raw, ["config/paper.yaml"])
    long = Forecast(plan)
    assert long.of(plan.train("dph-joint", 0)).runtime == LONGEST
    assert long.of(plan.train("dph-joint", 0)).hours > 1000
    assert long.of(plan.compute_reference("sft", 0)).runtime > LONGEST
    assert {rule for rule, stage in STAGES.items() if stage.resumes} == {
        path.stem for path in (ROOT / "workflow/scripts").glob("train_*.py")
    }


def test_memory_holds_the_weights_and_what_trains_of_them() -> None:
    n = 550_978_560
    assert of_run("dph-joint").memory * 1e6 > (4 + 16) * n
    assert of_run("dph-freeze-lora").memory * 1e6 > 4 * n
    assert of_run("dph-freeze-lora").memory < of_run("dph-joint").memory
    # Frozen heads read 1,474,560 pairs of states 1,536 wide, in float32.
    assert of_run("dph-frozen").memory * 1e6 > 1_474_560 * 2 * 1536 * 4


def published(scale: str) -> Iterator[tuple[str, dict[str, Any]]]:
    folder = ROOT / "results/published" / scale
    for path in sorted([*folder.rglob("run.json"), *folder.rglob("*.run.json")]):
        record = json.loads(path.read_text())
        if record["rule"] != "export_published":  # no rule
            yield path.relative_to(folder).as_posix(), record


@pytest.mark.parametrize("scale", ["demo", "small-cpu"])
def test_no_published_record_took_more_than_would_be_asked_for(scale: str) -> None:
    plan = plan_of(scale)
    made = dict(list_outputs(plan))
    known: dict[str, list[Job]] = {}
    for job in made.values():
        known.setdefault(job.rule, []).append(job)
    seen = 0
    for path, record in published(scale):
        (first, *_) = [output["path"] for output in record["outputs"].values()]
        # A run that the registry no longer has counts as the largest of its rule.
        own = [made[first]] if first in made else known[record["rule"]]
        needs = [forecast(scale).of(job) for job in own]
        assert record["peak_memory_bytes"] < 1e6 * max(one.memory for one in needs), path
        assert record["time"]["wall_seconds"] < 60 * max(one.runtime for one in needs), path
        seen += 1
    assert seen > 30


def test_the_page_says_what_is_asked_for() -> None:
    text = PAGE.read_text(encoding="utf-8")
    wanted = fill_markers(text, {"needs": render()}, PAGE.name)
    if os.environ.get("PREFTUNE_WRITE_DOCS"):
        PAGE.write_text(wanted, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == wanted, (
        "PREFTUNE_WRITE_DOCS=1 renews the table of docs/cluster.md"
    )
