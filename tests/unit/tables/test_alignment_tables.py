"""Tables about alignments, against numbers worked out by hand from small folders."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from preftune.data.tasks.squad_v2 import UNANSWERABLE
from preftune.errors import PreftuneError
from preftune.tables.alignment import ALIGNMENT_TABLES, alignment_records
from preftune.tables.averages import own_scores
from preftune.tables.cells import NOT_RUN, CellRecord, read_cells
from preftune.tables.claims import judge_claims, read_claims
from preftune.tables.render import render_latex, render_markdown
from preftune.tables.scores import ScoreStore
from preftune.tables.settings import AlignmentTableSettings
from preftune.tables.sheet import Setting
from preftune.tables.sources import Sources
from tests.unit.tables.alignment_folders import write_binary, write_drift, write_questions, write_record

DEMO = Setting("demo", "embedded")
CONFIG = Path(__file__).parents[3] / "config"
YES, NO = True, False


def settings(*runs: str, **fields: Any) -> AlignmentTableSettings:
    return AlignmentTableSettings.model_validate(
        {"paper": "dph", "scale": "demo", "data": "embedded", "runs": runs, **fields}
    )


def cells(table: str, sources: Sources, given: AlignmentTableSettings) -> dict[tuple[str, str], CellRecord]:
    return {(record.row, record.column): record for record in alignment_records(table, sources, given)}


def drift_items(kl: float, length: float) -> dict[str, dict[str, list[float]]]:
    """Two answers of 10 and 30 tokens, two passages, three generations."""
    return {
        "answer": {"tokens": [10, 30], "kl": [10 * kl, 30 * kl]},
        "text": {"tokens": [4, 6], "nll": [8.0, 22.0]},
        "generation": {
            "length": [length] * 3,
            "repeated": [0, 2, 4],
            "ngrams": [10, 10, 20],
            "ended": [1, 1, 0],
        },
    }


def test_each_score_gives_its_own_answer(tmp_path: Path) -> None:
    """Two candidates of 2 tokens; the summed score counts the end: -2 - 3 against -4 - 0.5."""
    scores = {
        "log": np.array([[-1.0, -2.0]]),
        "end": np.array([[-3.0, -0.5]]),
        "reward": np.array([[0.2, -0.1]]),
        "implicit": np.array([[-0.4, 0.3]]),
    }
    write_questions(tmp_path, "dph-joint", 0, "ultrafeedback", "preference", ("a", "b"), [0], scores)
    store = ScoreStore([tmp_path])
    found = {}
    for score in ("log", "log_sum", "reward", "implicit"):
        choices = store.choices("dph-joint", 0, "ultrafeedback", score)
        assert choices is not None
        found[score] = choices.answers
    assert found == {"log": ("a",), "log_sum": ("b",), "reward": ("a",), "implicit": ("b",)}


def test_preferences_stand_beside_choice_tasks(tmp_path: Path) -> None:
    pairs = {"log": [YES, NO, NO, NO], "reward": [YES, YES, YES, NO], "implicit": [YES, YES, NO, NO]}
    write_binary(tmp_path, "dph-joint", 0, "ultrafeedback", "preference", pairs)
    write_binary(tmp_path, "dph-joint", 0, "boolq", "gpt4all", {"log": [YES, NO], "reward": [YES, YES]})
    write_binary(tmp_path, "dph-joint", 0, "race-high", "race", {"log": [NO, NO], "reward": [NO, YES]})
    write_binary(tmp_path, "sft", 0, "ultrafeedback", "preference", {"log": [YES, YES, NO, NO]})
    given = settings("sft", "dph-joint", "dph-only")
    found = cells("preferences", Sources.read(given.runs, [tmp_path]), given)
    row = {column: cell.value for (run, column), cell in found.items() if run == "dph-joint"}
    assert row == pytest.approx(
        {
            "pairs, log a token": 25, "pairs, log summed": 25, "pairs, implicit": 50, "pairs, reward": 75,
            "choice, log a token": 25, "choice, implicit": None, "choice, reward": 75,
        }
    )  # fmt: skip
    assert found["dph-joint", "pairs, reward"].interval is not None
    assert found["sft", "pairs, reward"].verdict == "not applicable"
    assert found["sft", "pairs, reward"].reason == "sft has no reward score"
    assert found["sft", "choice, log a token"].verdict == NOT_RUN
    assert found["dph-only", "pairs, reward"].verdict == NOT_RUN
    text = render_markdown("preferences", list(found.values()), DEMO)
    assert "| sft | 50.0 ± 50.0 | 50.0 ± 50.0 | – | – |" in text


def test_a_model_that_is_its_reference_has_no_implicit_score(tmp_path: Path) -> None:
    scores = {"log": np.array([[-1.0, -2.0]] * 3), "implicit": np.zeros((3, 2)), "reward": np.ones((3, 2))}
    write_questions(tmp_path, "dph-frozen", 0, "ultrafeedback", "preference", ("a", "b"), [0, 1, 0], scores)
    assert own_scores(ScoreStore([tmp_path]), "dph-frozen") == ["log", "reward"]


def test_implicit_claims_compare_two_scores_of_one_checkpoint(tmp_path: Path) -> None:
    pairs = {"log": [YES, NO] * 20, "reward": [YES] * 36 + [NO] * 4, "implicit": [YES] * 20 + [NO] * 20}
    for seed in range(3):
        write_binary(tmp_path, "dph-joint", seed, "ultrafeedback", "preference", pairs)
        write_binary(tmp_path, "dph-joint", seed, "boolq", "gpt4all", pairs)
    published = read_cells(CONFIG / "cells.tsv")
    claims = judge_claims(read_claims(CONFIG / "claims.tsv", published), published, ScoreStore([tmp_path]))
    found = {claim.id: claim for claim in claims}
    for name in ("dph-above-implicit", "dph-above-implicit-on-pairs"):
        assert (found[name].effect, found[name].verdict) == (pytest.approx(40), "supported")
    assert found["dpo-alone-harms-multi-step"].verdict.startswith("not testable at this scale: dpo-only, sft")


FACTS = {  # of runs whose baselines are measured: what decides whether the SFT model reads the pairs before
    "dph-joint": {"dph": "separable", "policy": "dpo", "freeze": "none"},
    "dpo-only": {"dph": "none", "policy": "dpo", "freeze": "none"},
    "dph-frozen": {"dph": "separable", "policy": "none", "freeze": "model"},
    "bradley-terry": {"dph": "contrastive", "policy": "none", "freeze": "none"},
    "sft-chosen": {"dph": "none", "policy": "sft", "freeze": "none"},
}


def write_trainings(root: Path, adapter: bool) -> tuple[list[Path], AlignmentTableSettings]:
    """An SFT model of 100 parameters, 20 of them an adapter, and runs from it with heads of 7, 5 and 10 parameters."""
    counts = {  # parameters of the model with its head, and of head and adapter
        "sft": (100, 20), "dph-joint": (107, 27), "dph-frozen": (105, 5), "bradley-terry": (110, 30),
        "dpo-only": (100, 20), "sft-chosen": (100, 20),
    }  # fmt: skip
    records = []
    for run, (whole, trained) in counts.items():
        for seed in (0, 1) if run == "dph-joint" else (0,):
            frozen = run == "dph-frozen"
            counted = {"trainable_parameters": trained if adapter or frozen else whole}
            counted |= {} if frozen else {"parameters": whole}
            counted |= {"training_seconds": 9 + 2 * seed, "steps": 20, "examples": 640 if frozen else 80}
            records.append(write_record(root, run, seed, **counted))
    facts = {run: {**own, "pooler": "bert", "label_smoothing": 0.1} for run, own in FACTS.items()}
    return records, settings(*counts, settings=facts)


@pytest.mark.parametrize(("adapter", "reward_model", "reference"), [(True, 30, 20), (False, 110, 100)])
def test_baselines_state_what_inference_needs(
    tmp_path: Path, adapter: bool, reward_model: int, reference: int
) -> None:
    """A second model beside SFT is a whole one, or an adapter (and its head) where SFT is one and shares its base."""
    records, given = write_trainings(tmp_path, adapter)
    found = cells("baselines", Sources.read(given.runs, records=records), given)
    columns = "parameters beside the SFT model", "forward passes a candidate"
    extra, passes = (
        {row: cell.value for (row, name), cell in found.items() if name == column} for column in columns
    )
    assert extra == {
        "dph-joint (reward)": 7, "dph-only (reward)": None, "dph-frozen (reward)": 5, "linear-probe (reward)": None,
        "bradley-terry (reward)": reward_model, "dpo-only (implicit)": reference, "sft-chosen (log)": 0,
    }  # fmt: skip
    assert [passes[row] for row in extra] == [1, None, 1, None, 2, 2, 1]


def test_baselines_state_quality_data_and_time(tmp_path: Path) -> None:
    """The SFT model's pass over the pairs took 4 seconds: a cost of DPO and of heads on states, not of the others."""
    records, given = write_trainings(tmp_path / "models", True)
    right = {"log": [YES, NO], "reward": [YES, YES], "implicit": [NO, NO]}
    for run in ("dph-joint", "dpo-only"):
        write_binary(tmp_path / "scores", run, 0, "ultrafeedback", "preference", right)
    reference = write_record(tmp_path / "reference", "sft", 0, wall_seconds=4)
    sources = Sources.read(given.runs, [tmp_path / "scores"], records=records, references=[reference])
    found = cells("baselines", sources, given)
    once = {row: cell.value for (row, column), cell in found.items() if column == "computed once (s)"}
    assert once == {
        "dph-joint (reward)": 4, "dph-only (reward)": None, "dph-frozen (reward)": 4, "linear-probe (reward)": None,
        "bradley-terry (reward)": 0, "dpo-only (implicit)": 4, "sft-chosen (log)": 0,
    }  # fmt: skip
    assert found["dph-joint (reward)", "computed once (s)"].score_files == (reference.as_posix(),)
    time = found["dph-joint (reward)", "training time (s)"]
    assert (time.value, time.n_seeds, time.interval) == (10, 2, None)
    assert found["dph-joint (reward)", "pairs seen"].value == 80
    assert found["dph-frozen (reward)", "pairs seen"].value == 640
    assert found["dph-joint (reward)", "held-out pairs"].value == 100
    assert found["dpo-only (implicit)", "held-out pairs"].value == 0
    assert found["linear-probe (reward)", "trained parameters"].verdict == NOT_RUN
    text = render_markdown("baselines", list(found.values()), DEMO)
    assert "n of a cell: 2 items; seeds: 1." in text
    assert "The systems saw different numbers of pairs, 80 to 640" in text
    equal = [cell for (row, _), cell in found.items() if row != "dph-frozen (reward)"]
    assert "different numbers of pairs" not in render_markdown("baselines", equal, DEMO)
    alone = cells("baselines", Sources.read(given.runs, records=records), given)
    assert alone["dpo-only (implicit)", "computed once (s)"].verdict == NOT_RUN
    assert alone["sft-chosen (log)", "computed once (s)"].value == 0


