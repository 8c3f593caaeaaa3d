"""Columns of each kind of data set, as the hub names them, and the check of one raw row against them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from datasets import Features, List, Value

from preftune.data import generative, hh_rlhf
from preftune.data.hypotheses import oppose_hypotheses
from preftune.data.reward_bench import SUBSETS
from preftune.data.values import text_of, value_check
from preftune.errors import PreftuneError

Row = dict[str, Any]
TEXT, WHOLE, REAL = Value("string"), Value("int64"), Value("float64")
TEXTS = List(TEXT)
CHOICES = {"text": TEXTS, "label": TEXTS}
MESSAGES = List({"role": TEXT, "content": TEXT})


@dataclass(frozen=True)
class Schema:
    """Columns with their types; the label's column and values; the column (if any) that must not repeat in
    a split.

    `labels` maps a row to the labels that it allows, `convert` rewrites other encodings of the same data set, `scorable` says
    whether a row asks anything (other rows are left out of every split but train), `regroup` makes rows of the columns
    `regrouped` from all the rows of a split, and `asks` names the columns of the question (none: every text but the label and
    the identifier), by which a row of one split is found again in another.
    """

    columns: Mapping[str, Any]
    label: str | None = None
    labels: Callable[[Row], tuple[Any, ...]] = lambda row: ()
    identifier: str | None = None
    convert: Callable[[Row], Row] = lambda row: row
    scorable: Callable[[Row], bool] = lambda row: True
    regroup: Callable[[list[Row]], list[Row]] | None = None
    regrouped: Mapping[str, Any] = field(default_factory=dict)
    asks: tuple[str, ...] = ()

    @property
    def features(self) -> Features:
        """Return the prepared features: `document` (split and source row) and the schema's columns."""
        return Features({"document": TEXT, **(self.regrouped or self.columns)})

    @cached_property
    def question(self) -> tuple[str, ...]:
        """Return the columns of the question."""
        names = (self.label, self.identifier)
        return self.asks or tuple(
            column for column, kind in self.columns.items() if kind == TEXT and column not in names
        )

    @cached_property
    def checks(self) -> dict[str, Callable[[Any], Any]]:
        """Return what checks the value of each column; made once, since every row goes through all of them."""
        return {
            column: value_check(kind, column, column == self.label) for column, kind in self.columns.items()
        }


def _fixed(*labels: Any) -> Callable[[Row], tuple[Any, ...]]:
    return lambda row: labels


def _option_letters(row: Row) -> tuple[Any, ...]:
    return tuple(row["choices"]["label"])


def last_message(value: str | list[dict[str, str]]) -> str:
    """Return a text, or the content of a conversation's last message (its first is the prompt itself)."""
    if isinstance(value, str):
        return value
    if not value:
        raise ValueError("the conversation has no message")
    return text_of(value[-1], "content")


def _pair_texts(row: Row) -> Row:
    """Return the texts of a pair, and the messages before its prompt; both answers must continue one prompt."""
    texts = {column: last_message(row[column]) for column in ("prompt", "chosen", "rejected")}
    talks = [row[column] for column in ("chosen", "rejected") if not isinstance(row[column], str)]
    for talk in talks:
        if talk[-1]["role"] != "assistant":
            raise ValueError(f"an answer is of the role {talk[-1]['role']}, not of the assistant")
    prompts = [talk[:-1] for talk in talks] + [row["prompt"]] * (not isinstance(row["prompt"], str))
    if any(prompt != prompts[0] for prompt in prompts):
        raise ValueError("the pair has no shared prompt: its conversations open with different messages")
    # A prompt that one column holds with white space around it is the same prompt.
    if prompts and last_message(prompts[0]).strip() != texts["prompt"].strip():
        raise ValueError("the pair has no shared prompt: its answers do not open with the column prompt")
    return texts | {"opening": prompts[0][:-1] if prompts else []}


def _orca_texts(row: Row) -> Row:
    opening = [{"role": "system", "content": row["system"]}] if row["system"] else []
    return {
        "prompt": row["question"],
        "chosen": row["chosen"],
        "rejected": row["rejected"],
        "opening": opening,
    }


