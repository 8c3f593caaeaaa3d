"""From rows to questions: candidates, gold answers and errors, task by task."""

import pytest

from preftune.data.tasks.registry import TEMPLATES, find_tasks, read_tasks
from preftune.errors import PreftuneError

PAIR = {"sentence1": "One.", "sentence2": "Two."}
CHOICES = {"text": ["w", "x", "y"], "label": ["A", "B", "C"]}
DIGITS = {"text": ["w", "x", "y", "z", "v"], "label": ["1", "2", "3", "4", "5"]}
# task, row, candidates, gold
CASES = [
    ("cola", {"sentence": "He go.", "label": 0}, ["no", "yes"], 0),
    ("sst2", {"sentence": "lovely ", "label": 1}, ["negative", "positive"], 1),
    ("mrpc", PAIR | {"label": 1}, ["no", "yes"], 1),
    ("qqp", {"question1": "A?", "question2": "B?", "label": 0}, ["no", "yes"], 0),
    ("mnli-matched", {"premise": "P.", "hypothesis": "H.", "label": 2}, ["True", "Neither", "False"], 2),
    ("qnli", {"question": "Q?", "sentence": "S.", "label": 0}, ["yes", "no"], 0),
    ("rte", PAIR | {"label": 1}, ["yes", "no"], 1),
    ("wnli", PAIR | {"label": 1}, ["no", "yes"], 1),
    (
        "race-high",
        {"article": "T.", "question": "Q?", "options": ["a", "b", "c", "d"], "answer": "C"},
        ["A. a", "B. b", "C. c", "D. d"],
        2,
    ),
    ("arc-easy", {"question": "Q?", "choices": CHOICES, "answerKey": "B"}, ["A. w", "B. x", "C. y"], 1),
    (
        "arc-challenge",
        {"question": "Q?", "choices": DIGITS, "answerKey": "5"},
        ["1. w", "2. x", "3. y", "4. z", "5. v"],
        4,
    ),
    ("openbookqa", {"question_stem": "S", "choices": CHOICES, "answerKey": "A"}, ["A. w", "B. x", "C. y"], 0),
    ("hellaswag", {"ctx": "C", "endings": ["a", "b", "c", "d"], "label": "3"}, ["a", "b", "c", "d"], 3),
    ("hellaswag", {"ctx": "C", "endings": ["a", "b", "c", "d"], "label": 1}, ["a", "b", "c", "d"], 1),
    ("hellaswag-choice", {"ctx": "C", "endings": ["a", "b"], "label": "1"}, ["A. a", "B. b"], 1),
    (
        "winogrande",
        {"sentence": "Ann met Bo because _ called.", "option1": "Ann", "option2": "Bo", "answer": "2"},
        ["Ann called.", "Bo called."],
        1,
    ),
    ("boolq", {"passage": "P.", "question": "is it so", "label": 1}, ["no", "yes"], 1),
    ("piqa", {"goal": "G", "sol1": "a", "sol2": "b", "label": 0}, ["a", "b"], 0),
    (
        "mmlu",
        {"question": "Q?", "choices": ["a", "b", "c", "d"], "answer": 2},
        ["A. a", "B. b", "C. c", "D. d"],
        2,
    ),
]


@pytest.mark.parametrize(("name", "row", "candidates", "gold"), CASES)
def test_candidates_and_gold(name, row, candidates, gold):
    question = read_tasks()[name].question(row | {"document": "validation-7"}, 0)
    assert question.candidates == candidates
    assert question.gold == gold
    assert question.document == "validation-7"
    assert [message["role"] for message in question.messages] == ["user"]


def test_every_template_is_used_and_every_case_covered():
    tasks = read_tasks()
    assert {task.suite for task in tasks.values()} == {"glue", "race", "gpt4all", "training"}
    covered = {name for name, *_ in CASES} | {"stsb", "squad-v2", "mnli-mismatched", "race-middle"}
    assert covered == set(tasks)
    assert len({type(task) for task in tasks.values()}) == len(TEMPLATES)


@pytest.mark.parametrize(("score", "digit"), [(0.0, 0), (2.5, 3), (3.49, 3), (4.5, 5), (5.0, 5)])
def test_stsb_rounds_the_score_to_a_digit_and_keeps_it(score, digit):
    question = read_tasks()["stsb"].question(PAIR | {"label": score}, 0)
    assert question.gold == digit
    assert question.candidates[digit] == str(digit)
    assert question.gold_value == score


def test_squad_answers_with_a_span_or_the_fixed_word():
    task = read_tasks()["squad-v2"]
    row = {"id": "a", "context": "Ann has two red hats.", "question": "How many?"}
    answerable = task.question(row | {"answers": {"text": ["two", "two"]}}, 0)
    assert answerable.candidates == ["two", "unanswerable"]
    unanswerable = task.question(row | {"answers": {"text": []}}, 0)
    assert unanswerable.candidates[0] == "unanswerable"
    assert unanswerable.candidates[1] in row["context"]
    assert unanswerable == task.question(row | {"answers": {"text": []}}, 0)


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("cola", {"sentence": "x", "label": -1}, "no label"),
        ("cola", {"sentence": "x", "label": None}, "no label"),
        ("hellaswag", {"ctx": "C", "endings": ["a", "b"], "label": ""}, "no label"),
        ("cola", {"sentence": "x", "label": 2}, "outside its range"),
        ("cola", {"sentence": "x", "label": "good"}, "whole number"),
        ("cola", {"label": 1}, "no column 'sentence'"),
        ("stsb", PAIR | {"label": 5.5}, "outside 0 to 5"),
        ("arc-easy", {"question": "Q?", "choices": CHOICES, "answerKey": "D"}, "none of the options"),
        ("winogrande", {"sentence": "x", "option1": "a", "option2": "b", "answer": "1"}, "no blank"),
        (
            "winogrande",
            {"sentence": "x _", "option1": "a", "option2": "b", "answer": "3"},
            "outside its range",
        ),
        ("piqa", {"goal": "G", "sol1": "a", "sol2": "b", "label": 2}, "outside its range"),
    ],
)
def test_a_bad_row_is_an_error_that_names_task_and_row(name, row, message):
    with pytest.raises(PreftuneError, match=message) as error:
        read_tasks()[name].question(row, 12)
    assert f"task {name}: row 12" in str(error.value)


def test_an_unknown_task_is_an_error_with_the_nearest_spelling():
    with pytest.raises(PreftuneError, match="did you mean 'hellaswag'"):
        find_tasks(["helaswag"])
