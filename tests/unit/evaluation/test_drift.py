"""Measures of drift, against plain calls of transformers' models on one text at a time, and against counts by hand."""

import importlib
import json
import math
import random
from pathlib import Path

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from datasets import Dataset, DatasetDict, load_from_disk
from transformers import AutoModelForCausalLM

from preftune.data.chat import encode_prompt
from preftune.data.passages import read_passages
from preftune.data.tasks.registry import find_tasks
from preftune.errors import PreftuneError
from preftune.evaluation.drift import (
    COLUMNS,
    answer_items,
    count_repeats,
    generation_items,
    summarise_drift,
    text_items,
)
from preftune.evaluation.heldout import read_answers, read_prompts
from preftune.files import read_json
from preftune.preference.frozen import copy_policy
from preftune.preference.generation import generate
from preftune.preference.heads import PreferenceModel
from preftune.preference.reward_head import save_head
from preftune.training.trees import Tree
from tests.unit.preference.helpers import make_model, make_rows, words

SETTINGS = {
    "answer_tasks": ["race-middle", "cola"],
    "text_dataset": "race-middle",
    "prompt_dataset": "ultrafeedback",
    "texts": 5,
    "text_tokens": 20,
    "prompts": 3,
    "max_new_tokens": 9,
}


@pytest.fixture(scope="module")
def run(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose language model moved away from `base`, with a head."""
    folder = tmp_path_factory.mktemp("run")
    model = make_model(base)
    torch.manual_seed(8)
    with torch.no_grad():
        for parameter in model.language_model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four questions on each of two passages, sentences, and prompts of which one repeats and one is too long."""
    folder = tmp_path_factory.mktemp("data")
    generator = random.Random(0)
    articles = [words(generator, 30), words(generator, 12), "a", words(generator, 300)]
    race = [
        {
            "document": f"test-{4 * number + place}",
            "article": article,
            "question": "Which?",
            "options": ["red", "blue"],
            "answer": "AB"[place % 2],
        }
        for number, article in enumerate(articles)
        for place in range(4)
    ]
    cola = {"document": ["validation-0"], "sentence": ["The cup is red."], "label": [1]}
    prompts = ["the dog", "the dog", "small " * 600, "the red cup", "a ball", "the table"]
    names = [f"validation-{place}" for place in range(len(prompts))]
    parts = {
        "race-middle": {"test": Dataset.from_list(race)},
        "glue-cola": {"validation": Dataset.from_dict(cola)},
        "ultrafeedback": {"validation": Dataset.from_dict({"document": names, "prompt": prompts})},
    }
    for name, splits in parts.items():
        DatasetDict(splits).save_to_disk(str(folder / name))
    return [folder / name for name in parts]


@torch.no_grad()
def plain_log_softmax(folder: Path, ids: list[int]) -> torch.Tensor:
    """Of every position, in float64 [tokens, vocabulary]."""
    model = AutoModelForCausalLM.from_pretrained(folder).double().eval()
    return F.log_softmax(model(input_ids=torch.tensor([ids])).logits[0], dim=-1)


def test_divergence_is_that_of_the_whole_vocabulary_at_the_answers_tokens(base: Path, run: Path) -> None:
    model, reference = PreferenceModel.from_pretrained(run), make_model(base, head=False)
    rows = make_rows(model.tokenizer, 7)
    items = answer_items(model, reference, rows, tokens_per_pass=90)
    assert list(items["item"]) == [row.name for row in rows] and set(items["kind"]) == {"answer"}
    for row, kl, tokens in zip(rows, items["kl"], items["tokens"], strict=True):
        (branch,) = row.branches
        ours, theirs = (
            plain_log_softmax(folder, [*row.prompt, *branch])[len(row.prompt) - 1 : -1]
            for folder in (run, base)
        )
        assert tokens == len(branch) == len(ours)
        wanted = float((theirs.exp() * (theirs - ours)).sum())
        # fp32 sums of 512 terms over about 8 tokens; KL(pi || pi_ref) is another number.
        assert wanted > 0.1 and kl == pytest.approx(wanted, rel=1e-4)
        assert kl != pytest.approx(float((ours.exp() * (ours - theirs)).sum()), rel=1e-3)


def test_a_run_of_a_head_alone_has_the_sft_models_logits_and_no_divergence(
    base: Path, tmp_path: Path
) -> None:
    """Bit for bit, although the heads read one position more of every answer than a model without them."""
    copy_policy(base, tmp_path)
    save_head(make_model(base).head, tmp_path)
    model, reference = PreferenceModel.from_pretrained(tmp_path), PreferenceModel.from_pretrained(base)
    assert model.head is not None and reference.head is None
    rows = make_rows(model.tokenizer, 6)
    assert (answer_items(model, reference, rows)["kl"] == 0.0).all()
    layout = model.reader.layout(rows)
    with torch.no_grad():
        logits = [
            one.causal_lm.get_output_embeddings()(one.reader.states(layout)) for one in (model, reference)
        ]
    assert torch.equal(*logits) and logits[0].std() > 0
    pd.testing.assert_frame_equal(text_items(model, rows), text_items(reference, rows))


def test_a_run_without_reference_does_not_diverge(base: Path) -> None:
    model = make_model(base)
    assert (answer_items(model, None, make_rows(model.tokenizer, 3))["kl"] == 0.0).all()


@pytest.mark.parametrize("head", [False, True])
def test_perplexity_leaves_out_the_first_token_alone(base: Path, head: bool) -> None:
    model = make_model(base, head=head)
    texts = ["the red cup is on the table", "no", "yes the small dog is under the chair " * 4]
    encoded = [model.tokenizer.encode(text, add_special_tokens=False) for text in texts]
    items = text_items(model, [Tree(str(i), ids[:1], (ids[1:],)) for i, ids in enumerate(encoded)], 40)
    for ids, nll, tokens in zip(encoded, items["nll"], items["tokens"], strict=True):
        logps = plain_log_softmax(base, ids)
        wanted = -sum(float(logps[place, ids[place + 1]]) for place in range(len(ids) - 1))
        assert tokens == len(ids) - 1 and nll == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize(
    ("ids", "counts"),
    [([], (0, 0)), ([1, 2, 3], (0, 0)), ([1, 2, 3, 4, 5], (0, 2)), ([1] * 7, (3, 4)), ([1, 2] * 4, (3, 5))],
)
def test_repeated_ngrams(ids: list[int], counts: tuple[int, int]) -> None:
    assert count_repeats(ids) == counts


def test_greedy_answers_are_described(base: Path) -> None:
    """The tiny model says one token again and again: of n - 3 four-grams one is new."""
    model = make_model(base)
    prompts = {name: [{"role": "user", "content": name}] for name in ("the dog", "a red cup")}
    items = generation_items(model, prompts, max_new_tokens=11, batch=2)
    answers = [answer for (answer,) in generate(model, list(prompts.values()), max_new_tokens=11)]
    assert all(len(set(answer.token_ids)) == 1 for answer in answers)
    assert list(items["item"]) == list(prompts) and list(items["length"]) == [11.0, 11.0]
    assert list(items["repeated"]) == [7.0, 7.0] and list(items["ngrams"]) == [8.0, 8.0]
    assert list(items["ended"]) == [0.0, 0.0]


def test_summary_by_hand() -> None:
    rows = [
        {"kind": "answer", "tokens": 2, "kl": 1.0},
        {"kind": "answer", "tokens": 6, "kl": 2.0},
        {"kind": "text", "tokens": 3, "nll": 4.0},
        {"kind": "text", "tokens": 1, "nll": 2.0},
        {"kind": "generation", "length": 8.0, "repeated": 1.0, "ngrams": 5.0, "ended": 1.0},
        {"kind": "generation", "length": 4.0, "repeated": 1.0, "ngrams": 1.0, "ended": 0.0},
        {"kind": "generation", "length": 0.0, "repeated": 0.0, "ngrams": 0.0, "ended": 1.0},
    ]
    items = pd.DataFrame(rows, columns=COLUMNS)
    assert summarise_drift(items) == {
        "kl_per_token": 3 / 8,
        "kl_per_answer": 1.5,
        "answers": 2,
        "text_perplexity": math.exp(6 / 4),
        "text_tokens": 4,
        "length_mean": 4.0,
        "repetition": 2 / 6,
        "ended": 2 / 3,
        "prompts": 3,
    }
    short = items.assign(repeated=items["repeated"] * 0, ngrams=items["ngrams"] * 0)
    assert summarise_drift(short)["repetition"] is None


def test_held_out_items(base: Path, datasets: list[Path]) -> None:
    model = make_model(base)
    tasks = find_tasks(["race-middle", "cola"])
    answers = read_answers(model, tasks, datasets, 5)
    assert [tree.name for tree in answers] == [
        "race-middle/test-0",
        "cola/validation-0",
        "race-middle/test-1",
        "race-middle/test-2",
    ]
    decoded = [model.tokenizer.decode(list(tree.branches[0])) for tree in answers]
    assert decoded == ["A. red<|im_end|>", "yes<|im_end|>", "B. blue<|im_end|>", "A. red<|im_end|>"]
    texts = read_passages(model.tokenizer, model.reader.context, "race-middle", "test", datasets, 5, 20)
    assert [(tree.name, tree.tokens) for tree in texts if tree.tokens == 20] == [
        ("test-0", 20),
        ("test-12", 20),
    ]
    assert [tree.name for tree in texts] == [
        "test-0",
        "test-4",
        "test-12",
    ]  # "a" has one token, and nothing is predicted
    passage = load_from_disk(str(datasets[0]))["test"][4]["article"]
    assert model.tokenizer.decode([*texts[1].prompt, *texts[1].branches[0]]) == passage
    prompts = read_prompts(model, "ultrafeedback", datasets, 3, room=9)
    assert list(prompts) == ["validation-0", "validation-3", "validation-4"]
    assert prompts["validation-3"] == [{"role": "user", "content": "the red cup"}]


@pytest.mark.parametrize(
    ("dataset", "sentence"),
    [
        ("squad-v2", "needs a prepared folder squad-v2"),
        ("glue-cola", "has no test split"),
    ],
)
def test_a_missing_text_is_said(base: Path, datasets: list[Path], dataset: str, sentence: str) -> None:
    with pytest.raises(PreftuneError, match=sentence):
        read_passages(make_model(base, head=False).tokenizer, 512, dataset, "test", datasets, 2, 8)


def test_no_room_for_any_item_is_said(base: Path, datasets: list[Path]) -> None:
    with pytest.raises(PreftuneError, match="no held-out prompt fits"):
        read_prompts(make_model(base, head=False), "ultrafeedback", datasets, 2, room=512)


def test_every_prompt_that_is_read_has_the_room_that_writing_asks_for(
    base: Path, datasets: list[Path]
) -> None:
    model = make_model(base, head=False)
    prompts = read_prompts(model, "ultrafeedback", datasets, 3, room=9)
    room = 511 - max(len(encode_prompt(model.tokenizer, messages)) for messages in prompts.values())
    assert read_prompts(model, "ultrafeedback", datasets, 3, room) == prompts
    assert read_prompts(model, "ultrafeedback", datasets, 3, room + 1) != prompts
    assert len(generation_items(model, prompts, room, batch=4)) == 3


def drift(output: Path, base: Path, model: Path, reference: Path | None, datasets: list[Path]) -> dict:
    words = ["--base", base, "--model", model, "--datasets", *datasets]
    words += ["--reference", reference] if reference else []
    words += ["--output", output / "drift.json", "--items", output / "drift.parquet"]
    words += ["--settings", json.dumps(SETTINGS), "--device", "cpu"]
    importlib.import_module("evaluate_drift").main([str(word) for word in words])
    return read_json(output / "drift.json")


def test_script(base: Path, run: Path, datasets: list[Path], tmp_path: Path) -> None:
    moved = drift(tmp_path / "moved", base, run, base, datasets)
    items = pd.read_parquet(tmp_path / "moved" / "drift.parquet")
    assert tuple(items.columns) == COLUMNS
    assert items["kind"].value_counts().to_dict() == {"answer": 4, "text": 3, "generation": 3}
    assert {"run": run.parent.name, **summarise_drift(items)} == moved
    assert moved["kl_per_token"] > 0
    kinds = {"answer": {"tokens", "kl"}, "text": {"tokens", "nll"}}
    kinds["generation"] = {"length", "repeated", "ngrams", "ended"}
    for kind, rows in items.groupby("kind"):
        assert set(rows.dropna(axis="columns").columns) == {"kind", "item"} | kinds[kind]
        assert rows[list(set(COLUMNS[2:]) - kinds[kind])].isna().all(axis=None)
    itself = drift(tmp_path / "itself", base, run, None, datasets)
    assert itself == moved | {"kl_per_token": 0.0, "kl_per_answer": 0.0}
