"""Trees: a prompt and the branches that continue it, as token ids; the one form that training and scoring read.

An instruction with its answer is a tree of one branch, a preference pair one of two, a question one branch per
candidate. The prompt goes through the model once, whatever the number of branches.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from preftune.data.chat import truncate_prompt
from preftune.errors import PreftuneError

Ids = Sequence[int]


@dataclass(frozen=True)
class Tree:
    """Token ids of a prompt and of each branch; `name` says in messages which example it is.

    Raises:
        PreftuneError: there is no branch, or the prompt or a branch is empty.
    """

    name: str
    prompt: Ids
    branches: tuple[Ids, ...]

    def __post_init__(self) -> None:
        if len(self.prompt) == 0:
            raise PreftuneError(
                f"example {self.name} has an empty prompt: nothing would predict its first token; give it a prompt."
            )
        if not self.branches:
            raise PreftuneError(f"example {self.name} has no answer: repair or drop this row of the data.")
        for place, branch in enumerate(self.branches):
            if len(branch) == 0:
                raise PreftuneError(
                    f"example {self.name}: branch {place} is empty; repair or drop this row of the data."
                )

    @property
    def tokens(self) -> int:
        """Positions that the tree takes in a packed row."""
        return len(self.prompt) + sum(map(len, self.branches))

    @property
    def longest(self) -> int:
        """Length of the longest path: prompt and longest branch."""
        return len(self.prompt) + max(map(len, self.branches))


def fit_to_context(
    trees: Sequence[Tree], context: int, long: Literal["refuse", "truncate"]
) -> tuple[list[Tree], int]:
    """Trees whose paths have at most `context` tokens, and how many prompts were cut for it.

    `truncate` cuts a prompt by the template's rule (`preftune.data.chat.truncate_prompt`), the same for all branches.

    Raises:
        PreftuneError: a path is too long and `long` refuses, or a branch alone leaves no room for a prompt.
    """
    fitted = []
    for tree in trees:
        excess = tree.longest - context
        if excess > 0 and long == "refuse":
            raise PreftuneError(
                f"example {tree.name} has {tree.longest} tokens but the context holds {context}: shorten or drop it, or set "
                "long: truncate or long: skip."
            )
        if excess >= len(tree.prompt):
            raise PreftuneError(
                f"example {tree.name}: an answer of {tree.longest - len(tree.prompt)} tokens leaves no room for a prompt in a "
                f"context of {context}: drop it."
            )
        fitted.append(replace(tree, prompt=truncate_prompt(tree.prompt, excess)) if excess > 0 else tree)
    return fitted, sum(tree.longest > context for tree in trees)
