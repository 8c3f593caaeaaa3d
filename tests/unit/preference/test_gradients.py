"""Where gradients go, on a tiny model with and without a tied output embedding, and against a norm by hand."""

import importlib
import json
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from preftune.files import read_json
from preftune.models.policy import load_policy, save_policy
from preftune.preference.alignment import AlignmentObjective
from preftune.preference.data import read_pairs
from preftune.preference.gradients import LOSSES, PARTS, differentiate, list_parts, measure_gradients
from preftune.preference.heads import PreferenceModel
from preftune.preference.scoring import score_trees
from preftune.settings.alignment import AlignmentSettings
from preftune.settings.training import LoraSettings, TrainingSettings
from preftune.training.trees import Tree
from tests.tiny import tiny_tokenizer
from tests.unit.preference.helpers import make_model, make_pairs, new_policy, save_mixes

FREEZINGS = ("none", "blocks", "layers", "lora", "model")
LANGUAGE_MODEL = {"blocks", "norms", "embeddings", "lm_head", "adapter"}
# What each level leaves free of the language model; an untied output embedding is never frozen with the blocks.
FREE = {
    "none": {"blocks", "norms", "embeddings", "lm_head"},
    "blocks": {"norms", "embeddings", "lm_head"},
    "layers": {"norms", "embeddings", "lm_head"},
    "lora": {"adapter"},
    "model": set(),
}
# What each loss reaches where nothing is frozen.
HEADS = {"head", "pooler"}
REACHED = {
    "separable": HEADS | (LANGUAGE_MODEL - {"lm_head"}),
    "contrastive": HEADS | (LANGUAGE_MODEL - {"lm_head"}),
    "dpo": LANGUAGE_MODEL,
    "joint": HEADS | LANGUAGE_MODEL,
    "kl": LANGUAGE_MODEL,
}


