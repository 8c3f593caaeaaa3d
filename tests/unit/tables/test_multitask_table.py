"""The table of the multi-task experiment: scores, differences from parts trained alone, resampled documents, faults."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

from preftune.errors import PreftuneError
from preftune.settings.report import MultitaskTableSettings
from preftune.tables.assemble import Setting
from preftune.tables.multitask import measure_answers, multitask_records
from preftune.tables.render import render_markdown
from preftune.tables.scores import ScoreStore

ALONE = {"captions": "captions", "text-questions": "questions"}


def write_run(
    root: Path, run: str, seed: int, text: Sequence[float], image: Sequence[float], nats: float | None
) -> Path:
    """Scores of questions, two about each document, and of two captions; no captions and images where nats is None."""
    folder = root / run / f"seed-{seed}"
    folder.mkdir(parents=True)
    rows = [
        {"question_id": f"{medium}{n}", "medium": medium, "answerer": answerer, "document": str(n // 2), "score": score}
        for medium, scores in (("text", text), ("image", image))
        for answerer in ("model", "majority", "prior_of_kind")
        for n, score in enumerate(scores if answerer == "model" else [0.25] * len(scores))
    ]  # fmt: skip
    pd.DataFrame(rows).to_parquet(folder / "answers.parquet", index=False)
    means = pd.DataFrame(rows).groupby(["medium", "answerer"])["score"].mean()
    stated = {medium: {who: {"score": means[medium, who]} for who in ("model", "majority", "prior_of_kind")}
              for medium in means.index.unique(0)}  # fmt: skip
    (folder / "answers.json").write_text(
        json.dumps({"split": "test", "lm_trainable_parameters": 40} | stated)
    )
    if nats is not None:
        items = [{"image_id": n, "tokens": 10, "nll": 10 * nats, "nll_blank": 30.0} for n in range(2)]
        pd.DataFrame(items).to_parquet(folder / "perplexity.parquet", index=False)
        facts = {"split": "test", "n_images": 2, "perplexity": math.exp(nats)}
        (folder / "perplexity.json").write_text(json.dumps(facts))
    return folder


def records(root: Path, *runs: str) -> dict:
    settings = MultitaskTableSettings(
        paper="context_peft", scale="demo", data="embedded", runs=runs, alone=ALONE
    )
    found = multitask_records(ScoreStore([root], runs), settings)
    return {(record.row, record.column): record for record in found}


def test_scores_and_what_was_forgotten(tmp_path: Path) -> None:
    write_run(tmp_path, "captions", 0, [0, 0, 0, 0], [0, 0], 1.0)
    write_run(tmp_path, "questions", 0, [1, 1, 0, 1], [], None)
    write_run(tmp_path, "tuned", 0, [1, 0, 0, 1], [1, 0], 1.5)
    found = records(tmp_path, "captions", "questions", "tuned", "agnostic")
    assert found["captions", "captions"].value == pytest.approx(math.e)
    assert found["questions", "text questions"].value == 75
    assert found["tuned", "visual questions"].value == 50
    assert found["tuned", "captions, change"].value == pytest.approx(math.exp(1.5) - math.e)
    change = found["tuned", "text questions, change"]
    assert change.value == -25 and change.unit == "points" and change.n_items == 4
    # Resampled are the two texts with both their questions: the difference is -50 or 0 points of a text.
    assert change.interval == (-50, 0)
    assert found["tuned", "adapter parameters"].value == 40
    for row, column in (
        ("questions", "captions"),
        ("questions", "text questions, change"),
        ("captions", "captions, change"),
    ):
        assert found[row, column].verdict == "not applicable"
    assert found["majority answer, no model", "text questions"].value == 25
    assert found["majority answer of the kind, no model", "visual questions"].value == 25
    assert not any(row == "agnostic" for row, _ in found)
    text = render_markdown("multitask", list(found.values()), Setting("demo", "embedded"))
    assert "| tuned |" in text and "| questions | – |" in text and "Run" in text


def test_seeds_are_averaged_and_paired(tmp_path: Path) -> None:
    for seed, scores in ((0, [1, 0, 0, 0]), (1, [1, 1, 0, 0])):
        write_run(tmp_path, "questions", seed, scores, [], None)
        write_run(tmp_path, "joined", seed, scores, [1, 1], 1.0)
    found = records(tmp_path, "questions", "joined")
    assert found["joined", "text questions"].value == 37.5 and found["joined", "text questions"].n_seeds == 2
    change = found["joined", "text questions, change"]
    assert change.value == 0 and change.interval == (0, 0)
    assert found["joined", "captions, change"].verdict == "not applicable"  # no run of captions alone


def test_nothing_run_is_one_row(tmp_path: Path) -> None:
    (record,) = records(tmp_path, "captions").values()
    assert record.value is None and record.row == "every run"


def test_faults_name_the_file(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "tuned", 0, [1, 0], [1], 1.0)
    store = ScoreStore([tmp_path])
    assert measure_answers(store, "tuned", "image", "model").n_items == 1  # type: ignore[union-attr]
    stated = json.loads((folder / "answers.json").read_text())
    stated["text"]["model"]["score"] = 0.9
    (folder / "answers.json").write_text(json.dumps(stated))
    with pytest.raises(
        PreftuneError, match=r"answers\.json: what it states of text, model, is not what its answers"
    ):
        measure_answers(ScoreStore([tmp_path]), "tuned", "text", "model")
    write_run(tmp_path, "tuned", 1, [1, 0, 1], [1], 1.0)
    with pytest.raises(PreftuneError, match="the seeds of tuned were asked different questions"):
        stated["text"]["model"]["score"] = 0.5
        (folder / "answers.json").write_text(json.dumps(stated))
        measure_answers(ScoreStore([tmp_path]), "tuned", "text", "model")
    (folder / "answers.parquet").unlink()
    with pytest.raises(PreftuneError, match="has no answers beside it"):
        measure_answers(ScoreStore([tmp_path]), "tuned", "image", "model")
