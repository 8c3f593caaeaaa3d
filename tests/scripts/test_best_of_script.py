"""Best of n on a user's own prompts, as she calls it."""

import importlib
from pathlib import Path

import pytest
import torch

from preftune.data.prompts import read_conversations
from preftune.errors import PreftuneError
from preftune.files import read_json, read_jsonl, write_jsonl
from preftune.models.policy import start_policy
from preftune.preference.generation import best_of, generate
from preftune.preference.heads import PreferenceModel
from preftune.settings.training import LoraSettings
from tests.tiny import tiny_language_model
from tests.unit.preference.helpers import make_model, plain_reward

TALK = [
    {"role": "system", "content": "Answer yes or no."},
    {"role": "user", "content": "Is the dog small?"},
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("best-of")
    tiny_language_model(folder / "base")
    make_model(folder / "base").save_pretrained(folder / "run")
    return folder / "run"


def call(model: Path, prompts: Path, output: Path, *words: str) -> list[dict]:
    paths = ["--model", str(model), "--prompts", str(prompts), "--output", str(output), "--device", "cpu"]
    importlib.import_module("generate_best_of").main([*paths, *words])
    return read_jsonl(output)


def test_answers_come_best_first_with_the_greedy_one(model: Path, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("the red cup\n\n  Name a colour.  \n")
    words = ("--count", "4", "--max-new-tokens", "5", "--temperature", "1", "--seed", "2")
    rows = call(model, tmp_path / "prompts.txt", tmp_path / "answers.jsonl", *words)
    assert [row["messages"][0]["content"] for row in rows] == ["the red cup", "Name a colour."]
    loaded = PreferenceModel.from_pretrained(model)
    conversations = [row["messages"] for row in rows]
    sampled = generate(loaded, conversations, count=4, max_new_tokens=5, temperature=1.0, seed=2)
    greedy = generate(loaded, conversations, max_new_tokens=5)
    for row, several, (one,) in zip(rows, sampled, greedy, strict=True):
        rewards = [answer["reward"] for answer in row["answers"]]
        assert len(rewards) == 4 and rewards == sorted(rewards, reverse=True)
        for answer in (*row["answers"], row["greedy"]):
            assert set(answer) == {"text", "reward", "tokens", "ended"} and answer["tokens"] <= 5
        wanted = [(plain_reward(loaded, row["messages"], own.token_ids), own) for own in (*several, one)]
        found = [*row["answers"], row["greedy"]]
        for (reward, own), answer in zip(
            [*sorted(wanted[:-1], key=lambda pair: -pair[0]), wanted[-1]], found, strict=True
        ):
            assert answer["reward"] == pytest.approx(reward, abs=1e-5)
            assert (answer["text"], answer["ended"]) == (own.text, own.ended)
    record = read_json(tmp_path / "answers.run.json")
    assert record["settings"]["count"] == 4 and record["settings"]["top_p"] == 1.0
    assert (record["facts"]["prompts"], record["facts"]["answers"]) == (2, 8)
    assert record["facts"]["cut_off"] == sum(not one["ended"] for row in rows for one in row["answers"])


def test_one_prompt_is_answered_as_the_python_call_answers_it(model: Path, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "prompts.jsonl", [{"messages": TALK}])
    words = ("--settings", '{"count": 9, "max_new_tokens": 5}', "--count", "5")
    (row,) = call(model, tmp_path / "prompts.jsonl", tmp_path / "answers.jsonl", *words)
    ranked = best_of(PreferenceModel.from_pretrained(model), TALK, 5, max_new_tokens=5)
    assert row["messages"] == TALK
    assert [answer["text"] for answer in row["answers"]] == [answer.text for answer, _ in ranked]
    assert [answer["ended"] for answer in row["answers"]] == [answer.ended for answer, _ in ranked]


def test_the_command_of_the_page_is_the_one_that_works(model: Path, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "dph.md").read_text(encoding="utf-8")
    (line,) = [
        line
        for line in page.splitlines()
        if line.strip().startswith("python workflow/scripts/generate_best_of.py")
    ]
    (tmp_path / "prompts.txt").write_text("the red cup\n")
    places = {
        "my-run": model,
        "prompts.txt": tmp_path / "prompts.txt",
        "answers.jsonl": tmp_path / "answers.jsonl",
    }
    words = [str(places.get(word, word)) for word in line.split()[2:]]
    importlib.import_module("generate_best_of").main([*words, "--max-new-tokens", "3", "--device", "cpu"])
    (row,) = read_jsonl(tmp_path / "answers.jsonl")
    assert len(row["answers"]) == 8


def test_an_adapter_with_a_head_is_read_on_its_base_model(model: Path, tmp_path: Path) -> None:
    base = model.parent / "base"
    policy, tokenizer = start_policy(base, base, "lora", LoraSettings(rank=2), 0, "cpu", torch.float32)
    PreferenceModel.with_new_head(policy, tokenizer).save_pretrained(tmp_path / "run")
    (tmp_path / "prompts.txt").write_text("the red cup\n")
    words = ("--base", str(base), "--count", "2", "--max-new-tokens", "3")
    (row,) = call(tmp_path / "run", tmp_path / "prompts.txt", tmp_path / "answers.jsonl", *words)
    assert len(row["answers"]) == 2
    assert read_json(tmp_path / "answers.run.json")["inputs"]["base"]


def test_what_cannot_be_answered_is_one_sentence(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "prompts.txt").write_text("the red cup\n")
    make_model(model.parent / "base", head=False).save_pretrained(tmp_path / "headless")
    for folder, words, sentence in (
        (tmp_path / "headless", (), "has no reward head (head.json)"),
        (tmp_path / "nowhere", (), "does not exist"),
        (model, ("--count", "0"), "greater than or equal to 1"),
        (model, ("--max-new-tokens", "600"), "exceed the model's context of 512"),
    ):
        with pytest.raises(SystemExit):
            call(folder, tmp_path / "prompts.txt", tmp_path / "never.jsonl", *words)
        error = capsys.readouterr().err
        assert sentence in error and "Traceback" not in error, error
        assert not (tmp_path / "never.jsonl").exists()


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("a.csv", "x\n", "a .txt, one a line, or a .jsonl"),
        ("a.txt", " \n\n", "holds no prompt"),
        ("a.jsonl", '{"prompt": "x"}\n{"text": "x"}\n', "row 2: give either"),
        ("a.jsonl", '{"prompt": "x", "messages": []}\n', "row 1: give either"),
        ("a.jsonl", '{"messages": [{"role": "bot", "content": "x"}]}\n', 'a message needs a "role"'),
        ("a.jsonl", '{"messages": [{"role": "assistant", "content": "x"}]}\n', "must be the user's"),
        ("a.jsonl", "{\n", "row 1 is not valid JSON"),
    ],
)
def test_bad_prompts_are_named(tmp_path: Path, name: str, text: str, sentence: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(PreftuneError, match=sentence):
        read_conversations(tmp_path / name)