def _reward_bench_texts(row: Row) -> Row:
    if row["subset"] not in SUBSETS:
        raise ValueError(f"the subset {row['subset']!r} is none of RewardBench's ({', '.join(SUBSETS)})")
    return _pair_texts(row) | {"subset": row["subset"]}


def name_subsets(rows: list[Row]) -> list[Row]:
    """Return the rows without their subset, which goes before the document's name: tables tell the subsets apart by it."""
    return [
        {
            "document": f"{row['subset']}/{row['document']}",
            **{name: row[name] for name in PAIRS.columns},
        }
        for row in rows
    ]


def _answers_differ(row: Row) -> bool:
    return bool(row["chosen"] != row["rejected"])


def _both_answer(row: Row) -> bool:
    return _answers_differ(row) and bool(row["chosen"].strip()) and bool(row["rejected"].strip())


def _boolq_texts(row: Row) -> Row:
    # The stand-alone data set holds a truth value `answer`, the hub's copy of SuperGLUE the number `label`.
    label = row.get("label", row.get("answer"))
    labels = (
        {"label": int(label) if isinstance(label, bool) else label}
        if {"label", "answer"} & row.keys()
        else {}
    )
    # SuperGLUE's copy has the title before the passage.
    passages = {"passage": f"{text_of(row, 'title')} -- {text_of(row, 'passage')}"} if "title" in row else {}
    return row | labels | passages


def _hellaswag_texts(row: Row) -> Row:
    # Files without the two parts of the context: the whole of it is the first.
    parts = {"ctx_a": row.get("ctx_a", row["ctx"]), "ctx_b": row.get("ctx_b", "")}
    label = {"label": str(row["label"])} if isinstance(row.get("label"), int) else {}
    return row | parts | label


def _glue(*texts: str, labels: int = 2) -> Schema:
    columns = dict.fromkeys(texts, TEXT) | {"label": WHOLE, "idx": WHOLE}
    return Schema(columns, "label", _fixed(*range(labels)), "idx")


