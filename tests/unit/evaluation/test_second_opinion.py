"""lm-eval's own tasks, worded and scored by it, against our template set `lm-eval` and our scorer."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from preftune.data.tasks.registry import find_tasks, read_rows
from preftune.data.templates import read_templates
from preftune.errors import PreftuneError
from preftune.evaluation.lm_eval_tasks import LM_EVAL_TASKS
from preftune.evaluation.scoring import encode_questions, score_questions
from preftune.evaluation.second_opinion import CLEAR_GAP, _compare, compare_texts
from preftune.preference.heads import PreferenceModel
from tests.rows import prepare_splits
from tests.tiny import tiny_language_model, tiny_tokenizer
from tests.unit.preference.helpers import make_model

DATA = Path(os.environ.get("PREFTUNE_REAL_DATA", Path(__file__).resolve().parents[4] / "shared/data"))
CHOICES = {"text": ["a dog", "a cup", "red"], "label": ["A", "B", "C"]}
DIGITS = {"text": ["the dog", "blue", "a cup"], "label": ["1", "2", "3"]}
# Rows in the hub's columns, with what templates could get wrong: white space, marks, missing or doubled stops.
ROWS: dict[str, list[dict[str, Any]]] = {
    "cola": [{"sentence": "The cup is red.", "label": 1}, {"sentence": "Cup the red ", "label": 0}],
    "sst2": [{"sentence": "a lovely film ", "label": 1}, {"sentence": "dull", "label": 0}],
    "mrpc": [{"sentence1": "It is red.", "sentence2": "Red it is.", "label": 1}],
    "qqp": [{"question1": "Who is it?", "question2": "Why?", "label": 0}],
    "mnli-matched": [
        {"premise": "It is red", "hypothesis": " It is blue ", "label": 2},
        {"premise": "It is red.", "hypothesis": "It is.", "label": 0},
    ],
    "qnli": [{"question": "Who?", "sentence": "The dog is.", "label": 0}],
    "rte": [{"sentence1": "It is red.", "sentence2": "It is.", "label": 0}],
    "wnli": [{"sentence1": "He is red.", "sentence2": "The dog is.", "label": 1}],
    "race-high": [
        {"article": "The dog is red.", "question": question, "options": ["dog", "cup", "red", "no"], "answer": answer}
        for question, answer in (("Who is red?", "A"), ("The dog is  _  .", "C"), ("What?", "B"))
    ],
    "hellaswag": [
        {
            "activity_label": "Cooking",
            "ctx_a": "The dog is [header] red.",
            "ctx_b": "then The dog",
            "endings": ["is  blue.", " runs [title] and sits", "is", "is the cup."],
            "label": "2",
        }
    ],
    "openbookqa": [{"question_stem": "The dog is", "choices": CHOICES, "answerKey": "A"}],
    "winogrande": [
        {"sentence": "The dog met the cat because _ was red.", "option1": "dog", "option2": "the cat", "answer": "2"}
    ],
    "arc-easy": [{"question": "What is red?", "choices": DIGITS, "answerKey": "3"}],
    "boolq": [{"passage": "It is red.", "question": "is it red", "label": 1}],
    "piqa": [{"goal": "make it red", "sol1": "use the cup", "sol2": "use the dog  ", "label": 0}],
}  # fmt: skip


@pytest.fixture(scope="module")
def peaked(tmp_path_factory: pytest.TempPathFactory) -> PreferenceModel:
    """A tiny model with weights large enough for answers that are clearly apart."""
    folder = tmp_path_factory.mktemp("peaked")
    model = tiny_language_model(folder)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(6.0 if parameter.dim() > 1 else 1.0)
    return PreferenceModel(model, tiny_tokenizer(folder)).eval()


def test_every_wording_is_tried() -> None:
    kinds = read_rows()
    assert {kinds[name]["template"] for name in ROWS} == set(read_templates("lm-eval").content.tasks)
    assert set(ROWS) <= set(LM_EVAL_TASKS)


@pytest.mark.parametrize("name", ROWS)
def test_lm_evals_own_task_gives_our_scores(peaked: PreferenceModel, name: str) -> None:
    """Equal sums to 1e-3 nats mean equal prompts, answers and pairing: one other token moves them by more."""
    (task,) = find_tasks([name], "lm-eval")
    rows = [row | {"document": f"test-{i}"} for i, row in enumerate(ROWS[name])]
    result = compare_texts(peaked, task, rows, None, batch=4)
    assert result["n"] == (1 if name == "race-high" else len(rows))
    assert result["max_difference"] < CLEAR_GAP and result["agreement"] == 1.0 and result["close"] == []
    accuracy = result["accuracy"]
    assert accuracy["lm_eval"] == accuracy["tree_lm"] == accuracy["preftune"]
    if name in ("hellaswag", "openbookqa", "arc-easy", "piqa"):
        assert len(set(result["acc_norm"].values())) == 1


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data in {DATA} (set PREFTUNE_REAL_DATA)")
@pytest.mark.parametrize("name", ["hellaswag", "arc-challenge", "boolq", "piqa", "winogrande"])
def test_predictions_on_real_rows_are_lm_evals(peaked: PreferenceModel, name: str) -> None:
    (task,) = find_tasks([name], "lm-eval")
    prepared = prepare_splits(task.dataset, DATA, limit_evaluation=12)
    result = compare_texts(peaked, task, prepared[task.split], 12, batch=4)
    assert result["n"] + result["skipped"] == 12 and result["n"] > 5
    assert result["agreement"] == 1.0 and result["max_difference"] < CLEAR_GAP


def test_a_task_that_lm_eval_lacks_is_named(peaked: PreferenceModel) -> None:
    task = replace(find_tasks(["wnli"], "lm-eval")[0], name="wnli-test")
    with pytest.raises(PreftuneError, match="lm-eval has no task wnli-test: compare one of"):
        compare_texts(peaked, task, [], None, batch=4)


def test_close_answers_are_listed_and_clear_ones_an_error(peaked: PreferenceModel) -> None:
    (task,) = find_tasks(["cola"], "lm-eval")
    (question,) = task.questions([{"sentence": "x", "label": 1}])
    assert _compare(question, [-1.0, -1.0002], [-1.0002, -1.0])["max_difference"] == pytest.approx(2e-4)
    with pytest.raises(PreftuneError, match="different answers of document row-0"):
        _compare(question, [-1.0, -2.0], [-2.0, -1.0])


def test_a_head_cannot_read_a_plain_text(base: Path) -> None:
    model = make_model(base)
    (task,) = find_tasks(["cola"], "lm-eval")
    encoded = encode_questions(model, task.questions([{"sentence": "The cup is red.", "label": 1}]))
    with pytest.raises(PreftuneError, match="a reward head reads at"):
        score_questions(model, encoded)


def test_candidates_of_equal_tokens_are_counted(peaked: PreferenceModel) -> None:
    (task,) = find_tasks(["piqa"])
    rows = [{"goal": "red", "sol1": "the cup", "sol2": other, "label": 0} for other in ("the cup", "dog")]
    encoded = encode_questions(peaked, task.questions(rows))
    assert encoded.counts == {"truncated": 0, "skipped": 0, "equal_candidates": 1}
