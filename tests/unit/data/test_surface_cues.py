"""No word, length or position tells the right answer of a pair or choice task of the embedded data.

Each classifier is fitted on 400 training rows and judged on 400 others; it must stay within chance plus
three binomial
standard errors. CoLA and SST-2 are about the words of one sentence and exempt.
"""

import random
from functools import cache

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from preftune.data.embedded import choice, glue, reading, reasoning
from preftune.data.embedded.preferences import held_out_preferences, orca_pairs, preferences
from preftune.data.embedded.world import draw_splits
from preftune.data.schemas import SCHEMAS, oppose_hypotheses
from preftune.data.tasks.registry import read_tasks

ROWS = 400
BLOCKS = {
    **{name: block for name, block in glue.BLOCKS.items() if name not in ("cola", "sst2")},
    **choice.BLOCKS,
    **reading.BLOCKS,
    **reasoning.BLOCKS,
    "mnli-matched": glue.mnli_matched,
    "mnli-mismatched": glue.mnli_mismatched,
    "orca-dpo-pairs": orca_pairs,
}
squad = BLOCKS.pop("squad-v2")  # answered by a span or a fixed word: no choice among equals
PAIR_TASKS = ("mrpc", "qqp", "stsb", "mnli-matched", "mnli-mismatched", "qnli", "rte", "wnli", "boolq")
CHOICE_TASKS = (*sorted(set(BLOCKS) - set(PAIR_TASKS)), "ultrafeedback", "passage-contradiction")
TALKS = [
    {"prompt": f"What about {n}?", "response": " ".join(["well"] * (n % 7) + [f"answer{n}"])}
    for n in range(60)
]
OTHER_TALKS = [
    {"prompt": f"What then, {n}?", "response": " ".join(["so"] * (n % 7) + [f"reply{n}"])} for n in range(60)
]


@cache
def questions(name):
    """Training and validation questions of a task."""
    counts = {"train": ROWS, "validation": ROWS}
    task = read_tasks()[name]
    return tuple(task.questions(rows) for rows in drawn_rows(name, counts))


def drawn_rows(name, counts):
    """Prepared rows of each split."""
    if name == "ultrafeedback":
        train = draw_splits(name, preferences(TALKS), counts, seed=3)["train"]
        fresh = held_out_preferences(OTHER_TALKS, train)
        splits = {"train": train} | draw_splits("held-out", fresh, {"validation": ROWS}, seed=3)
        convert = SCHEMAS["ultrafeedback"].convert
    elif name == "passage-contradiction":
        splits = draw_splits(
            name, glue.mnli_matched, {split: 3 * count for split, count in counts.items()}, seed=3
        )
        convert = dict
    else:
        splits = draw_splits(name, BLOCKS[name], counts, seed=3)
        convert = SCHEMAS["orca"].convert if name == "orca-dpo-pairs" else dict
    for split, rows in splits.items():
        named = [{"id": str(i), "document": f"{split}-{i}", **convert(row)} for i, row in enumerate(rows)]
        yield oppose_hypotheses(named) if name == "passage-contradiction" else named


def bound(items):
    """Chance plus three standard errors."""
    chance = np.array([1 / len(question.candidates) for question in items])
    return chance.mean() + 3 * np.sqrt((chance * (1 - chance)).sum()) / len(items)


def bag_of_words(binary):
    return make_pipeline(
        CountVectorizer(binary=binary, token_pattern=r"\w+"), LogisticRegression(max_iter=300, C=1.0)
    )


def prompt_of(question):
    return question.messages[0]["content"]


def lengths(texts):
    return np.array([[len(text), len(text.split())] for text in texts], dtype=float)


def lines_lengths(question):
    lines = prompt_of(question).split("\n")
    return [measure for line in lines for measure in (len(line), len(line.split()))]


@pytest.mark.parametrize("binary", [False, True], ids=["counts", "presence"])
@pytest.mark.parametrize("name", PAIR_TASKS)
def test_words_of_a_pair_do_not_tell_its_label(name, binary):
    train, validation = questions(name)
    model = bag_of_words(binary).fit([prompt_of(q) for q in train], [q.gold for q in train])
    assert model.score([prompt_of(q) for q in validation], [q.gold for q in validation]) <= bound(validation)


@pytest.mark.parametrize("part", [0, 1])
@pytest.mark.parametrize("name", PAIR_TASKS)
def test_words_of_one_text_do_not_tell_the_label(name, part):
    train, validation = questions(name)
    texts = [[prompt_of(q).split("\n")[part] for q in items] for items in (train, validation)]
    model = bag_of_words(False).fit(texts[0], [q.gold for q in train])
    assert model.score(texts[1], [q.gold for q in validation]) <= bound(validation)


