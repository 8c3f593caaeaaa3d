"""Prints predicted and measured bytes of one pass over random images, for a run of the kind that is named."""

import sys
from pathlib import Path

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from preftune.captioning.captioner import build_captioner
from preftune.captioning.costs import measure_pass
from preftune.captioning.data import CaptionedImages
from preftune.captioning.objective import CaptionObjective
from preftune.settings.adapters import AdapterSettings
from preftune.settings.training import TrainingSettings
from preftune.training.loop import Place

COUNT, WORDS = 24, list(range(10, 40))


class Features:
    """48 vectors of width 16 an image."""

    shape = (48, 16)

    def views(self, image: int) -> int:
        return 1

    def take(self, images: list[int], views: list[int]) -> np.ndarray:
        return np.ones((len(images), *self.shape), dtype=np.float32)


class Words:
    """Stands for a tokenizer."""

    bos_token_id, eos_token_id = 1, 2


def main(kind: str) -> None:
    """Build a Llama of width 256 and measure a pass of about 1,900 tokens."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=4000, hidden_size=256, intermediate_size=688, num_hidden_layers=6,
                         num_attention_heads=4, tie_word_embeddings=True)  # fmt: skip
    adapter = AdapterSettings.model_validate({"kind": kind})
    captioner = build_captioner(LlamaForCausalLM(config), Words(), adapter, "linear", 16, 0.1).train()  # type: ignore[arg-type]
    images = CaptionedImages(list(range(COUNT)), [""] * COUNT, [["x"]] * COUNT, Features())  # type: ignore[arg-type]
    objective = CaptionObjective(captioner, images, [[WORDS]] * COUNT, 0)
    settings = TrainingSettings(steps=1, batch=COUNT, learning_rate=1e-3)
    place = Place(torch.device("cpu"), torch.float32, 0, Path("unused"), "test")
    objective.loss([objective.draw(0, 1)], 1)[0].backward()  # what a first pass loads is not its own
    memory = measure_pass(captioner, objective, settings, place, print)["memory"]
    predicted, taken = memory["predicted"], memory["pass"]
    print(predicted["gradients"] + predicted["activations"], taken["peak"] - taken["baseline"])


if __name__ == "__main__":
    main(sys.argv[1])
