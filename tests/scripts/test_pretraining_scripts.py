"""The pre-training of the language model: documents to tokens, random weights to a model that has learnt."""

import gzip
import json
import math
import os
import random
import re
import shutil
import signal
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import numpy as np
import prepare_corpus
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
import train_captioner
import train_language_model
import train_multitask
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from preftune.data.corpus import open_corpus
from preftune.data.embedded.reading import race_middle
from preftune.data.hub import arrange_snapshot
from preftune.files import read_json, read_jsonl, sha256_file, sha256_tree, write_json
from preftune.models.lsw import LswForCausalLM
from preftune.settings.sources import DatasetSource
from preftune.training.pretraining import Block, PretrainingObjective
from preftune.workflow.registry import read_yaml
from tests.conftest import ROOT
from tests.scripts.steps import arguments, fail, succeed
from tests.unit.captioning.captioner_helpers import write_data

BLOCK, BATCH, STEPS = 32, 16, 400
COUNT = 950  # stories of a shard
CORPUS = {
    "name": "stories",
    "path": "stories",
    "tokens": BATCH * BLOCK * STEPS,
    "block": BLOCK,
    "held_out": 0.05,
}
TRAINING = {"steps": STEPS, "batch": BATCH, "learning_rate": 3e-2, "warmup_steps": 10, "schedule": "cosine",
            "final_ratio": 0.1, "weight_decay": 0.1}  # fmt: skip
MODEL = {
    "shape": {"n_layers": 2, "n_heads": 4, "d_model": 32, "d_ffn": 64},
    "training": TRAINING,
    "validate_every": 100,
}


def write_shard(path: Path, rows: Iterable[bytes]) -> None:
    """JSON Lines, compressed as the name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = b"".join(row + b"\n" for row in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(data))
        return
    with pa.output_stream(str(path), compression="zstd" if path.suffix == ".zst" else None) as stream:
        stream.write(data)


def stories(count: int, seed: int) -> list[str]:
    """Passages of the embedded language."""
    rng = random.Random(seed)
    return [race_middle(rng)[0]["article"] for _ in range(count)]


def lines(texts: Iterable[str]) -> list[bytes]:
    return [json.dumps({"text": text, "meta": {}}).encode() for text in texts]


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four shards of stories, each in another format."""
    folder = tmp_path_factory.mktemp("raw")
    for place, name in enumerate(("0.jsonl", "1.jsonl.gz", "2.jsonl.zst")):
        write_shard(folder / "stories/train" / name, lines(stories(COUNT, place)))
    table = pa.table({"text": stories(COUNT, 3)})
    pyarrow.parquet.write_table(table, folder / "stories/train/3.parquet")
    return folder


