"""Scores of short answers to questions, and of the answers that a prior gives without looking.

Soft accuracy and its normalisation are those of the VQA evaluation (Antol et al. 2015, arXiv 1505.00468, and its
released code, which the EvalAI server runs); exact match is GQA's; token F1 is SQuAD's (Rajpurkar et al. 2016,
arXiv 1606.05250). Written anew from these definitions.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from preftune.errors import PreftuneError

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_NUMBERS = {
    "none": "0", "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6",
    "seven": "7", "eight": "8", "nine": "9", "ten": "10",
}  # fmt: skip
_ARTICLES = ("a", "an", "the")
# Each is also the reading of itself with any one of its apostrophes left out.
_CONTRACTED = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've
    he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't not've
    o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's
    someone'd someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've
    there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's
    what've when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've
    wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""


def _apostrophes_left_out() -> dict[str, str]:
    places = (
        (word, place) for word in _CONTRACTED.split() for place, letter in enumerate(word) if letter == "'"
    )
    # the one entry of the official table that goes the other way
    return {word[:place] + word[place + 1 :]: word for word, place in places} | {"somebody'd": "somebodyd"}


_CONTRACTIONS = _apostrophes_left_out()


@lru_cache(maxsize=100_000)
def normalize_answer(answer: str) -> str:
    """Return an answer as VQA compares it: lower case, no punctuation and articles, digits, contractions.

    A punctuation mark becomes a space, or nothing where it stands beside a space or the answer has a comma between
    digits; a full stop goes unless a digit follows. The official code leaves answers as they are where all ten are
    equal, so that `Yes` misses ten times `yes`; here both sides are always normalised, as in MMF's `evalai_answer`.
    """
    text = re.sub(r"[\n\t]", " ", answer).strip()
    joins = re.search(r"\d,\d", text) is not None
    result = text
    for mark in _PUNCTUATION:
        beside_space = f"{mark} " in text or f" {mark}" in text
        result = result.replace(mark, "" if joins or beside_space else " ")
    words = (_NUMBERS.get(word, word) for word in re.sub(r"\.(?!\d)", "", result).lower().split())
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def soft_accuracy(prediction: str, answers: Sequence[str]) -> float:
    """VQA's accuracy, 0 to 1: the mean over the annotators of min(1, equal answers of the others / 3).

    Of ten answers 1, 2, 3 and 4 equal ones score 0.3, 0.6, 0.9 and 1. With one answer it is exact match. Two or three
    answers, of which the formula can give none its full score, raise PreftuneError.
    """
    if len(answers) == 1:
        return exact_match(prediction, answers)
    if len(answers) < 4:
        raise PreftuneError(
            f"Soft accuracy needs 1 or at least 4 answers, not {len(answers)}: use exact match."
        )
    given = normalize_answer(prediction)
    equal = [normalize_answer(answer) == given for answer in answers]
    return sum(min(1.0, (sum(equal) - own) / 3) for own in equal) / len(answers)


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """GQA's accuracy: 1 where the normalised prediction is one of the answers (GQA has one), else 0."""
    given = normalize_answer(prediction)
    return float(any(normalize_answer(answer) == given for answer in answers))


def _squad_tokens(text: str) -> list[str]:
    bare = "".join(letter for letter in text.lower() if letter not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", bare).split()


def token_f1(prediction: str, answers: Sequence[str]) -> float:
    """SQuAD's F1 of the words in common, the best over the answers; 1 where both have no word."""
    return max(_f1(_squad_tokens(prediction), _squad_tokens(answer)) for answer in answers)


def _f1(predicted: list[str], gold: list[str]) -> float:
    if not predicted or not gold:
        return float(predicted == gold)
    common = sum((Counter(predicted) & Counter(gold)).values())
    return 2 * common / (len(predicted) + len(gold))


METRICS: dict[str, Callable[[str, Sequence[str]], float]] = {"soft": soft_accuracy, "exact": exact_match}
"""Scores by name: `soft` for VQAv2, `exact` for GQA; both are the same for one answer, as the scenes have."""


def score_answers(
    questions: Iterable[Mapping[str, Any]], predictions: Mapping[str, str], metric: str
) -> list[dict[str, Any]]:
    """Score one prediction a question: rows {question_id, kind, prediction, score, f1} in the questions' order.

    `questions` has question_id, kind and answers, as the rows of `questions.parquet`; `metric` is one of `METRICS`. A
    question without a prediction, and a prediction of an unknown question, raise PreftuneError.
    """
    rows = []
    for question in questions:
        name, answers = question["question_id"], list(question["answers"])
        if name not in predictions:
            raise PreftuneError(f"Question {name} has no prediction: generate the answers again.")
        prediction = predictions[name]
        score, f1 = METRICS[metric](prediction, answers), token_f1(prediction, answers)
        rows.append(
            {
                "question_id": name,
                "kind": question["kind"],
                "prediction": prediction,
                "score": score,
                "f1": f1,
            }
        )
    unknown = set(predictions) - {row["question_id"] for row in rows}
    if unknown:
        raise PreftuneError(
            f"{len(unknown)} predictions answer no question, as {min(unknown)}: generate the answers again."
        )
    return rows


def summarize_answers(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return {n, score, f1, kinds: {kind: {n, score, f1}}}: means of the rows, as fractions."""
    if not rows:
        raise PreftuneError("No answers to summarise: check the split and its limit.")
    kinds = sorted({row["kind"] for row in rows})
    parts = {kind: [row for row in rows if row["kind"] == kind] for kind in kinds}
    return {**_means(rows), "kinds": {kind: _means(part) for kind, part in parts.items()}}


def _means(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    means = {name: sum(row[name] for row in rows) / len(rows) for name in ("score", "f1")}
    return {"n": len(rows), **means}


def _most_frequent(answers: Iterable[str]) -> str:
    counts = Counter(answers)
    return min(counts, key=lambda answer: (-counts[answer], answer))


def prior_answers(train: Iterable[Mapping[str, Any]]) -> tuple[str, dict[str, str]]:
    """Return the most frequent answer of the training questions, over all and of each kind.

    A question's own answer is its annotators' most frequent one; of equally frequent ones the first in the alphabet.
    """
    by_kind: dict[str, list[str]] = {}
    for question in train:
        answer = _most_frequent(map(normalize_answer, question["answers"]))
        by_kind.setdefault(question["kind"], []).append(answer)
    if not by_kind:
        raise PreftuneError("No training questions to take a prior from: check the split train.")
    overall = _most_frequent(answer for answers in by_kind.values() for answer in answers)
    return overall, {kind: _most_frequent(answers) for kind, answers in by_kind.items()}


def score_priors(
    train: Iterable[Mapping[str, Any]], questions: Sequence[Mapping[str, Any]], metric: str
) -> dict[str, list[dict[str, Any]]]:
    """Score what needs no image: rows of `score_answers` for `majority` and for `prior_of_kind`.

    The first always gives the training split's most frequent answer, the second that of the question's kind (of a
    kind that training lacks, the first's).
    """
    overall, of_kind = prior_answers(train)
    majority = {question["question_id"]: overall for question in questions}
    by_kind = {question["question_id"]: of_kind.get(question["kind"], overall) for question in questions}
    return {
        "majority": score_answers(questions, majority, metric),
        "prior_of_kind": score_answers(questions, by_kind, metric),
    }
