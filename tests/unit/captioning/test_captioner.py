"""The captioner: contexts, loss, masks, cached decoding, perplexity, attention, learning."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from preftune.adapters.contexts import domain
from preftune.captioning.attention import caption_attention, grid_side
from preftune.captioning.batch import CAPTION, QUESTION, image_tree, tokenize_captions
from preftune.captioning.captioner import Captioner, caption_contexts
from preftune.captioning.data import load_captioned_images
from preftune.captioning.generate import generate
from preftune.captioning.objective import CaptionObjective
from preftune.captioning.perplexity import score_captions, summarize_perplexity
from preftune.errors import PreftuneError
from preftune.models.devices import computing_in
from preftune.settings.adapters import GroupSettings
from preftune.settings.training import TrainingSettings
from preftune.training.loop import fit
from tests.unit.captioning.captioner_helpers import (
    CAPTIONS,
    RUNS,
    disturb_captioner,
    features,
    hidden,
    logits,
    tiny_batch,
    tiny_captioner,
    write_data,
)
from tests.unit.preference.helpers import place_in

CPU = torch.device("cpu")


def slow_nll(captioner: Captioner, image: np.ndarray, caption: list[int]) -> float:
    """NLL of one caption and EOS, straight from the definition, one token at a time and without padding."""
    start = captioner.embed_images(torch.from_numpy(image)[None])
    total = 0.0
    for place, target in enumerate([*caption, captioner.eos]):
        words = captioner.embed_tokens(torch.tensor([caption[:place]], dtype=torch.long))
        state = hidden(captioner, torch.cat([start, words], dim=1), image=start.shape[1] - 1)[:, -1]
        total -= float(logits(captioner, state).log_softmax(dim=-1)[0, target])
    return total


def test_contexts_mark_exactly_the_image() -> None:
    text, image = domain("text", "caption"), domain("image", "caption")
    contexts = caption_contexts(2, 7, 3, CPU)
    assert contexts.to_ids(CPU).tolist() == [[text, image, image, image, text, text, text]]
    assert contexts.images is not None and contexts.images.tolist() == [[1, 2, 3], [8, 9, 10]]


@pytest.mark.parametrize("packs", [True, False])
@pytest.mark.parametrize(("kind", "context"), RUNS)
@torch.no_grad()
def test_nll_is_the_definition(kind: str, context: str, packs: bool, tmp_path: Path) -> None:
    """Packed, with captions that share an image, and padded; a token with EOS's id inside a caption counts."""
    captioner = disturb_captioner(tiny_captioner(tmp_path, kind, context))
    captioner.reader.packs = packs
    nll, layout = captioner.nll(*tiny_batch())
    assert len(nll) == 4 + 6 + 2
    for found, caption, image in zip(layout.sum_by_branch(nll), CAPTIONS, (0, 0, 1), strict=True):
        assert float(found) == pytest.approx(slow_nll(captioner, features(2)[image], caption), rel=1e-5)


@pytest.mark.parametrize(("kind", "context"), RUNS)
def test_gradient_checkpointing_changes_no_gradient(kind: str, context: str, tmp_path: Path) -> None:
    gradients = []
    for saving in (False, True):
        captioner = disturb_captioner(tiny_captioner(tmp_path, kind, context)).eval()
        captioner.prepare(
            TrainingSettings(steps=1, batch=1, learning_rate=1.0, gradient_checkpointing=saving)
        )
        captioner.nll(*tiny_batch())[0].sum().backward()
        gradients.append([parameter.grad for parameter in captioner.trainable()])
    for plain, saved in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, saved)


@pytest.mark.parametrize(("kind", "context"), RUNS)
@torch.no_grad()
def test_cached_decoding_equals_full_forward(kind: str, context: str, tmp_path: Path) -> None:
    captioner = disturb_captioner(tiny_captioner(tmp_path, kind, context))
    images = torch.from_numpy(features(5))
    captions = generate(captioner, images, 6)
    for row, caption in enumerate(captions):
        start, read = captioner.embed_images(images[row : row + 1]), []
        for _ in range(6):
            words = captioner.embed_tokens(torch.tensor([read], dtype=torch.long))
            state = hidden(captioner, torch.cat([start, words], dim=1), image=4)[:, -1]
            token = int(logits(captioner, state).argmax())
            if token == captioner.eos:
                break
            read.append(token)
        assert caption == read
    assert generate(captioner, images[:2], 6) == captions[:2]


def test_generation_stops_at_eos(tmp_path: Path) -> None:
    captioner = tiny_captioner(tmp_path).eval()
    head = captioner.language_model.get_output_embeddings()
    head.forward = lambda states: torch.eye(512)[torch.full(states.shape[:-1], 2)]  # type: ignore[method-assign]
    assert generate(captioner, torch.from_numpy(features(2)), 4) == [[], []]


