"""Bytes that a captioner takes, in closed form: its weights, what training adds to them, and what decoding adds.

Training adds a gradient a trainable value, the optimiser's moments, and the activations that the backward pass needs
(counted in `preftune.training.costs`, since they depend on attention's kernels). Decoding adds the key-value cache and,
with groups, the folded weights of `InstalledAdapters.merged`.
"""

from torch import Tensor

from preftune.adapters.bitfit import ContextBitFit
from preftune.adapters.contexts import domain, domains_of
from preftune.adapters.layers import ContextLayer
from preftune.captioning.batch import CAPTION, Task
from preftune.captioning.captioner import Captioner
from preftune.settings.training import TrainingSettings
from preftune.training.costs import tensor_bytes

MOMENTS = 2
"""Of Adam, AdamW and LaProp, of the parameters' type."""


def weight_bytes(captioner: Captioner) -> int:
    """Parameters and buffers of language model, adapters and connector, shared ones once."""
    return tensor_bytes([*captioner.parameters(), *captioner.buffers()])


def gradient_bytes(captioner: Captioner) -> int:
    """One value of its type a trainable value."""
    return sum(map(_size, captioner.trainable()))


def optimizer_bytes(captioner: Captioner, settings: TrainingSettings) -> int:
    """Two moments a trainable value, and for Adam and AdamW a step counter (fp32) a tensor."""
    counters = 0 if settings.optimizer == "laprop" else 4 * len(captioner.trainable())
    return MOMENTS * gradient_bytes(captioner) + counters


def decoding_bytes(captioner: Captioner, rows: int, length: int) -> int:
    """Keys and values of `rows` sequences of `length` tokens in every layer, and folded weights."""
    config, weight = captioner.language_model.config, next(captioner.language_model.parameters())
    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    kept = getattr(config, "num_key_value_heads", None) or heads
    cache = 2 * config.num_hidden_layers * kept * width * rows * length * weight.element_size()
    return int(cache) + folded_bytes(captioner)


def folded_bytes(captioner: Captioner, task: Task = CAPTION) -> int:
    """Weights that decoding keeps beside the base layers': a bias of BitFit's, else a matrix a layer.

    Only where a group is on at the words; none where the layers are PEFT's own or cannot be folded.
    """
    adapters, total = captioner.adapters, 0
    if adapters is None:
        return 0
    on = {name for name, group in adapters.groups.items() if domain("text", task.branch) in domains_of(group)}
    for layer in adapters.layers.values():
        if isinstance(layer, ContextLayer) and layer.foldable and on & set(layer.groups()):
            weight = layer.frozen()[0]
            bias = weight.shape[0] * weight.element_size()
            total += bias if isinstance(layer, ContextBitFit) else _size(weight)
    return total


def adapter_bytes(captioner: Captioner) -> int:
    """Values in the adapters' files, or of the whole language model (a tied head is stored once)."""
    if captioner.adapters is not None:
        return sum(_size(parameter) for _, parameter in captioner.adapters.named_parameters())
    whole = any(parameter.requires_grad for parameter in captioner.language_model.parameters())
    return tensor_bytes(captioner.language_model.parameters()) if whole else 0


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
