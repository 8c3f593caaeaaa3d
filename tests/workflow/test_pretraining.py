"""The paper's language model in the plan: its published numbers, who depends on it, and what another model changes."""

import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import tabulate_claims
import tabulate_scores
import torch
import yaml

from preftune.errors import PreftuneError
from preftune.models.fresh import shape_config
from preftune.models.lsw import LswForCausalLM
from preftune.tables.files import read_records
from preftune.training.optimizers import schedule_factor
from preftune.workflow.plan import Plan
from preftune.workflow.resources import Forecast
from tests.unit.tables.score_folders import write_captioner
from tests.workflow.needs_page import ROOT, plan_of
from tests.workflow.test_dry_runs import snakemake

BASE = "results/paper/context_peft/models/cpeft-lm-150m/seed-0"
CAPTIONER = "results/paper/context_peft/models/lora-8-af-specific/seed-1"
OPT = {"model": "opt-125m", "pretraining": None}


def paper(**changes: Any) -> Plan:
    """The paper's plan with other keys in its captioning section."""
    raw = yaml.safe_load((ROOT / "config/paper.yaml").read_text())["context_peft"]
    return plan_of("paper", context_peft=raw | changes)


def pretraining(**changes: Any) -> dict[str, Any]:
    raw = yaml.safe_load((ROOT / "config/paper.yaml").read_text())["context_peft"]["pretraining"]
    return raw | changes