def test_frozen_grid_takes_the_first_run_with_the_settings_whatever_its_name(tmp_path: Path) -> None:
    facts = {"freeze": "model", "policy": "none", "training": {"steps": 4}}
    own: dict[str, dict[str, Any]] = {
        "dph-joint": {"pooler": "bert", "dph": "contrastive", "label_smoothing": 0.2, "freeze": "none"},
        "dph-frozen": {"pooler": "bert", "dph": "contrastive", "label_smoothing": 0.1},
        "linear-probe": {"pooler": "identity", "dph": "separable", "label_smoothing": 0},
        "frozen-identity-sep-eps010": {"pooler": "identity", "dph": "separable", "label_smoothing": 0.1},
        "frozen-bert-con-eps010": {"pooler": "bert", "dph": "contrastive", "label_smoothing": 0.1},
        "noise-sep-eps010-flip030": {
            "pooler": "bert", "dph": "separable", "label_smoothing": 0.1, "flipped": 0.3
        },
    }  # fmt: skip
    right = {
        "dph-frozen": [YES, NO, NO, NO], "linear-probe": [YES] * 4, "frozen-identity-sep-eps010": [YES, YES, YES, NO],
        "frozen-bert-con-eps010": [NO] * 4,
    }  # fmt: skip
    for run, answers in right.items():
        for seed in (0, 1):
            scores = {"log": answers, "reward": answers}
            write_binary(tmp_path, run, seed, "ultrafeedback", "preference", scores)
    given = settings(*own, settings={run: facts | changes for run, changes in own.items()})
    found = cells("frozen_grid", Sources.read(given.runs, [tmp_path]), given)
    pairs = [(*key, cell.value) for key, cell in found.items() if key[1].startswith("pairs")]
    assert pairs == [
        ("identity, separable", "pairs, ε = 0", 100),
        ("identity, separable", "pairs, ε = 0.1", 75),
        ("bert, contrastive", "pairs, ε = 0", None),
        ("bert, contrastive", "pairs, ε = 0.1", 25),
    ]
    assert found["bert, contrastive", "choice, ε = 0.1"].verdict == NOT_RUN
    assert found["bert, contrastive", "pairs, ε = 0.1"].n_seeds == 2


