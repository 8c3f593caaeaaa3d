"""What the frozen SFT model says of preference pairs, computed once and kept: log-probabilities and, for runs that train
a head alone, the states that it reads.

Both are keyed by content: the model's files, the token ids of the pairs (and with them the template), and the
precision. DPO, joint DPH and every sweep over them from one SFT checkpoint share them.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from preftune.errors import PreftuneError
from preftune.files import read_json, write_json
from preftune.preference.scoring import score_trees
from preftune.training.trees import Tree

if TYPE_CHECKING:
    from preftune.preference.heads import PreferenceModel

LOGPS_FILE = "logps.parquet"
STATES_FILE = "states.safetensors"
KEY_FILE = "reference.json"


@dataclass(frozen=True)
class CachedPairs:
    """Pairs as a head sees them: their names, tokens, and states [pairs, 2, width] of the preferred and the other answer."""

    names: tuple[str, ...]
    tokens: tuple[int, ...]
    states: Tensor


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
    model: "PreferenceModel", pairs: Sequence[Tree], tokens_per_pass: int | None = None, states: bool = False
) -> tuple[pd.DataFrame, Tensor | None]:
    """One row a pair, in order: example_id, chosen_logp, rejected_logp, chosen_tokens, rejected_tokens; and where asked
    for the states that heads read [pairs, 2, width].

    Log-probabilities are sums over the answer and its `<|im_end|>`, in nats, in eval mode.
    """
    scores = score_trees(
        model,
        pairs,
        tokens_per_pass=tokens_per_pass,
        states=states,
        description="reference log-probabilities",
    )
    chosen, rejected = slice(0, None, 2), slice(1, None, 2)
    table = pd.DataFrame(
        {
            "example_id": [pair.name for pair in pairs],
            "chosen_logp": scores.log_probabilities[chosen],
            "rejected_logp": scores.log_probabilities[rejected],
            "chosen_tokens": scores.tokens[chosen],
            "rejected_tokens": scores.tokens[rejected],
        }
    )
    return table, None if scores.states is None else scores.states.unflatten(0, (-1, 2))


def cache_pairs(model: "PreferenceModel", pairs: Sequence[Tree]) -> CachedPairs:
    """The pairs as a head sees them, read by the model once."""
    states = score_trees(model, pairs, log_probabilities=False, states=True, description="states").states
    assert states is not None  # they were asked for
    names, tokens = tuple(pair.name for pair in pairs), tuple(pair.tokens for pair in pairs)
    return CachedPairs(names, tokens, states.unflatten(0, (-1, 2)))


def write_reference(
    table: pd.DataFrame, states: Tensor | None, key: ReferenceKey, head: dict[str, int], folder: Path
) -> None:
    """Write the table, its key, and the states with the shape of a `head` that would read them."""
    folder.mkdir(parents=True, exist_ok=True)
    table.to_parquet(folder / LOGPS_FILE, index=False)
    if states is not None:
        save_file({"states": states.contiguous()}, folder / STATES_FILE)
    write_json(folder / KEY_FILE, {"version": 1, "digest": key.digest, **asdict(key), "head": head})


def read_reference(folder: Path, key: ReferenceKey) -> Tensor:
    """Reference sums [pairs, 2] (chosen, rejected), if they are those of `key`.

    `key.dtype` is not compared: a policy with fp32 weights may have a reference in bfloat16.
    """
    table, _ = _read(folder, base=key.base, model=key.model, data=key.data)
    return torch.tensor(table[["chosen_logp", "rejected_logp"]].to_numpy(), dtype=torch.float32)


def read_states(folder: Path, model: str) -> tuple[CachedPairs, dict[str, int]]:
    """The pairs' states, if they are of the SFT checkpoint with this hash, and the shape of a head for them."""
    table, stored = _read(folder, model=model)
    path = Path(folder) / STATES_FILE
    if not path.is_file():
        raise PreftuneError(f"{path} does not exist; run compute_reference with states: true.")
    tokens = (table["chosen_tokens"] + table["rejected_tokens"]).tolist()
    return CachedPairs(tuple(table["example_id"]), tuple(tokens), load_file(path)["states"]), stored["head"]


def _read(folder: Path, **wanted: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The table and what is written about it; `wanted` are the parts of its key that must be so."""
    path = Path(folder) / LOGPS_FILE
    if not path.is_file():
        raise PreftuneError(f"{path} does not exist; run compute_reference on the same preference mix.")
    stored = read_json(Path(folder) / KEY_FILE)
    names = {"base": "base model", "model": "SFT checkpoint", "data": "preference mix"}
    for part, value in wanted.items():
        if stored.get(part) != value:
            raise PreftuneError(
                f"{folder} holds log-probabilities of another {names[part]} ({part} {str(stored.get(part))[:12]}, not "
                f"{value[:12]}); run compute_reference with the inputs of this run."
            )
    return pd.read_parquet(path), stored
