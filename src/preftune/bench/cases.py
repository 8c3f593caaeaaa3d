"""What is compared, with the ratio that the project promises; sizes are those of real sets (`preftune.bench.inputs`)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from preftune.bench import adapters, alignment, features, inputs, likelihood, memory, scores, training
from preftune.bench.alternate import Row

CASES = ("dpo", "sft", "likelihood", "memory", "alignment", "scores", "features", "adapters")


@dataclass(frozen=True)
class Bench:
    """The cases on one machine; `folder` holds SmolLM2-135M-Instruct, `encoder` EfficientNet-lite0."""

    folder: Path
    encoder: Path
    threads: int

    def rows(self, case: str) -> Iterator[Row]:
        """The comparisons of a case, one after another."""
        yield from getattr(self, f"_{case}")()

    def _dpo(self) -> Iterator[Row]:
        model, tokenizer = inputs.place(inputs.tiny_model()), inputs.tiny_tokenizer()
        pairs = inputs.make_pairs(8000)
        for reference, target, ours_online, theirs_online in (
            ("reference cached", 4.0, False, False),
            ("reference online", 4.0, True, True),
            ("theirs online, ours cached (different work)", None, False, True),
        ):
            name = f"DPO step, tiny model, 4 pairs, {reference}"
            yield training.compare_dpo(
                name, model, tokenizer, pairs, 4, 12, target, ours_online, theirs_online
            )
        model, tokenizer = inputs.small_model(self.folder)
        name = "DPO step, SmolLM2-135M, 2 pairs, reference cached"
        pairs = inputs.make_pairs(49000, 24)
        yield training.compare_dpo(name, inputs.place(model), tokenizer, pairs, 2, 6, 2.3, False, False)

    def _sft(self) -> Iterator[Row]:
        model, tokenizer = inputs.place(inputs.tiny_model()), inputs.tiny_tokenizer()
        rows = inputs.make_answers(8000)
        for size, note, target in ((8, " (TRL's default)", 3.0), (4, "", None)):
            name = f"SFT step, tiny model, {size} rows{note}, answers only"
            yield training.compare_sft(name, model, tokenizer, rows, size, 24, target)

    def _likelihood(self) -> Iterator[Row]:
        for kind, lengths, questions, dtype, target in (
            ("RACE-like", (300, 7), 4, torch.float32, 3.5),
            ("RACE-like", (300, 7), 4, torch.bfloat16, 4.5),
            ("HellaSwag-like", (70, 24), 8, torch.float32, 2.6),
            ("HellaSwag-like", (70, 24), 8, torch.bfloat16, None),
        ):
            theirs, tokenizer = inputs.small_model(self.folder, dtype)
            ours, _ = inputs.small_model(self.folder, dtype)
            models = (inputs.place(theirs), inputs.place(ours))
            name = f"log-likelihoods, SmolLM2-135M, {kind}, {str(dtype).removeprefix('torch.')}"
            yield likelihood.compare_likelihoods(name, models, tokenizer, lengths, questions, 6, target)

    def _memory(self) -> Iterator[Row]:
        name = "peak memory of a DPO step, tiny model, 4 pairs, reference cached"
        yield memory.compare_memory(name, 2.0, self.threads)

    def _alignment(self) -> Iterator[Row]:
        model, tokenizer = inputs.small_model(self.folder)
        pairs = alignment.close_answers(inputs.make_pairs(49000, 24), tokenizer)
        yield from alignment.compare_alignment(
            inputs.place(model), tokenizer, pairs, training.make_batches(pairs, 2, 8)
        )

    def _scores(self) -> Iterator[Row]:
        model, tokenizer = inputs.small_model(self.folder)
        yield scores.compare_scores(inputs.place(model), tokenizer, (300, 7), 4, 8)

    def _features(self) -> Iterator[Row]:
        yield features.compare_features(self.encoder, 16, 8, 200.0)

    def _adapters(self) -> Iterator[Row]:
        yield from adapters.compare_layers(20)
        (model, tokenizer), (copy, _) = inputs.small_model(self.folder), inputs.small_model(self.folder)
        yield adapters.compare_model(model, copy, tokenizer, 6)
