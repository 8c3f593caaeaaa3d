"""Training rows on disk (`datasets` folders of the mixes) and batches of preference pairs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import load_from_disk

from preftune.errors import PreftuneError
from preftune.preference.batches import Completion, CompletionBatch, collate_completions


@dataclass(frozen=True)
class PreferencePair:
    """One prompt with a preferred and a dispreferred completion, as ids, each ending with `<|im_end|>`."""

    example_id: str
    prompt_ids: Sequence[int]
    chosen_ids: Sequence[int]
    rejected_ids: Sequence[int]

    @property
    def chosen(self) -> Completion:
        return Completion(self.prompt_ids, self.chosen_ids)

    @property
    def rejected(self) -> Completion:
        return Completion(self.prompt_ids, self.rejected_ids)


def read_completions(folder: Path) -> list[Completion]:
    """The rows of an SFT mix (columns prompt_ids, completion_ids)."""
    rows = _read_mix(folder, ("prompt_ids", "completion_ids"))
    return [Completion(row["prompt_ids"], row["completion_ids"]) for row in rows]


def read_pairs(folder: Path) -> list[PreferencePair]:
    """The rows of a preference mix (columns example_id, prompt_ids, chosen_ids, rejected_ids)."""
    columns = ("example_id", "prompt_ids", "chosen_ids", "rejected_ids")
    return [PreferencePair(*(row[column] for column in columns)) for row in _read_mix(folder, columns)]


def collate_pairs(
    pairs: Sequence[PreferencePair], pad_id: int, device: torch.device | str = "cpu"
) -> CompletionBatch:
    """One batch of all chosen rows followed by all rejected rows, `[2 * pairs, seq]`."""
    return collate_completions(
        [*(pair.chosen for pair in pairs), *(pair.rejected for pair in pairs)], pad_id, device
    )


def _read_mix(folder: Path, columns: Sequence[str]) -> list[Mapping[str, Any]]:
    try:
        rows = load_from_disk(str(folder))
    except (FileNotFoundError, ValueError) as error:
        raise PreftuneError(
            f"{folder} is not a prepared training mix ({error}); run the step that prepares it."
        ) from error
    missing = [column for column in columns if column not in rows.column_names]
    if missing:
        raise PreftuneError(f"{folder} lacks the columns {', '.join(missing)}; prepare this mix again.")
    if not len(rows):
        raise PreftuneError(f"{folder} holds no rows; raise its max_tokens or its number of examples.")
    return list(rows.select_columns(list(columns)))
