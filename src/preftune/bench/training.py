"""Training steps against TRL: DPO and SFT on the same batches, one step of each in turn."""

import copy
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers import PreTrainedModel

from preftune.bench.alternate import Row, alternate
from preftune.models.policy import trainable_parameters
from preftune.preference.alignment import AlignmentObjective, Pair
from preftune.preference.heads import PreferenceModel
from preftune.preference.scoring import score_trees
from preftune.settings.alignment import AlignmentSettings
from preftune.settings.training import TrainingSettings
from preftune.training.loop import Place, Training
from preftune.training.objective import TreeExample
from preftune.training.sft import SftObjective
from preftune.training.trees import Tree

LEARNING_RATE = 1e-6
PEAK_FLOPS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}  # bfloat16, dense
TEXT = {"prompt": ["w1 w2"], "chosen": [" w3"], "rejected": [" w4"]}


def dpo_settings(count: int) -> AlignmentSettings:
    """DPO alone, as TRL's sigmoid loss: beta 0.1, no label smoothing."""
    training = {"steps": 1, "batch": count, "learning_rate": LEARNING_RATE, "betas": (0.9, 0.999)}
    values = {"dph": "none", "policy": "dpo", "policy_label_smoothing": 0.0, "training": training}
    return AlignmentSettings.model_validate(values)


class OurDpo:
    """A DPO step of the engine; the reference comes from a table, or from a frozen copy in every step."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: Any, pairs: Sequence[Tree], reference: Tensor, online: bool
    ) -> None:
        settings = dpo_settings(len(pairs))
        self.online = (
            PreferenceModel(copy.deepcopy(model).requires_grad_(False), tokenizer).eval() if online else None
        )
        self.model = PreferenceModel(model, tokenizer).train()
        objective = AlignmentObjective(self.model, pairs, reference, settings)
        self.training = engine_training(
            _all_weights(self.model), objective, settings.training, self.model.device
        )
        self.rows = {pair.name: row for pair, row in zip(pairs, reference, strict=True)}

    def __call__(self, batch: Sequence[Tree]) -> list[float]:
        """One update; returns the loss."""
        if self.online is None:
            reference = torch.stack([self.rows[tree.name] for tree in batch])
        else:
            scores = score_trees(self.online, batch)
            reference = torch.from_numpy(scores.log_probabilities).float().view(-1, 2)
        examples = [Pair(tree, row) for tree, row in zip(batch, reference, strict=True)]
        return [self.training.update(examples, 1)["loss"]]


class OurSft:
    """An SFT step of the engine."""

    def __init__(self, model: PreTrainedModel, tokenizer: Any, rows: Sequence[Tree]) -> None:
        settings = dpo_settings(len(rows)).training
        self.model = PreferenceModel(model, tokenizer).train()
        self.training = engine_training(
            _all_weights(self.model), SftObjective(self.model, rows), settings, self.model.device
        )

    def __call__(self, batch: Sequence[Tree]) -> list[float]:
        """One update; returns the loss."""
        return [self.training.update([TreeExample(tree) for tree in batch], 1)["loss"]]


class TheirDpo:
    """A DPOTrainer's step on our ids: its collator, `training_step`, clipping, the same optimiser."""

    def __init__(self, model: PreTrainedModel, tokenizer: Any, reference: dict[str, Tensor] | None) -> None:
        """`reference`: log-probabilities by name (precompute_ref_log_probs), or None for its default, a frozen copy."""
        from trl import DPOConfig, DPOTrainer

        config = DPOConfig(
            output_dir=tempfile.mkdtemp(),
            precompute_ref_log_probs=reference is not None,
            max_length=None,
            beta=0.1,
            **_trainer_options(),
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.trainer = DPOTrainer(
                model=model,
                ref_model=copy.deepcopy(model) if reference is None else None,
                args=config,
                train_dataset=Dataset.from_dict(TEXT),
                processing_class=tokenizer,
            )
        self.reference = reference
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.0, fused=True)

    def __call__(self, batch: Sequence[Tree]) -> list[float]:
        """One update; returns the loss."""
        inputs = self.trainer.data_collator([self._row(tree) for tree in batch])
        return _their_step(self.trainer, self.optimizer, inputs)

    def _row(self, tree: Tree) -> dict[str, Any]:
        row: dict[str, Any] = {"prompt_ids": list(tree.prompt)}
        row |= {"chosen_ids": list(tree.branches[0]), "rejected_ids": list(tree.branches[1])}
        if self.reference is not None:
            chosen, rejected = self.reference[tree.name].tolist()
            row |= {"ref_chosen_logps": chosen, "ref_rejected_logps": rejected}
        return row


class TheirSft:
    """An SFTTrainer's step on our ids, loss on completions only."""

    def __init__(self, model: PreTrainedModel, tokenizer: Any) -> None:
        from trl import SFTConfig, SFTTrainer

        config = SFTConfig(
            output_dir=tempfile.mkdtemp(), completion_only_loss=True, max_length=None, **_trainer_options()
        )
        rows = {"prompt": TEXT["prompt"], "completion": TEXT["chosen"]}
        self.trainer = SFTTrainer(
            model=model, args=config, train_dataset=Dataset.from_dict(rows), processing_class=tokenizer
        )
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.0, fused=True)

    def __call__(self, batch: Sequence[Tree]) -> list[float]:
        """One update; returns the loss."""
        rows = []
        for tree in batch:
            answer = list(tree.branches[0])
            labels = [-100] * len(tree.prompt) + answer
            rows.append({"input_ids": [*tree.prompt, *answer], "labels": labels})
        return _their_step(self.trainer, self.optimizer, self.trainer.data_collator(rows))