@pytest.mark.parametrize(("kind", "context"), RUNS)
@torch.no_grad()
def test_beams_find_what_exhaustive_search_finds(kind: str, context: str, tmp_path: Path) -> None:
    """512 beams of two steps keep every first token, so that the best caption of up to two tokens is found."""
    captioner = disturb_captioner(tiny_captioner(tmp_path, kind, context))
    image = torch.from_numpy(features(1))
    (found,) = generate(captioner, image, 2, beams=512)
    start = captioner.embed_images(image)

    def next_logps(words: torch.Tensor) -> torch.Tensor:
        read = torch.cat([start.expand(len(words), -1, -1), captioner.embed_tokens(words)], dim=1)
        return logits(captioner, hidden(captioner, read, image=4)[:, -1]).log_softmax(dim=-1)

    first = next_logps(torch.empty(1, 0, dtype=torch.long))[0]
    both = first[:, None] + next_logps(torch.arange(512)[:, None])
    both[2] = float("-inf")
    one, two = divmod(int(both.argmax()), 512)
    assert first[2] < both.max() / 2  # no caption is better than the best one in its mean
    assert found == ([one] if two == 2 else [one, two])


@pytest.mark.parametrize(("kind", "context"), RUNS)
@torch.no_grad()
def test_merged_decoding_changes_no_caption(kind: str, context: str, tmp_path: Path) -> None:
    captioner = disturb_captioner(tiny_captioner(tmp_path, kind, context))
    images = torch.from_numpy(features(3))
    wanted = generate(captioner, images, 6)
    with captioner.merged(CAPTION):
        assert generate(captioner, images, 6) == wanted


@pytest.mark.parametrize("packs", [True, False])
@torch.no_grad()
def test_questions_have_contexts_of_their_own(packs: bool, tmp_path: Path) -> None:
    """The answer's likelihood and its decoding, with questions of unequal length, see the groups of their role."""
    captioner = tiny_captioner(tmp_path)
    assert captioner.adapters is not None
    for name, role in (("question", "user"), ("answer", "assistant")):
        group = GroupSettings.model_validate(
            {"modalities": ["text"], "roles": [role], "rank": 2, "targets": "AF"}
        )
        captioner.adapters.add(name, group, seed=1)
    disturb_captioner(captioner)
    captioner.reader.packs = packs
    images, questions = torch.from_numpy(features(2)), [[30, 31, 32], [33]]
    answers = generate(captioner, images, 3, questions=questions, task=QUESTION)
    for row in range(2):
        alone = generate(
            captioner, images[row : row + 1], 3, questions=questions[row : row + 1], task=QUESTION
        )
        assert alone == answers[row : row + 1]
    trees = [image_tree(str(i), 1, 2, 4, [answers[i] or [9]], questions[i]) for i in range(2)]
    nll, layout = captioner.nll(trees, images, QUESTION)
    for row, tree in enumerate(trees):
        own, _ = captioner.nll([tree], images[row : row + 1], QUESTION)
        torch.testing.assert_close(layout.sum_by_branch(nll)[row], own.sum())
        first = captioner.prefix(images[row : row + 1], questions[row : row + 1], QUESTION)
        with captioner.decoding(first, QUESTION, 1):
            states = captioner.language_model.base_model(inputs_embeds=first.embeddings).last_hidden_state
        wanted = -logits(captioner, states[:, -1]).log_softmax(dim=-1)[0, tree.branches[0][0]]
        torch.testing.assert_close(own[0], wanted)


@pytest.mark.parametrize("places", [3, 5])
def test_places_for_another_number_of_image_vectors_are_named(places: int, tmp_path: Path) -> None:
    """Upstream drops surplus vectors in silence."""
    captioner = tiny_captioner(tmp_path)
    trees = [image_tree("a", 1, 2, 4, [[5]]), image_tree("photo 7", 1, 2, places, [[5]])]
    with pytest.raises(
        PreftuneError, match=f"example photo 7 has {places} places for image vectors but .* 4"
    ):
        captioner.nll(trees, torch.from_numpy(features(2)))
    with pytest.raises(PreftuneError, match="1 images were given for 2 examples"):
        captioner.nll(trees, torch.from_numpy(features(1)))