@pytest.fixture(scope="module")
def corpus(raw: Path, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("corpus") / "corpus"
    return succeed("prepare_corpus", CORPUS, raw=raw, tokenizer=base, output=output)


@pytest.fixture(scope="module")
def trained(corpus: Path, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("trained") / "model"
    return succeed("train_language_model", MODEL, table=base, corpus=corpus, output=output)


def test_documents_of_all_formats_stand_between_end_tokens(raw: Path, corpus: Path, base: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokens, held = (np.load(corpus / f"{part}.npy", mmap_mode="r") for part in ("train", "validation"))
    assert tokens.dtype == np.uint16 and len(tokens) == CORPUS["tokens"] + 1
    assert tokens[0] == held[0] == held[-1] == tokenizer.eos_token_id
    texts = [text for seed in range(4) for text in stories(COUNT, seed)]
    found, kept = (
        set(tokenizer.decode(part[1:]).split(tokenizer.eos_token)) - {""} for part in (tokens, held)
    )
    assert len(found - set(texts)) <= 1  # the last one is cut
    assert kept and kept <= set(texts) and not kept & found
    assert all(found & set(stories(COUNT, seed)) for seed in range(4))
    facts = read_json(corpus / "corpus.json")
    assert facts["held_out"] == sum(held == facts["eos"]) - 1
    assert facts["documents"] == sum(tokens == facts["eos"])
    assert facts.items() <= read_json(corpus / "run.json")["facts"].items()


def test_blocks_predict_every_token_once(corpus: Path) -> None:
    blocks = open_corpus(corpus).train
    assert len(blocks) == BATCH * STEPS
    targets = np.concatenate([blocks[index].branches[0] for index in range(len(blocks))])
    np.testing.assert_array_equal(targets, blocks.tokens[1:])
    assert all(len(blocks[index].branches[0]) == BLOCK for index in (0, len(blocks) - 1))
    assert blocks[1].prompt[0] == blocks[0].branches[0][-1]


def test_equal_seeds_give_equal_bytes_whatever_the_threads(
    raw: Path, corpus: Path, base: Path, tmp_path: Path
) -> None:
    words = ["--raw", str(raw), "--tokenizer", str(base), "--settings", json.dumps(CORPUS)]
    for seed in ("0", "1"):
        output = str(tmp_path / seed)
        prepare_corpus.main([*words, "--seed", seed, "--threads", "2", "--output", output])
    assert sha256_tree(tmp_path / "0") == sha256_tree(corpus)
    assert sha256_file(tmp_path / "1/train.npy") != sha256_file(corpus / "train.npy")


def test_what_a_text_holds_ends_no_document(base: Path, tmp_path: Path) -> None:
    texts = ["one <|im_end|> two", "", "three", *(f"number {n}" for n in range(60))]
    rows = [*lines(texts), b'{"text": "half \\ud800"}', *lines(["last"] * 30)]
    write_shard(tmp_path / "raw/stories.jsonl", rows)
    settings = CORPUS | {"tokens": 256, "block": 8, "held_out": 0.3, "path": "stories.jsonl.gz"}
    output = succeed(
        "prepare_corpus", settings, raw=tmp_path / "raw", tokenizer=base, output=tmp_path / "out"
    )
    facts = read_json(output / "corpus.json")
    assert (facts["empty"], facts["invalid"]) == (1, 1)
    tokens = np.concatenate([np.load(output / f"{part}.npy") for part in ("train", "validation")])
    text = AutoTokenizer.from_pretrained(base).decode(tokens)
    assert "one <|im_end|> two" in text
    assert (
        sum(tokens == facts["eos"]) - 2 == facts["documents"] + facts["held_out"] - 1
    )  # the last one is cut


BAD = {
    "not UTF-8": ([b'{"text": "fine"}', b'{"text": "caf\xe9"}'], "row 2 is not UTF-8 text"),
    "not JSON": ([b'{"text": "fine"}', b'{"text": '], "row 2 is not valid JSON"),
    "another key": ([b'{"content": "fine"}'], "row 1 has no text text"),
    "too short": ([b'{"text": "fine"}'] * 3, "1 shards of documents end after"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_documents_are_refused_by_file_and_row(
    name: str, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, sentence = BAD[name]
    write_shard(tmp_path / "raw/stories/0.jsonl.zst", rows)
    fail("prepare_corpus", CORPUS, raw=tmp_path / "raw", tokenizer=base, output=tmp_path / "out")
    said = capsys.readouterr().err
    assert sentence in said
    if name != "too short":
        assert "0.jsonl.zst, row" in said


def test_a_truncated_shard_and_a_missing_one_are_refused(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"raw": tmp_path, "tokenizer": base, "output": tmp_path / "out"}
    fail("prepare_corpus", CORPUS, **places)
    assert "stories holds no shard of documents" in capsys.readouterr().err
    shard = tmp_path / "stories/0.jsonl.zst"
    write_shard(shard, lines(stories(2000, 0)))
    shard.write_bytes(shard.read_bytes()[:-2000])
    fail("prepare_corpus", CORPUS, **places)
    assert "0.jsonl.zst is truncated or not a zstd file (after row" in capsys.readouterr().err


def unigram_entropy(tokens: np.ndarray) -> float:
    """Nats of a token drawn from the stream."""
    shares = np.array(list(Counter(tokens.tolist()).values())) / len(tokens)
    return float(-(shares * np.log(shares)).sum())


def test_a_two_layer_model_learns(trained: Path, corpus: Path) -> None:
    """Far below what a model that only knows how frequent each word is could reach."""
    facts, rows = read_json(trained / "run.json")["facts"], read_jsonl(trained / "metrics.jsonl")
    nats = [math.log(row["validation_perplexity"]) for row in rows if "validation_perplexity" in row]
    assert len(nats) == 4 and nats == sorted(nats, reverse=True)
    assert rows[0]["loss"] == pytest.approx(math.log(512), abs=0.2)
    assert nats[-1] < 0.5 * unigram_entropy(np.load(corpus / "validation.npy"))
    assert facts["best_validation_perplexity"] == pytest.approx(math.exp(nats[-1]))
    assert facts["tokens"] == CORPUS["tokens"] and facts["examples"] == facts["blocks"]
    assert rows[-1]["learning_rate"] == pytest.approx(0.1 * TRAINING["learning_rate"])


def test_the_table_stays_as_it_was_and_the_folder_is_an_ordinary_one(trained: Path, base: Path) -> None:
    weights = load_file(trained / "model.safetensors")
    table = load_file(base / "model.safetensors")["model.embed_tokens.weight"]
    assert torch.equal(weights["model.input_embedding.embedding.weight"], table)
    model = AutoModelForCausalLM.from_pretrained(trained).eval()
    assert isinstance(model, LswForCausalLM) and len(model.model.blocks) == 2
    tokenizer = AutoTokenizer.from_pretrained(trained)
    ids = (model.config.bos_token_id, model.config.eos_token_id)
    assert ids == (tokenizer.bos_token_id, tokenizer.eos_token_id)
    counts = read_json(trained / "run.json")["facts"]
    assert counts["parameters"] - counts["trainable_parameters"] == table.numel()
    text = torch.tensor([tokenizer(stories(1, 9)[0])["input_ids"]])
    assert model(input_ids=text, labels=text).loss.item() < 0.5 * math.log(512)


def test_a_stopped_pretraining_ends_in_the_same_bytes(
    corpus: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFTUNE_SCRATCH", str(tmp_path / "scratch"))
    settings = MODEL | {"training": TRAINING | {"steps": 12}, "validate_every": 4}
    whole = succeed(
        "train_language_model", settings, table=base, corpus=corpus, output=tmp_path / "whole/model"
    )
    places = {"table": base, "corpus": corpus, "output": tmp_path / "stopped/model"}
    draw = PretrainingObjective.draw

    def draw_and_stop(self: PretrainingObjective, index: int, step: int) -> Block:
        if step == 6:
            os.kill(os.getpid(), signal.SIGUSR1)
        return draw(self, index, step)

    with monkeypatch.context() as patch:
        patch.setattr(PretrainingObjective, "draw", draw_and_stop)
        with pytest.raises(SystemExit) as stop:
            train_language_model.main(arguments(settings, **places))
    assert stop.value.code == 75
    succeed("train_language_model", settings, **places)
    for name in ("model.safetensors", "metrics.jsonl"):
        assert sha256_file(places["output"] / name) == sha256_file(whole / name), name
    assert len(read_json(places["output"] / "run.json")["facts"]["attempts"]) == 2


@pytest.mark.parametrize("script", [train_captioner, train_multitask], ids=lambda script: script.__name__)
def test_captioners_refuse_a_model_of_random_weights(
    script: ModuleType, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The tests' models say of themselves that they are random."""
    captions, features = write_data(tmp_path / "data")
    training = {"steps": 1, "batch": 2, "learning_rate": 1e-3}
    settings = {"adapter": {"kind": "lora", "rank": 1}, "training": training}
    settings |= {"tasks": ["captions"]} if script is train_multitask else {}
    random_base = tmp_path / "random"
    shutil.copytree(base, random_base)
    config = read_json(random_base / "config.json")
    assert config.pop("random_weights") is True
    write_json(random_base / "config.json", config)
    places = {"features": features, "captions": captions}
    fail(script.__name__, settings, base=random_base, output=tmp_path / "refused", **places)
    said = capsys.readouterr().err
    assert re.search(r"perplexity of [\d,]+, little better than random weights .* \(it has 512 words\)", said)
    output = succeed(script.__name__, settings, base=base, output=tmp_path / "trained", **places)
    assert read_json(output / "run.json")["facts"]["base_perplexity"] > 256


def test_fetched_shards_stay_as_they_are(raw: Path, corpus: Path, base: Path, tmp_path: Path) -> None:
    """A snapshot of links, as fetching leaves it, of a source without splits."""
    for shard in (raw / "stories").rglob("*.*"):
        link = tmp_path / "snapshot" / shard.relative_to(raw / "stories")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(shard)
    row = read_yaml(ROOT / "config/datasets.yaml")["pile"]["sources"]
    source = DatasetSource(name="pile", kind="hub", files=row["files"], **row["hub"])
    arrange_snapshot(source, tmp_path / "snapshot", tmp_path / "hub")
    settings = CORPUS | {"path": row["files"]["train"]}
    output = succeed(
        "prepare_corpus", settings, raw=tmp_path / "hub", tokenizer=base, output=tmp_path / "corpus"
    )
    assert sha256_tree(output) == sha256_tree(corpus)
