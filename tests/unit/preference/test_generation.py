"""Written answers, against plain calls of transformers' models without padding, cache or our attention."""

import copy
from pathlib import Path

import pytest
import torch
from transformers import (
    CONFIG_MAPPING,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
)

from preftune.data.chat import encode_prompt, marker_id
from preftune.errors import PreftuneError
from preftune.preference import generation
from preftune.preference.generation import Answer, best_of, generate, reward_answers
from preftune.preference.heads import PreferenceModel
from tests.unit.preference.helpers import conversation_of, make_model, plain_reward

SIZE = {
    "vocab_size": 512,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "initializer_range": 0.2,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
}
# Rotary and learned positions; windows, which packed rows cannot have, so that its own attention stays.
KINDS = {"llama": SIZE, "gpt2": SIZE, "mistral": SIZE | {"sliding_window": 24, "num_key_value_heads": 2}}
QUESTIONS = [
    "the red cup",
    "Is the dog small? yes or no. Choices: A. one B. two",
    "0 1 2",
    "a ball",
    "the table " * 9,
]
CONVERSATIONS = [[{"role": "user", "content": question}] for question in QUESTIONS]


def language_model(kind: str) -> PreTrainedModel:
    torch.manual_seed(4)
    return AutoModelForCausalLM.from_config(CONFIG_MAPPING[kind](**KINDS[kind])).eval()


def pair_of(kind: str, base: Path) -> tuple[PreferenceModel, PreTrainedModel]:
    """A model whose attention was replaced where it can be, and an untouched copy of it."""
    plain = language_model(kind)
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = PreferenceModel(copy.deepcopy(plain), tokenizer).eval()
    assert model.reader.packs == (kind != "mistral")
    return model, plain


@torch.no_grad()
def write_plainly(plain: PreTrainedModel, prompt: list[int], count: int, marker: int) -> Answer:
    """The likeliest next token, again and again, each from a pass over all that stands there."""
    written: list[int] = []
    while len(written) < count:
        logits = plain(input_ids=torch.tensor([prompt + written]), use_cache=False).logits[0, -1]
        if int(logits.argmax()) == marker:
            return Answer("", tuple(written), True)
        written.append(int(logits.argmax()))
    return Answer("", tuple(written), False)


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_answers_are_those_of_the_plain_model(kind: str, base: Path) -> None:
    model, plain = pair_of(kind, base)
    marker = marker_id(model.tokenizer)
    for batch in (2, 16):
        found = generate(model, CONVERSATIONS, max_new_tokens=12, batch=batch)
        for conversation, (answer,) in zip(CONVERSATIONS, found, strict=True):
            prompt = encode_prompt(model.tokenizer, conversation)
            wanted = write_plainly(plain, prompt, 12, marker)
            assert (answer.token_ids, answer.ended) == (wanted.token_ids, wanted.ended)
            assert answer.text == model.tokenizer.decode(answer.token_ids)
    assert len({answer.token_ids for (answer,) in found}) == len(QUESTIONS)
    assert max(len(set(answer.token_ids)) for (answer,) in found) > 1


