"""lm-eval as a second opinion on our scorer: the same model and questions, its own tasks, prompts and code.

Chats: a task of ours with our token ids in lm-eval's `hf` backend. Plain texts: lm-eval's own task, by its `hf` backend and by
ours (`TreeLM`), against our scorer with the template set `lm-eval`, so that prompts and pairing are compared too. Both take the
candidate with the largest summed log-probability, lm-eval's `acc`.
"""

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lm_eval
import numpy as np
from lm_eval.api.model import LM
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from preftune.data.tasks.base import Question, Task
from preftune.errors import PreftuneError
from preftune.evaluation.lm_eval_model import TreeLM
from preftune.evaluation.lm_eval_tasks import LM_EVAL_TASKS
from preftune.evaluation.metrics import compute_metrics
from preftune.evaluation.scoring import encode_question, encode_questions, score_questions
from preftune.preference.heads import PreferenceModel
from preftune.training.trees import Tree

TASK = "preftune_second_opinion"
CLEAR_GAP = 1e-3  # nats: float32 summation order explains less
IdPairs = dict[tuple[str, str], tuple[list[int], list[int]]]
DEFINITIONS = Path(lm_eval.__file__).parent / "tasks"


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


@dataclass(frozen=True)
class Opinion:
    """What lm-eval says of a task: summed log-probabilities of every document's candidates, and its metrics by name."""

    scores: list[list[float]]
    metrics: dict[str, float]


def compare_chats(model: PreferenceModel, questions: Sequence[Question], batch: int) -> dict[str, Any]:
    """Score questions that are asked as chats with lm-eval and with our scorer and compare them.

    Returns:
        n, lm_eval_version, accuracy of both, max_difference (nats), agreement (fraction of equal predictions), close (documents
        whose predictions differ within CLEAR_GAP), joined_ids_differ (number of candidates that lm-eval's own pairing would
        have tokenised otherwise) and the documents' scores.

    Raises:
        PreftuneError: a prediction differs on a document whose two best candidates are clearly apart.
    """
    trees = [tree for question in questions for tree in encode_question(model, question)]
    rows, ids = _rows(model, questions, trees)
    backend = ChatHFLM(ids, **_arguments(model, batch), max_length=max(tree.longest for tree in trees) + 1)
    with tempfile.TemporaryDirectory() as folder:
        opinion = _ask(backend, Path(folder), _chat_task(Path(folder), rows))
    table = score_questions(model, encode_questions(model, questions), description="our scores").table
    result = _compare_all(questions, opinion.scores, _by_document(table, "log_probability"))
    result["accuracy"]["lm_eval"] = opinion.metrics["acc"]
    return {**result, "joined_ids_differ": _count_joined_differences(model, trees)}


def compare_texts(
    model: PreferenceModel, task: Task, rows: Iterable[Mapping[str, Any]], limit: int | None, batch: int
) -> dict[str, Any]:
    """Score a task with lm-eval's own prompts: by lm-eval's `hf` backend, by `TreeLM`, and by our scorer.

    Args:
        task: worded by the template set `lm-eval`.
        rows: of its prepared split.

    Returns:
        as `compare_chats`, without joined_ids_differ; skipped (questions longer than the context); accuracy and acc_norm (where lm-eval has it) of lm_eval, tree_lm and
        preftune.

    Raises:
        PreftuneError: lm-eval has no such task, or a prediction differs on a document whose two best candidates are clearly
            apart.
    """
    if task.name not in LM_EVAL_TASKS:
        raise PreftuneError(
            f"lm-eval has no task {task.name}: compare one of {', '.join(sorted(LM_EVAL_TASKS))}."
        )
    rows = list(rows)
    bare = PreferenceModel(model.language_model, model.tokenizer)
    questions = task.questions(rows, limit)
    # A question beyond the context is left out on both sides: lm-eval would cut each of its candidates apart.
    encoded = encode_questions(bare, questions, long="skip")
    kept = {question.document for question in encoded.questions}
    asked = [
        row for question, row in zip(questions, task.arrange(rows), strict=False) if question.document in kept
    ]
    with tempfile.TemporaryDirectory() as folder:
        # lm-eval's own definition, but for where its rows are.
        definition = DEFINITIONS / LM_EVAL_TASKS[task.name]
        own = {"include": str(definition), **_local(Path(folder), [_lm_eval_row(row) for row in asked])}
        theirs = _ask(HFLM(**_arguments(model, batch)), Path(folder), own)
        tree = _ask(TreeLM(bare), Path(folder), own)
    questions = encoded.questions
    table = score_questions(bare, encoded, description="our scores").table
    result = _compare_all(questions, theirs.scores, _by_document(table, "log_probability"))
    result["skipped"] = encoded.skipped
    # The tree backend answers the same requests; its predictions are held to the same rule.
    result["accuracy"]["tree_lm"] = _compare_all(questions, theirs.scores, tree.scores)["accuracy"][
        "preftune"
    ]
    if "acc" in theirs.metrics:
        result["accuracy"] |= {"lm_eval": theirs.metrics["acc"], "tree_lm": tree.metrics["acc"]}
    if "acc_norm" in theirs.metrics:
        result["acc_norm"] = {
            "lm_eval": theirs.metrics["acc_norm"],
            "tree_lm": tree.metrics["acc_norm"],
            "preftune": compute_metrics(table, ["accuracy"], "log_chars")["accuracy"],
        }
    return result


