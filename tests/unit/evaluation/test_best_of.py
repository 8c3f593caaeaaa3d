"""Answers that a model writes itself: which are right, what a choice among them is worth, and the step that measures it."""

import importlib
import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
import torch

from preftune.data.chat import encode_prompt, marker_id
from preftune.data.tasks.base import Question
from preftune.data.tasks.registry import read_tasks
from preftune.errors import PreftuneError
from preftune.evaluation.best_of import answer_questions, is_right, select_questions
from preftune.evaluation.choices import (
    COLUMNS,
    judge_choices,
    list_counts,
    place_weights,
    summarise_choices,
)
from preftune.files import read_json
from preftune.preference.generation import generate
from preftune.preference.heads import PreferenceModel
from preftune.settings.best_of import SamplingSettings
from tests.scripts.steps import datasets_of, save_datasets
from tests.unit.preference.helpers import conversation_of, make_model, plain_reward
from tests.unit.tables.alignment_folders import answer_rows

LIMITS = {"count": 3, "max_new_tokens": 6, "temperature": 1.0, "batch": 4}


def question(*candidates: str, gold: int = 0, prompt: str = "the red cup", **fields: object) -> Question:
    return Question("q-0", "toy", [{"role": "user", "content": prompt}], list(candidates), gold, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("yes", True),
        (" Yes.\n", True),
        ("YES!", True),
        ("yes it is", False),
        ("no", False),
        ("", False),
        ("y es", False),
    ],
)
def test_an_answer_is_right_but_for_case_and_punctuation(text: str, right: bool) -> None:
    assert is_right(text, question("yes", "no")) is right


def test_a_lettered_answer_needs_letter_and_text() -> None:
    asked = question("A. one", "B. two", gold=1)
    assert [is_right(text, asked) for text in ("b two", "B. two.", "B", "two", "A. two")] == [
        True, True, False, False, False,
    ]  # fmt: skip


def test_choices_by_hand() -> None:
    """q-0: two of four samples are right, and the highest reward is a right one's; q-1: the first of two equal rewards wins;
    q-2: all are wrong, and the greedy answer is right, which no sample is.
    """
    items = pd.concat(
        [
            answer_rows("cola", "q-0", "+-+-", [0.1, 0.2, 0.3, 0.0], greedy=False),
            answer_rows("cola", "q-1", "-+++", [0.5, 0.5, 0.1, 0.2], greedy=False),
            answer_rows("cola", "q-2", "----", [3.0, 2.0, 1.0, 0.0], greedy=True),
            answer_rows("boolq", "q-0", "++++", [0.0, 0.0, 0.0, 0.0], greedy=True),
        ]
    ).sample(frac=1, random_state=3, ignore_index=True)
    judged = judge_choices(items).set_index(["task", "document"])
    names = [f"{name}@{count}" for count in (1, 2, 4) for name in ("reward", "log", "implicit", "oracle")]
    assert list(judged.columns) == ["random", "greedy", "disagree", *names]
    columns = ["random", "greedy", "reward@1", "reward@4", "oracle@4", "disagree"]
    assert judged.loc[("cola", "q-0"), columns].tolist() == [0.5, 0, 0.5, 1, 1, 1]
    assert judged.loc[("cola", "q-1"), columns].tolist() == [0.75, 0, 0.75, 0, 1, 1]
    assert judged.loc[("cola", "q-2"), columns].tolist() == [0, 1, 0, 0, 0, 0]
    assert judged.loc[("boolq", "q-0"), columns].tolist() == [1, 1, 1, 1, 1, 0]
    summary = summarise_choices(items)
    # Of the six pairs of q-0, ranked - + - +: its best is right in 3 + 1, of q-1, ranked - + + +, in 2 + 1.
    wanted = {"random": 1.25 / 3, "greedy": 1 / 3, "reward@4": 1 / 3, "oracle@4": 2 / 3, "disagree": 2 / 3}
    assert {name: summary["cola"][name] for name in wanted} == pytest.approx(wanted)
    assert summary["cola"]["reward@2"] == pytest.approx((4 / 6 + 3 / 6) / 3)
    assert summary["cola"]["oracle@2"] == pytest.approx((5 / 6 + 1) / 3)
    assert summary["cola"]["prompts"] == 3 and summary["boolq"]["prompts"] == 1
    assert summary["cola"]["implicit@4"] is None