@pytest.mark.parametrize("kind", KINDS)
def test_our_attention_leaves_a_padded_batch_with_a_cache_as_it_was(kind: str, base: Path) -> None:
    """Bit for bit: calls without a packed layout go to the function that transformers itself would take."""
    model, plain = pair_of(kind, base)
    prompts = [[5, 9, 4, 8], [7], [3, 6, 11, 12, 13, 14, 15, 16, 17, 18, 19]]
    ids = torch.tensor([[2] * (11 - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (11 - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    outputs = [
        causal_lm.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=10,
            do_sample=False,
            return_dict_in_generate=True,
            output_logits=True,
        )
        for causal_lm in (model.causal_lm, plain)
    ]
    assert torch.equal(outputs[0].sequences, outputs[1].sequences)
    assert all(
        torch.equal(ours, theirs) for ours, theirs in zip(outputs[0].logits, outputs[1].logits, strict=True)
    )


def test_an_answer_ends_at_the_marker_or_is_cut_off(base: Path) -> None:
    model, _ = pair_of("llama", base)
    marker = marker_id(model.tokenizer)
    (answers,) = generate(model, CONVERSATIONS[:1], max_new_tokens=40, count=60, temperature=3.0)
    assert {answer.ended for answer in answers} == {True, False}
    for answer in answers:
        assert marker not in answer.token_ids
        assert len(answer.token_ids) < 40 if answer.ended else len(answer.token_ids) == 40


def test_draws_follow_from_the_seed_alone(base: Path) -> None:
    model, _ = pair_of("llama", base)
    options = {"max_new_tokens": 8, "count": 3, "temperature": 1.0}
    torch.manual_seed(1)
    first, after = generate(model, CONVERSATIONS, **options, seed=5), torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(after, torch.rand(1))  # the global generator did not move
    assert generate(model, CONVERSATIONS, **options, seed=5) == first
    assert generate(model, CONVERSATIONS, **options, seed=6) != first
    assert [len(answers) for answers in first] == [3] * len(QUESTIONS)
    assert len({answer.token_ids for answer in first[0]}) > 1


@pytest.mark.parametrize("kind", KINDS)
def test_samples_that_share_the_reading_of_a_prompt_are_those_of_prompts_read_apart(
    kind: str, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prompts of several lengths, longer than the window of the third kind; a batch holds parts of three prompts' samples."""
    model, _ = pair_of(kind, base)
    options = {"max_new_tokens": 9, "count": 4, "temperature": 0.7, "batch": 6, "seed": 3}
    shared = generate(model, CONVERSATIONS, **options)
    calls = []
    monkeypatch.setattr(generation, "_read_once", lambda *arguments: calls.append(arguments))
    assert generate(model, CONVERSATIONS, **options) == shared
    assert calls and max(len(answer.token_ids) for answers in shared for answer in answers) > 1


def test_draws_have_the_models_probabilities(base: Path) -> None:
    """One drawn token: its frequencies against softmax(logits / T), and none outside of the nucleus."""
    model, plain = pair_of("llama", base)
    prompt = encode_prompt(model.tokenizer, CONVERSATIONS[0])
    with torch.no_grad():
        logits = plain(input_ids=torch.tensor([prompt])).logits[0, -1]
    probabilities = torch.softmax(logits / 0.5, dim=-1)
    count = 400

    def frequencies(top_p: float) -> torch.Tensor:
        options = {"max_new_tokens": 1, "count": count, "temperature": 0.5, "batch": count}
        (answers,) = generate(model, CONVERSATIONS[:1], top_p=top_p, **options)
        drawn = torch.tensor([answer.token_ids[0] if answer.token_ids else 2 for answer in answers])
        return torch.bincount(drawn, minlength=512) / count

    spread = (probabilities * (1 - probabilities) / count).sqrt()
    found = frequencies(top_p=1.0)
    top = probabilities.argsort(descending=True)
    assert ((found - probabilities).abs()[top[:10]] < 4 * spread[top[:10]]).all()
    # transformers' own default of top_k = 50 would leave nothing after the 50th.
    assert found[top[50:]].sum() > 0
    nucleus = top[: int((probabilities[top].cumsum(0) < 0.3).sum()) + 1]
    assert frequencies(top_p=0.3)[nucleus].sum() == 1.0


def test_a_folders_own_generation_settings_do_not_count(base: Path) -> None:
    model, _ = pair_of("llama", base)
    greedy = generate(model, CONVERSATIONS, max_new_tokens=6)
    own = GenerationConfig(suppress_tokens=[greedy[0][0].token_ids[0]], repetition_penalty=5.0, num_beams=3)
    model.causal_lm.generation_config = own
    model.train()
    assert generate(model, CONVERSATIONS, max_new_tokens=6) == greedy
    assert model.causal_lm.generation_config is own and model.training


def test_best_of_ranks_the_samples_by_the_reward_of_their_tokens(base: Path) -> None:
    model = make_model(base)
    options = {"max_new_tokens": 6, "temperature": 1.0, "seed": 2}
    ranked = best_of(model, CONVERSATIONS[1], 5, **options)
    (sampled,) = generate(model, CONVERSATIONS[1:2], count=5, **options)
    assert sorted(answer.token_ids for answer, _ in ranked) == sorted(answer.token_ids for answer in sampled)
    rewards = [reward for _, reward in ranked]
    assert rewards == sorted(rewards, reverse=True) and len(set(rewards)) > 1
    for answer, reward in ranked:
        wanted = plain_reward(model, CONVERSATIONS[1], answer.token_ids)
        assert reward == pytest.approx(wanted, abs=1e-5, rel=1e-5)


def test_samples_at_the_edge_of_the_context_are_rewarded(base: Path) -> None:
    """Among the samples are cut-off ones, and ones whose text has more tokens than were written."""
    model = make_model(base)
    options = {"max_new_tokens": 6, "temperature": 3.0}
    conversation = conversation_of(model.tokenizer, 512 - 7)
    ranked = best_of(model, conversation, 12, **options)
    assert any(not answer.ended for answer, _ in ranked)
    assert any(len(model.tokenizer.encode(answer.text)) > 7 for answer, _ in ranked)
    for answer, reward in ranked:
        wanted = plain_reward(model, conversation, answer.token_ids)
        assert reward == pytest.approx(wanted, abs=1e-4, rel=1e-4)
    with pytest.raises(PreftuneError, match=r"a prompt of 506 tokens, .* exceed the model's context of 512"):
        best_of(model, conversation_of(model.tokenizer, 512 - 6), 2, **options)


def test_of_equal_rewards_the_first_sample_is_the_first(base: Path) -> None:
    model = make_model(base)
    with torch.no_grad():
        model.head.heads["reward"].weight.zero_()
    options = {"max_new_tokens": 4, "temperature": 1.0}
    (sampled,) = generate(model, CONVERSATIONS[:1], count=4, **options)
    assert best_of(model, CONVERSATIONS[0], 4, **options) == [(answer, 0.0) for answer in sampled]


def test_rewards_come_in_the_order_of_the_answers_and_equal_answers_are_read_once(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(base)
    answers = [
        [Answer(text, tuple(model.tokenizer.encode(text)), True) for text in texts]
        for texts in (["yes", "no", "yes", ""], ["no"])
    ]
    read: list[int] = []
    score = generation.score_trees
    monkeypatch.setattr(
        generation,
        "score_trees",
        lambda model, trees, **options: (
            read.append(sum(len(t.branches) for t in trees)) or score(model, trees, **options)
        ),
    )
    found = reward_answers(model, CONVERSATIONS[:2], answers)
    assert read == [4] and found[0][0] == found[0][2]
    for conversation, texts, rewards in zip(CONVERSATIONS, answers, found, strict=False):
        for answer, reward in zip(texts, rewards, strict=True):
            finished = [*conversation, {"role": "assistant", "content": answer.text}]
            assert reward == pytest.approx(float(model.rewards([finished])), abs=1e-5)


@pytest.mark.parametrize(("with_head", "name"), [(False, None), (True, "style")])
def test_an_unknown_head_ends_it_before_anything_is_written(
    base: Path, monkeypatch: pytest.MonkeyPatch, with_head: bool, name: str | None
) -> None:
    monkeypatch.setattr(generation, "generate", lambda *a, **k: pytest.fail("answers were written"))
    with pytest.raises(PreftuneError, match="unknown reward head"):
        best_of(make_model(base, head=with_head), CONVERSATIONS[0], 2, max_new_tokens=4, head=name)


def test_errors(base: Path) -> None:
    model = make_model(base, head=False)
    with pytest.raises(PreftuneError, match="2 greedy answers would all be equal"):
        generate(model, CONVERSATIONS, max_new_tokens=4, count=2)
    with pytest.raises(PreftuneError, match="exceed the model's context of 512"):
        generate(model, CONVERSATIONS, max_new_tokens=512)
