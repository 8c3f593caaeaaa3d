"""Trainings small enough for tests of the loop: a toy objective, a real one, and child processes that train."""

import os
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from preftune.preference.alignment import AlignmentObjective, parameter_groups
from preftune.preference.heads import PreferenceModel
from preftune.settings.alignment import AlignmentSettings
from preftune.settings.training import TrainingSettings
from preftune.training.batches import split_by_tokens
from preftune.training.checkpoints import Checkpoints
from preftune.training.loop import fit
from preftune.training.objective import Logged, TreeExample
from preftune.training.trees import Tree
from preftune.training.validation import Validation
from tests.unit.preference.helpers import make_pairs, place_in


class ToyObjective:
    """Embeddings of the answers' tokens, with dropout, are pulled towards 1: mean squared distance over tokens."""

    def __init__(self, count: int = 12, dropout: float = 0.0) -> None:
        torch.manual_seed(0)
        self.table = nn.Parameter(torch.randn(32, 4))
        self.dropout = dropout
        self.rows = [
            Tree(f"row-{i}", [1] * (1 + i % 5), ([3 + (7 * i + k) % 29 for k in range(1 + i % 4)],))
            for i in range(count)
        ]

    def __len__(self) -> int:
        return len(self.rows)

    def draw(self, index: int, step: int) -> TreeExample:
        return TreeExample(self.rows[index])

    def units(self, example: TreeExample) -> int:
        return len(example.tree.branches[0])

    def split(self, trees: Sequence[Tree], budget: int) -> list[list[int]]:
        return split_by_tokens([tree.tokens for tree in trees], budget)

    def loss(self, examples: Sequence[TreeExample], units: int) -> tuple[Tensor, Logged]:
        ids = torch.tensor([token for example in examples for token in example.tree.branches[0]])
        values = F.dropout(self.table[ids], self.dropout)
        return (values - 1).square().sum() / units, {"tokens": len(ids)}

    def train(self, folder: Path, warn: Callable[[str], None] = print, checkpoints: Checkpoints | None = None,
              validation: Validation | None = None, **settings: object) -> dict:  # fmt: skip
        values = {"steps": 6, "batch": 4, "learning_rate": 0.1, "checkpoint_minutes": 0} | settings
        place = place_in(folder, checkpoints=checkpoints)
        groups = [{"params": [self.table]}]
        return fit(groups, self, TrainingSettings.model_validate(values), place, warn, validation)


LAPROP = {
    "optimizer": "laprop",
    "weight_decay": 0.5,
    "decay_to": "start",
    "schedule": "cosine",
    "warmup_steps": 2,
}
ADAMW = {"weight_decay": 0.1, "schedule": "linear"}


def align(base: Path, folder: Path, training: dict, checkpoints: Checkpoints | None = None) -> bytes:
    """Joint DPH and DPO of a tiny model with dropout in its attention and its head; the bytes of all that it leaves."""
    model = start_model(base)
    values = {"steps": 8, "batch": 4, "learning_rate": 1e-2, "checkpoint_minutes": 0} | training
    settings = AlignmentSettings.model_validate(
        {"dph": "separable", "policy": "dpo", "reward_dropout": 0.2, "training": values}
    )
    pairs = make_pairs(model.tokenizer, 8)
    objective = AlignmentObjective(model, pairs, torch.full((8, 2), -20.0), settings)
    place = place_in(folder, checkpoints=checkpoints)
    fit(parameter_groups(model, settings), objective, settings.training, place)
    tensors = [parameter.detach().numpy().tobytes() for parameter in model.parameters()]
    return b"".join([*tensors, (folder / "metrics.jsonl").read_bytes()])


def start_model(base: Path) -> PreferenceModel:
    from preftune.models.policy import load_policy

    language_model, tokenizer = load_policy(base, trainable=True)
    language_model.config.attention_dropout = 0.1
    for layer in language_model.model.layers:
        layer.self_attn.attention_dropout = 0.1
    torch.manual_seed(1)
    return PreferenceModel.with_new_head(language_model, tokenizer, dropout=0.2).train()


def start_child(run: Callable[[], object]) -> int:
    """Run something in a forked child (no seconds to import torch); its process id. 0: it ended, 1: it raised."""
    child = os.fork()
    if child:
        return child
    code = 1
    # tqdm's lock is shared with the parent, and would stay locked for it where this process is killed.
    tqdm.set_lock(threading.RLock())
    try:
        run()
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    finally:
        os._exit(code)


def wait_for(child: int) -> int:
    """Exit code of a child, negative: the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
