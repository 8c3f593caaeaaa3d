"""TreeLM gives what lm-eval's own `hf` model gives, request by request."""

import copy
import json
import random
from pathlib import Path
from typing import Any

import lm_eval
import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from tokenizers.processors import TemplateProcessing

from preftune.errors import PreftuneError
from preftune.evaluation.lm_eval_model import TreeLM
from preftune.preference.heads import PreferenceModel
from tests.tiny import tiny_language_model, tiny_tokenizer
from tests.unit.preference.helpers import make_model, words

CONTEXT = 64  # tokens that the model reads
PROMPT = "The red cup is on the table"
LONG = "the blue ball is under the chair " * 20  # more than CONTEXT tokens
Requests = list[tuple[str, str]]


class Sides:
    """lm-eval's model and ours on a copy each of one model, with weights large enough for peaked predictions."""

    def __init__(self, folder: Path, **ours: Any) -> None:
        model = tiny_language_model(folder)
        model.config.max_position_embeddings = CONTEXT
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(6.0 if parameter.dim() > 1 else 1.0)
        self.model, self.tokenizer = copy.deepcopy(model), tiny_tokenizer(folder)
        self.theirs = HFLM(
            pretrained=model, tokenizer=self.tokenizer, backend="causal", batch_size=4, max_length=CONTEXT
        )
        self.ours = TreeLM(PreferenceModel(copy.deepcopy(model), self.tokenizer).eval(), **ours)

    def score(self, requests: Requests) -> tuple[list[tuple[float, bool]], list[tuple[float, bool]]]:
        """Theirs and ours."""
        instances = [Instance("loglikelihood", {}, pair, number) for number, pair in enumerate(requests)]
        theirs, ours = (side.loglikelihood(instances, disable_tqdm=True) for side in (self.theirs, self.ours))
        return theirs, ours


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Sides:
    return Sides(tmp_path_factory.mktemp("base"))


def assert_equal(theirs: list[tuple[float, bool]], ours: list[tuple[float, bool]]) -> None:
    assert [value for value, _ in ours] == pytest.approx([value for value, _ in theirs], abs=1e-3)
    assert [greedy for _, greedy in ours] == [greedy for _, greedy in theirs]
    assert all(type(value) is float and type(greedy) is bool for value, greedy in ours)


CASES: dict[str, Requests] = {
    "continuations of one context": [(PROMPT, f" {text}") for text in ("in", "in the kitchen", "blue", "no")],
    "contexts in turn": [(f"{PROMPT} {i % 2}", f" the {text}") for i, text in enumerate(("red", "dog", "cup"))],
    "duplicates": [(PROMPT, " red cup"), (PROMPT, " blue"), (PROMPT, " red cup"), (PROMPT, " blue")],
    "one token": [(PROMPT, text) for text in (" the", " a", ".")],
    "leading spaces": [(PROMPT, "  red"), (PROMPT, " red"), (PROMPT, "red")],
    "trailing spaces": [(PROMPT, " red  "), (PROMPT, " red ")],
    "context that ends with spaces": [(f"{PROMPT} ", "red"), (f"{PROMPT}  ", " red"), (PROMPT, " red")],
    "long context": [(LONG, " red")],
    "long context, continuations of several lengths": [
        (LONG, f" {text}") for text in ("red", "blue", "red", "in the kitchen and the table", "dog " * 9)
    ],
    "long and short contexts": [(LONG, " red"), (PROMPT, " red"), (LONG + PROMPT, " red"), (PROMPT, " no")],
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_values_and_greedy(sides: Sides, case: str) -> None:
    """All requests of a case together, and each alone."""
    requests = CASES[case]
    theirs, ours = sides.score(requests)
    assert_equal(theirs, ours)
    for number, request in enumerate(requests):
        alone = sides.score([request])[1]
        assert alone[0][0] == pytest.approx(ours[number][0], abs=1e-4)


def test_values_do_not_depend_on_the_passes(tmp_path: Path) -> None:
    """A budget of one token is a pass for each context; results come back in the order of the requests."""
    requests = [request for case in CASES.values() for request in case]
    random.Random(0).shuffle(requests)
    assert_equal(*Sides(tmp_path, tokens_per_pass=1).score(requests))


def test_one_context_begins_with_another(sides: Sides, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compared without the hf model's `logits_cache`: lm-eval 0.4.13 takes the two requests below, whose ids are equal
    but for where the continuation starts, for one, and gathers the shorter continuation at the longer one's places."""
    monkeypatch.setattr(sides.theirs, "logits_cache", False)
    assert_equal(*sides.score([(PROMPT, " in the kitchen"), (f"{PROMPT} in", " the kitchen")]))


@pytest.mark.parametrize("excess", [-1, 0, 1, 2])
def test_truncation_at_the_boundary(sides: Sides, excess: int) -> None:
    """The last token is only predicted, so CONTEXT + 1 tokens lose nothing and one more loses the first; the first
    token is an unlike one, so that its loss shows."""
    ids = [7, *sides.tokenizer.encode(LONG)]
    size = CONTEXT + 1 + excess
    request = (("", ""), ids[: size - 3], ids[size - 3 : size])
    theirs = sides.theirs._loglikelihood_tokens([request], disable_tqdm=True)
    ours = sides.ours._loglikelihood_tokens([request])
    assert_equal(theirs, ours)
    with torch.no_grad():
        path = torch.tensor([[*request[1], *request[2]][-CONTEXT - 1 :]])
        table = sides.model(path[:, :-1]).logits[0].log_softmax(-1)
    expected = table[-3:].gather(1, path[0, -3:, None]).sum().item()
    assert ours[0][0] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("prompt", [3, 40])
@pytest.mark.parametrize("size", [CONTEXT + 1, CONTEXT + 5])
def test_a_continuation_longer_than_the_context_is_refused(sides: Sides, size: int, prompt: int) -> None:
    """The hf model refuses it too: no token of the context would be left."""
    with pytest.raises(PreftuneError, match="its continuation has"):
        sides.ours._loglikelihood_tokens([(("", ""), [5] * prompt, [7] * size)])


@pytest.mark.parametrize(
    "requests",
    [[("", " red cup"), ("", " blue")], [("", "<|im_start|>user"), (PROMPT, " red")]],
    ids=["plain", "continuation that begins with the prefix token"],
)
def test_empty_context(sides: Sides, requests: Requests) -> None:
    """The hf model puts the tokenizer's bos token (id 1 here, eos is 2) before a continuation without context."""
    assert sides.theirs.prefix_token_id == 1
    assert_equal(*sides.score(requests))
    assert sides.ours.prefix_token_id == sides.theirs.prefix_token_id


@pytest.mark.parametrize("text", ["red cup", "<|im_start|>red cup"])
@pytest.mark.parametrize("special", [None, True, False])
def test_tokens_of_a_tokenizer_that_adds_bos(tmp_path: Path, text: str, special: bool | None) -> None:
    """A text that begins with the bos token (a chat template's) does not get a second one, unless it is asked for."""
    sides = Sides(tmp_path)
    sides.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)]
    )
    theirs, ours = (side.tok_encode(text, add_special_tokens=special) for side in (sides.theirs, sides.ours))
    assert ours == theirs