def test_best_of_n_is_the_mean_over_all_draws() -> None:
    """Every subset of the samples, by each score, whose best is looked up: ties go to the one sampled first."""
    scores = {
        "reward": [0.1, 0.9, 0.9, 0.3, 0.5],
        "log": [-5.0, -1.0, -3.0, -1.0, -9.0],
        "implicit": [4.0, 4.0, 4.0, 0.0, 1.0],
    }
    right = [True, False, True, True, False]
    samples = "".join("+" if one else "-" for one in right)
    rows = answer_rows("t", "q", samples, scores["reward"], True, scores["log"], scores["implicit"])
    found = judge_choices(rows).iloc[0]
    assert (
        list_counts(5) == [1, 2, 4, 5] and list_counts(1) == [1] and list_counts(32) == [1, 2, 4, 8, 16, 32]
    )
    for count in list_counts(5):
        draws = list(itertools.combinations(range(5), count))
        for name, values in scores.items():
            best = [right[max(draw, key=lambda one: (values[one], -one))] for draw in draws]
            assert found[f"{name}@{count}"] == pytest.approx(sum(best) / len(draws)), (name, count)
        assert found[f"oracle@{count}"] == pytest.approx(
            sum(any(right[one] for one in draw) for draw in draws) / len(draws)
        )
        assert place_weights(5, count).sum() == pytest.approx(1)


def test_questions_with_different_numbers_of_samples_are_refused() -> None:
    for counts in ((1, 2), (31, 32)):
        rows = [answer_rows("t", f"q-{n}", "+" * n, [0.0] * n, True) for n in counts]
        with pytest.raises(ValueError, match="different numbers"):
            judge_choices(pd.concat(rows))


def test_random_is_the_expectation_of_a_choice_by_chance() -> None:
    """The mean over every way of choosing one sample a question, which any seeded draw only estimates."""
    items = pd.concat(
        [
            answer_rows("t", f"q-{n}", samples, [0.0] * 3, False)
            for n, samples in enumerate(("+--", "++-", "---"))
        ]
    )
    judged = judge_choices(items)
    assert judged["random"].mean() == pytest.approx((1 / 3 + 2 / 3 + 0) / 3)
    assert (judged["reward@2"] <= judged["oracle@2"]).all() and (judged["random"] <= judged["oracle@2"]).all()


def test_questions_that_cannot_be_answered_or_recognised_are_counted(base: Path) -> None:
    model = make_model(base)
    asked = [
        question("yes", "no"),
        question("the small dog is under the chair in the kitchen", "no"),
        question("yes", "no", prompt="small " * 600),
        question("-1", "1"),
        question("?", "yes"),
    ]
    selection = select_questions(model, asked, 6)
    assert selection.questions == asked[:1]
    assert selection.skipped == {"long_answer": 1, "long_prompt": 1, "not_distinct": 2}
    with pytest.raises(
        PreftuneError, match=r"no question of task toy .* \(long_answer: 1\): raise max_new_tokens"
    ):
        select_questions(model, asked[1:2], 6)
    with pytest.raises(PreftuneError, match="plain text"):
        select_questions(model, [question("yes", "no", contexts=("the",))], 6)


def test_a_prompt_leaves_room_for_the_end_of_a_cut_off_answer(base: Path) -> None:
    model = make_model(base)
    asked = [
        question("yes", "no", prompt=conversation_of(model.tokenizer, length)[0]["content"])
        for length in (505, 506)
    ]
    selection = select_questions(model, asked, 6)
    assert (selection.questions, selection.skipped) == (asked[:1], {"long_prompt": 1})
    assert len(answer_questions(model, selection.questions, SamplingSettings(**LIMITS), seed=4)) == 4


