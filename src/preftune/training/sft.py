"""Supervised fine-tuning: cross-entropy of the answers, never of the prompts."""

from collections.abc import Sequence

from torch import Tensor

from preftune.preference.batches import Completion, CompletionBatch, collate_completions
from preftune.preference.heads import PreferenceModel


def completion_cross_entropy(model: PreferenceModel, batch: CompletionBatch) -> Tensor:
    """Mean negative log-probability of the batch's completion tokens, `<|im_end|>` included, in nats.

    The sum over the batch is divided by the batch's number of completion tokens, so a long answer weighs more
    than a short one and padding weighs nothing.
    """
    output = model(batch.input_ids, batch.attention_mask, batch.completion_mask)
    assert output.token_log_probabilities is not None
    return -output.token_log_probabilities.sum() / batch.completion_mask.sum()


class SftObjective:
    """Loss and logged values of a batch of row indices, for `preftune.training.loop.fit`."""

    def __init__(self, model: PreferenceModel, rows: Sequence[Completion]) -> None:
        self.model = model
        self.rows = rows

    def __call__(self, indices: Sequence[int]) -> tuple[Tensor, dict[str, float]]:
        """The scalar loss of these rows, and their numbers of completion tokens and of all tokens."""
        model = self.model
        batch = collate_completions(
            [self.rows[i] for i in indices], model.tokenizer.pad_token_id, model.device
        )
        loss = completion_cross_entropy(model, batch)
        counts = {
            "completion_tokens": float(batch.completion_mask.sum()),
            "tokens": float(batch.attention_mask.sum()),
        }
        return loss, counts