# `opening`: the messages before the prompt, of a system or of earlier turns.
PAIRS = Schema(
    {"prompt": TEXT, "chosen": TEXT, "rejected": TEXT, "opening": MESSAGES},
    convert=_pair_texts,
    scorable=_answers_differ,
    asks=("prompt",),
)
# A prompt with its answer, which are no pair: for SFT.
TALK = Schema({"prompt": TEXT, "response": TEXT, "opening": MESSAGES}, asks=("prompt",))
NLI = _glue("premise", "hypothesis", labels=3)
SCHEMAS: dict[str, Schema] = {
    "sentence": _glue("sentence"),
    "sentence-pair": _glue("sentence1", "sentence2"),
    "sentence-pair-entailment": _glue("sentence1", "sentence2"),
    "question-pair": _glue("question1", "question2"),
    "question-sentence": _glue("question", "sentence"),
    "premise-hypothesis": NLI,
    "passage-contradiction": replace(
        NLI,
        regroup=oppose_hypotheses,
        regrouped={"passage": TEXT, "supported": TEXT, "contradicted": TEXT},
    ),
    # The labels of STS-B are real numbers, which _check_label wants from 0 to 5.
    "similarity": Schema(
        {"sentence1": TEXT, "sentence2": TEXT, "label": REAL, "idx": WHOLE}, "label", identifier="idx"
    ),
    "race": Schema(
        {"example_id": TEXT, "article": TEXT, "answer": TEXT, "question": TEXT, "options": TEXTS},
        "answer",
        lambda row: tuple("ABCDE"[: len(row["options"])]),
        asks=("article", "question"),
    ),
    "hellaswag": Schema(
        {
            "ind": WHOLE,
            "activity_label": TEXT,
            "ctx_a": TEXT,
            "ctx_b": TEXT,
            "ctx": TEXT,
            "endings": TEXTS,
            "label": TEXT,
        },
        "label",
        lambda row: tuple(str(index) for index in range(len(row["endings"]))),
        convert=_hellaswag_texts,
    ),
    "openbookqa": Schema(
        {"id": TEXT, "question_stem": TEXT, "choices": CHOICES, "answerKey": TEXT},
        "answerKey",
        _option_letters,
        "id",
    ),
    "arc": Schema(
        {"id": TEXT, "question": TEXT, "choices": CHOICES, "answerKey": TEXT},
        "answerKey",
        _option_letters,
        "id",
    ),
    "winogrande": Schema(
        {"sentence": TEXT, "option1": TEXT, "option2": TEXT, "answer": TEXT}, "answer", _fixed("1", "2")
    ),
    "boolq": Schema(
        {"passage": TEXT, "question": TEXT, "label": WHOLE}, "label", _fixed(0, 1), convert=_boolq_texts
    ),
    "piqa": Schema({"goal": TEXT, "sol1": TEXT, "sol2": TEXT, "label": WHOLE}, "label", _fixed(0, 1)),
    "mmlu": Schema({"question": TEXT, "choices": TEXTS, "answer": WHOLE}, "answer", _fixed(0, 1, 2, 3)),
    "squad": Schema(
        {"id": TEXT, "context": TEXT, "question": TEXT, "answers": {"text": TEXTS}}, identifier="id"
    ),
    "ultrafeedback": PAIRS,
    "orca": replace(PAIRS, convert=_orca_texts),
    "hh-rlhf": replace(PAIRS, convert=hh_rlhf.pair_dialogues, scorable=_both_answer),
    "reward-bench": replace(
        PAIRS,
        columns={**PAIRS.columns, "subset": TEXT},
        convert=_reward_bench_texts,
        regroup=name_subsets,
        regrouped=PAIRS.columns,
    ),
    "gsm8k": Schema({"question": TEXT, "answer": TEXT}, asks=("question",)),
    "truthfulqa-mc1": Schema({"question": TEXT, "mc1_targets": {"choices": TEXTS, "labels": List(WHOLE)}}),
    "dialogues": Schema({"prompt": TEXT, "response": TEXT}, asks=("prompt",)),
    "alpaca": replace(TALK, convert=generative.follow_instruction),
    "cnn-dailymail": replace(TALK, convert=generative.summarise_article),
    "coqa": Schema(
        {"story": TEXT, "questions": TEXTS, "answers": {"input_text": TEXTS}},
        convert=generative.check_turns,
        regroup=generative.split_turns,
        regrouped=TALK.columns,
    ),
    "open-orca": replace(TALK, convert=generative.answer_orca),
    "tinystories-instruct": replace(TALK, convert=generative.tell_story),
    "tinystories-summary": replace(TALK, convert=generative.expand_summary),
}


def convert_row(schema: Schema, row: Row, labelled: bool, place: str) -> Row:
    """Return the schema's columns of `row`; the first fault is a PreftuneError that names `place`."""
    try:
        converted = schema.convert(row)
        kept = {column: check(converted[column]) for column, check in schema.checks.items()}
    except KeyError as missing:
        if schema.label and missing.args[0] == schema.label and not labelled:
            return convert_row(schema, {**row, schema.label: None}, labelled, place)
        if missing.args[0] == schema.label:
            raise PreftuneError(
                f"{place} has no label (column {schema.label}): use a labelled file or take the row out."
            ) from missing
        raise PreftuneError(
            f"{place} has no column {missing.args[0]!r} (it has {', '.join(map(str, row))}): give the file the hub's own "
            "column names."
        ) from missing
    except (ValueError, TypeError, AttributeError) as error:
        raise PreftuneError(f"{place}: {error}: correct the row or take it out.") from error
    if schema.label is not None:
        _check_label(schema, kept, labelled, place)
    return kept


def _check_label(schema: Schema, row: Row, labelled: bool, place: str) -> None:
    value = row[schema.label or ""]
    if value is None or value in ("", -1, "-1"):
        if labelled:
            raise PreftuneError(
                f"{place} has no label (column {schema.label}): use a labelled file or take the row out."
            )
        return
    allowed = schema.labels(row)
    real = schema.columns[schema.label or ""] == REAL
    good = 0.0 <= value <= 5.0 if real else value in allowed
    if not good:
        span = "0 to 5" if real else ", ".join(map(str, allowed)) or "no option"
        raise PreftuneError(
            f"{place} has the label {value!r}, outside its range ({span}): correct the row or take it out."
        )
