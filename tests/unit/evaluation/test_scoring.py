"""Candidate tables of a tiny model, and lm-eval's opinion of them."""

from pathlib import Path

import pytest
import torch
from datasets import Dataset, DatasetDict

from preftune.data.chat import encode_completion, encode_prompt
from preftune.data.tasks.base import Question
from preftune.data.tasks.registry import find_tasks
from preftune.errors import PreftuneError
from preftune.evaluation.scoring import encode_questions, read_questions, score_questions
from preftune.evaluation.second_opinion import compare_chats
from preftune.training.trees import Tree
from tests.unit.preference.helpers import make_model

COLUMNS = [
    "document",
    "candidate",
    "label",
    "log_probability",
    "tokens",
    "end_log_probability",
    "reward",
    "is_gold",
    "gold",
]


def make_questions() -> list[Question]:
    def ask(text: str) -> list[dict[str, str]]:
        return [{"role": "user", "content": text}]

    return [
        Question("a", "t", ask("Is the cup red?"), ["no", "yes"], 1),
        Question(
            "b",
            "t",
            ask("Where is the blue ball? Choices: A. chair B. table"),
            ["A. chair", "B. the table", "C. x"],
            0,
        ),
        Question(
            "c", "t", ask("  spaces around \n"), ["under the chair in the kitchen.", " leading space"], 1
        ),
        Question("d", "t", ask("How similar, from 0 to 5?"), list("012345"), 3, 2.6),
    ]


def test_table_against_the_plain_model(base: Path) -> None:
    model = make_model(base)
    questions = make_questions()
    found = encode_questions(model, questions)
    assert (found.questions, found.truncated, found.skipped) == (questions, 0, 0)
    scored = score_questions(model, found, states=True)
    table = scored.table
    assert list(table.columns) == COLUMNS
    assert len(table) == 13 and table["is_gold"].sum() == 4
    assert table.query("document == 'd'")["gold"].unique().tolist() == ["2.6"]
    assert table.query("document == 'a'")["gold"].unique().tolist() == ["yes"]
    for place, row in enumerate(table.itertuples()):
        question = next(question for question in questions if question.document == row.document)
        prompt = encode_prompt(model.tokenizer, question.messages)
        answer = encode_completion(model.tokenizer, row.label)
        ids = torch.tensor([prompt + answer])
        with torch.no_grad():
            plain = model.causal_lm(ids, output_hidden_states=True)
            log_softmax = plain.logits.log_softmax(-1)[0]
            reward = model([Tree("x", prompt, (answer,))]).rewards["reward"].item()
        end = len(prompt) + len(answer) - 1  # of <|im_end|>, which is apart from the answer
        expected = sum(log_softmax[t - 1, ids[0, t]].item() for t in range(len(prompt), end))
        assert row.log_probability == pytest.approx(expected, abs=1e-4)
        assert row.tokens == len(answer) - 1
        assert row.end_log_probability == pytest.approx(log_softmax[end - 1, 2].item(), abs=1e-4)
        torch.testing.assert_close(scored.states[place], plain.hidden_states[-1][0, end], atol=1e-5, rtol=0)
        assert row.reward == pytest.approx(reward, abs=1e-5)


def test_batch_size_changes_nothing(base: Path) -> None:
    model = make_model(base)
    questions = make_questions()
    encoded = encode_questions(model, questions)
    one, many = (score_questions(model, encoded, tokens).table for tokens in (1, 10_000))
    columns = ["log_probability", "end_log_probability", "reward"]
    assert (one[columns] - many[columns]).abs().to_numpy().max() < 1e-5


def test_without_a_head_the_reward_is_missing(base: Path) -> None:
    model, questions = make_model(base, head=False), make_questions()
    scored = score_questions(model, encode_questions(model, questions))
    assert scored.table["reward"].isna().all() and scored.states is None


