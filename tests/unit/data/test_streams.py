"""Data sets and mixes of many rows: bounded memory, equal bytes, every row in its place."""

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset, Features, List, Value, load_from_disk

from preftune.data import arrow
from preftune.data.arrow import MappedRows, Spill, write_dataset
from preftune.data.tokenizers import AheadTokenizer
from preftune.files import list_tree, sha256_tree
from tests.rows import write_rows
from tests.tiny import tiny_tokenizer

ROOT = Path(__file__).resolve().parents[3]
FEATURES = Features({"name": Value("string"), "ids": List(Value("int32"))})


def spill_rows(path, count):
    spill = Spill(path, FEATURES)
    rows = [{"name": f"row {i}", "ids": list(range(i % 7))} for i in range(count)]
    for row in rows:
        spill.add(row)
    spill.finish()
    return spill, rows


@pytest.mark.parametrize("part_bytes", [1 << 26, 20_000])
def test_rows_come_back_in_any_order_whatever_the_size_of_a_part(tmp_path, monkeypatch, part_bytes):
    monkeypatch.setattr(arrow, "PART_BYTES", part_bytes)
    order = random.Random(0).sample(range(3500), 2900)
    for name in ("first", "again"):
        spill, rows = spill_rows(tmp_path / f"{name}/.rows", 3500)
        write_dataset(spill, order, tmp_path / name)
    found = load_from_disk(str(tmp_path / "first"))
    assert found.features == FEATURES and found.to_list() == [rows[place] for place in order]
    assert len(found.cache_files) == (1 if part_bytes == 1 << 26 else 5)
    assert sha256_tree(tmp_path / "first") == sha256_tree(tmp_path / "again")
    assert {path.name for path in list_tree(tmp_path / "first")} == {
        "dataset_info.json", "state.json", *(Path(file["filename"]).name for file in found.cache_files)
    }  # fmt: skip


@pytest.mark.parametrize("large", [0, 4, 9])
def test_a_row_may_be_larger_than_a_part(tmp_path, monkeypatch, large):
    monkeypatch.setattr(arrow, "PART_BYTES", 1000)
    rows = [{"name": str(i), "ids": list(range(5000 * (i == large)))} for i in range(10)]
    spill = Spill(tmp_path / "rows/.rows", FEATURES)
    for row in rows:
        spill.add(row)
    spill.finish()
    write_dataset(spill, range(9, -1, -1), tmp_path / "rows")
    assert load_from_disk(str(tmp_path / "rows")).to_list() == rows[::-1]


def test_a_written_folder_is_what_datasets_itself_writes(tmp_path):
    spill, rows = spill_rows(tmp_path / "ours/.rows", 1200)
    write_dataset(spill, range(1200), tmp_path / "ours")
    Dataset.from_list(rows, features=FEATURES).save_to_disk(tmp_path / "theirs")
    for file in ("data-00000-of-00001.arrow", "dataset_info.json", "state.json"):
        ours, theirs = ((tmp_path / folder / file).read_bytes() for folder in ("ours", "theirs"))
        if file.endswith(".json"):
            ours, theirs = ({**json.loads(text), "_fingerprint": ""} for text in (ours, theirs))
        assert ours == theirs, file


def test_mapped_rows_are_read_at_any_places(tmp_path, monkeypatch):
    monkeypatch.setattr(arrow, "PART_BYTES", 20_000)
    spill, rows = spill_rows(tmp_path / "rows/.rows", 2500)
    write_dataset(spill, range(2500), tmp_path / "rows")
    mapped = MappedRows(load_from_disk(str(tmp_path / "rows")))
    places = [2499, 0, 1000, 999, 1001, 0]
    assert len(mapped) == 2500 and mapped.take(places) == [rows[place] for place in places]
    in_memory = MappedRows(Dataset.from_list(rows, features=FEATURES))
    assert in_memory.take(places) == [rows[place] for place in places]