def test_greedy_continuation(sides: Sides) -> None:
    """What the model would write itself is greedy; with another last token, or another first one, it is not."""
    ids = sides.tokenizer.encode(PROMPT)
    path = list(ids)
    for _ in range(5):
        with torch.no_grad():
            path.append(int(sides.model(torch.tensor([path])).logits[0, -1].argmax()))
    written = path[len(ids) :]
    others = [[*written[:-1], written[-1] ^ 1], [written[0] ^ 1, *written[1:]], written[:2], written[:1]]
    requests = [(("", str(i)), ids, continuation) for i, continuation in enumerate([written, *others])]
    ours = sides.ours._loglikelihood_tokens(requests)
    assert [greedy for _, greedy in ours] == [True, False, False, True, True]
    assert_equal(sides.theirs._loglikelihood_tokens(requests, disable_tqdm=True), ours)


def questions(count: int) -> list[dict[str, Any]]:
    """Random questions of three choices of one to three words."""
    draw = random.Random(1)
    return [
        {
            "q": words(draw, draw.randint(2, 12)),
            "c": [words(draw, draw.randint(1, 3)) for _ in range(3)],
            "a": i % 3,
        }
        for i in range(count)
    ]


def test_same_choices(sides: Sides) -> None:
    """The likeliest candidate of each question, with and without division by length."""
    texts = questions(12)
    requests = [(text["q"], f" {choice}") for text in texts for choice in text["c"]]
    theirs, ours = (torch.tensor([value for value, _ in side]).view(-1, 3) for side in sides.score(requests))
    lengths = torch.tensor([len(choice) for text in texts for choice in text["c"]]).view(-1, 3)
    for divisor in (1, lengths):
        choices = (ours / divisor).argmax(dim=1)
        assert choices.equal((theirs / divisor).argmax(dim=1))
        assert len(choices.unique()) > 1


def test_through_simple_evaluate(sides: Sides, tmp_path: Path) -> None:
    """A multiple-choice task of lm-eval over a local file: every score and both accuracies are the same."""
    data = tmp_path / "questions.jsonl"
    data.write_text("".join(json.dumps(question) + "\n" for question in questions(12)))
    task = {
        "task": "tiny",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}, "cache_dir": str(tmp_path / "cache")},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{q}}",
        "doc_to_choice": "{{c}}",
        "doc_to_target": "{{a}}",
        "metric_list": [
            {"metric": name, "aggregation": "mean", "higher_is_better": True} for name in ("acc", "acc_norm")
        ],
    }
    theirs, ours = (
        lm_eval.simple_evaluate(
            model=side, tasks=[dict(task)], task_manager=TaskManager(include_defaults=False), bootstrap_iters=0
        )
        for side in (sides.theirs, sides.ours)
    )  # fmt: skip
    names = ("acc,none", "acc_norm,none")
    found = [[result["results"]["tiny"][name] for name in names] for result in (theirs, ours)]
    assert found[0] == found[1] and 0 < found[1][0] < 1
    for their, our in zip(theirs["samples"]["tiny"], ours["samples"]["tiny"], strict=True):
        assert_equal([response[0] for response in their["resps"]], [response[0] for response in our["resps"]])


def test_what_is_not_offered(sides: Sides, tmp_path: Path) -> None:
    """A model with heads would want `<|im_end|>` in every continuation."""
    with pytest.raises(PreftuneError, match="continuations only"):
        sides.ours.loglikelihood_rolling([])
    with pytest.raises(PreftuneError, match="continuations only"):
        sides.ours.generate_until([])
    tiny_language_model(tmp_path)
    with pytest.raises(PreftuneError, match="without reward heads"):
        TreeLM(make_model(tmp_path))