def test_alignment_costs(tmp_path: Path) -> None:
    """KL 0.25 nats a token; perplexity exp(30 / 10); 6 of 40 4-grams repeated; 2 of 3 answers ended."""
    write_drift(tmp_path / "drift", "sft", 0, drift_items(0.0, 20))
    write_drift(tmp_path / "drift", "dpo-only", 0, drift_items(0.25, 50))
    for task, suite, right in (("wnli", "glue", [YES, YES]), ("gsm8k", "reasoning", [YES, NO]),
                               ("boolq", "gpt4all", [NO, NO]), ("ultrafeedback", "preference", [NO, NO])):  # fmt: skip
        write_binary(tmp_path / "scores", "dpo-only", 0, task, suite, {"log": right})
    given = settings("sft", "dpo-only", mix_tasks=["boolq"])
    sources = Sources.read(given.runs, [tmp_path / "scores"], [tmp_path / "drift"])
    found = cells("alignment_cost", sources, given)
    row = {column: cell.value for (run, column), cell in found.items() if run == "dpo-only"}
    assert row == pytest.approx(
        {
            "KL from SFT (nats a token)": 0.25, "perplexity of plain text": math.exp(3), "length (tokens)": 50,
            "accuracy outside the mix (log)": 75, "repeated 4-grams": 15, "ended answers": 200 / 3,
        }
    )  # fmt: skip
    divergence, text = (
        found["dpo-only", "KL from SFT (nats a token)"],
        found["dpo-only", "perplexity of plain text"],
    )
    assert divergence.interval == pytest.approx((0.25, 0.25))  # every answer has the same divergence a token
    assert text.interval is not None
    assert text.interval[0] == pytest.approx(math.exp(2)) and text.interval[1] == pytest.approx(
        math.exp(22 / 6)
    )
    assert found["sft", "accuracy outside the mix (log)"].verdict == NOT_RUN
    assert found["dph-frozen", "ended answers"].verdict == NOT_RUN