def test_captions_are_cut_and_counted(tmp_path: Path) -> None:
    tiny_captioner(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    ids, cut = tokenize_captions(tokenizer, ["red", "the red cup is on the table"], 3)
    assert (len(ids[0]), len(ids[1]), cut) == (len(tokenizer("red")["input_ids"]), 3, 1)


@pytest.mark.parametrize(("kind", "context"), RUNS)
def test_only_the_named_parts_train(kind: str, context: str, tmp_path: Path) -> None:
    captioner = tiny_captioner(tmp_path, kind, context).train()
    assert captioner.connector.training
    assert not captioner.language_model.training
    names = {name for name, parameter in captioner.named_parameters() if parameter.requires_grad}
    others = {name for name in names if not name.startswith("connector.")}
    if kind == "none":
        assert not others
    elif kind == "full":
        assert "language_model.model.embed_tokens.weight" in others
    else:
        assert others and all(any(part in name for part in ("lora_", "beft_", "ia3_")) for name in others)


@pytest.mark.parametrize(("kind", "context"), RUNS)
def test_loss_falls(kind: str, context: str, tmp_path: Path) -> None:
    captioner = tiny_captioner(tmp_path / "base", kind, context)
    # A frozen random model of standard deviation 0.02 could express next to nothing.
    captioner.language_model.get_input_embeddings().weight.data *= 10
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "base")
    images = load_captioned_images(*write_data(tmp_path / "data"), split="train")
    ids = [tokenize_captions(tokenizer, captions, 9)[0][0] for captions in images.captions]

    settings = TrainingSettings(steps=40, batch=6, learning_rate=0.01)
    objective = CaptionObjective(captioner.train(), images, [[one] for one in ids], seed=0)
    done = fit([{"params": captioner.trainable()}], objective, settings, place_in(tmp_path))
    assert done["last_loss"] < 0.9 * done["first_loss"]
    rows, _ = score_captions(captioner, tokenizer, images, 9)
    total = summarize_perplexity(rows)
    # What a frozen random model can be taught of the image is little; the whole model learns it by heart.
    assert kind != "full" or total["perplexity"] < 0.9 * total["perplexity_blank"]


@pytest.mark.parametrize(("kind", "context"), RUNS)
def test_bfloat16_is_close_to_float32(kind: str, context: str, tmp_path: Path) -> None:
    """Adapters keep fp32 weights beside a bfloat16 model; `full` keeps all in fp32."""
    exact = disturb_captioner(tiny_captioner(tmp_path, kind, context))
    short = disturb_captioner(tiny_captioner(tmp_path, kind, context))
    if kind != "full":
        for name, parameter in short.language_model.named_parameters():
            if not any(part in name for part in ("lora_", "beft_", "ia3_")):
                parameter.data = parameter.data.bfloat16()
    with computing_in(CPU, torch.bfloat16):
        loss = short.nll(*tiny_batch())[0].sum()
    loss.backward()
    expected = float(exact.nll(*tiny_batch())[0].sum().detach())
    assert float(loss.detach()) == pytest.approx(expected, rel=0.05)
    gradients = [parameter.grad for parameter in short.trainable() if parameter.grad is not None]
    assert all(gradient.dtype == torch.float32 for gradient in gradients)


def test_perplexity_by_hand() -> None:
    """ln 2 nats on each of 4 tokens is a perplexity of 2; 4 bits over 8 characters are 0.5 bits each."""
    rows = [
        {"image_id": 1, "tokens": 3, "characters": 5, "nll": 3 * math.log(2), "nll_blank": 3 * math.log(4)},
        {"image_id": 1, "tokens": 1, "characters": 3, "nll": math.log(2), "nll_blank": math.log(4)},
    ]
    total = summarize_perplexity(rows)
    assert total["perplexity"] == pytest.approx(2)
    assert total["perplexity_blank"] == pytest.approx(4)
    assert total["bits_per_character"] == pytest.approx(0.5)
    assert (total["n_images"], total["n_captions"], total["tokens"]) == (1, 2, 4)


@torch.no_grad()
def test_scores_of_captions(tmp_path: Path) -> None:
    captioner = disturb_captioner(tiny_captioner(tmp_path / "base"))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "base")
    images = load_captioned_images(*write_data(tmp_path / "data"), split="test", limit=3)
    rows, cut = score_captions(captioner, tokenizer, images, 9, tokens_per_pass=30)
    assert (len(rows), cut) == (6, 0)
    last = tokenize_captions(tokenizer, images.captions[2], 9)[0][1]
    assert (rows[5]["image_id"], rows[5]["caption_index"], rows[5]["tokens"]) == (118, 1, len(last) + 1)
    assert rows[5]["nll"] == pytest.approx(slow_nll(captioner, images.take([2])[0], last), rel=1e-5)
    assert rows[5]["nll_blank"] == pytest.approx(slow_nll(captioner, images.blank, last), rel=1e-5)
    assert rows[5]["characters"] == len("one blue circle")


def test_attention_of_caption_tokens(tmp_path: Path) -> None:
    """Each row is what 4 heads give to the image keys: less than 4 in sum, BOS and words take the rest."""
    captioner = disturb_captioner(tiny_captioner(tmp_path))
    image = torch.from_numpy(features(1)[0])
    before = captioner.nll(*tiny_batch())[0]
    maps = caption_attention(captioner, image, [10, 11, 12], layer=1)
    assert maps.shape == (3, 2, 2)
    assert (maps > 0).all() and (maps.sum(dim=(1, 2)) < 4).all()
    shorter = caption_attention(captioner, image, [10, 11], layer=1)
    torch.testing.assert_close(shorter, maps[:2])
    assert torch.equal(before, captioner.nll(*tiny_batch())[0])
    with pytest.raises(PreftuneError, match="layers 0 to 1"):
        caption_attention(captioner, image, [10], layer=2)
    with pytest.raises(PreftuneError, match="no square grid"):
        grid_side(6)