def test_the_numbers_are_the_papers() -> None:
    """Context-PEFT, supplement 7 and Table 3."""
    section = paper().pretraining
    training, block = section.training, section.corpus.block
    assert section.corpus.tokens == 5_000_000_000
    assert training.batch * block == 480 * 1024 == 491_520
    assert training.steps == -(-5_000_000_000 // 491_520) == 10_173
    assert section.source.tokens == 10_173 * 491_520
    rates = [training.learning_rate * schedule_factor(step, training) for step in (1000, 2000, 10_173)]
    assert rates == pytest.approx([3e-4, 6e-4, 6e-5])
    with torch.device("meta"):
        model = LswForCausalLM(shape_config(section.shape, 50_272, 768))
    assert sum(one.numel() for one in model.parameters()) == 153_196_032


def test_every_captioner_waits_for_the_one_model() -> None:
    done = snakemake("-n", "--quiet", "rules", "--configfile", "config/paper.yaml", "--", CAPTIONER)
    assert done.returncode == 0, done.stderr[-2000:]
    counts = dict(re.findall(r"^(\w+)\s+(\d+)$", done.stdout, re.M))
    assert counts["prepare_corpus"] == counts["train_language_model"] == counts["train_captioner"] == "1"
    assert counts["fetch_model"] == "2"  # the table's and the encoder's
    plan = paper()
    base = plan.train_language_model()
    for run in plan.runs("context_peft"):
        jobs = [plan.train(run.name, seed) for seed in run.seeds]
        assert all(base in job.parents for job in jobs), run.name
    assert plan.captioner_base_folder == BASE
    assert "cpeft-lm-150m" not in plan.fetched_models and "opt-125m" in plan.fetched_models


def test_an_off_the_shelf_model_takes_its_place() -> None:
    words = (
        "--configfile",
        "config/paper.yaml",
        "--config",
        "context_peft={model: opt-125m, pretraining: null}",
    )
    done = snakemake("-n", "--quiet", "rules", *words, "--", CAPTIONER)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "train_language_model" not in re.findall(r"^(\w+)\s+\d+$", done.stdout, re.M)
    plan = paper(**OPT)
    assert plan.train_captioner("full-ft", 0).parents[0] == plan.fetch_model("opt-125m")
    assert plan.captioner_base_folder == "resources/models/opt-125m"


def test_a_change_of_the_pretraining_reaches_captioners_and_not_their_features() -> None:
    longer = pretraining(corpus={"tokens": 10_173 * 491_520 + 1})
    longer["training"] = longer["training"] | {"steps": 10_174}
    before, after = paper(), paper(pretraining=longer)
    for job in ("train_captioner", "evaluate_captioner", "evaluate_captions"):
        ours, theirs = (getattr(plan, job)("full-ft", 0).identity for plan in (before, after))
        assert ours != theirs, job
    assert before.compute_features("swinv2-tiny") == after.compute_features("swinv2-tiny")
    assert before.fetch_dataset("pile") == after.fetch_dataset("pile")
    assert before.train_captioner("full-ft", 0) != before.train_captioner("full-ft", 1)


def test_its_cost_is_that_of_hand_arithmetic() -> None:
    """6 x 153 M x 5.0 B = 4.6e18 operations, at 0.306 x 9.4e13 a second: 44.6 h."""
    plan = paper()
    needs = Forecast(plan).of(plan.train_language_model())
    assert needs.hours == pytest.approx(44.6, rel=0.02)
    assert Forecast(plan).of(plan.prepare_corpus()).disk == pytest.approx(2 * 5.0e9, rel=0.01)


REFUSED = {
    "no section": ({"pretraining": None}, "cpeft-lm-150m was never released: add the section"),
    "a fetched model": ({"model": "opt-125m"}, "opt-125m is fetched: set pretraining to null"),
    "a table that is no model": ({"pretraining": pretraining(table="opt")}, "unknown fetched language model opt"),
    "a table of itself": ({"pretraining": pretraining(table="cpeft-lm-150m")}, "unknown fetched language model"),
    "no such data": ({"pretraining": pretraining(dataset="piles")}, "did you mean pile"),
    "other steps": (
        {"pretraining": pretraining(corpus={"tokens": 4_000_000_000})},
        "training.steps must be 8139",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_plan_that_cannot_be_is_refused(name: str) -> None:
    changes, sentence = REFUSED[name]
    with pytest.raises(PreftuneError, match=sentence):
        paper(**changes)


def test_no_dph_run_starts_from_it() -> None:
    raw = yaml.safe_load((ROOT / "config/paper.yaml").read_text())["dph"]
    with pytest.raises(PreftuneError, match=r"key dph\.model: unknown fetched language model cpeft-lm-150m"):
        plan_of("paper", dph=raw | {"model": "cpeft-lm-150m"})


def tabulate(
    script: ModuleType, stated: dict[str, Any], scores: Path, out: Path, *words: str
) -> list[dict[str, Any]]:
    """The records of a table, which is written beside them."""
    ends = {"output": "csv", "markdown": "md", "latex": "tex", "audit": "audit.json"}
    words += ("--cells", "config/cells.tsv", "--scores", str(scores), "--settings", json.dumps(stated))
    script.main([*words, *(word for flag, end in ends.items() for word in (f"--{flag}", f"{out}.{end}"))])
    return read_records(Path(f"{out}.audit.json"))


@pytest.mark.parametrize(("changes", "reason"), [({}, ""), (OPT, "other language model (opt-125m)")])
def test_another_model_leaves_orderings_alone_to_be_compared(
    changes: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    runs, scores = ["lora-8-af-specific", "lora-8-af-agnostic"], tmp_path / "scores"
    for run, nats in zip(runs, (2.0, 2.3), strict=True):
        for seed in range(3):
            write_captioner(scores, run, seed, nats, blank=2.9)
    plan = paper(**changes)
    assert plan.table_settings("dph", []) == paper().table_settings("dph", [])
    stated = plan.table_settings("context_peft", runs)
    cells = tabulate(tabulate_scores, stated, scores, tmp_path / "cells", "--table", "adaptors")
    verdicts = {cell["verdict"] for cell in cells if cell["published"] and cell["value"] is not None}
    assert verdicts == ({f"not comparable: {reason}"} if reason else {"differs"})
    claims = tabulate(tabulate_claims, stated, scores, tmp_path / "claims", "--claims", "config/claims.tsv")
    judged = {claim["id"]: claim["verdict"] for claim in claims}
    assert judged["specific-above-agnostic-equal-rank"] == "supported"
    said = f"the effects are not comparable with the paper ({reason})"
    assert (said in (tmp_path / "claims.md").read_text()) == bool(reason)
