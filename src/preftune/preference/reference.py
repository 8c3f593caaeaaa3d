"""Log-probabilities of preference pairs under the frozen reference model, computed once and kept.

The table is keyed by content: the model's files, the token ids of the pairs (and with them the template), and the
precision. DPO, joint DPH and every sweep over them from one SFT checkpoint share it.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from preftune.errors import PreftuneError
from preftune.files import read_json, write_json
from preftune.preference.heads import PreferenceModel
from preftune.preference.scoring import score_trees
from preftune.training.trees import Tree

LOGPS_FILE = "logps.parquet"
KEY_FILE = "reference.json"


@dataclass(frozen=True)
class ReferenceKey:
    """Everything that the log-probabilities depend on.

    base, model: SHA-256 of the base model's and the reference checkpoint's folders. data: `hash_trees` of the pairs.
    dtype: precision of the arithmetic.
    """

    base: str
    model: str
    data: str
    dtype: str

    @property
    def digest(self) -> str:
        """One hash of all."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def reference_table(
    model: PreferenceModel, pairs: Sequence[Tree], tokens_per_pass: int | None = None
) -> pd.DataFrame:
    """One row a pair, in order: example_id, chosen_logp, rejected_logp, chosen_tokens, rejected_tokens.

    Log-probabilities are sums over the answer and its `<|im_end|>`, in nats, in eval mode.
    """
    scores = score_trees(
        model, pairs, tokens_per_pass=tokens_per_pass, description="reference log-probabilities"
    )
    chosen, rejected = slice(0, None, 2), slice(1, None, 2)
    return pd.DataFrame(
        {
            "example_id": [pair.name for pair in pairs],
            "chosen_logp": scores.log_probabilities[chosen],
            "rejected_logp": scores.log_probabilities[rejected],
            "chosen_tokens": scores.tokens[chosen],
            "rejected_tokens": scores.tokens[rejected],
        }
    )


def write_reference(table: pd.DataFrame, key: ReferenceKey, folder: Path) -> None:
    """Write the table and its key."""
    folder.mkdir(parents=True, exist_ok=True)
    table.to_parquet(folder / LOGPS_FILE, index=False)
    write_json(folder / KEY_FILE, {"version": 1, "digest": key.digest, **asdict(key)})


def read_reference(folder: Path, key: ReferenceKey) -> Tensor:
    """Reference sums [pairs, 2] (chosen, rejected), if they are those of `key`.

    `key.dtype` is not compared: a policy with fp32 weights may have a reference in bfloat16.
    """
    path = Path(folder) / LOGPS_FILE
    if not path.is_file():
        raise PreftuneError(f"{path} does not exist; run compute_reference on the same preference mix.")
    stored = read_json(Path(folder) / KEY_FILE)
    names = {"base": "base model", "model": "SFT checkpoint", "data": "preference mix"}
    for part, name in names.items():
        if stored.get(part) != getattr(key, part):
            raise PreftuneError(
                f"{folder} holds log-probabilities of another {name} ({part} {str(stored.get(part))[:12]}, not "
                f"{getattr(key, part)[:12]}); run compute_reference with the inputs of this run."
            )
    table = pd.read_parquet(path)
    return torch.tensor(table[["chosen_logp", "rejected_logp"]].to_numpy(), dtype=torch.float32)
