"""Make the tiny random models that tests/e2e/models.yaml names: a Llama and a Swin v2, seconds on a CPU."""

import sys
from pathlib import Path

import torch
from transformers import Swinv2Config, Swinv2Model

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from preftune.files import write_json  # noqa: E402
from tests.tiny import tiny_language_model  # noqa: E402

FOLDER = ROOT / "scratch" / "miniature"


def make_tiny_models(folder: Path = FOLDER) -> None:
    """Write both model folders; the seeds are fixed, so equal code gives equal bytes."""
    tiny_language_model(folder / "tiny-language")
    torch.manual_seed(0)
    config = Swinv2Config(
        image_size=64,
        patch_size=4,
        embed_dim=8,
        depths=[1, 1],
        num_heads=[2, 2],
        window_size=4,
        mlp_ratio=2.0,
    )
    Swinv2Model(config).save_pretrained(folder / "tiny-encoder")
    write_json(folder / "tiny-encoder/preprocessor_config.json", {})


if __name__ == "__main__":
    make_tiny_models()
