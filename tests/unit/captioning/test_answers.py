"""Answer scores against values worked out by hand."""

from typing import Any

import pytest

from preftune.captioning.answers import (
    METRICS,
    exact_match,
    normalize_answer,
    prior_answers,
    score_answers,
    score_priors,
    soft_accuracy,
    summarize_answers,
    token_f1,
)
from preftune.errors import PreftuneError


@pytest.mark.parametrize(
    ("answer", "normal"),
    [
        ("  The Red\tball\n", "red ball"),
        ("Two", "2"),
        ("none", "0"),
        ("an apple and a pear", "apple and pear"),
        ("dont know", "don't know"),
        ("couldn'tve", "couldn't've"),
        ("whos", "who's"),
        ("somebody'd", "somebodyd"),
        ("black-and-white", "black and white"),  # between words a mark becomes a space
        ("yes, sir!", "yes sir"),  # beside a space it is dropped
        ("left/right", "left right"),
        ("1,000", "1000"),  # a comma between digits joins
        ("3.5", "3.5"),
        ("U.S.A.", "usa"),
        ("p.m. 5:30", "pm 5:30"),
        ("", ""),
        ("the", ""),
    ],
)
def test_normalisation(answer: str, normal: str) -> None:
    assert normalize_answer(answer) == normal


@pytest.mark.parametrize(
    ("equal", "score"),
    # e equal answers of 10: (e min(1, (e - 1) / 3) + (10 - e) min(1, e / 3)) / 10
    [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)],
)
def test_leaving_one_annotator_out(equal: int, score: float) -> None:
    answers = ["Two"] * equal + [f"other {number}" for number in range(10 - equal)]
    assert soft_accuracy("2", answers) == pytest.approx(score)


def test_annotators_who_differ_in_spelling_agree() -> None:
    answers = ["a t-shirt", "t-shirt", "T-Shirt"] + ["shirt"] * 7
    assert soft_accuracy("the t shirt", answers) == pytest.approx(0.9)
    assert soft_accuracy("Yes", ["yes"] * 10) == 1.0  # equal answers are normalised as well


def test_one_answer_is_exact_match() -> None:
    assert soft_accuracy("Three.", ["three"]) == soft_accuracy("3", ["three"]) == 1.0
    assert soft_accuracy("three stars", ["three"]) == exact_match("three stars", ["three"]) == 0.0
    with pytest.raises(PreftuneError, match="at least 4 answers, not 3"):
        soft_accuracy("red", ["red"] * 3)


@pytest.mark.parametrize(
    ("prediction", "answers", "f1"),
    [
        ("red circle", ["a red circle"], 1.0),
        ("red", ["red circle"], 2 / 3),  # precision 1, recall 1/2
        ("the big red circle", ["red square"], 2 / 5),  # 1 of 3 and of 2 words
        ("red red", ["red"], 2 / 3),  # a word counts as often as both have it
        ("blue", ["red", "blue sky"], 2 / 3),  # the best answer
        ("", ["red"], 0.0),
        ("the", ["a"], 1.0),
    ],
)
def test_token_f1(prediction: str, answers: list[str], f1: float) -> None:
    assert token_f1(prediction, answers) == pytest.approx(f1)


def question(name: str, kind: str, *answers: str) -> dict[str, Any]:
    return {"question_id": name, "kind": kind, "answers": list(answers)}


QUESTIONS = [
    question("1", "colour", "red"), question("2", "colour", "dark blue"), question("3", "presence", "yes"),
]  # fmt: skip


@pytest.mark.parametrize("metric", METRICS)
def test_rows_and_summary(metric: str) -> None:
    rows = score_answers(QUESTIONS, {"1": "Red", "3": "no", "2": "blue"}, metric)
    assert rows == [
        {"question_id": "1", "kind": "colour", "prediction": "Red", "score": 1.0, "f1": 1.0},
        {
            "question_id": "2",
            "kind": "colour",
            "prediction": "blue",
            "score": 0.0,
            "f1": pytest.approx(2 / 3),
        },
        {"question_id": "3", "kind": "presence", "prediction": "no", "score": 0.0, "f1": 0.0},
    ]
    summary = summarize_answers(rows)
    assert summary["n"] == 3 and summary["score"] == pytest.approx(1 / 3)
    assert summary["f1"] == pytest.approx(5 / 9)
    assert summary["kinds"]["colour"] == {"n": 2, "score": 0.5, "f1": pytest.approx(5 / 6)}
    assert summary["kinds"]["presence"] == {"n": 1, "score": 0.0, "f1": 0.0}


def test_priors_come_from_training() -> None:
    train = [
        question("a", "colour", *["Red"] * 6, *["blue"] * 4),
        question("b", "colour", "blue"),
        question("c", "colour", "the red"),
        question("d", "presence", "yes"),
        question("e", "presence", "no"),
        question("f", "presence", "no"),
    ]
    # red and no are both given twice: the first in the alphabet
    assert prior_answers(train) == ("no", {"colour": "red", "presence": "no"})
    priors = score_priors(train, [*QUESTIONS, question("4", "place", "no")], "exact")
    assert [row["prediction"] for row in priors["majority"]] == ["no"] * 4
    assert [row["prediction"] for row in priors["prior_of_kind"]] == ["red", "red", "no", "no"]
    assert [row["score"] for row in priors["prior_of_kind"]] == [1.0, 0.0, 0.0, 1.0]


def test_predictions_and_questions_must_fit() -> None:
    with pytest.raises(PreftuneError, match="Question 3 has no prediction"):
        score_answers(QUESTIONS, {"1": "", "2": ""}, "exact")
    with pytest.raises(PreftuneError, match="1 predictions answer no question, as 9"):
        score_answers(QUESTIONS[:1], {"1": "", "9": ""}, "exact")
    with pytest.raises(PreftuneError, match="No answers"):
        summarize_answers([])
    with pytest.raises(PreftuneError, match="No training questions"):
        prior_answers([])
