"""A tiny captioner (random Llama of width 32, 4 image tokens of width 6) and data for it."""

from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from transformers import AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerBase

from preftune.captioning.batch import image_tree
from preftune.captioning.captioner import Captioner, build_captioner, caption_contexts
from preftune.settings.adapters import AdapterSettings
from preftune.training.trees import Tree
from tests.tiny import tiny_language_model

RUNS = [("none", "agnostic"), ("lora", "agnostic"), ("lora", "specific"), ("lora", "image"), ("bitfit", "specific"),
        ("ia3", "specific"), ("moka", "specific"), ("full", "agnostic")]  # fmt: skip

COLOURS = ["red", "green", "blue", "yellow"]


def tiny_captioner(
    folder: Path,
    kind: str = "lora",
    context: str = "specific",
    connector: Literal["linear", "mlp"] = "linear",
) -> Captioner:
    """A captioner before training."""
    model: LlamaForCausalLM = tiny_language_model(folder)
    adapter = AdapterSettings.model_validate({"kind": kind, "context": context, "targets": "AF", "rank": 2})
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
    return build_captioner(model, tokenizer, adapter, connector, 6, 0.1)


def disturb_captioner(captioner: Captioner) -> Captioner:
    """Make every trainable tensor differ from its start."""
    generator = torch.Generator().manual_seed(3)
    for parameter in captioner.trainable():
        parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator)
    return captioner.eval()


def hidden(captioner: Captioner, embeddings: torch.Tensor, image: int) -> torch.Tensor:
    """Last states [rows, seq, width] of a whole sequence's embeddings: BOS, `image` image positions, caption."""
    contexts = caption_contexts(len(embeddings), embeddings.shape[1], image, embeddings.device)
    with captioner.scope(contexts):
        body = captioner.language_model.base_model
        return body(inputs_embeds=embeddings, use_cache=False).last_hidden_state


def logits(captioner: Captioner, states: torch.Tensor) -> torch.Tensor:
    """Next-token logits [..., vocabulary] of states."""
    return captioner.language_model.get_output_embeddings()(states)


def features(images: int, seed: int = 0) -> np.ndarray:
    """Random features [images, 4, 6]."""
    return np.random.default_rng(seed).normal(size=(images, 4, 6)).astype(np.float32)


CAPTIONS = [[10, 11, 12], [20, 2, 22, 23, 24], [30]]


def tiny_batch() -> tuple[list[Tree], torch.Tensor]:
    """Two images, the first with captions of 3 and 5 tokens, the second with one of 1; EOS = BOS's neighbour 2."""
    trees = [image_tree("a", 1, 2, 4, CAPTIONS[:2]), image_tree("b", 1, 2, 4, CAPTIONS[2:])]
    return trees, torch.from_numpy(features(2))


def write_data(folder: Path) -> tuple[Path, Path]:
    """Prepared captions of coloured images, and features that give the colour away: (captions, features)."""
    captions, store = folder / "captions", folder / "features"
    captions.mkdir(parents=True)
    store.mkdir()
    splits = ["train"] * 12 + ["validation"] * 4 + ["test"] * 4
    images = [
        {"image_id": 100 + row, "split": split, "file": f"{split}/{row}.png", "width": 8, "height": 8}
        for row, split in enumerate(splits)
    ]
    sentences = [
        {"image_id": 100 + row, "caption_index": number, "caption": f"{article} {COLOURS[row % 4]} circle"}
        for row in range(len(splits))
        for number, article in enumerate(("a", "one"))
    ]
    pd.DataFrame(images).to_parquet(captions / "images.parquet", index=False)
    pd.DataFrame(sentences).to_parquet(captions / "captions.parquet", index=False)
    values = np.zeros((len(splits) + 1, 4, 6), dtype=np.float16)
    for row in range(len(splits)):
        values[row, :, row % 4] = 1
    np.save(store / "features.npy", values)
    index = {"image_id": [*(image["image_id"] for image in images), -1], "row": range(len(splits) + 1)}
    pd.DataFrame(index | {"views": 1}).to_parquet(store / "index.parquet", index=False)
    return captions, store