def test_texts_encoded_ahead_have_the_tokenizers_own_ids(tmp_path):
    """Special tokens in a text, a text that was forgotten, and a tokenizer whose file asks for truncation."""
    tokenizer = tiny_tokenizer(tmp_path)
    texts = ["The red cup.", "<|im_end|> in a text", "", " é ☕\n", "the cup " * 40]
    expected = [tokenizer.encode(text, add_special_tokens=False) for text in texts]
    tokenizer.backend_tokenizer.enable_truncation(3)
    tokenizer.backend_tokenizer.enable_padding()
    for room in (10, 10_000):
        ahead = AheadTokenizer(tokenizer, room)
        ahead.ahead(texts)
        ahead.ahead(texts[:2])
        assert [ahead.encode(text, add_special_tokens=False) for text in texts] == expected


def test_what_fails_ahead_fails_where_it_is_asked_for(tmp_path):
    """Texts before and after it have their ids."""
    tokenizer = tiny_tokenizer(tmp_path)
    ahead = AheadTokenizer(tokenizer, 10)
    for texts in (["The red cup."], ["no text: \ud800"], ["a cup"]):
        ahead.ahead(texts)
    with pytest.raises(TypeError):
        ahead.encode("no text: \ud800")
    for text in ("a cup", "The red cup."):
        assert ahead.encode(text) == tokenizer.encode(text, add_special_tokens=False)


def choice_rows(count):
    words = np.random.default_rng(0).integers(0, 500, (count, 24)).tolist()
    for i, numbers in enumerate(words):
        text = " ".join(f"word{number}" for number in numbers)
        yield {
            "id": f"q{i}", "question": f"{text} {i}?", "answerKey": "ABCD"[i % 4],
            "choices": {"text": [f"{text[:20]} {option}" for option in "wxyz"], "label": list("ABCD")},
        }  # fmt: skip


def pair_rows(count):
    for row in choice_rows(count):
        prompt = row["question"]
        talks = {
            side: [
                {"role": "user", "content": prompt},
                {"role": "assistant", "content": f"{side} {prompt * 3}"},
            ]
            for side in ("chosen", "rejected")
        }
        yield {"prompt": prompt, **talks}


def run(script, settings, **paths):
    """Run a step in a process of its own; returns its folder and its peak memory in bytes."""
    words = [str(ROOT / f"workflow/scripts/{script}.py"), "--settings", json.dumps(settings)]
    for name, value in paths.items():
        words += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    # Not what `getrusage` says: that begins with the memory of this process.
    code = "import sys, runpy, pathlib; sys.argv = sys.argv[1:]; sys.path.insert(0, str(pathlib.Path(sys.argv[0]).parent)); "
    code += "runpy.run_path(sys.argv[0], run_name='__main__'); "
    code += "print([line for line in open('/proc/self/status') if line.startswith('VmHWM')][0].split()[1])"
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return paths["output"], int(done.stdout.split()[-1]) * 1024


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "file", "make", "bound"),
    [
        ("arc-easy", "arc_easy/train.jsonl", choice_rows, 450_000_000),
        ("ultrafeedback", "ultrafeedback/train.jsonl", pair_rows, 750_000_000),
    ],
)
def test_a_hundred_thousand_rows_need_bounded_memory_and_give_equal_bytes(tmp_path, name, file, make, bound):
    """The bounds are below what the rows take as Python objects (0.6 and 1.2 GB with the libraries, measured)."""
    count, limits = 100_000, {"limit_train": None, "limit_evaluation": None}
    write_rows(tmp_path / "raw" / file, make(count))
    start = time.monotonic()
    made = [
        run(
            "prepare_dataset",
            limits,
            raw=tmp_path / "raw",
            dataset=name,
            output=tmp_path / f"{folder}/{name}",
        )
        for folder in ("first", "again")
    ]
    assert time.monotonic() - start < 2 * 30  # a million rows may take 5 minutes
    assert max(peak for _, peak in made) < bound
    assert sha256_tree(made[0][0]) == sha256_tree(made[1][0])
    assert sum(len(rows) for rows in load_from_disk(str(made[0][0])).values()) == count
    tiny_tokenizer(tmp_path / "model")
    settings = {"examples": count, "max_tokens": 2048, "tasks": [name]}
    folder, peak = run("prepare_preference_mix", settings, datasets=[made[0][0]], tokenizer=tmp_path / "model",
                       output=tmp_path / "mix")  # fmt: skip
    assert peak < 1_200_000_000 and len(load_from_disk(str(folder))) == count
