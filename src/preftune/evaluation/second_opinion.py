"""lm-eval's `hf` backend as a second opinion: its own scoring code on the same model, ids and questions."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lm_eval
import numpy as np
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from preftune.data.tasks.base import Question
from preftune.errors import PreftuneError
from preftune.evaluation.scoring import encode_question, encode_questions, score_questions
from preftune.preference.heads import PreferenceModel
from preftune.training.trees import Tree

TASK = "preftune_second_opinion"
CLEAR_GAP = 1e-3  # nats: float32 summation order explains less
IdPairs = dict[tuple[str, str], tuple[list[int], list[int]]]


class ChatHFLM(HFLM):  # type: ignore[misc]
    """lm-eval's `hf` model with our token ids.

    lm-eval moves the context's trailing white space, here the newline after `assistant`, into the
    continuation and tokenises the joined string; our template tokenises each part on its own. Only this
    pairing is replaced.
    """

    def __init__(self, ids: IdPairs, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._ids = ids

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        return self._ids[context, continuation]


def compare_with_lm_eval(model: PreferenceModel, questions: Sequence[Question], batch: int) -> dict[str, Any]:
    """Score `questions` with lm-eval and with our scorer and compare them.

    Both take the candidate with the largest summed log-probability, lm-eval's `acc`.

    Returns:
        n, accuracy of both, max_difference (nats), agreement (fraction of equal predictions),
        joined_ids_differ (number of candidates that lm-eval's own pairing would have tokenised otherwise) and
        the documents' scores.

    Raises:
        PreftuneError: a prediction differs on a document whose two best candidates are clearly apart.
    """
    encoded = [encode_question(model, question) for question in questions]
    theirs, accuracy = _lm_eval_scores(model, questions, encoded, batch)
    trees = encode_questions(model, questions).trees
    table = score_questions(model, questions, trees, description="our scores").table
    ours = [group["log_probability"].tolist() for _, group in table.groupby("document", sort=False)]
    documents = [_compare(*item) for item in zip(questions, theirs, ours, strict=True)]
    return {
        "n": len(documents),
        "lm_eval_version": lm_eval.__version__,
        "accuracy": {"lm_eval": accuracy, "preftune": _accuracy(documents)},
        "max_difference": max(document["max_difference"] for document in documents),
        "agreement": float(np.mean([_agrees(document) for document in documents])),
        "joined_ids_differ": _count_joined_differences(model, encoded),
        "documents": documents,
    }


def _lm_eval_scores(
    model: PreferenceModel, questions: Sequence[Question], encoded: Sequence[Tree], batch: int
) -> tuple[list[list[float]], float]:
    rows, ids = _rows(model, questions, encoded)
    backend = ChatHFLM(
        ids,
        pretrained=model.eval().causal_lm,
        tokenizer=model.tokenizer,
        backend="causal",
        batch_size=batch,
        max_length=max(tree.longest for tree in encoded) + 1,
    )
    with tempfile.TemporaryDirectory() as folder:
        _write_task(Path(folder), rows)
        results = lm_eval.simple_evaluate(
            model=backend,
            tasks=[TASK],
            task_manager=TaskManager(include_path=folder, include_defaults=False),
            bootstrap_iters=0,
        )
    samples = sorted(results["samples"][TASK], key=lambda sample: sample["doc_id"])
    scores = [[float(answer[0]) for answer in sample["filtered_resps"]] for sample in samples]
    return scores, float(results["results"][TASK]["acc,none"])


def _rows(
    model: PreferenceModel, questions: Sequence[Question], encoded: Sequence[Tree]
) -> tuple[list[dict[str, Any]], IdPairs]:
    """The task's rows as text, and the ids that stand for each (context, continuation)."""
    rows, ids = [], {}
    for question, tree in zip(questions, encoded, strict=True):
        context = model.tokenizer.decode(tree.prompt)
        rows.append({"query": context, "choices": list(question.candidates), "gold": question.gold})
        for text, branch in zip(question.candidates, tree.branches, strict=True):
            ids[context, text] = (list(tree.prompt), list(branch[:-1]))
    return rows, ids


def _write_task(folder: Path, rows: Sequence[dict[str, Any]]) -> None:
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {
        "task": TASK,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}, "cache_dir": str(folder / "cache")},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "query",
        "doc_to_choice": "choices",
        "doc_to_target": "gold",
        "target_delimiter": "",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }
    # JSON is YAML.
    (folder / f"{TASK}.yaml").write_text(json.dumps(task))


def _compare(question: Question, theirs: Sequence[float], ours: Sequence[float]) -> dict[str, Any]:
    document = {
        "document": question.document,
        "gold": question.gold,
        "lm_eval": {"log_probabilities": list(theirs), "prediction": int(np.argmax(theirs))},
        "preftune": {"log_probabilities": list(ours), "prediction": int(np.argmax(ours))},
        "max_difference": float(np.abs(np.subtract(theirs, ours)).max()),
    }
    if not _agrees(document) and max(_gap(theirs), _gap(ours)) > CLEAR_GAP:
        raise PreftuneError(
            f"lm-eval and preftune choose different answers of document {question.document} "
            f"({theirs} against {ours} nats); compare their token ids, and use float32 for this check."
        )
    return document


def _gap(scores: Sequence[float]) -> float:
    second, first = sorted(scores)[-2:]
    return first - second


def _agrees(document: dict[str, Any]) -> bool:
    return bool(document["lm_eval"]["prediction"] == document["preftune"]["prediction"])


def _accuracy(documents: Sequence[dict[str, Any]]) -> float:
    return float(np.mean([document["preftune"]["prediction"] == document["gold"] for document in documents]))


def _count_joined_differences(model: PreferenceModel, encoded: Sequence[Tree]) -> int:
    tokenizer = model.tokenizer
    rows = [[*tree.prompt, *branch[:-1]] for tree in encoded for branch in tree.branches]
    return sum(tokenizer.encode(tokenizer.decode(ids), add_special_tokens=False) != ids for ids in rows)