def test_an_empty_candidate_is_refused(base: Path) -> None:
    question = Question("x", "t", [{"role": "user", "content": "?"}], ["", "yes"], 1)
    with pytest.raises(PreftuneError, match="example x: a branch is empty"):
        encode_questions(make_model(base), [question])


def test_long_questions_are_refused_or_cut_alike_for_all_candidates(base: Path) -> None:
    """The model reads 512 tokens: a prompt that is too long loses its oldest ones, whatever the candidate."""
    model = make_model(base)
    text = "the red cup is on the table " * 120
    question = Question("long", "t", [{"role": "user", "content": text}], ["yes", "the blue ball"], 1)
    with pytest.raises(PreftuneError, match=r"example long has .* tokens but the context holds 512"):
        encode_questions(model, [question])
    questions = [question, make_questions()[0]]
    found = encode_questions(model, questions, "truncate")
    table = score_questions(model, found).table
    assert (found.questions, found.truncated, found.skipped) == (questions, 1, 0)
    assert len(table) == 4
    prompt = encode_prompt(model.tokenizer, question.messages)
    longest = encode_completion(model.tokenizer, "the blue ball")
    kept = prompt[-(512 - len(longest)) :]
    for place, label in enumerate(question.candidates):
        ids = torch.tensor([[*kept, *encode_completion(model.tokenizer, label)]])
        with torch.no_grad():
            logps = model.causal_lm(ids).logits.log_softmax(-1)[0]
        expected = sum(logps[t - 1, ids[0, t]].item() for t in range(len(kept), ids.shape[1] - 1))
        assert table["log_probability"][place] == pytest.approx(expected, abs=1e-3)


def test_long_questions_are_left_out(base: Path) -> None:
    """Neither a long prompt nor a long answer ends the evaluation; the others are scored as they are without them."""
    model, questions = make_model(base), make_questions()
    text = "the red cup is on the table " * 120
    prompt = Question("long prompt", "t", [{"role": "user", "content": text}], ["yes", "no"], 1)
    answer = Question("long answer", "t", [{"role": "user", "content": "?"}], ["yes", text], 1)
    with pytest.raises(PreftuneError, match=r"example long answer: an answer of .* tokens leaves no room"):
        encode_questions(model, [answer], "truncate")
    found = encode_questions(model, [prompt, *questions[:2], answer, *questions[2:]], "skip")
    assert (found.questions, found.truncated, found.skipped) == (questions, 0, 2)
    table = score_questions(model, found).table
    alone = score_questions(model, encode_questions(model, questions)).table
    assert table.equals(alone)
    with pytest.raises(PreftuneError, match="no question of t fits into the model's context of 512 tokens"):
        encode_questions(model, [prompt, answer], "skip")


def test_questions_come_from_the_tasks_split(tmp_path: Path) -> None:
    (task,) = find_tasks(["cola"])
    rows = Dataset.from_dict(
        {"sentence": ["The cup is red.", "Cup the red."], "label": [1, 0], "idx": [0, 1]}
    )
    folder = tmp_path / task.dataset
    DatasetDict({task.split: rows}).save_to_disk(str(folder))
    assert [question.gold for question in read_questions(task, [tmp_path / "other", folder], None)] == [1, 0]
    assert len(read_questions(task, [folder], 1)) == 1
    with pytest.raises(PreftuneError, match="needs a prepared folder"):
        read_questions(task, [tmp_path / "other"], None)
    other = tmp_path / "elsewhere" / task.dataset
    DatasetDict({"train": rows}).save_to_disk(str(other))
    with pytest.raises(PreftuneError, match="has no validation split"):
        read_questions(task, [other], None)


def test_lm_eval_agrees(base: Path) -> None:
    questions = make_questions()[:3]
    result = compare_chats(make_model(base), questions, batch=8)
    assert result["n"] == 3 and result["agreement"] == 1.0
    assert result["max_difference"] < 1e-4
    assert result["accuracy"]["lm_eval"] == pytest.approx(result["accuracy"]["preftune"])
    assert [document["document"] for document in result["documents"]] == ["a", "b", "c"]