@pytest.fixture(scope="module", params=["tied", "untied", "adapter"])
def checkpoint(request: pytest.FixtureRequest, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole SFT checkpoint with a tied or an untied output embedding, or an adapter on the tied model."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "adapter":
        model, tokenizer = new_policy(base, LoraSettings(rank=2))
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_B" in name:
                    parameter.normal_(std=0.1)
        save_policy(model, tokenizer, folder)
    else:
        config = LlamaConfig(**{**load_policy(base)[0].config.to_dict(), "tie_word_embeddings": False})
        model = load_policy(base)[0] if request.param == "tied" else LlamaForCausalLM(config)
        save_policy(model, tiny_tokenizer(folder), folder)
    return folder


def reference_of(folder: Path, base: Path, pairs: list[Tree]) -> torch.Tensor:
    scores = score_trees(PreferenceModel.from_pretrained(folder, base), pairs)
    return torch.from_numpy(scores.log_probabilities).float().view(-1, 2)


def test_every_loss_reaches_what_it_should_and_nothing_else(checkpoint: Path, base: Path) -> None:
    """null: not reached, frozen or absent; zero: the divergence at its minimum; positive: the rest."""
    kind = checkpoint.name.rstrip("0")
    pairs = make_pairs(AutoTokenizer.from_pretrained(base), 3)
    reference = reference_of(checkpoint, base, pairs)
    rows = list(measure_gradients(base, checkpoint, pairs, reference, 0, torch.device("cpu"), torch.float32))
    assert len(rows) == len(LOSSES) * len(FREEZINGS) * len(PARTS)
    absent = set() if kind == "untied" else {"lm_head"}
    for row in rows:
        loss, freeze, part, norm = (row[name] for name in ("loss", "freeze", "part", "norm"))
        assert row["tied"] == (kind != "untied")
        free = (HEADS | FREE[freeze]) - absent
        assert (row["trainable"] > 0) == (part in free), row
        if part not in free & REACHED[loss]:
            assert norm is None, row
        elif loss == "kl":
            assert 0 <= norm < 1e-6, row
        else:
            assert norm > 5e-6, row


def test_the_output_embedding_hears_of_dph_only_as_the_token_embedding(base: Path) -> None:
    """The tied matrix gets the gradient of the tokens that are read: rows of other tokens get none."""
    model = make_model(base)
    model.requires_grad_(True)
    pairs = make_pairs(model.tokenizer, 3)
    differentiate(AlignmentObjective(model, pairs, None, settings("separable")))
    gradient = model.causal_lm.get_output_embeddings().weight.grad
    assert gradient is model.causal_lm.get_input_embeddings().weight.grad
    read = {token for pair in pairs for ids in (pair.prompt, *pair.branches) for token in ids}
    touched = set(gradient.abs().sum(dim=1).nonzero().flatten().tolist())
    # transformers gives no gradient to the token that pads, here <|im_end|>.
    assert touched == read - {2}
    # With cDPO every word is pushed: the softmax is over all of them.
    differentiate(AlignmentObjective(model, pairs, torch.zeros(3, 2), settings("dpo")))
    assert model.causal_lm.get_output_embeddings().weight.grad.abs().sum(dim=1).count_nonzero() == 512


def settings(loss: str) -> AlignmentSettings:
    training = TrainingSettings(steps=1, batch=1, learning_rate=1.0)
    return AlignmentSettings.model_validate({**LOSSES[loss], "training": training})


def test_norm_of_the_head_by_hand(base: Path) -> None:
    """dL_Sep/dw = mean of (sigmoid(r_w) - 0.9) f(h_w) + (sigmoid(r_l) - 0.1) f(h_l) over the pairs."""
    model = make_model(base)
    pairs = make_pairs(model.tokenizer, 5)
    with torch.no_grad():
        output = model(pairs, log_probabilities=False)
        pooled = model.head.pooler(output.states)  # [2 * pairs, width]
    slopes = torch.sigmoid(output.rewards["reward"]) - torch.tensor([0.9, 0.1]).repeat(5)
    wanted = float((slopes[:, None] * pooled).sum(dim=0).norm() / 5)
    found = differentiate(AlignmentObjective(model, pairs, None, settings("separable")))
    assert found["head"] == pytest.approx(wanted, rel=1e-5)
    assert found["blocks"] is None  # make_model's language model is frozen


def test_a_norm_does_not_depend_on_what_else_is_frozen_or_on_passes(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = make_pairs(AutoTokenizer.from_pretrained(base), 4)
    reference = torch.zeros(4, 2)

    def norms() -> dict[tuple[str, str, str], float | None]:
        rows = measure_gradients(base, base, pairs, reference, 0, torch.device("cpu"), torch.float32)
        return {(row["loss"], row["freeze"], row["part"]): row["norm"] for row in rows if row["loss"] != "kl"}

    found = norms()
    for loss, part in (
        ("joint", "head"),
        ("joint", "pooler"),
        ("dpo", "embeddings"),
        ("separable", "embeddings"),
    ):
        free = [found[loss, freeze, part] for freeze in ("none", "blocks", "layers")]
        assert free == pytest.approx([free[0]] * 3, rel=1e-5)
    assert found["joint", "none", "blocks"] != pytest.approx(found["dpo", "none", "blocks"], rel=1e-3)
    monkeypatch.setattr("preftune.preference.gradients.TOKENS_PER_PASS", {"cpu": 60})
    assert norms() == {
        key: norm if norm is None else pytest.approx(norm, rel=1e-4) for key, norm in found.items()
    }


@pytest.mark.parametrize("lora", [None, LoraSettings(rank=2, targets=("q_proj", "up_proj"))])
def test_parts_hold_every_parameter_once(base: Path, lora: LoraSettings | None) -> None:
    model = PreferenceModel.with_new_head(*new_policy(base, lora))
    parts = list_parts(model)
    sizes = {part: sum(parameter.numel() for parameter in parameters) for part, parameters in parts.items()}
    assert sum(sizes.values()) == sum(parameter.numel() for parameter in model.parameters())
    # 2 layers: q and o 32 x 32, k and v 32 x 16, three of 32 x 64; two norms each and the final one.
    assert sizes["blocks"] == 2 * (2 * 1024 + 2 * 512 + 3 * 2048)
    assert sizes["norms"] == 5 * 32 and sizes["embeddings"] == 512 * 32 and sizes["lm_head"] == 0
    assert sizes["adapter"] == (0 if lora is None else 2 * 2 * ((32 + 32) + (32 + 64)))
    assert sizes["head"] == 32


def test_parts_of_another_architecture(base: Path) -> None:
    """GPT-2: learned positions are embeddings, norms have biases, and layers are transposed matrices with biases."""
    width = 16
    model = GPT2LMHeadModel(GPT2Config(vocab_size=512, n_positions=32, n_embd=width, n_layer=2, n_head=2))
    parts = list_parts(PreferenceModel(model, AutoTokenizer.from_pretrained(base)))
    sizes = {part: sum(parameter.numel() for parameter in parameters) for part, parameters in parts.items()}
    layer = (width + 1) * (3 * width + width + 4 * width) + (4 * width + 1) * width
    assert sizes == dict.fromkeys(PARTS, 0) | {
        "blocks": 2 * layer,
        "norms": 5 * 2 * width,
        "embeddings": (512 + 32) * width,
    }


def test_script(base: Path, tmp_path: Path) -> None:
    _, data = save_mixes(AutoTokenizer.from_pretrained(base), tmp_path)
    inputs = {"base": base, "model": base, "data": data}
    reference = run_script("compute_reference", {}, tmp_path / "reference", **inputs)
    output = run_script(
        "compute_gradients", {"pairs": 2}, tmp_path / "gradients.json", **inputs, reference=reference
    )
    pairs = read_pairs(data)[:2]
    wanted = measure_gradients(
        base, base, pairs, reference_of(base, base, pairs), 0, torch.device("cpu"), torch.float32
    )
    for found, row in zip(read_json(output), wanted, strict=True):
        norm = row["norm"]
        assert found == row | {"norm": norm if norm is None else pytest.approx(norm, rel=1e-4, abs=1e-6)}


def run_script(name: str, values: dict, output: Path, **inputs: Path) -> Path:
    words = ["--device", "cpu", "--settings", json.dumps(values)]
    for option, path in {**inputs, "output": output}.items():
        words += [f"--{option}", str(path)]
    importlib.import_module(name).main(words)
    return output
