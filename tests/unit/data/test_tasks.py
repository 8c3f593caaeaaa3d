"""From rows to questions: candidates, gold answers and errors, task by task."""

from itertools import pairwise

import pytest

from preftune.data.tasks.registry import find_tasks, kinds, read_tasks
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
    suites = {"glue", "glue-test", "race", "gpt4all", "preference", "reasoning", "reward-bench", "training"}
    assert {task.suite for task in tasks.values()} == suites
    covered = {name for name, *_ in (*CASES, *SHUFFLED)}
    covered |= {"gsm8k", "stsb", "squad-v2", "squad-answerable", "squad-unanswerable"}
    assert {type(tasks[name]) for name in covered} == set(kinds().values())
    assert {type(task) for task in tasks.values()} == set(kinds().values())


@pytest.mark.parametrize(("score", "digit"), [(0.0, 0), (2.5, 3), (3.49, 3), (4.5, 5), (5.0, 5)])
def test_stsb_rounds_the_score_to_a_digit_and_keeps_it(score, digit):
    question = read_tasks()["stsb"].question(PAIR | {"label": score}, 0)
    assert question.gold == digit
    assert question.candidates[digit] == str(digit)
    assert question.gold_value == score


SQUAD = {"document": "validation-3", "id": "a", "context": "Ann has two red hats.", "question": "How many?"}


def test_squad_answers_with_a_span_or_the_fixed_word():
    task = read_tasks()["squad-v2"]
    answerable = task.question(SQUAD | {"answers": {"text": ["two", "two"]}}, 0)
    assert sorted(answerable.candidates) == ["two", "unanswerable"]
    assert answerable.candidates[answerable.gold] == "two"
    unanswerable = task.question(SQUAD | {"answers": {"text": []}}, 0)
    assert unanswerable.candidates[unanswerable.gold] == "unanswerable"
    assert unanswerable.candidates[1 - unanswerable.gold] in SQUAD["context"]
    assert unanswerable == task.question(SQUAD | {"answers": {"text": []}}, 0)


def test_squad_is_scored_on_answerable_and_unanswerable_rows_apart():
    tasks = read_tasks()
    rows = [
        SQUAD | {"document": f"validation-{i}", "answers": {"text": ["two"] * (i % 3 == 0)}} for i in range(9)
    ]
    answerable = tasks["squad-answerable"].questions(rows)
    assert [question.document for question in answerable] == ["validation-0", "validation-3", "validation-6"]
    unanswerable = tasks["squad-unanswerable"].questions(rows, limit=4)
    assert [question.document for question in unanswerable] == [f"validation-{i}" for i in (1, 2, 4, 5)]
    assert {question.candidates[question.gold] for question in unanswerable} == {"unanswerable"}
    with pytest.raises(PreftuneError, match="no row of the split validation of data set squad-v2 belongs"):
        tasks["squad-answerable"].questions(rows[1:3])


# task, row, the right answer, the other answers
SHUFFLED = [
    ("ultrafeedback", {"prompt": "P", "chosen": "good", "rejected": "bad"}, "good", {"bad"}),
    ("orca-dpo-pairs", {"prompt": "P", "chosen": "good", "rejected": "bad"}, "good", {"bad"}),
    (
        "passage-contradiction",
        {"passage": "P", "supported": "so", "contradicted": "not so"},
        "so",
        {"not so"},
    ),
    (
        "truthfulqa-mc1",
        {"question": "Q?", "mc1_targets": {"choices": ["t", "w", "x"], "labels": [1, 0, 0]}},
        "t",
        {"w", "x"},
    ),
    (
        "truthfulqa-mc1",
        {"question": "Q?", "mc1_targets": {"choices": ["t", "w"], "labels": [0, 1]}},
        "w",
        {"t"},
    ),
]


@pytest.mark.parametrize(("name", "row", "right", "others"), SHUFFLED)
def test_candidates_come_in_an_order_drawn_from_the_document(name, row, right, others):
    task = read_tasks()[name]
    drawn = [task.question(row | {"document": f"test-{i}"}, 0) for i in range(200)]
    for question in drawn:
        assert question.candidates[question.gold] == right
        assert set(question.candidates) == others | {right}
    count = len(others) + 1
    # The share of questions whose gold answer is first, and so wins a tie: chance within four standard errors.
    first = sum(question.gold == 0 for question in drawn) / len(drawn)
    assert abs(first - 1 / count) < 4 * ((1 / count) * (1 - 1 / count) / len(drawn)) ** 0.5
    again = task.question(row | {"document": "test-7"}, 99)
    assert (again.candidates, again.gold) == (drawn[7].candidates, drawn[7].gold)


@pytest.mark.parametrize(
    ("answer", "gold", "unit"),
    [
        ("20 - 3 = 17\n#### 17", "17", 1),
        ("#### 350", "350", 10),
        ("#### 1,200", "1200", 100),
        ("#### 2.5", "2.5", 0.1),
        ("#### 0", "0", 1),
        ("#### -4", "-4", 1),
    ],
)
def test_near_misses_stand_evenly_spaced_around_the_answer(answer, gold, unit):
    task = read_tasks()["gsm8k"]
    places = set()
    for i in range(60):
        question = task.question({"document": f"test-{i}", "question": "Q?", "answer": answer}, 0)
        assert question.candidates[question.gold] == gold
        numbers = sorted(float(candidate) for candidate in question.candidates)
        assert [b - a for a, b in pairwise(numbers)] == pytest.approx([unit] * 3)
        assert float(gold) < 0 or numbers[0] >= 0
        places.add(numbers.index(float(gold)))
    assert places == set(range(min(4, 1 + int(float(gold) / unit + 1e-9)) if float(gold) >= 0 else 4))


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
        ("gsm8k", {"document": "d", "question": "Q?", "answer": "17"}, "does not end in '#### number'"),
        (
            "gsm8k",
            {"document": "d", "question": "Q?", "answer": "#### many"},
            "does not end in '#### number'",
        ),
        (
            "truthfulqa-mc1",
            {"document": "d", "question": "Q?", "mc1_targets": {"choices": ["t", "w"], "labels": [1, 1]}},
            "not exactly one true choice",
        ),
    ],
)
def test_a_bad_row_is_an_error_that_names_task_and_row(name, row, message):
    with pytest.raises(PreftuneError, match=message) as error:
        read_tasks()[name].question(row, 12)
    assert f"task {name}: row 12" in str(error.value)


def test_an_unknown_task_is_an_error_with_the_nearest_spelling():
    with pytest.raises(PreftuneError, match="did you mean 'hellaswag'"):
        find_tasks(["helaswag"])