def test_drift_that_its_items_do_not_give_is_refused(tmp_path: Path) -> None:
    path = write_drift(tmp_path, "dpo-only", 0, drift_items(0.25, 50))
    path.write_text(path.read_text().replace("0.25", "0.5"))
    given = settings("dpo-only")
    with pytest.raises(PreftuneError, match=r"kl_per_token is 0\.5000 but its items give 0\.2500"):
        cells("alignment_cost", Sources.read(given.runs, [], [tmp_path]), given)


def test_reasoning_counts_misses_where_a_miss_is_the_harm(tmp_path: Path) -> None:
    right = {
        "gsm8k": [YES, YES, NO, NO], "passage-contradiction": [YES, YES, YES, NO],
        "squad-unanswerable": [YES, NO, NO, NO], "truthfulqa-mc1": [NO, NO, NO, YES],
    }  # fmt: skip
    for task, answers in right.items():
        write_binary(tmp_path, "dph-only", 0, task, "reasoning", {"log": answers, "reward": [YES] * 4})
    # Of three misses, two decline; the third names a wrong span.
    scores = {"log": np.array([[1.0, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1]])}
    labels = ("span", UNANSWERABLE, "other")
    write_questions(tmp_path, "dph-only", 0, "squad-answerable", "reasoning", labels, [0] * 4, scores)
    given = settings("dph-only", "sft")
    found = cells("reasoning", Sources.read(given.runs, [tmp_path]), given)
    row = {column: cell.value for (name, column), cell in found.items() if name == "dph-only (log)"}
    assert row == {
        "multi-step questions": 50, "contradicts the passage": 25, "answers the unanswerable": 75,
        "declines the answerable": 50, "TruthfulQA mc1": 25,
    }  # fmt: skip
    assert found["dph-only (reward)", "contradicts the passage"].value == 0
    assert found["dph-only (reward)", "declines the answerable"].verdict == NOT_RUN
    interval = found["dph-only (log)", "contradicts the passage"].interval
    assert interval is not None and interval[0] <= 25 <= interval[1]
    assert ("sft (reward)", "multi-step questions") not in found


