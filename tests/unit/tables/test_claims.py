from pathlib import Path

import pytest

from preftune.errors import PreftuneError
from preftune.tables.assemble import Setting
from preftune.tables.cells import read_cells
from preftune.tables.claims import ClaimRecord, judge_claims, read_claims
from preftune.tables.claims_render import render_claims_csv, render_claims_latex, render_claims_markdown
from preftune.tables.scores import ScoreStore
from tests.unit.tables.score_folders import write_captioner, write_run

CONFIG = Path(__file__).parents[3] / "config"
CELLS = read_cells(CONFIG / "cells.tsv")
DEMO = Setting("demo", "embedded")


def judged(root: Path) -> dict[str, ClaimRecord]:
    records = judge_claims(read_claims(CONFIG / "claims.tsv", CELLS), CELLS, ScoreStore([root]))
    return {record.id: record for record in records}


def test_known_effects_are_found_with_three_seeds(tmp_path: Path) -> None:
    write_run(tmp_path, "base", [0], 0.3)
    write_run(tmp_path, "sft", [0, 1, 2], 0.5)
    write_run(tmp_path, "dph-joint", [0, 1, 2], 0.4, reward=0.75)
    claims = judged(tmp_path)
    above = claims["dph-above-sft"]
    assert above.verdict == "supported"
    assert above.effect == pytest.approx(25)
    assert above.interval is not None
    assert 0 < above.interval[0] < 25 < above.interval[1]
    assert (above.n_items, above.n_seeds, above.unit) == (480, 3, "points")
    assert claims["sft-above-base"].effect == pytest.approx(20)
    assert claims["sft-above-base"].n_seeds == 1
    assert claims["alignment-harms-reasoning"].verdict == "supported"
    assert claims["dph-above-log"].effect == pytest.approx(35)
    assert claims["dph-above-dpo-only"].verdict == "not testable at this scale: dpo-only is not run"
    assert claims["dph-lm-drift"].verdict == "contradicted"
    assert above.published_effect == pytest.approx(60.21 - 53.04)


def test_opposite_and_small_effects(tmp_path: Path) -> None:
    write_run(tmp_path, "sft", [0, 1, 2], 0.5)
    write_run(tmp_path, "dph-joint", [0, 1, 2], 0.5, reward=0.2)
    claims = judged(tmp_path)
    assert claims["dph-above-sft"].verdict == "contradicted"
    assert claims["alignment-harms-reasoning"].verdict == "inconclusive"
    assert claims["dph-lm-drift"].verdict == "supported"  # the same answers, so the same log-probabilities


def test_one_seed_shows_the_effect_but_decides_nothing(tmp_path: Path) -> None:
    write_run(tmp_path, "sft", [0], 0.5)
    write_run(tmp_path, "dph-joint", [0], 0.4, reward=0.75)
    claim = judged(tmp_path)["dph-above-sft"]
    assert claim.verdict == "not testable at this scale: 1 seed, the claim needs 3"
    assert claim.effect == pytest.approx(25)


def test_captioning_claims(tmp_path: Path) -> None:
    for seed in range(3):
        write_captioner(tmp_path, "lora-8-af-agnostic", seed, nats=2.0, blank=2.5)
        write_captioner(tmp_path, "lora-8-af-specific", seed, nats=1.9, blank=2.5)
    claims = judged(tmp_path)
    assert claims["specific-above-agnostic-equal-rank"].verdict == "supported"
    assert claims["captions-use-the-image"].verdict == "supported"
    assert claims["captions-fit-their-image"].verdict == "supported"
    assert claims["peft-above-full-ft"].verdict.startswith("not testable at this scale: full-ft, lora-64")
    assert claims["peft-fewer-parameters"].verdict == "supported"
    assert claims["peft-fewer-parameters"].effect == 25_952_256 - 153_196_032
    settled = claims["no-architectural-change"].verdict
    assert settled == "not testable at this scale: settled by tests/unit/adapters, not by scores"


def test_different_questions_cannot_be_paired(tmp_path: Path) -> None:
    write_run(tmp_path, "sft", [0], 0.5, items=10)
    write_run(tmp_path, "base", [0], 0.5, items=12)
    with pytest.raises(PreftuneError, match="answered different questions"):
        judged(tmp_path)


def test_rendered_claims(tmp_path: Path) -> None:
    write_run(tmp_path, "sft", [0], 0.5)
    write_run(tmp_path, "base", [0], 0.2)
    records = [record for record in judged(tmp_path).values() if record.paper == "dph"]
    text = render_claims_markdown("dph", records, DEMO)
    assert "| 53.04, 42.17 | **supported** |" in text
    assert "+30.0 points [" in text
    assert "data: embedded · scale: demo" in text
    assert len(render_claims_csv(records, DEMO).splitlines()) == 1 + len(records)
    assert r"\bottomrule" in render_claims_latex("dph", records, DEMO)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("direction", "up", "line 2: direction is 'up'"),
        ("statistic", "t-test", "line 2: statistic is 't-test'"),
        ("minimum_seeds", "few", "line 2: minimum_seeds is 'few'"),
        ("cell_a", "glue/none/x", "line 2: cell_a 'glue/none/x' is not in"),
        ("a", "sft", "line 2: a is 'sft'"),
    ],
)
def test_a_bad_claim_is_named(tmp_path: Path, column: str, value: str, message: str) -> None:
    head, first = (CONFIG / "claims.tsv").read_text().splitlines()[:2]
    fields = first.split("\t")
    fields[head.split("\t").index(column)] = value
    (tmp_path / "claims.tsv").write_text(head + "\n" + "\t".join(fields) + "\n")
    with pytest.raises(PreftuneError, match=message):
        read_claims(tmp_path / "claims.tsv", CELLS)
