"""EfficientNet-lite: shapes, padding and preprocessing by hand, converted weights, what the pretrained ones tell apart."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from preftune.data.embedded.scenes import draw, draw_scenes
from preftune.errors import PreftuneError
from preftune.files import write_json
from preftune.models.encoders.base import square_pixels
from preftune.models.encoders.convert import INNER, OUTER, convert_efficientnet, our_names
from preftune.models.encoders.efficientnet_lite import ConvolutionNorm, EfficientNetLite
from preftune.models.encoders.registry import load_encoder

REAL = Path(__file__).parents[3] / "resources" / "models" / "efficientnet-lite0"


def published_names(ours: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Undo the renaming, part by part, and add a classifier."""
    outer = {value: key for key, value in OUTER.items()}
    inner = {value: key for key, value in INNER.items()}
    published = {"_fc.weight": torch.zeros(10, 1280), "_fc.bias": torch.zeros(10)}
    for key, tensor in ours.items():
        parts = key.split(".")
        if parts[0] == "blocks":
            published[f"_blocks.{parts[1]}.{inner['.'.join(parts[2:4])]}.{parts[4]}"] = tensor
        else:
            published[f"{outer['.'.join(parts[:2])]}.{parts[2]}"] = tensor
    return published


def random_encoder() -> EfficientNetLite:
    """Return lite0 with random weights and batch norms that have seen noise, else activations die out."""
    torch.manual_seed(0)
    encoder = EfficientNetLite("efficientnet-lite0")
    for module in encoder.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.train().momentum = 1.0
    encoder.encode(torch.rand(2, 3, 224, 224))
    return encoder.eval()


@pytest.mark.parametrize(
    ("architecture", "tokens", "parameters"),
    [("efficientnet-lite0", 49, 3_371_008), ("efficientnet-lite2", 81, 4_811_072)],
)
def test_efficientnet_shapes(architecture: str, tokens: int, parameters: int) -> None:
    encoder = EfficientNetLite(architecture)
    features = encoder.encode(torch.zeros(2, 3, encoder.image_size, encoder.image_size))
    assert features.shape == (2, tokens, 1280)
    assert encoder.grid[0] * encoder.grid[1] == tokens
    assert sum(parameter.numel() for parameter in encoder.parameters()) == parameters
    assert not encoder.training and not any(parameter.requires_grad for parameter in encoder.parameters())


def test_same_padding_puts_the_odd_pixel_last() -> None:
    """A 4 x 4 image of ones, kernel 3 of ones, stride 2: windows start at 0 and 2, the second reaches one
    pixel outside.

    So the sums are 9, 6, 6 and 4; symmetric padding would give 4, 6, 6 and 9.
    """
    layer = ConvolutionNorm(1, 1, kernel=3, stride=2, groups=1, activate=False).eval()
    torch.nn.init.ones_(layer.convolution.weight)
    layer.norm.eps = 0.0
    with torch.no_grad():
        assert layer(torch.ones(1, 1, 4, 4)).flatten().tolist() == [9.0, 6.0, 6.0, 4.0]


def test_preprocessing_by_hand() -> None:
    """(127 - 127) / 128 = 0 and (255 - 127) / 128 = 1; the centre of a wide picture is kept."""
    encoder = EfficientNetLite("efficientnet-lite0")
    wide = np.full((224, 448, 3), 127, dtype=np.uint8)
    wide[:, :100] = 255  # outside of the middle 224 columns
    assert torch.equal(encoder.preprocess(Image.fromarray(wide)), torch.zeros(3, 224, 224))
    assert torch.equal(
        encoder.preprocess(Image.new("RGB", (300, 500), (255, 255, 255))), torch.ones(3, 224, 224)
    )
    assert square_pixels(Image.new("RGB", (1000, 3)), 64).shape == (3, 64, 64)


def test_converted_weights_give_the_same_features(tmp_path: Path) -> None:
    encoder = random_encoder()
    torch.save(published_names(encoder.state_dict()), tmp_path / "published.pth")
    convert_efficientnet(tmp_path / "published.pth", "efficientnet-lite0", tmp_path / "encoder")
    loaded = load_encoder(tmp_path / "encoder")
    batch = torch.rand(1, 3, 224, 224)
    assert torch.equal(loaded.encode(batch), encoder.encode(batch))
    assert loaded.encode(batch).std() > 0.1
    assert set(our_names(published_names(encoder.state_dict()))) == set(encoder.state_dict())


def test_a_checkpoint_of_another_kind_is_refused(tmp_path: Path) -> None:
    torch.save({"_conv_stem.weight": torch.zeros(1)}, tmp_path / "wrong.pth")
    (tmp_path / "text.pth").write_text("not a checkpoint")
    for name in ("wrong.pth", "text.pth"):
        with pytest.raises(PreftuneError, match=f"{name} is not a checkpoint of efficientnet-lite0"):
            convert_efficientnet(tmp_path / name, "efficientnet-lite0", tmp_path / "encoder")


def test_unknown_or_damaged_encoder_folders(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", {"architecture": "efficientnet-lite9"})
    with pytest.raises(PreftuneError, match="efficientnet-lite9"):
        load_encoder(tmp_path)
    write_json(tmp_path / "config.json", {"architecture": "efficientnet-lite0"})
    (tmp_path / "model.safetensors").write_bytes(b"truncated")
    with pytest.raises(PreftuneError, match=r"model\.safetensors do not load"):
        load_encoder(tmp_path)


def test_it_stays_frozen_inside_a_training_module() -> None:
    encoder = EfficientNetLite("efficientnet-lite0")
    holder = torch.nn.Sequential(encoder, torch.nn.Dropout()).train()
    assert holder.training and not any(module.training for module in encoder.modules())


@pytest.mark.skipif(
    not REAL.is_dir(), reason="the pretrained encoder is not fetched (make results fetches it)"
)
def test_pretrained_features_tell_the_shapes_apart() -> None:
    """A nearest-class-mean probe on 60 scenes of one kind of shape; chance is 1/6."""
    encoder = load_encoder(REAL)
    scenes = [scene for scene in draw_scenes(200, seed=7) if scene.kind != "pair"][:60]
    inputs = torch.stack([encoder.preprocess(draw(scene, str(n))) for n, scene in enumerate(scenes)])
    pooled = encoder.encode(inputs).mean(dim=1).numpy()  # [scenes, width]
    shapes = np.array([scene.first.shape for scene in scenes])
    names = sorted(set(shapes))
    means = np.stack([pooled[:40][shapes[:40] == name].mean(axis=0) for name in names])
    guessed = np.linalg.norm(pooled[40:, None] - means[None], axis=-1).argmin(axis=1)
    assert np.mean([names[guess] == shape for guess, shape in zip(guessed, shapes[40:], strict=True)]) > 0.6
