"""The seed of a step, for every generator that is loaded."""

import random
import sys


def seed_everything(seed: int) -> None:
    """Seed Python's, numpy's and torch's global generators (those that are loaded)."""
    random.seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed % 2**32)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)
