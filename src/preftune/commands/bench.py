"""`preftune bench`: our engine against TRL and lm-eval on the same work; JSON rows and the table in docs/performance.md."""

import copy
import fnmatch
from collections.abc import Callable
from functools import partial
from pathlib import Path

from preftune.errors import PreftuneError
from preftune.provenance.digest import ROOT

RESULTS = ROOT / "results" / "benchmarks"
PAGE = ROOT / "docs" / "performance.md"
CASES = ("dpo", "sft", "likelihood", "memory")


def run_bench(model: Path, threads: int, only: str) -> None:
    """Run the benchmarks whose name matches the glob `only`; a promised ratio that is missed is said, not hidden."""
    try:
        import trl  # noqa: F401
    except ImportError as error:
        raise PreftuneError(
            "the benchmarks need TRL: pip install -r requirements-bench.txt, or make bench."
        ) from error
    if not (model / "config.json").is_file():
        raise PreftuneError(
            f"{model} holds no language model: make bench fetches it, or give --model FOLDER."
        )
    chosen = fnmatch.filter(CASES, only)
    if not chosen:
        raise PreftuneError(f"no benchmark matches {only}: known are {', '.join(CASES)}.")
    import torch

    from preftune.bench.report import complete, write_rows, write_table

    torch.set_num_threads(threads)
    missed = 0
    for case in chosen:
        rows = []
        for run in _cases(model, threads)[case]:
            row = complete(run(), threads)
            rows.append(row)
            short = row.target is not None and row.ratio_median < row.target
            missed += short
            promise = "" if row.target is None else f", promised {row.target}{' MISSED' if short else ''}"
            print(
                f"{row.name}: {row.ratio_median:.2f} ({row.ratio_min:.2f} to {row.ratio_max:.2f}){promise}",
                flush=True,
            )
            write_rows(RESULTS / f"{case}.json", rows)
    write_table(RESULTS, PAGE)
    print(
        f"rows: {RESULTS.relative_to(ROOT)}/, table: {PAGE.relative_to(ROOT)}; {missed} promised ratios missed"
    )


def _cases(folder: Path, threads: int) -> dict[str, list[Callable]]:  # type: ignore[type-arg]
    import torch

    from preftune.bench import inputs, likelihood, memory, training

    device = inputs.device()
    tiny, words = inputs.tiny_model().to(device), inputs.tiny_tokenizer()  # type: ignore[arg-type]
    pairs, answers = inputs.make_pairs(8000), inputs.make_answers(8000)

    def dpo(name: str, target: float | None, ours_online: bool, theirs_online: bool) -> Callable:  # type: ignore[type-arg]
        return partial(
            training.compare_dpo, name, tiny, words, pairs, 4, 12, target, ours_online, theirs_online
        )

    def small_dpo():  # type: ignore[no-untyped-def]
        model, tokenizer = inputs.small_model(folder)
        some = inputs.make_pairs(49000, 24)
        name = "DPO step, SmolLM2-135M, 2 pairs, reference cached"
        return training.compare_dpo(name, model.to(device), tokenizer, some, 2, 6, 2.3, False, False)

    def scores(name: str, dtype: torch.dtype, lengths: tuple[int, int], questions: int, target: float | None):  # type: ignore[no-untyped-def]
        model, tokenizer = inputs.small_model(folder, dtype)
        model.to(device)
        models = (model, copy.deepcopy(model))
        return likelihood.compare_likelihoods(name, models, tokenizer, lengths, questions, 6, target)

    race, hellaswag, what = (300, 7), (70, 24), "log-likelihoods, SmolLM2-135M"
    sft = partial(training.compare_sft, model=tiny, tokenizer=words, rows=answers, rounds=12)
    return {
        "dpo": [
            dpo("DPO step, tiny model, 4 pairs, reference cached", 4, False, False),
            dpo("DPO step, tiny model, 4 pairs, reference online", 4, True, True),
            dpo("DPO step, tiny model: theirs online, ours cached (different work)", None, False, True),
            small_dpo,
        ],
        "sft": [
            partial(sft, "SFT step, tiny model, 8 rows (TRL's default), answers only", size=8, target=3),
            partial(sft, "SFT step, tiny model, 4 rows, answers only", size=4, target=None),
        ],
        "likelihood": [
            partial(scores, f"{what}, RACE-like, fp32", torch.float32, race, 4, 3.5),
            partial(scores, f"{what}, RACE-like, bf16", torch.bfloat16, race, 4, 4.5),
            partial(scores, f"{what}, HellaSwag-like, fp32", torch.float32, hellaswag, 8, 2.6),
            partial(scores, f"{what}, HellaSwag-like, bf16", torch.bfloat16, hellaswag, 8, None),
        ],
        "memory": [
            partial(
                memory.compare_memory,
                "peak memory of a DPO step, tiny model, 4 pairs, reference cached",
                2,
                threads,
            )
        ],
    }