def _arguments(model: PreferenceModel, batch: int) -> dict[str, Any]:
    """Of lm-eval's `hf` backend for a model in memory."""
    return {
        "pretrained": model.eval().causal_lm,
        "tokenizer": model.tokenizer,
        "backend": "causal",
        "batch_size": batch,
    }


def _ask(backend: LM, folder: Path, task: dict[str, Any]) -> Opinion:
    # JSON is YAML.
    (folder / f"{TASK}.yaml").write_text(json.dumps({"task": TASK, **task}))
    results = lm_eval.simple_evaluate(
        model=backend,
        tasks=[TASK],
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        bootstrap_iters=0,
    )
    samples = sorted(results["samples"][TASK], key=lambda sample: sample["doc_id"])
    scores = [[float(answer[0]) for answer in sample["filtered_resps"]] for sample in samples]
    metrics = {
        key.removesuffix(",none"): float(value)
        for key, value in results["results"][TASK].items()
        if key.endswith(",none") and isinstance(value, int | float)
    }
    return Opinion(scores, metrics)


def _local(folder: Path, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A task's source: a local file instead of the hub."""
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": {"test": str(data)}, "cache_dir": str(folder / "cache")},
        "training_split": None,
        "validation_split": None,
        "test_split": "test",
    }


def _chat_task(folder: Path, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        **_local(folder, rows),
        "output_type": "multiple_choice",
        "doc_to_text": "query",
        "doc_to_choice": "choices",
        "doc_to_target": "gold",
        "target_delimiter": "",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }


def _lm_eval_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row in the columns that lm-eval's task reads: RACE's questions of one article are one row there."""
    if "earlier" not in row:
        return dict(row)
    problems = [*row["earlier"], row]
    kept = [{key: problem[key] for key in ("question", "options", "answer")} for problem in problems]
    return {"article": row["article"], "problems": repr(kept)}


def _rows(
    model: PreferenceModel, questions: Sequence[Question], trees: Sequence[Tree]
) -> tuple[list[dict[str, Any]], IdPairs]:
    """The task's rows as text, and the ids that stand for each (context, continuation)."""
    rows, ids = [], {}
    for question, tree in zip(questions, trees, strict=True):
        context = model.tokenizer.decode(tree.prompt)
        rows.append({"query": context, "choices": list(question.candidates), "gold": question.gold})
        for text, branch in zip(question.candidates, tree.branches, strict=True):
            ids[context, text] = (list(tree.prompt), list(branch[:-1]))
    return rows, ids


def _by_document(table: Any, column: str) -> list[list[float]]:
    return [group[column].tolist() for _, group in table.groupby("document", sort=False)]


def _compare_all(
    questions: Sequence[Question], theirs: Sequence[Sequence[float]], ours: Sequence[Sequence[float]]
) -> dict[str, Any]:
    documents = [_compare(*item) for item in zip(questions, theirs, ours, strict=True)]
    differing = [document for document in documents if not _agrees(document)]
    return {
        "n": len(documents),
        "lm_eval_version": lm_eval.__version__,
        "accuracy": {side: _accuracy(documents, side) for side in ("lm_eval", "preftune")},
        "max_difference": max(document["max_difference"] for document in documents),
        "agreement": 1 - len(differing) / len(documents),
        "close": [document["document"] for document in differing],
        "documents": documents,
    }


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


def _accuracy(documents: Sequence[dict[str, Any]], side: str) -> float:
    return float(np.mean([document[side]["prediction"] == document["gold"] for document in documents]))


def _count_joined_differences(model: PreferenceModel, trees: Sequence[Tree]) -> int:
    tokenizer = model.tokenizer
    rows = [[*tree.prompt, *branch[:-1]] for tree in trees for branch in tree.branches]
    return sum(tokenizer.encode(tokenizer.decode(ids), add_special_tokens=False) != ids for ids in rows)
