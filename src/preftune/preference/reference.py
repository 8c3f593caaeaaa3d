"""Log-probabilities of preference pairs under the frozen reference model, computed once and kept."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from preftune.errors import PreftuneError
from preftune.preference.batches import Completion, collate_completions, length_sorted_batches
from preftune.preference.data import PreferencePair
from preftune.preference.heads import PreferenceModel
from preftune.progress import track

LOGPS_FILE = "logps.parquet"


def completion_log_probabilities(
    model: PreferenceModel, rows: Sequence[Completion], batch: int, description: str
) -> list[float]:
    """Log-probability of each whole completion, `<|im_end|>` included: sums in nats, in eval mode."""
    model.eval()
    sums = torch.empty(len(rows))
    pad_id = model.tokenizer.pad_token_id
    with torch.no_grad():
        for indices in track(
            length_sorted_batches([len(row) for row in rows], batch), description, unit="batch"
        ):
            inputs = collate_completions([rows[i] for i in indices], pad_id, model.device)
            output = model(inputs.input_ids, inputs.attention_mask, inputs.completion_mask)
            sums[indices] = output.token_log_probabilities.sum(dim=1).cpu()
    return sums.tolist()


def reference_table(model: PreferenceModel, pairs: Sequence[PreferencePair], batch: int) -> pd.DataFrame:
    """One row a pair, in order: example_id, chosen_logp, rejected_logp, chosen_tokens, rejected_tokens."""
    rows = [*(pair.chosen for pair in pairs), *(pair.rejected for pair in pairs)]
    sums = completion_log_probabilities(model, rows, batch, "reference log-probabilities")
    return pd.DataFrame(
        {
            "example_id": [pair.example_id for pair in pairs],
            "chosen_logp": sums[: len(pairs)],
            "rejected_logp": sums[len(pairs) :],
            "chosen_tokens": [len(pair.chosen_ids) for pair in pairs],
            "rejected_tokens": [len(pair.rejected_ids) for pair in pairs],
        }
    )


def read_reference(folder: Path, pairs: Sequence[PreferencePair]) -> Tensor:
    """Reference sums `[pairs, 2]` (chosen, rejected), checked row by row against the mix."""
    path = Path(folder) / LOGPS_FILE
    if not path.is_file():
        raise PreftuneError(f"{path} does not exist; run compute_reference on the same preference mix.")
    table = pd.read_parquet(path)
    expected = [(pair.example_id, len(pair.chosen_ids), len(pair.rejected_ids)) for pair in pairs]
    found = list(zip(table["example_id"], table["chosen_tokens"], table["rejected_tokens"], strict=True))
    if found != expected:
        row = next(
            (i for i, (a, b) in enumerate(zip(found, expected, strict=False)) if a != b),
            min(len(found), len(expected)),
        )
        raise PreftuneError(
            f"{path}, row {row} is not row {row} of the preference mix ({len(found)} rows against "
            f"{len(expected)}); "
            "run compute_reference on this mix."
        )
    return torch.tensor(table[["chosen_logp", "rejected_logp"]].to_numpy(), dtype=torch.float32)
