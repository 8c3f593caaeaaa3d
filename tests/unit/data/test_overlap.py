"""Overlap of evaluation and training questions: exact counts on a handful of questions whose overlap is known."""

import pytest
from datasets import Dataset, DatasetDict

from preftune.data.overlap import NGRAM_WORDS, count_overlap, read_evaluation, read_training
from preftune.data.tasks.base import Question
from preftune.data.tasks.registry import find_tasks
from preftune.data.texts import fold_text
from preftune.errors import PreftuneError

WORDS = [f"word{i}" for i in range(40)]


def ask(prompt, answer="yes"):
    return Question("d", "t", [{"role": "user", "content": prompt}], ["no", answer], 1)


def text(start, stop):
    return " ".join(WORDS[start:stop])


@pytest.mark.parametrize(
    ("given", "folded"),
    [
        ("Who, me?\n  Yes!", "who me yes"),
        ("ÉTÉ — 3.5_x", "été 3 5 x"),
        ("  ", ""),
        ("don't", "don t"),
    ],
)
def test_folded_texts_have_no_case_punctuation_or_white_space(given, folded):
    assert fold_text(given) == folded


def test_shared_prompts_answers_and_ngrams_are_counted():
    training = [ask("Is it Red?"), ask("Is it blue?", "true"), ask(text(0, 20)), ask(f"{text(20, 33)} more")]
    evaluation = {
        "short": [ask("is it, red"), ask("Is it blue?", "yes"), ask("Is it green?")],
        "long": [
            ask(text(0, 20)),  # the same prompt, so also the same n-grams
            ask("new " + text(5, 5 + NGRAM_WORDS)),  # one common n-gram
            ask("new " + text(5, 5 + NGRAM_WORDS - 1)),  # twelve common words: no common n-gram
            ask(
                text(13, 33)
            ),  # its words stand in training, but never thirteen of one question in a row, except the last
            ask(text(10, 32)),  # the same, without the last
        ],
        "words": [ask(text(20, 33))],  # thirteen words in training are an n-gram, not a prompt
    }
    assert count_overlap(evaluation, training) == {
        "short": {
            "questions": 3,
            "same_prompt": 2,
            "same_prompt_and_answer": 1,
            "ngram_questions": 0,
            "shared_ngrams": 0,
        },
        "long": {
            "questions": 5,
            "same_prompt": 1,
            "same_prompt_and_answer": 1,
            "ngram_questions": 5,
            "shared_ngrams": 3,
        },
        "words": {
            "questions": 1,
            "same_prompt": 0,
            "same_prompt_and_answer": 0,
            "ngram_questions": 1,
            "shared_ngrams": 1,
        },
    }


def test_a_training_split_against_itself_overlaps_wholly(tmp_path):
    rows = [
        {"document": f"train-{i}", "sentence": f"The cup {i} stands there.", "label": i % 2} for i in range(5)
    ]
    splits = {"train": Dataset.from_list(rows), "validation": Dataset.from_list(rows[1:])}
    DatasetDict(splits).save_to_disk(tmp_path / "glue-cola")
    folders = {"glue-cola": tmp_path / "glue-cola"}
    evaluation = read_evaluation(find_tasks(["cola"]), folders, limit=3)
    counts = count_overlap(evaluation, read_training(find_tasks(["cola"]), folders))["cola"]
    assert counts["questions"] == counts["same_prompt"] == counts["same_prompt_and_answer"] == 3
    with pytest.raises(PreftuneError, match="the task sst2 needs a prepared folder glue-sst2"):
        read_evaluation(find_tasks(["sst2"]), folders, limit=3)
    DatasetDict({"validation": splits["validation"]}).save_to_disk(tmp_path / "bare")
    with pytest.raises(PreftuneError, match="no train split, which the task cola needs"):
        list(read_training(find_tasks(["cola"]), {"glue-cola": tmp_path / "bare"}))
