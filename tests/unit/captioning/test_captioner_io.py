"""Trained captioners come back bit for bit; data and files that do not fit are refused in one sentence."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoTokenizer

from preftune.captioning.data import load_captioned_images
from preftune.captioning.io import check_features, load_captioner, save_captioner
from preftune.errors import PreftuneError
from preftune.files import read_json, write_json
from preftune.settings.captioning import CaptioningSettings
from tests.unit.captioning.captioner_helpers import (
    RUNS,
    disturb_captioner,
    tiny_batch,
    tiny_captioner,
    write_data,
)

CPU = torch.device("cpu")


def save(folder: Path, kind: str, context: str) -> tuple[torch.Tensor, dict]:
    """Save a disturbed captioner in folder/model; returns its NLL on a batch and its schema."""
    captioner = disturb_captioner(tiny_captioner(folder / "base", kind, context))
    settings = CaptioningSettings.model_validate(
        {"adapter": {"kind": kind, "context": context, "rank": 2},
         "training": {"steps": 1, "batch": 1, "learning_rate": 0.1}, "max_caption_tokens": 9}
    )  # fmt: skip
    images = load_captioned_images(*write_data(folder / "data"), split="train")
    tokenizer = AutoTokenizer.from_pretrained(folder / "base")
    schema = save_captioner(captioner, tokenizer, settings, images, folder / "model")
    return captioner.nll(*tiny_batch())[0].detach(), schema


@pytest.mark.parametrize(("kind", "context"), RUNS)
def test_round_trip(kind: str, context: str, tmp_path: Path) -> None:
    nll, schema = save(tmp_path, kind, context)
    captioner, _, loaded = load_captioner(tmp_path / "base", tmp_path / "model", CPU, torch.float32)
    assert torch.equal(captioner.nll(*tiny_batch())[0], nll)
    assert loaded == schema
    assert schema["parameters"]["connector"] == 6 * 32 + 32
    parameters = {"none": 0, "full": captioner.language_model.num_parameters()}
    if kind in parameters:
        assert schema["parameters"]["language_model"] == parameters[kind]
    data = tmp_path / "data"
    check_features(schema, load_captioned_images(data / "captions", data / "features", "test"), tmp_path)


def test_another_kind_is_refused(tmp_path: Path) -> None:
    save(tmp_path, "lora", "specific")
    path = tmp_path / "model" / "adapter.json"
    schema = read_json(path)
    for kind, message in (("full", "says otherwise"), ("bitfit", "no such tensor")):
        write_json(path, schema | {"adapter": schema["adapter"] | {"kind": kind}})
        with pytest.raises(PreftuneError, match=message):
            load_captioner(tmp_path / "base", tmp_path / "model", CPU, torch.float32)
    write_json(path, schema | {"encoder_width": 7})
    with pytest.raises(PreftuneError, match=r"weight is not of shape \[32, 7\]"):
        load_captioner(tmp_path / "base", tmp_path / "model", CPU, torch.float32)
    write_json(path, schema | {"base": schema["base"] | {"num_hidden_layers": 12}})
    with pytest.raises(PreftuneError, match="another language model"):
        load_captioner(tmp_path / "base", tmp_path / "model", CPU, torch.float32)


def test_features_of_another_encoder_are_refused(tmp_path: Path) -> None:
    images = load_captioned_images(*write_data(tmp_path), split="train")
    with pytest.raises(
        PreftuneError, match=r"features of \[4, 6\] but the captioner was trained on \[49, 1280\]"
    ):
        check_features({"image_tokens": 49, "encoder_width": 1280}, images, tmp_path)


def test_images_of_a_split(tmp_path: Path) -> None:
    captions, features = write_data(tmp_path)
    images = load_captioned_images(captions, features, "validation", limit=2)
    assert images.image_ids == [112, 113]
    assert images.captions[1] == ["a green circle", "one green circle"]
    assert images.take([1]).shape == (1, 4, 6)
    assert images.take([1])[0, 0].tolist() == [0, 1, 0, 0, 0, 0]
    assert images.blank.shape == (4, 6) and not images.blank.any()


def test_bad_data_are_refused(tmp_path: Path) -> None:
    captions, features = write_data(tmp_path)
    with pytest.raises(PreftuneError, match="no image of split nowhere"):
        load_captioned_images(captions, features, "nowhere")
    table = pd.read_parquet(captions / "captions.parquet")
    table[table["image_id"] != 101].to_parquet(captions / "captions.parquet")
    with pytest.raises(PreftuneError, match=r"no caption of image 101"):
        load_captioned_images(captions, features, "train")
    index = pd.read_parquet(features / "index.parquet")
    index[index["image_id"] != 100].to_parquet(features / "index.parquet")
    with pytest.raises(PreftuneError, match=r"no features of image 100"):
        load_captioned_images(captions, features, "train")
    np.save(features / "features.npy", np.zeros((3, 4, 6), np.float16))
    with pytest.raises(PreftuneError, match=r"is \[3, 4, 6\]"):
        load_captioned_images(captions, features, "train")
    (features / "features.npy").write_bytes(b"broken")
    with pytest.raises(PreftuneError, match="cannot be read"):
        load_captioned_images(captions, features, "train")
    (captions / "images.parquet").write_bytes(b"broken")
    with pytest.raises(PreftuneError, match="is not a table"):
        load_captioned_images(captions, features, "train")
    (captions / "images.parquet").unlink()
    with pytest.raises(PreftuneError, match="does not exist"):
        load_captioned_images(captions, features, "train")