@pytest.mark.parametrize("name", PAIR_TASKS)
def test_lengths_of_a_pair_do_not_tell_its_label(name):
    train, validation = questions(name)
    model = make_pipeline(StandardScaler(), LogisticRegression())
    model.fit([lines_lengths(q) for q in train], [q.gold for q in train])
    assert model.score([lines_lengths(q) for q in validation], [q.gold for q in validation]) <= bound(
        validation
    )


@pytest.mark.parametrize("name", PAIR_TASKS)
def test_no_label_is_more_frequent(name):
    _, validation = questions(name)
    most = max(np.bincount([q.gold for q in validation]))
    assert most / len(validation) <= bound(validation)


def choose(scores_of, items):
    """Accuracy of the candidate with the highest score; ties are broken by a seeded draw."""
    rng = random.Random(0)
    right = 0
    for question in items:
        scores = scores_of(question)
        best = [place for place, score in enumerate(scores) if score >= max(scores) - 1e-12]
        right += rng.choice(best) == question.gold
    return right / len(items)


def candidate_rows(items, text_of):
    pairs = [(text_of(q, c), i == q.gold) for q in items for i, c in enumerate(q.candidates)]
    return [text for text, _ in pairs], [gold for _, gold in pairs]


def answer_text(question, candidate):
    # Without the option's letter: its place is the position classifier's business.
    return candidate[3:] if candidate[1:3] == ". " else candidate


TEXTS = {
    "answer": answer_text,
    "prompt and answer": lambda question, candidate: (
        f"{prompt_of(question)} {answer_text(question, candidate)}"
    ),
}


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("name", CHOICE_TASKS)
def test_words_of_an_answer_do_not_tell_whether_it_is_right(name, text):
    train, validation = questions(name)
    text_of = TEXTS[text]
    model = bag_of_words(False).fit(*candidate_rows(train, text_of))
    accuracy = choose(lambda q: model.decision_function([text_of(q, c) for c in q.candidates]), validation)
    assert accuracy <= bound(validation)


@pytest.mark.parametrize("name", CHOICE_TASKS)
def test_length_of_an_answer_does_not_tell_whether_it_is_right(name):
    train, validation = questions(name)
    texts, gold = candidate_rows(train, answer_text)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(lengths(texts), gold)
    assert choose(lambda q: model.decision_function(lengths(q.candidates)), validation) <= bound(validation)
    for sign in (1, -1):
        extreme = choose(
            lambda q, sign=sign: [sign * len(answer_text(q, c)) for c in q.candidates], validation
        )
        assert extreme <= bound(validation)


@pytest.mark.parametrize("name", CHOICE_TASKS)
def test_position_does_not_tell_the_right_answer(name):
    train, validation = questions(name)
    counts = np.bincount([q.gold for q in train], minlength=5)
    assert choose(lambda q: counts[: len(q.candidates)], validation) <= bound(validation)


def test_words_do_not_tell_whether_a_passage_answers_the_question():
    """SQuAD's questions with and without an answer, which are scored as two tasks."""
    splits = draw_splits("squad-v2", squad, {"train": ROWS, "validation": ROWS}, seed=3)
    task = read_tasks()["squad-v2"]
    texts = {
        split: [task.question(row | {"document": "x", "id": "x"}, 0).messages[-1]["content"] for row in rows]
        for split, rows in splits.items()
    }
    labels = {split: [bool(row["answers"]["text"]) for row in rows] for split, rows in splits.items()}
    model = bag_of_words(False).fit(texts["train"], labels["train"])
    assert model.score(texts["validation"], labels["validation"]) <= 0.5 + 3 * np.sqrt(0.25 / ROWS)


def test_a_near_miss_is_neither_larger_nor_smaller_nor_less_round_than_the_answer():
    _, validation = questions("gsm8k")
    ways = {
        "largest": lambda q: [float(c) for c in q.candidates],
        "smallest": lambda q: [-float(c) for c in q.candidates],
        "middle": lambda q: [
            -abs(float(c) - np.mean([float(d) for d in q.candidates])) for c in q.candidates
        ],
        "round": lambda q: [len(c) - len(c.rstrip("05")) for c in q.candidates],
        "told": lambda q: [prompt_of(q).split().count(c) for c in q.candidates],
    }
    for way, scores_of in ways.items():
        assert choose(scores_of, validation) <= bound(validation), way