def test_gradients_leave_blank_what_gets_none(tmp_path: Path) -> None:
    norms = {
        "head": 0.0312,
        "pooler": 1234.5,
        "blocks": None,
        "norms": None,
        "embeddings": None,
        "lm_head": None,
        "adapter": None,
    }
    rows = [
        {"loss": "separable", "freeze": "model", "part": part, "norm": norm} for part, norm in norms.items()
    ]
    path = tmp_path / "gradients.json"
    path.write_text(json.dumps(rows))
    found = cells("gradients", Sources.read([], gradients=path), settings())
    row = "separable, freeze: model"
    assert {column: cell.value for (_, column), cell in found.items()} == norms
    assert {cell.verdict for (_, part), cell in found.items() if norms[part] is None} == {"not applicable"}
    text = render_markdown("gradients", list(found.values()), DEMO)
    assert "| Loss | head | pooler |" in text and f"| {row} | 0.0312 | 1,234 | – |" in text
    path.write_text(json.dumps([{"loss": "dpo", "freeze": "none", "part": "ear", "norm": 1.0}]))
    with pytest.raises(PreftuneError, match=r"gradients\.json: a row has the part ear"):
        cells("gradients", Sources.read([], gradients=path), settings())


def test_overlap_counts_questions(tmp_path: Path) -> None:
    counts = {
        "questions": 24,
        "same_prompt": 2,
        "same_prompt_and_answer": 1,
        "ngram_questions": 20,
        "shared_ngrams": 3,
    }
    path = tmp_path / "overlap.json"
    path.write_text(json.dumps({"boolq": counts}))
    found = cells("overlap", Sources.read([], overlap=path), settings())
    assert [found["boolq", column].value for _, column in found] == [24, 2, 1, 20, 3]
    assert "| Task | questions |" in render_markdown("overlap", list(found.values()), DEMO)
    path.write_text(json.dumps({"boolq": {"questions": 24}}))
    with pytest.raises(PreftuneError, match="boolq lacks same_prompt"):
        cells("overlap", Sources.read([], overlap=path), settings())


@pytest.mark.parametrize("table", ALIGNMENT_TABLES)
def test_a_table_of_nothing_says_so(table: str) -> None:
    records = alignment_records(table, Sources.read([]), settings("sft"))
    assert {record.verdict for record in records} == {NOT_RUN}
    assert all(record.reason for record in records)
    assert "Nothing of this table was run at this scale." in render_markdown(table, records, DEMO)
    assert r"\caption" in render_latex(table, records, DEMO)


def test_a_record_that_is_none_is_named(tmp_path: Path) -> None:
    path = write_record(tmp_path, "dph-joint", 0, parameters=3)
    with pytest.raises(PreftuneError, match=r"trainable_parameters is None, not a number"):
        cells("baselines", Sources.read(["dph-joint"], records=[path]), settings("dph-joint"))
    path.write_text("{}")
    with pytest.raises(PreftuneError, match=r"run\.json is no record"):
        Sources.read(["dph-joint"], records=[path])
