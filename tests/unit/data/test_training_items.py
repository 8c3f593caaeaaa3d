"""What each task trains on: the paper's positives and negatives, and the paper scale's lists of tasks."""

import pytest
import yaml

from preftune.data.pools import word_question
from preftune.data.tasks.registry import TASKS_FILE, read_tasks

PAIR = {"sentence1": "One.", "sentence2": "Two."}
CHOICES = {"text": ["w", "x", "y"], "label": ["A", "B", "C"]}
DIGITS = {"text": ["w", "x", "y", "z", "v"], "label": ["1", "2", "3", "4", "5"]}
SQUAD = {"document": "train-0", "id": "a", "context": "Ann has two red hats.", "question": "How many?"}
# The table of DPH's positives and negatives: task, row, positive, negatives (any one of them may be drawn).
NEGATIVES = [
    ("cola", {"sentence": "x", "label": 1}, "yes", {"no"}),
    ("sst2", {"sentence": "x", "label": 0}, "negative", {"positive"}),
    ("mnli-matched", {"premise": "P", "hypothesis": "H", "label": 0}, "True", {"Neither", "False"}),
    ("qnli", {"question": "Q", "sentence": "S", "label": 1}, "no", {"yes"}),
    ("rte", PAIR | {"label": 0}, "yes", {"no"}),
    ("mrpc", PAIR | {"label": 0}, "no", {"yes"}),
    ("qqp", {"question1": "Q", "question2": "R", "label": 1}, "yes", {"no"}),
    ("stsb", PAIR | {"label": 3.6}, "4", {"0", "1", "2", "3", "5"}),
    (
        "mmlu",
        {"question": "Q", "choices": ["w", "x", "y", "z"], "answer": 1},
        "B. x",
        {"A. w", "C. y", "D. z"},
    ),
    (
        "race-middle",
        {"article": "T", "question": "Q", "options": ["w", "x", "y", "z"], "answer": "D"},
        "D. z",
        {"A. w", "B. x", "C. y"},
    ),
    (
        "arc-challenge",
        {"question": "Q", "choices": DIGITS, "answerKey": "2"},
        "2. x",
        {"1. w", "3. y", "4. z", "5. v"},
    ),
    ("arc-easy", {"question": "Q", "choices": CHOICES, "answerKey": "A"}, "A. w", {"B. x", "C. y"}),
    ("openbookqa", {"question_stem": "S", "choices": CHOICES, "answerKey": "C"}, "C. y", {"A. w", "B. x"}),
    (
        "hellaswag-choice",
        {"ctx": "C", "endings": ["w", "x", "y", "z"], "label": "0"},
        "A. w",
        {"B. x", "C. y", "D. z"},
    ),
    ("hellaswag", {"ctx": "C", "endings": ["w", "x", "y", "z"], "label": "2"}, "y", {"w", "x", "z"}),
    (
        "winogrande",
        {"sentence": "Ann met Bo because _ called.", "option1": "Ann", "option2": "Bo", "answer": "1"},
        "Ann called.",
        {"Bo called."},
    ),
    ("piqa", {"goal": "G", "sol1": "a", "sol2": "b", "label": 1}, "b", {"a"}),
    ("boolq", {"passage": "P", "question": "q", "label": 0}, "no", {"yes"}),
    ("squad-v2", SQUAD | {"answers": {"text": ["two"]}}, "two", {"unanswerable"}),
    ("ultrafeedback", {"prompt": "P", "chosen": "good", "rejected": "bad"}, "good", {"bad"}),
    ("orca-dpo-pairs", {"prompt": "P", "chosen": "good", "rejected": "bad"}, "good", {"bad"}),
]


@pytest.mark.parametrize(("name", "row", "positive", "negatives"), NEGATIVES)
def test_a_training_item_has_the_papers_positive_and_negatives(name, row, positive, negatives):
    draft = word_question(read_tasks()[name], row | {"document": "train-0"}, 0)
    assert draft.positive == positive
    assert set(draft.negatives) == negatives
    assert len(draft.negatives) == len(negatives)


def test_an_unanswerable_training_item_is_denied_a_span_of_its_passage():
    draft = word_question(read_tasks()["squad-v2"], SQUAD | {"answers": {"text": []}}, 0)
    assert draft.positive == "unanswerable"
    (span,) = draft.negatives
    assert span in SQUAD["context"]


def test_the_paper_scale_trains_on_the_papers_tasks():
    """21 tasks of preference pairs, all but the two sets of written pairs in SFT; RACE's two levels count as one.

    SFT has six sets of answers without wrong ones beside them.
    """
    config = yaml.safe_load((TASKS_FILE.parent / "paper.yaml").read_text())["dph"]
    tasks = read_tasks()
    pairs = {"ultrafeedback", "orca-dpo-pairs"}
    names = {mix: config[f"{mix}_mix"]["tasks"] for mix in ("sft", "preference")}
    groups = {mix: {tasks[name].group for name in names[mix] if name in tasks} for mix in names}
    assert len(groups["preference"]) == 21
    assert groups["sft"] == groups["preference"] - pairs
    assert groups["preference"] == {tasks[name].group for name, *_ in NEGATIVES}
    assert set(names["preference"]) <= set(tasks)
    assert set(names["sft"]) - set(tasks) == {
        "alpaca-cleaned", "cnn-dailymail", "coqa", "open-orca", "tinystories-instruct", "tinystories-summary"
    }  # fmt: skip
    for mix in names:
        assert all(mix in tasks[name].mixes for name in names[mix] if name in tasks)