def test_answers_are_the_models_and_carry_the_rewards_of_their_tokens(base: Path) -> None:
    model = make_model(base)
    asked = [
        question("yes", "no", prompt=prompt) for prompt in ("the red cup", "Is the dog small? yes or no.")
    ]
    table = answer_questions(model, asked, SamplingSettings(**LIMITS), seed=4)
    assert list(table.columns) == list(COLUMNS)
    assert (
        table["sample"].tolist() == [0, 1, 2, 3] * 2
        and table["greedy"].tolist() == [False, False, False, True] * 2
    )
    conversations = [own.messages for own in asked]
    sampled = generate(model, conversations, seed=4, **LIMITS)
    greedy = generate(model, conversations, max_new_tokens=6, batch=4)
    answers = [
        (own, one)
        for own, several, last in zip(asked, sampled, greedy, strict=True)
        for one in [*several, *last]
    ]
    for row, (own, answer) in zip(table.itertuples(), answers, strict=True):
        assert (row.text, row.tokens) == (answer.text, len(answer.token_ids))
        assert row.reward == pytest.approx(plain_reward(model, own.messages, answer.token_ids), abs=1e-5)
        whole = plain_log_probabilities(model, own.messages, answer.token_ids)
        counted = whole[:-1] if len(whole) > 1 else whole
        assert row.log == pytest.approx(float(counted.mean()), abs=1e-5)
    assert table["implicit"].isna().all()
    pd.testing.assert_frame_equal(table, answer_questions(model, asked, SamplingSettings(**LIMITS), seed=4))
    assert not table.equals(answer_questions(model, asked, SamplingSettings(**LIMITS), seed=5))
    with pytest.raises(PreftuneError, match="unknown reward head"):
        answer_questions(make_model(base, head=False), asked, SamplingSettings(**LIMITS), seed=4)


def test_implicit_rewards_are_log_ratios_to_the_reference(base: Path) -> None:
    model, reference = make_model(base), make_model(base)
    with torch.no_grad():
        for weight in model.causal_lm.parameters():
            weight.mul_(1.05)
    asked = [question("yes", "no", prompt="the red cup")]
    table = answer_questions(model, asked, SamplingSettings(**LIMITS), 4, reference)
    answers = [
        *generate(model, [asked[0].messages], seed=4, **LIMITS)[0],
        *generate(model, [asked[0].messages], max_new_tokens=6)[0],
    ]
    for row, answer in zip(table.itertuples(), answers, strict=True):
        own, before = (
            plain_log_probabilities(one, asked[0].messages, answer.token_ids) for one in (model, reference)
        )
        assert row.implicit == pytest.approx(float(own.sum() - before.sum()), abs=1e-4)
        assert abs(row.implicit) > 1e-3


def plain_log_probabilities(
    model: PreferenceModel, conversation: list[dict[str, str]], ids: Sequence[int]
) -> torch.Tensor:
    """Of each token of an answer and the `<|im_end|>` after it, from a pass over prompt and answer alone."""
    prompt, answer = encode_prompt(model.tokenizer, conversation), [*ids, marker_id(model.tokenizer)]
    logits = model.causal_lm(input_ids=torch.tensor([[*prompt, *answer]])).logits[0, len(prompt) - 1 : -1]
    return logits.log_softmax(-1)[range(len(answer)), answer].detach()


def run_step(output: Path, base: Path, model: Path, datasets: list[Path], **changes: object) -> dict:
    settings = {"tasks": ["cola"], "prompts": 2, **LIMITS, **changes}
    words = ["--base", base, "--model", model, "--datasets", *datasets, "--output", output / "best_of.json"]
    words += [
        "--items",
        output / "best_of.parquet",
        "--settings",
        json.dumps(settings),
        "--device",
        "cpu",
        "--seed",
        1,
    ]
    importlib.import_module("evaluate_best_of").main([str(word) for word in words])
    return read_json(output / "best_of.json")


def test_script(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_datasets(tmp_path)
    torch.manual_seed(0)
    make_model(base).save_pretrained(tmp_path / "run")
    found = run_step(tmp_path / "out", base, tmp_path / "run", datasets_of(tmp_path))
    items = pd.read_parquet(tmp_path / "out" / "best_of.parquet")
    assert len(items) == 2 * 4 and items["document"].nunique() == 2
    template = read_tasks()["cola"].template
    assert found == {
        "count": 3, "split": "validation", "templates": {"name": template.set_name, "sha256": template.sha256},
        "tasks": {"cola": {**summarise_choices(items)["cola"], "skipped": {}}},
    }  # fmt: skip
    facts = read_json(tmp_path / "out" / "best_of.run.json")["facts"]
    assert (facts["prompts"], facts["answers"], facts["skipped"]) == (2, 8, {})
    run_step(tmp_path / "again", base, tmp_path / "run", datasets_of(tmp_path))
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "again" / "best_of.parquet"), items)
    make_model(base, head=False).save_pretrained(tmp_path / "headless")
    with pytest.raises(SystemExit):
        run_step(tmp_path / "never", base, tmp_path / "headless", datasets_of(tmp_path))
    error = capsys.readouterr().err
    assert "unknown reward head" in error and "Traceback" not in error
    assert not (tmp_path / "never" / "best_of.json").exists()
