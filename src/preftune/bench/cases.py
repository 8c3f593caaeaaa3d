"""What is compared, with the ratio that the project promises; sizes are those of real sets (`preftune.bench.inputs`)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from preftune.bench import inputs, likelihood, memory, training
from preftune.bench.alternate import Row

CASES = ("dpo", "sft", "likelihood", "memory")
Comparison = Callable[[], Row]


@dataclass(frozen=True)
class Bench:
    """The cases on one machine; `folder` holds SmolLM2-135M-Instruct."""

    folder: Path
    threads: int

    def comparisons(self, case: str) -> Iterator[Comparison]:
        """The comparisons of a case, each ready to run."""
        yield from getattr(self, f"_{case}")()

    def _dpo(self) -> Iterator[Comparison]:
        model, tokenizer = inputs.tiny_model(), inputs.tiny_tokenizer()
        pairs = inputs.make_pairs(8000)
        sides = [
            ("reference cached", 4.0, False, False),
            ("reference online", 4.0, True, True),
            ("theirs online, ours cached (different work)", None, False, True),
        ]
        for reference, target, ours_online, theirs_online in sides:
            yield lambda reference=reference, target=target, ours=ours_online, theirs=theirs_online: (  # type: ignore[misc]
                training.compare_dpo(
                    f"DPO step, tiny model, 4 pairs, {reference}",
                    inputs.place(model), tokenizer, pairs, 4, 12, target, ours, theirs,
                )
            )  # fmt: skip
        yield self._small_dpo

    def _small_dpo(self) -> Row:
        model, tokenizer = inputs.small_model(self.folder)
        name = "DPO step, SmolLM2-135M, 2 pairs, reference cached"
        pairs = inputs.make_pairs(49000, 24)
        return training.compare_dpo(name, inputs.place(model), tokenizer, pairs, 2, 6, 2.3, False, False)

    def _sft(self) -> Iterator[Comparison]:
        model, tokenizer = inputs.tiny_model(), inputs.tiny_tokenizer()
        rows = inputs.make_answers(8000)
        for size, note, target in ((8, " (TRL's default)", 3.0), (4, "", None)):
            yield lambda size=size, note=note, target=target: training.compare_sft(  # type: ignore[misc]
                f"SFT step, tiny model, {size} rows{note}, answers only",
                inputs.place(model), tokenizer, rows, size, 24, target,
            )  # fmt: skip

    def _likelihood(self) -> Iterator[Comparison]:
        cases: list[tuple[str, tuple[int, int], int, dict[torch.dtype, float | None]]] = [
            ("RACE-like", (300, 7), 4, {torch.float32: 3.5, torch.bfloat16: 4.5}),
            ("HellaSwag-like", (70, 24), 8, {torch.float32: 2.6, torch.bfloat16: None}),
        ]
        for kind, lengths, questions, targets in cases:
            for dtype, target in targets.items():
                yield lambda kind=kind, lengths=lengths, questions=questions, dtype=dtype, target=target: (  # type: ignore[misc]
                    self._compare_likelihoods(kind, dtype, lengths, questions, target)
                )

    def _compare_likelihoods(
        self, kind: str, dtype: torch.dtype, lengths: tuple[int, int], questions: int, target: float | None
    ) -> Row:
        sides = [inputs.small_model(self.folder, dtype) for _ in range(2)]
        models = (inputs.place(sides[0][0]), inputs.place(sides[1][0]))
        precision = str(dtype).removeprefix("torch.")
        name = f"log-likelihoods, SmolLM2-135M, {kind}, {precision}"
        return likelihood.compare_likelihoods(name, models, sides[0][1], lengths, questions, 6, target)

    def _memory(self) -> Iterator[Comparison]:
        name = "peak memory of a DPO step, tiny model, 4 pairs, reference cached"
        yield lambda: memory.compare_memory(name, 2.0, self.threads)
