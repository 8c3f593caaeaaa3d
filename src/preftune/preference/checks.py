"""What every objective on preference pairs refuses, in one sentence each."""

import math

from torch import Tensor

from preftune.errors import PreftuneError


def check_pairs(name: str, *tensors: Tensor) -> None:
    """Refuse anything but non-empty vectors of one length [pairs]: other shapes would broadcast silently."""
    shapes = [tuple(tensor.shape) for tensor in tensors]
    if len(set(shapes)) > 1 or len(shapes[0]) != 1 or shapes[0] == (0,):
        raise PreftuneError(
            f"{name}: the inputs have shapes {shapes}; pass non-empty vectors of one length [pairs]"
        )


def check_label_smoothing(name: str, label_smoothing: float) -> None:
    """Refuse an epsilon outside [0, 0.5): from one half on the labels would say nothing, or the opposite."""
    if not 0 <= label_smoothing < 0.5:
        raise PreftuneError(
            f"{name}: label_smoothing is {label_smoothing} but must be at least 0 and below 0.5; "
            "set it to 0.1"
        )


def check_beta(name: str, beta: float) -> None:
    """Refuse a beta that is not a positive number."""
    if not (beta > 0 and math.isfinite(beta)):
        raise PreftuneError(f"{name}: beta is {beta} but must be above 0; set beta, for example, to 0.1")


def check_at_least_zero(name: str, setting: str, value: float) -> None:
    """Refuse a setting that is negative or no number."""
    if not (value >= 0 and math.isfinite(value)):
        raise PreftuneError(f"{name}: {setting} is {value} but must be at least 0; set it to 0 or above")