def compare_dpo(
    name: str, model: PreTrainedModel, tokenizer: Any, pairs: Sequence[Tree], size: int, rounds: int,
    target: float | None, ours_online: bool, theirs_online: bool,
) -> Row:  # fmt: skip
    """DPO steps of `size` pairs; each side with its reference online (a frozen copy) or precomputed."""
    # The engine marks a model's attention implementation as its own: each side gets an untouched copy.
    scores = score_trees(PreferenceModel(copy.deepcopy(model), tokenizer), pairs, description="reference")
    reference = torch.from_numpy(scores.log_probabilities).float().view(-1, 2)
    table = {pair.name: row for pair, row in zip(pairs, reference, strict=True)}
    theirs = TheirDpo(copy.deepcopy(model), tokenizer, None if theirs_online else table)
    ours = OurDpo(copy.deepcopy(model), tokenizer, pairs, reference, ours_online)
    row = alternate(
        name, "TRL DPOTrainer", "tokens/s", target, make_batches(pairs, size, rounds), theirs, ours,
        work=lambda batch: sum(map(unshared_tokens, batch)), tolerance=tolerance(),
    )  # fmt: skip
    read = sum(pair.tokens for pair in pairs) / sum(map(unshared_tokens, pairs))
    row.model_flops_utilisation = utilisation(model, read * row.ours)
    return row


def unshared_tokens(pair: Tree) -> int:
    """Tokens of both conversations, the prompt twice: the same amount for both sides."""
    return 2 * len(pair.prompt) + sum(map(len, pair.branches))


def compare_sft(
    name: str,
    model: PreTrainedModel,
    tokenizer: Any,
    rows: Sequence[Tree],
    size: int,
    rounds: int,
    target: float | None,
) -> Row:
    """SFT steps of `size` rows, loss on the answers."""
    theirs = TheirSft(copy.deepcopy(model), tokenizer)
    ours = OurSft(copy.deepcopy(model), tokenizer, rows)
    row = alternate(
        name, "TRL SFTTrainer", "tokens/s", target, make_batches(rows, size, rounds), theirs, ours,
        work=lambda batch: sum(tree.tokens for tree in batch), tolerance=tolerance(),
    )  # fmt: skip
    row.model_flops_utilisation = utilisation(model, row.ours)
    return row


def tolerance() -> float:
    """Largest difference of two losses of the same step: 1e-4 in fp32; bfloat16 has three digits."""
    return 1e-2 if torch.cuda.is_available() else 1e-4


def utilisation(model: PreTrainedModel, tokens_per_second: float) -> float | None:
    """Part of the card's bfloat16 peak that 6 N FLOPs a token are, N without the input embedding; None on a CPU.

    Tokens are those that the engine reads, each prompt once: shared work is not counted as done.
    """
    if not torch.cuda.is_available():
        return None
    name = torch.cuda.get_device_name()
    peak = next((flops for part, flops in PEAK_FLOPS.items() if part in name), None)
    embedding: Any = model.get_input_embeddings().weight
    tied = embedding is model.get_output_embeddings().weight  # type: ignore[operator]
    weights = sum(parameter.numel() for parameter in model.parameters())
    weights -= 0 if tied else embedding.numel()
    return None if peak is None else 6 * weights * tokens_per_second / peak


def engine_training(
    groups: list[dict[str, Any]], objective: Any, settings: TrainingSettings, device: torch.device
) -> Training:
    """A training of the engine whose updates are called one by one."""
    compute = torch.bfloat16 if device.type == "cuda" else torch.float32
    place = Place(device, compute, 0, Path("/dev/null"), "bench")
    return Training(groups, objective, settings, place, print)


def _all_weights(model: nn.Module) -> list[dict[str, Any]]:
    return [{"params": trainable_parameters(model)}]


def _trainer_options() -> dict[str, Any]:
    return {
        "per_device_train_batch_size": 4,
        "gradient_checkpointing": False,
        "bf16": torch.cuda.is_available(),
        "use_cpu": not torch.cuda.is_available(),
        "report_to": [],
        "disable_tqdm": True,
        "logging_strategy": "no",
    }


def _their_step(trainer: Any, optimizer: torch.optim.Optimizer, inputs: dict[str, Any]) -> list[float]:
    model = trainer.model
    trainer.current_gradient_accumulation_steps = 1  # what its training loop, left out here, would set
    loss = trainer.training_step(model, inputs)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return [float(loss)]


def make_batches(rows: Sequence[Tree], size: int, rounds: int) -> list[list[Tree]]:
    """One batch to warm up and `rounds` to count."""
    return [list(rows[start : start + size]) for start in range(0, size * (rounds + 1), size)]
