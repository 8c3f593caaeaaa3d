"""What the released files hold beside the language model: the tensors of a reward head."""

import re
from collections.abc import Mapping

from torch import Tensor

from preftune.errors import PreftuneError

HEAD_KEYS = [r"^reward_heads\.", r"^pooler_pipeline\."]
"""Names, as regular expressions, of the reward head's tensors in a released state."""

_POOLER_LAYERS = ((), ("dense",), ("expand", "contract"))
"""Names of the linear layers in `preftune.preference.poolers`, by their number."""


def split_released(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A released state as the language model's part and the reward head's, the latter by `RewardHead`'s names.

    The linear layers of `pooler_pipeline` are the pooler's, in their order: none of the identity pooler, one of the affine
    one, two of the SwiGLU one. The head's part is empty where the file has no reward head.

    Raises:
        PreftuneError: the pooler has more layers, as no pooler of the paper has.
    """
    is_head = re.compile("|".join(HEAD_KEYS))
    head = {name: tensor for name, tensor in state.items() if is_head.match(name)}
    indices = sorted({int(name.split(".")[1]) for name in head if name.startswith("pooler_pipeline.")})
    if len(indices) >= len(_POOLER_LAYERS):
        raise PreftuneError(
            f"the state's pooler has {len(indices)} linear layers, but those of the paper have two at most: take a released "
            "state."
        )
    ours = {
        f"pooler_pipeline.{index}": f"pooler.{name}"
        for index, name in zip(indices, _POOLER_LAYERS[len(indices)], strict=True)
    }
    renamed = {}
    for name, tensor in head.items():
        layer, _, kind = name.rpartition(".")
        renamed[f"{ours.get(layer) or layer.replace('reward_heads', 'heads', 1)}.{kind}"] = tensor
    return {name: tensor for name, tensor in state.items() if name not in head}, renamed
