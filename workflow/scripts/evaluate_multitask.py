"""Scores of one run of the multi-task experiment: caption perplexity, answers to questions about texts and about images.

Input: the language model folder it was trained on, image features, prepared captions and questions, the run's folder.
Output: a folder with answers.json and answers.parquet (one row a question and answerer: the model, the majority answer of the
training split, that of the question's kind) and, for a model that reads images, perplexity.json and perplexity.parquet (one
row a reference caption).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _repo  # noqa: F401
import pandas as pd
from transformers import PreTrainedTokenizerBase
from preftune.captioning.answers import score_answers, score_priors, summarize_answers
from preftune.captioning.captioner import Captioner
from preftune.captioning.data import load_captioned_images
from preftune.captioning.io import check_features, load_captioner
from preftune.captioning.perplexity import score_captions, summarize_perplexity
from preftune.captioning.questions import (
    Question,
    answer_questions,
    load_image_questions,
    load_text_questions,
)
from preftune.captioning.store import FeatureSource, open_features
from preftune.files import write_json
from preftune.models.devices import computing_in, resolve_device, resolve_dtype
from preftune.settings.multitask import MultitaskEvaluationSettings
from preftune.command_line import step_parser
from preftune.step import Step

INPUTS = ("base", "features", "captions", "questions", "model")


def main(argv: list[str] | None = None) -> None:
    """Score every task that the model can do."""
    parser = step_parser(__doc__)
    parser.add_argument("--base", type=Path, required=True, help="language model folder")
    parser.add_argument("--features", type=Path, required=True, help="folder of the image features")
    parser.add_argument("--captions", type=Path, required=True, help="folder of the prepared captions")
    parser.add_argument("--questions", type=Path, required=True, help="folder of the prepared questions")
    parser.add_argument("--model", type=Path, required=True, help="folder of the trained or joined model")
    parser.add_argument("--output", type=Path, required=True, help="folder of the scores")
    with Step.start(parser, argv, rule="evaluate_multitask", inputs=INPUTS) as step:
        evaluate(step)


def evaluate(step: Step) -> None:
    """Load the model and score it."""
    arguments, settings = step.arguments, step.settings(MultitaskEvaluationSettings)
    device = resolve_device(arguments.device)
    dtype = resolve_dtype(settings.dtype, device)
    captioner, tokenizer, schema = load_captioner(arguments.base, arguments.model, device, dtype)
    step.out().mkdir()
    step.note(dtype=str(dtype)[6:])
    with computing_in(device, dtype):
        score(step, captioner, tokenizer, schema)


def score(
    step: Step, captioner: Captioner, tokenizer: PreTrainedTokenizerBase, schema: dict[str, Any]
) -> None:
    """Every task of the model, its figures beside their items."""
    arguments, settings = step.arguments, step.settings(MultitaskEvaluationSettings)
    parameters = schema["parameters"]
    facts = {
        "split": settings.split,
        "trainable_parameters": parameters["trainable"],
        "lm_trainable_parameters": parameters["language_model"],
    }
    count, split = settings.questions, settings.split
    features = open_features(arguments.features)
    train, asked = (load_text_questions(arguments.questions, *part) for part in (("train",), (split, count)))
    rows = {"text": answer(step, captioner, tokenizer, train, asked, None, "exact")}
    if schema["connector"] != "none":
        score_split(step, captioner, tokenizer, schema, facts)
        train, _ = load_image_questions(arguments.questions, "train", features)
        asked, without = load_image_questions(arguments.questions, split, features, count)
        rows["image"] = answer(step, captioner, tokenizer, train, asked, features, settings.metric)
        step.note(questions_without_features=without)
    table = pd.concat([frame.assign(medium=medium) for medium, frame in rows.items()])
    table.to_parquet(step.out() / "answers.parquet", index=False)
    for medium, frame in rows.items():
        parts = frame.groupby("answerer", sort=False)
        facts[medium] = {name: summarize_answers(part.to_dict("records")) for name, part in parts}
    write_json(step.out() / "answers.json", {**facts, "metric": settings.metric})
    step.note(answers={medium: len(frame) for medium, frame in rows.items()})


def answer(
    step: Step,
    captioner: Captioner,
    tokenizer: PreTrainedTokenizerBase,
    train: Sequence[Question],
    asked: Sequence[Question],
    features: FeatureSource | None,
    metric: str,
) -> pd.DataFrame:
    """One row a question and answerer: question_id, document, kind, prediction, score, f1, answerer."""
    settings = step.settings(MultitaskEvaluationSettings)
    found = answer_questions(captioner, tokenizer, asked, features, settings.max_new_tokens, settings.batch)
    questions = [question.row() for question in asked]
    scored = {"model": score_answers(questions, found, metric)}
    scored |= score_priors([question.row() for question in train], questions, metric)
    documents = {question.question_id: question.document for question in asked}
    rows = [{**row, "answerer": name} for name, part in scored.items() for row in part]
    return pd.DataFrame([{**row, "document": documents[row["question_id"]]} for row in rows])


def score_split(
    step: Step,
    captioner: Captioner,
    tokenizer: PreTrainedTokenizerBase,
    schema: dict[str, Any],
    facts: dict[str, Any],
) -> None:
    """Write the perplexity of the split's captions and its items."""
    arguments, settings = step.arguments, step.settings(MultitaskEvaluationSettings)
    images = load_captioned_images(arguments.captions, arguments.features, settings.split, settings.images)
    check_features(schema, images, arguments.features)
    longest = schema["max_caption_tokens"]
    rows, truncated = score_captions(captioner, tokenizer, images, longest, settings.tokens_per_pass)
    pd.DataFrame(rows).to_parquet(step.out() / "perplexity.parquet", index=False)
    write_json(step.out() / "perplexity.json", facts | summarize_perplexity(rows))
    step.note(captions=len(rows), truncated=truncated)


if __name__ == "__main__":
    main()
