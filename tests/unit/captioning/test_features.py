"""Features of every view: what is stored, that encoding on the fly gives the same, and which view a step reads."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image, ImageChops
from safetensors.torch import save_file

from preftune.bench.features import compare_features
from preftune.captioning.data import CaptionedImages
from preftune.captioning.features import OnlineFeatures, list_images, store_features
from preftune.captioning.objective import CaptionObjective
from preftune.captioning.store import BLANK_IMAGE_ID, open_features
from preftune.captioning.views import make_view
from preftune.data.embedded.scenes import draw, draw_scenes
from preftune.errors import PreftuneError
from preftune.files import write_json
from preftune.models.encoders.efficientnet_lite import EfficientNetLite
from preftune.settings.captioning import FeatureSettings

CPU = torch.device("cpu")
SPLITS = ["train", "train", "validation", "train"]


@pytest.fixture(scope="module")
def encoder() -> EfficientNetLite:
    """lite0 with random weights and batch norms that have seen noise, else activations die out."""
    torch.manual_seed(0)
    encoder = EfficientNetLite("efficientnet-lite0")
    for module in encoder.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.train().momentum = 1.0
    encoder.encode(torch.rand(2, 3, 224, 224))
    return encoder.eval()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, Path]:
    """Four drawn scenes as images.parquet lists them, and their folder."""
    folder = tmp_path_factory.mktemp("scenes")
    for number, scene in enumerate(draw_scenes(len(SPLITS), seed=1)):
        draw(scene, str(number)).save(folder / f"{number}.png")
    numbers = range(len(SPLITS))
    table = {"image_id": [10 + number for number in numbers], "split": SPLITS,
             "file": [f"{number}.png" for number in numbers]}  # fmt: skip
    return pd.DataFrame(table), folder


def source(
    encoder: EfficientNetLite, images: tuple[pd.DataFrame, Path], seed: int = 0, **settings: float
) -> OnlineFeatures:
    return list_images(encoder, *images, FeatureSettings(**{"batch": 3, **settings}), seed, CPU)  # type: ignore[arg-type]


def test_one_view_is_one_row_an_image_without_change(
    encoder: EfficientNetLite, images: tuple[pd.DataFrame, Path], tmp_path: Path
) -> None:
    assert store_features(source(encoder, images), tmp_path) == (5, 49, 1280)
    values = np.load(tmp_path / "features.npy")
    assert values.dtype == np.float16
    index = pd.read_parquet(tmp_path / "index.parquet")
    assert index.to_dict("list") == {
        "image_id": [10, 11, 12, 13, -1],
        "row": [0, 1, 2, 3, 4],
        "views": [1] * 5,
    }
    inputs = torch.stack([encoder.preprocess(Image.open(images[1] / f"{number}.png")) for number in range(3)])
    assert np.array_equal(values[:3], encoder.encode(inputs).half().numpy())


def test_views_are_stored_for_training_images_alone(
    encoder: EfficientNetLite, images: tuple[pd.DataFrame, Path], tmp_path: Path
) -> None:
    """3 training images of 3 views, one of validation, the blank one: 11 rows; the plain pictures are those of one view."""
    assert store_features(source(encoder, images, views=3), tmp_path / "three") == (11, 49, 1280)
    store_features(source(encoder, images), tmp_path / "one")
    three, one = open_features(tmp_path / "three"), open_features(tmp_path / "one")
    ids = [10, 11, 12, 13, BLANK_IMAGE_ID]
    assert [three.views(image) for image in ids] == [3, 3, 1, 3, 1] and three.views(99) == 0
    assert [three.places[image][0] for image in ids] == [0, 3, 6, 7, 10]
    np.testing.assert_allclose(three.take(ids, [0] * 5), one.take(ids, [0] * 5), atol=2e-2)
    views = three.take([10] * 3, [0, 1, 2])
    assert all(np.abs(views[a] - views[b]).max() > 0.1 for a, b in ((0, 1), (0, 2), (1, 2)))


def test_encoding_on_the_fly_gives_what_is_stored(
    encoder: EfficientNetLite, images: tuple[pd.DataFrame, Path], tmp_path: Path
) -> None:
    """Bit for bit in a batch of the same size (3), whatever shares it; in another one up to rounding."""
    online = source(encoder, images, views=3)
    store_features(online, tmp_path)
    stored = open_features(tmp_path)
    for image_ids, views in (([10, 10, 10], [0, 1, 2]), ([13, 12, 11], [2, 0, 1])):
        assert np.array_equal(online.take(image_ids, views), stored.take(image_ids, views))
    assert online.shape == stored.shape and online.views(13) == stored.views(13)
    pairs = ([13, 10, 12, 11, BLANK_IMAGE_ID], [1, 2, 0, 0, 0])
    np.testing.assert_allclose(online.take(*pairs), stored.take(*pairs), atol=2e-2)


def test_views_follow_from_seed_image_and_view() -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8))
    settings = FeatureSettings(batch=1, views=4)
    assert make_view(picture, settings, 0, 7, 0) is picture
    made = make_view(picture, settings, 0, 7, 2)
    assert ImageChops.difference(made, make_view(picture, settings, 0, 7, 2)).getbbox() is None
    for seed, image, view in ((1, 7, 2), (0, 8, 2), (0, 7, 3)):
        other = make_view(picture, settings, seed, image, view)
        assert other.size != made.size or ImageChops.difference(made, other).getbbox() is not None


def test_magnitudes_of_views() -> None:
    """Each alone, over 200 draws: the area kept, the share mirrored, the brightness of a grey picture."""
    grey = Image.new("RGB", (300, 200), (100, 100, 100))
    ramp = Image.linear_gradient("L").rotate(90).convert("RGB")  # brightest on the left

    def made(picture: Image.Image, **settings: float) -> list[Image.Image]:
        off = {"batch": 1, "flip": 0.0, "crop": 1.0, "colour": 0.0}
        return [make_view(picture, FeatureSettings(**(off | settings)), 0, image, 1) for image in range(200)]  # type: ignore[arg-type]

    assert all(np.array_equal(np.asarray(view), np.asarray(ramp)) for view in made(ramp))
    mirrored = [view.getpixel((0, 9)) != ramp.getpixel((0, 9)) for view in made(ramp, flip=0.3)]
    assert 0.2 < np.mean(mirrored) < 0.4
    areas = [view.width * view.height / (300 * 200) for view in made(grey, crop=0.5)]
    assert 0.49 < min(areas) < 0.53 and 0.97 < max(areas) <= 1
    assert all(abs(view.width / view.height - 1.5) < 0.02 for view in made(grey, crop=0.5))
    levels = [view.getpixel((0, 0))[0] for view in made(grey, colour=0.2)]
    assert 79 <= min(levels) < 84 and 116 < max(levels) <= 121


def test_each_step_draws_a_view_of_its_image() -> None:
    """A captioner is not needed to draw: image 0 has 4 views, image 1 has one."""
    counts = {10: 4, 11: 1}
    features = SimpleNamespace(shape=(4, 6), views=counts.get)
    images = CaptionedImages([10, 11], ["a", "b"], [["x", "y"], ["z"]], features)  # type: ignore[arg-type]
    captioner = SimpleNamespace(bos=1, eos=2)

    def drawn(seed: int, index: int) -> list[tuple[int, ...]]:
        objective = CaptionObjective(captioner, images, [[[3], [4]], [[5]]], seed)  # type: ignore[arg-type]
        examples = [objective.draw(index, step) for step in range(1, 81)]
        return [(example.view, *example.tree.branches[0]) for example in examples]

    assert {view for view, *_ in drawn(0, 0)} == {0, 1, 2, 3}
    assert len(set(drawn(0, 0))) == 8  # with both captions
    assert drawn(0, 0) == drawn(0, 0) != drawn(1, 0)
    assert set(drawn(0, 1)) == {(0, 5, 2)}


def test_the_view_drawn_is_the_view_read(tmp_path: Path) -> None:
    from tests.unit.captioning.captioner_helpers import tiny_captioner

    class Numbered:
        """Features whose values name image and view."""

        shape = (4, 6)

        def views(self, image_id: int) -> int:
            return 3

        def take(self, image_ids: list[int], views: list[int]) -> np.ndarray:
            read.extend(zip(image_ids, views, strict=True))
            return np.ones((len(image_ids), 4, 6), np.float32)

    read: list[tuple[int, int]] = []
    images = CaptionedImages([10, 11], ["a", "b"], [["x"], ["y"]], Numbered())
    objective = CaptionObjective(tiny_captioner(tmp_path), images, [[[3]], [[4]]], seed=0)
    examples = [objective.draw(index, 5) for index in (1, 0)]
    objective.loss(examples, 4)
    assert read == [(11, examples[0].view), (10, examples[1].view)]
    images.take([1, 0])
    assert read[2:] == [(11, 0), (10, 0)]
    assert images.blank.shape == (4, 6) and read[-1] == (BLANK_IMAGE_ID, 0)


def test_features_beyond_float16_are_refused(
    encoder: EfficientNetLite, images: tuple[pd.DataFrame, Path], tmp_path: Path
) -> None:
    class Loud:
        name, grid, width, image_size = "loud", (7, 7), 1280, 224
        preprocess = staticmethod(encoder.preprocess)

        @staticmethod
        def encode(batch: torch.Tensor) -> torch.Tensor:
            states = encoder.encode(batch).clone()
            states[1] = 1e6
            return states

    with pytest.raises(PreftuneError, match=r"1\.png, view 0, exceed float16: take another encoder"):
        store_features(source(Loud(), images), tmp_path)  # type: ignore[arg-type]


def test_a_disk_without_room_is_refused_before_encoding(
    encoder: EfficientNetLite,
    images: tuple[pd.DataFrame, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1_250_000))
    with pytest.raises(PreftuneError, match=r"need 0 GB, but 0 GB are left .* fewer"):
        store_features(source(encoder, images, views=3), tmp_path)  # 11 x 49 x 1280 x 2 bytes = 1.38 MB
    assert not (tmp_path / "features.npy").exists()
    assert store_features(source(encoder, images), tmp_path) == (5, 49, 1280)  # 0.63 MB


def test_reading_is_measured_against_encoding(encoder: EfficientNetLite, tmp_path: Path) -> None:
    """The benchmark's case on a few pictures: the same bits on both sides, and much faster even so."""
    save_file(encoder.state_dict(), tmp_path / "model.safetensors")
    write_json(tmp_path / "config.json", {"architecture": "efficientnet-lite0"})
    row = compare_features(tmp_path, batch=2, rounds=3, target=None)
    assert row.check["largest_difference"] == 0 and row.rounds == 3
    assert row.ratio_median > 10
