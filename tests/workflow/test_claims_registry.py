"""What the claims registry cites must be there."""

import csv
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_cited_tests_exist() -> None:
    """A claim that is settled by a unit test names one that exists and that runs."""
    with (ROOT / "config/claims.tsv").open(newline="", encoding="utf-8") as stream:
        cited = [
            row["testable_by"] for row in csv.DictReader(stream, delimiter="\t") if row["kind"] == "unit test"
        ]
    assert len(cited) == 3
    for text in cited:
        path = ROOT / re.match(r"tests/[\w/.]+", text)[0].rstrip(".:")  # type: ignore[index]
        assert path.exists(), text


def test_claims_settled_by_tests_name_what_they_test() -> None:
    heads = (ROOT / "tests/unit/preference/test_heads.py").read_text()
    losses = (ROOT / "tests/unit/preference/test_losses.py").read_text()
    assert "def test_head_leaves_the_output_distribution" in heads
    assert "def test_contrastive_of_implicit_rewards_is_cdpo" in losses
