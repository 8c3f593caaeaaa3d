"""Preference pairs of one's own, in words: as trees, and a model with a reward head trained on them.

No step of the workflow uses this module: it is the short way for another model and other data, without mixes, checkpoints
and records.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from preftune.data.chat import ChatTokenizer, encode_completion, encode_prompt
from preftune.errors import PreftuneError
from preftune.files import replace_path
from preftune.models.devices import computing_in, resolve_device, resolve_dtype
from preftune.preference.alignment import (
    AlignmentObjective,
    parameter_groups,
    save_alignment,
    start_alignment,
)
from preftune.preference.frozen import HeadObjective, copy_policy
from preftune.preference.heads import PreferenceModel
from preftune.preference.reference import cache_pairs, reference_table
from preftune.preference.reward_head import save_head
from preftune.settings.alignment import AlignmentSettings
from preftune.training.loop import Place, fit
from preftune.training.trees import Tree

Row = Mapping[str, Any]
Messages = list[Mapping[str, str]]


def encode_pairs(tokenizer: ChatTokenizer, rows: Sequence[Row]) -> list[Tree]:
    """Rows {"prompt", "chosen", "rejected"} as trees of two branches, the preferred answer first, each with `<|im_end|>`.

    A prompt is a text, or a list of {"role", "content"} up to the message that is to be answered. An answer is a text, or a
    list whose one message, or whose one message after the prompt's own, is the assistant's (TRL, UltraFeedback).

    Raises:
        PreftuneError: there are no rows, or a row has no prompt that both answers share, an empty answer, or equal answers.
    """
    if not rows:
        raise PreftuneError("there are no pairs to train on: give at least one row.")
    return [_encode_pair(tokenizer, row, f"row {place}") for place, row in enumerate(rows)]


def train_on_pairs(
    checkpoint: Path,
    rows: Sequence[Row],
    settings: AlignmentSettings,
    output: Path,
    *,
    seed: int = 0,
    device: str = "auto",
) -> dict[str, Any]:
    """Train on pairs as a run of the workflow would, and write the folder that `PreferenceModel.from_pretrained` loads.

    With freeze: model the states of all pairs are computed once and the head trains on them; else the language model trains,
    and is its own reference as it stands before the first step.

    Args:
        checkpoint: a transformers folder of a causal language model, or a PEFT adapter that names its base model's folder.
        rows: as in `encode_pairs`.
        output: the folder to write; it holds `metrics.jsonl` too, one row a step.
        device: auto, cpu or cuda.

    Returns:
        What `fit` returns: steps, first_loss, last_loss, ...

    Raises:
        PreftuneError: the output exists, a row is refused, or the model cannot be loaded or trained.
    """
    place, checkpoint = resolve_device(device), Path(checkpoint)
    dtype = resolve_dtype(settings.dtype, place)
    with _new_folder(Path(output)) as folder:
        model = start_alignment(None, checkpoint, settings, seed, place, dtype)
        pairs = encode_pairs(model.tokenizer, rows)
        with computing_in(place, dtype):
            objective = _objective(model, pairs, settings, seed)
        training = Place(place, dtype, seed, folder / "metrics.jsonl", "alignment")
        model.train()
        facts = fit(parameter_groups(model, settings), objective, settings.training, training)
        _save(model, checkpoint, settings, folder)
    return facts


def _encode_pair(tokenizer: ChatTokenizer, row: Row, where: str) -> Tree:
    prompt = row.get("prompt")
    if not prompt:
        raise PreftuneError(
            f"{where} has no prompt that both answers share: put the question, or the messages before the answer, under "
            "'prompt'."
        )
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
    chosen, rejected = (
        encode_completion(tokenizer, _answer(row, side, messages, where)) for side in ("chosen", "rejected")
    )
    if chosen == rejected:
        raise PreftuneError(f"{where} has two equal answers, which say nothing: drop this row.")
    return Tree(where, encode_prompt(tokenizer, messages), (chosen, rejected))


def _answer(row: Row, side: str, prompt: Messages, where: str) -> str:
    """The text of one answer."""
    value = row.get(side)
    if value and isinstance(value, list):
        *before, last = value
        if before not in ([], prompt) or last["role"] != "assistant":
            raise PreftuneError(
                f"{where}: {side} is not this row's prompt followed by one assistant message, so that the pair has no "
                "shared prompt: correct or drop this row."
            )
        value = last["content"]
    if not isinstance(value, str) or not value.strip():
        raise PreftuneError(
            f"{where}: the {side} answer is empty or no text: give it a text, or drop this row."
        )
    return value


def _objective(
    model: PreferenceModel, pairs: list[Tree], settings: AlignmentSettings, seed: int
) -> AlignmentObjective | HeadObjective:
    """What is minimised, with all that the untrained model must say of the pairs before."""
    if settings.freeze == "model":
        assert model.head is not None  # settings that freeze all ask for a head
        return HeadObjective(model.head, cache_pairs(model, pairs), settings, seed)
    reference = None
    if settings.needs_reference:
        table, _ = reference_table(model, pairs)
        reference = torch.tensor(table[["chosen_logp", "rejected_logp"]].to_numpy(), dtype=torch.float32)
    model.reader.prepare(settings.training)
    return AlignmentObjective(model, pairs, reference, settings, seed)


def _save(model: PreferenceModel, checkpoint: Path, settings: AlignmentSettings, folder: Path) -> None:
    if settings.freeze == "model":
        assert model.head is not None
        copy_policy(checkpoint, folder)  # whatever precision it was read in
        save_head(model.head, folder)
        return
    save_alignment(model, checkpoint, folder)


@contextmanager
def _new_folder(output: Path) -> Iterator[Path]:
    """A folder that takes the name `output` when the block succeeds, and of which nothing is left when it fails."""
    if output.exists():
        raise PreftuneError(f"{output} exists already: choose another folder, or delete it.")
    output.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as work:
        folder = Path(work) / output.name
        folder.mkdir()
        yield folder
        replace_path(folder, output)
