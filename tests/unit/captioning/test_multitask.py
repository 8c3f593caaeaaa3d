"""Adapters trained apart and joined: outputs of either part are those of before; draws and weights of training on several tasks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from preftune.captioning.batch import CAPTION, QUESTION, Task, image_tree
from preftune.captioning.captioner import Captioner, build_captioner
from preftune.captioning.data import load_captioned_images
from preftune.captioning.generate import generate
from preftune.captioning.io import CaptionerFacts, count_parameters, load_captioner, save_trained
from preftune.captioning.join import join_captioners, train_again
from preftune.captioning.multitask import CaptionPart, MultitaskObjective, QuestionPart
from preftune.captioning.questions import (
    Question,
    answer_questions,
    load_image_questions,
    load_text_questions,
)
from preftune.errors import PreftuneError
from preftune.models.language import load_language_model
from preftune.settings.adapters import AdapterSettings
from tests.tiny import tiny_language_model
from tests.unit.captioning.captioner_helpers import disturb_captioner, features, write_data

CPU = torch.device("cpu")
IMAGE_AND_CAPTION = {
    "image": {"modalities": ["image"]},
    "text": {"modalities": ["text"], "roles": ["caption"]},
}
QUESTION_AND_ANSWER = {
    "question": {"modalities": ["text"], "roles": ["user"]},
    "answer": {"modalities": ["text"], "roles": ["assistant"]},
}
CAPTIONED = [image_tree("a", 1, 2, 4, [[10, 11, 12], [20, 22]]), image_tree("b", 1, 2, 4, [[30]])]
ASKED = [image_tree("c", 1, 2, 0, [[7], [8, 9]], [40, 41, 42]), image_tree("d", 1, 2, 0, [[5]], [43])]


def part(folder: Path, name: str, groups: dict[str, Any], width: int, **adapter: Any) -> Path:
    """Save a disturbed part with these groups; it reads images of 4 vectors where they have a width."""
    if not (folder / "base").exists():
        tiny_language_model(folder / "base")
    language_model, tokenizer = load_language_model(folder / "base", CPU, torch.float32)
    settings = AdapterSettings.model_validate({"kind": "lora", "rank": 2, "groups": groups, **adapter})
    kind = "linear" if width else "none"
    captioner = build_captioner(language_model, tokenizer, settings, kind, width, 0.1)
    disturb_captioner(captioner)
    facts = CaptionerFacts(settings, kind, 4 if width else 0, width, 9)
    save_trained(captioner, tokenizer, facts, folder / name)
    return folder / name


@pytest.fixture(params=["lora", "bitfit", "ia3"])
def parts(tmp_path: Path, request: pytest.FixtureRequest) -> list[Path]:
    """A captioning part and a question-answering one."""
    kind = {"kind": request.param}
    return [
        part(tmp_path, "captions", IMAGE_AND_CAPTION, 6, **kind),
        part(tmp_path, "questions", QUESTION_AND_ANSWER, 0, **kind),
    ]


def load(folder: Path) -> Captioner:
    return load_captioner(folder.parent / "base", folder, CPU, torch.float32)[0]


def join(folders: Sequence[Path]) -> tuple[Captioner, CaptionerFacts]:
    captioner, _, facts = join_captioners(folders[0].parent / "base", folders, CPU, torch.float32)
    return captioner.eval(), facts


def decode(captioner: Captioner, task: Task, merged: bool) -> list[Tensor]:
    """Logits of every pass of a cached greedy decoding: captions of two images, or answers to two questions."""
    seen: list[Tensor] = []
    head = captioner.language_model.get_output_embeddings()
    hook = head.register_forward_hook(lambda module, inputs, output: seen.append(output.clone()))
    images = torch.from_numpy(features(2)) if task == CAPTION else None
    asked = None if task == CAPTION else [[40, 41, 42], [43]]
    try:
        if merged:
            with captioner.merged(task):
                generate(captioner, images, 4, questions=asked, task=task)
        else:
            generate(captioner, images, 4, questions=asked, task=task)
    finally:
        hook.remove()
    return seen


@torch.no_grad()
def test_joining_changes_no_output_of_either_part(parts: list[Path]) -> None:
    joined, _ = join(parts)
    assert set(joined.adapters.groups) == {*IMAGE_AND_CAPTION, *QUESTION_AND_ANSWER}  # type: ignore[union-attr]
    for folder, trees, task in ((parts[0], CAPTIONED, CAPTION), (parts[1], ASKED, QUESTION)):
        alone = load(folder)
        images = torch.from_numpy(features(2)) if task == CAPTION else None
        before, after = (one.nll(trees, images, task)[0] for one in (alone, joined))
        assert torch.equal(before, after)
        for merged in (False, True):
            passes = [decode(one, task, merged) for one in (alone, joined)]
            assert len(passes[0]) == len(passes[1]) > 1
            assert all(torch.equal(a, b) for a, b in zip(*passes, strict=True))
    # It is no empty promise: the question's groups do change what is said of an image.
    about_images = [image_tree("e", 1, 2, 4, [[7]], [40])]
    said = [
        one.nll(about_images, torch.from_numpy(features(1)), QUESTION)[0] for one in (load(parts[0]), joined)
    ]
    assert not torch.allclose(*said)


def test_a_joined_model_comes_back_and_is_joined_in_any_order(parts: list[Path]) -> None:
    joined, facts = join(parts)
    train_again(joined, 0.0)
    tokenizer = load_captioner(parts[0].parent / "base", parts[0], CPU, torch.float32)[1]
    schema = save_trained(joined, tokenizer, facts, parts[0].parent / "joined")
    again = load(parts[0].parent / "joined")
    other, _ = join(parts[::-1])
    about_images = ([image_tree("e", 1, 2, 4, [[7]], [40])], torch.from_numpy(features(1)), QUESTION)
    expected = joined.nll(*about_images)[0]
    assert torch.equal(again.nll(*about_images)[0], expected)
    assert torch.equal(other.nll(*about_images)[0], expected)
    counts = [
        load_captioner(path.parent / "base", path, CPU, torch.float32)[2]["parameters"] for path in parts
    ]
    assert schema["parameters"]["language_model"] == sum(count["language_model"] for count in counts)
    assert schema["parameters"]["connector"] == counts[0]["connector"] == 6 * 32 + 32
    assert counts[1]["connector"] == 0


def test_parts_that_would_change_each_other_are_refused(tmp_path: Path) -> None:
    captions = part(tmp_path, "captions", IMAGE_AND_CAPTION, 6)
    questions = part(tmp_path, "questions", QUESTION_AND_ANSWER, 0)
    everywhere = part(tmp_path, "everywhere", {"all": {}}, 0)
    images = part(tmp_path, "images", {"picture": {"modalities": ["image"]}}, 6)
    scales = part(tmp_path, "scales", QUESTION_AND_ANSWER, 0, kind="ia3")
    for folders, sentence in (
        ([captions, everywhere], r"group all of .*everywhere and group image are on at the same tokens"),
        ([captions, images], "both have a connector"),
        ([captions, scales], "the kind of their adapters is lora and ia3"),
    ):
        with pytest.raises(PreftuneError, match=sentence):
            join(folders)
    tiny_language_model(tmp_path / "base", seed=1)  # of the same shape: it loads
    assert set(join([captions, questions])[0].adapters.groups) == {*IMAGE_AND_CAPTION, *QUESTION_AND_ANSWER}  # type: ignore[union-attr]


def test_an_agnostic_adapter_of_the_ranks_together_has_as_many_parameters(tmp_path: Path) -> None:
    joined, _ = join(
        [part(tmp_path, "a", IMAGE_AND_CAPTION, 6), part(tmp_path, "b", QUESTION_AND_ANSWER, 0, rank=3)]
    )
    train_again(joined, 0.0)
    language_model, tokenizer = load_language_model(tmp_path / "base", CPU, torch.float32)
    settings = AdapterSettings(kind="lora", context="agnostic", rank=2 + 2 + 3 + 3)
    agnostic = build_captioner(language_model, tokenizer, settings, "linear", 6, 0.1)
    assert count_parameters(agnostic) == count_parameters(joined)


@pytest.fixture
def objective(tmp_path: Path) -> MultitaskObjective:
    """12 captioned images, 2 questions about texts, 3 about images."""
    captioner, _ = join(
        [part(tmp_path, "a", IMAGE_AND_CAPTION, 6), part(tmp_path, "b", QUESTION_AND_ANSWER, 0)]
    )
    train_again(captioner, 0.0)
    images = load_captioned_images(*write_data(tmp_path / "data"), split="train")
    captions = [[[10, index + 20], [11, 12, index + 20]] for index in range(len(images))]
    texts = [Question(f"t{n}", "text", "colour", "", ("a", "b")) for n in range(2)]
    pictures = [Question(f"v{n}", str(100 + n), "colour", "", ("a",), 100 + n) for n in range(3)]
    parts = [
        CaptionPart(images, captions),
        QuestionPart(texts, [[60], [61, 62]], [[[5], [6, 7]], [[8]]]),
        QuestionPart(pictures, [[70], [71], [72]], [[[9]]] * 3),
    ]
    return MultitaskObjective(captioner, parts, images.features, seed=0)


def test_tasks_take_turns_and_small_ones_come_again(objective: MultitaskObjective) -> None:
    assert len(objective) == 36
    drawn = [objective.draw(index, 1) for index in range(36)]
    assert [example.part for example in drawn[:4]] == [0, 1, 2, 0]
    names = [example.name for example in drawn]
    assert sorted(names[1::3]) == ["t0"] * 6 + ["t1"] * 6 and sorted(set(names[2::3])) == ["v0", "v1", "v2"]
    assert len(set(names[::3])) == 12
    assert drawn == [objective.draw(index, 1) for index in range(36)]
    assert any(objective.draw(index, 2) != drawn[index] for index in range(36))
    assert drawn[0].tree.prompt == [1] * 5 and drawn[1].tree.prompt[:1] == [1] and drawn[1].image is None
    assert drawn[2].tree.prompt == [1] * 5 + [70] and drawn[2].image == (100, 0)
    assert {tuple(one.tree.branches[0]) for one in drawn if one.name == "t0"} == {(5, 2), (6, 7, 2)}


def test_every_example_weighs_alike_however_passes_are_cut(objective: MultitaskObjective) -> None:
    batch = [objective.draw(index, 1) for index in range(9)]
    units = sum(map(objective.units, batch))
    assert units == 9
    totals = []
    for budget in (10, 4096):
        passes = objective.split(batch, budget)
        assert sorted(place for group in passes for place in group) == list(range(9))
        assert all(len({batch[place].part for place in group}) == 1 for group in passes)
        found = [objective.loss([batch[place] for place in group], units) for group in passes]
        totals.append(sum(loss.item() for loss, _ in found))
        assert sum(logged["tokens"] for _, logged in found) == sum(len(one.tree.branches[0]) for one in batch)
    assert totals[0] == pytest.approx(totals[1], rel=1e-5)
    alone = [objective.loss([example], 1)[0].item() for example in batch]
    assert totals[1] == pytest.approx(float(np.mean(alone)), rel=1e-5)


def test_questions_about_texts_train_no_group_of_captions(objective: MultitaskObjective) -> None:
    examples = [objective.draw(index, 1) for index in (1, 4)]
    objective.loss(examples, 2)[0].backward()
    adapters = objective.captioner.adapters
    assert adapters is not None
    for group, reached in (("image", False), ("text", False), ("question", True), ("answer", True)):
        sizes = [
            float(one.grad.abs().sum()) for _, one in adapters.named_parameters(group) if one.grad is not None
        ]
        assert (sum(sizes) > 0) == reached, group


def write_questions(folder: Path) -> Path:
    """Questions of both kinds about the images of `write_data`, one of them about an image without features."""
    folder.mkdir(parents=True)
    pictures = [
        (split, image)
        for split, start in (("train", 100), ("test", 116))
        for image in range(start, start + 4)
    ]
    pictures.append(("test", 999))
    rows = [
        {"question_id": f"v{image}", "image_id": image, "split": split, "kind": "colour", "question": "what colour?",
         "answers": [("red", "green", "blue", "yellow")[image % 4]], "file": ""}
        for split, image in pictures
    ]  # fmt: skip
    texts = [
        {"question_id": f"t{split}{n}", "document": n, "split": split, "kind": "colour", "context": "the red cup",
         "question": "what colour?", "answer": "red"}
        for split in ("train", "test")
        for n in range(4)
    ]  # fmt: skip
    pd.DataFrame(rows).to_parquet(folder / "questions.parquet", index=False)
    pd.DataFrame(texts).to_parquet(folder / "text_questions.parquet", index=False)
    return folder


def test_questions_of_a_split(tmp_path: Path) -> None:
    images = load_captioned_images(*write_data(tmp_path), split="train")
    folder = write_questions(tmp_path / "questions")
    found, without = load_image_questions(folder, "test", images.features)
    assert [one.question_id for one in found] == ["v116", "v117", "v118", "v119"] and without == 1
    chosen = [load_image_questions(folder, "test", images.features, limit)[0] for limit in (1, 2, 3)]
    assert [len(one) for one in chosen] == [1, 2, 3]
    assert set(chosen[0]) < set(chosen[1]) < set(chosen[2]) < set(found)
    assert found[0].prompt == "what colour?\n" and found[0].answers == ("red",) and found[0].image_id == 116
    texts = load_text_questions(folder, "train", limit=3)
    assert len(texts) == 3 and texts[0].prompt == "the red cup what colour?\n" and texts[0].image_id is None
    with pytest.raises(PreftuneError, match="holds no question of split validation"):
        load_text_questions(folder, "validation")
    table = pd.read_parquet(folder / "questions.parquet")
    table[table["image_id"] == 999].to_parquet(folder / "questions.parquet")
    with pytest.raises(PreftuneError, match=r"No image of .*, split test, has features"):
        load_image_questions(folder, "test", images.features)


def test_answers_do_not_depend_on_their_batch(tmp_path: Path) -> None:
    captioner, _ = join(
        [part(tmp_path, "a", IMAGE_AND_CAPTION, 6), part(tmp_path, "b", QUESTION_AND_ANSWER, 0)]
    )
    tokenizer = load_captioner(tmp_path / "base", tmp_path / "a", CPU, torch.float32)[1]
    images = load_captioned_images(*write_data(tmp_path / "data"), split="train")
    folder = write_questions(tmp_path / "questions")
    asked, _ = load_image_questions(folder, "test", images.features)
    asked[0] = Question("long", "116", "colour", "what colour is the large circle?\n", ("red",), 116)
    found = [answer_questions(captioner, tokenizer, asked, images.features, 3, batch) for batch in (1, 3)]
    assert found[0] == found[1] and set(found[0]) == {one.question_id for one in asked}
    texts = load_text_questions(folder, "test")
    assert len(answer_questions(captioner, tokenizer, texts, None, 3, 2)) == 4
    with pytest.raises(PreftuneError, match="is about no image"):
        answer_questions(captioner, tokenizer, texts, images.features, 3, 2)
