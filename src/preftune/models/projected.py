"""Token tables of another width than the model's: a table and the linear layer at it as one input or output embedding.

Neither is a part of the model: they are made of its layers whenever they are asked for, so that the model's parameters
keep their published names and the tied table is one tensor, in memory and on disk.
"""

from torch import Tensor, nn
from torch.nn import functional as F


class ProjectedEmbedding(nn.Module):
    """Ids -> table -> projection: the vectors that a model takes as `inputs_embeds`."""

    def __init__(self, table: nn.Embedding, projection: nn.Linear) -> None:
        super().__init__()
        self.table = table
        self.projection = projection

    @property
    def weight(self) -> Tensor:
        """The table [vocabulary, table width]."""
        return self.table.weight

    def forward(self, ids: Tensor) -> Tensor:
        """Embeddings [..., width] of token ids [...]."""
        return self.projection(self.table(ids))


class ProjectedHead(nn.Module):
    """States -> projection -> product with the table: the output embedding beside a `ProjectedEmbedding`."""

    bias = None

    def __init__(self, projection: nn.Linear, table: nn.Embedding) -> None:
        super().__init__()
        self.projection = projection
        self.table = table

    @property
    def weight(self) -> Tensor:
        """The table [vocabulary, table width], which states meet behind the projection."""
        return self.table.weight

    def forward(self, states: Tensor) -> Tensor:
        """Logits [..., vocabulary] of states [..., width]."""
        return F.linear(self.projection(states), self.table.weight)
