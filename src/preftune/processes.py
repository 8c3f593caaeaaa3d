"""Which of torchrun's data-parallel processes this one is; without torchrun it is the only one."""

import os


def rank() -> int:
    """This process's place among the data-parallel ones; 0 without torchrun."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """Number of data-parallel processes; 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def leads() -> bool:
    """Whether this process is the one that writes files and talks to the user."""
    return rank() == 0
