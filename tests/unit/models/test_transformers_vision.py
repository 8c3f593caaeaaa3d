"""Vision models of transformers as encoders: grid, width, frozen features, preprocessing, models that are no use."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from preftune.errors import PreftuneError
from preftune.files import write_json
from preftune.models.encoders.base import square_pixels
from preftune.models.encoders.registry import load_encoder
from preftune.models.encoders.transformers_vision import TransformersEncoder
from tests.tiny import tiny_language_model

VIT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
MLP = {**VIT, "intermediate_size": 64}
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 50000,
}
SWIN = {
    "image_size": 64,
    "patch_size": 4,
    "embed_dim": 8,
    "depths": [1, 1, 1],
    "num_heads": [1, 2, 4],
    "window_size": 4,
}
NOISY = {"hidden_dropout_prob": 0.5, "attention_probs_dropout_prob": 0.5}

# class, its config, tokens before the patches, side of the grid, which hidden state is read
FAMILIES: dict[str, tuple[str, str, dict[str, Any], int, int, int]] = {
    "swinv2": ("Swinv2Model", "Swinv2Config", {**SWIN, "drop_path_rate": 0.5}, 0, 4, -1),
    "swin": ("SwinModel", "SwinConfig", {**SWIN, "drop_path_rate": 0.5}, 0, 4, -1),
    "clip-vision": ("CLIPVisionModel", "CLIPVisionConfig", {**MLP, "attention_dropout": 0.5}, 1, 4, -2),
    "clip": ("CLIPModel", "CLIPConfig", {"text_config": TEXT, "vision_config": MLP}, 1, 4, -2),
    "vit": ("ViTModel", "ViTConfig", {**MLP, **NOISY}, 1, 4, -1),
    "deit": ("DeiTModel", "DeiTConfig", {**MLP, **NOISY}, 2, 4, -1),
    "siglip-vision": ("SiglipVisionModel", "SiglipVisionConfig", {**MLP, "attention_dropout": 0.5}, 0, 4, -1),
    "siglip": ("SiglipModel", "SiglipConfig", {"text_config": TEXT, "vision_config": MLP}, 0, 4, -1),
    "dinov2": ("Dinov2Model", "Dinov2Config", {**VIT, **NOISY, "drop_path_rate": 0.5}, 1, 4, -1),
    # 4 registers and a class token before 2 x 2 patches are 9 tokens: no 3 x 3 grid
    "dinov2-registers": (
        "Dinov2WithRegistersModel", "Dinov2WithRegistersConfig", {**VIT, "patch_size": 16}, 5, 2, -1,
    ),
    "convnext": ("ConvNextModel", "ConvNextConfig",
                 {"image_size": 64, "hidden_sizes": [8, 8, 8, 32], "depths": [1, 1, 1, 1]}, 0, 2, -1),
}  # fmt: skip


def save_model(family: str, folder: Path) -> torch.nn.Module:
    """A random model of a family, saved in `folder`, in eval mode."""
    model, config, values = FAMILIES[family][:3]
    torch.manual_seed(0)
    made = getattr(transformers, model)(getattr(transformers, config)(**values)).eval()
    made.save_pretrained(folder)
    write_json(folder / "preprocessor_config.json", {})
    return made


@pytest.mark.parametrize("family", FAMILIES)
def test_features_are_the_models_own_patch_states(family: str, tmp_path: Path) -> None:
    model = save_model(family, tmp_path)
    first, side, state = FAMILIES[family][3:]
    encoder = load_encoder(tmp_path)
    assert (encoder.grid, encoder.width) == ((side, side), 32)
    batch = torch.randn(2, 3, encoder.image_size, encoder.image_size)
    with torch.no_grad():
        tower = getattr(model, "vision_model", model)
        output = tower(pixel_values=batch, output_hidden_states=True)
    states = output.hidden_states[state] if state == -2 else output.last_hidden_state
    if states.dim() == 4:
        states = torch.stack(
            [states[:, :, row, column] for row in range(side) for column in range(side)], dim=1
        )
    features = encoder.encode(batch)
    assert features.shape == (2, side * side, 32)
    assert torch.equal(features, states[:, first:])
    assert not torch.equal(features[0], features[1])


@pytest.mark.parametrize("family", FAMILIES)
def test_it_stays_frozen_inside_a_training_module(family: str, tmp_path: Path) -> None:
    """Dropout and drop path would make two passes differ."""
    save_model(family, tmp_path)
    encoder = load_encoder(tmp_path)
    assert isinstance(encoder, TransformersEncoder)
    batch = torch.randn(1, 3, encoder.image_size, encoder.image_size)
    before = encoder.encode(batch)
    holder = torch.nn.Sequential(encoder, torch.nn.Dropout()).train()
    encoder.train()
    assert holder.training and not any(module.training for module in encoder.modules())
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert torch.equal(encoder.encode(batch), before)


SHAPES = {
    "tiny": (27_578_154, {"embed_dim": 96, "depths": [2, 2, 6, 2], "num_heads": [3, 6, 12, 24], "window_size": 8}),
    "large": (
        195_202_932,
        {"embed_dim": 192, "depths": [2, 2, 18, 2], "num_heads": [6, 12, 24, 48], "window_size": 16,
         "pretrained_window_sizes": [12, 12, 12, 6]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("size", SHAPES)
def test_the_papers_swinv2_parameters(size: str) -> None:
    """Counts of the Context-PEFT paper, section 4.4, which leave out the classifier."""
    parameters, values = SHAPES[size]
    with torch.device("meta"):
        model = transformers.Swinv2Model(
            transformers.Swinv2Config(image_size=256, patch_size=4, **values), add_pooling_layer=False
        )
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


def test_the_papers_swinv2_tiny_gives_64_tokens_of_768(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = transformers.Swinv2Config(image_size=256, patch_size=4, **SHAPES["tiny"][1])
    transformers.Swinv2ForImageClassification(config).save_pretrained(tmp_path)  # as published: with a head
    write_json(tmp_path / "preprocessor_config.json", {})
    encoder = load_encoder(tmp_path)
    assert (encoder.grid, encoder.width, encoder.image_size, encoder.name) == ((8, 8), 768, 256, "swinv2")
    assert sum(parameter.numel() for parameter in encoder.parameters()) == 27_578_154  # type: ignore[attr-defined]
    assert encoder.encode(torch.zeros(1, 3, 256, 256)).shape == (1, 64, 768)


def test_preprocessing_by_hand(tmp_path: Path) -> None:
    """White is (255 / 255 - mean) / std; the centre of a wide picture is kept, whatever the folder says of sizes."""
    save_model("vit", tmp_path)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 90, 3), dtype=np.uint8))
    pixels = square_pixels(picture, 32)

    def given(**settings: Any) -> torch.Tensor:
        write_json(tmp_path / "preprocessor_config.json", settings)
        return load_encoder(tmp_path).preprocess(picture)

    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = (pixels / 255 - mean[:, None, None]) / std[:, None, None]
    torch.testing.assert_close(load_encoder(tmp_path).preprocess(picture), expected)
    half = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": {"height": 8, "width": 8}}
    torch.testing.assert_close(given(**half), pixels / 127.5 - 1)
    torch.testing.assert_close(given(**half, rescale_factor=1 / 510), pixels / 255 - 1)
    torch.testing.assert_close(given(**half, do_normalize=False), pixels / 255)
    torch.testing.assert_close(given(**half, do_rescale=False), pixels * 2 - 1)


def refuse(folder: Path, *words: str) -> None:
    with pytest.raises(PreftuneError) as error:
        load_encoder(folder)
    message = str(error.value)
    assert all(word in message for word in (*words, str(folder))), message
    assert "\n" not in message


def test_models_without_a_square_grid_are_refused(tmp_path: Path) -> None:
    values = {**MLP, "image_size": [32, 32], "num_detection_tokens": 3}
    transformers.YolosModel(transformers.YolosConfig(**values)).save_pretrained(tmp_path / "yolos")
    write_json(tmp_path / "yolos/preprocessor_config.json", {})
    refuse(tmp_path / "yolos", "gives 20 image tokens", "use another encoder")
    transformers.ViTModel(transformers.ViTConfig(**{**MLP, "image_size": [32, 64]})).save_pretrained(
        tmp_path / "wide"
    )
    refuse(tmp_path / "wide", "no square image_size", "[32, 64]")
    tiny_language_model(tmp_path / "language")
    refuse(tmp_path / "language", "no square image_size", "found None")


def test_damaged_folders_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    save_model("deit", tmp_path)
    weights = tmp_path / "model.safetensors"
    tensors = load_file(weights)
    name = next(name for name in tensors if "layernorm" in name)
    save_file(
        {key: value for key, value in tensors.items() if key != name}, weights, metadata={"format": "pt"}
    )
    refuse(tmp_path, "the checkpoint lacks", name.split(".", maxsplit=2)[-1], "fetch it again")
    weights.write_bytes(b"truncated")
    refuse(tmp_path, "is not a transformers vision model", "fetch it again")
    weights.unlink()
    refuse(tmp_path, "is not a transformers vision model", "fetch it again")
    save_model("deit", tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()
    refuse(tmp_path, "no preprocessor_config.json", "copy it")
