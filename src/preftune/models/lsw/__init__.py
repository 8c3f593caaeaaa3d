"""The papers' own language model, the LSW Transformer, as a model class of transformers.

One class has both shapes: the 551 M model of Hadji-Kyriacou and Arandjelovic (2024), arXiv 2405.20053, released as
`Avelina/lovelace-medium-alpha1` with two tuned variants, and the unreleased 150 M model of their Context-PEFT paper
(2023), arXiv 2312.08900. The import of this package makes them known to transformers' Auto classes.
"""

from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from preftune.models.lsw.configuration import PAPER_150M, LswConfig
from preftune.models.lsw.modeling import LswForCausalLM, LswModel
from preftune.models.lsw.released import split_released

__all__ = ["PAPER_150M", "LswConfig", "LswForCausalLM", "LswModel", "register", "split_released"]


def register() -> None:
    """Make LSW models known to transformers' Auto classes."""
    AutoConfig.register(LswConfig.model_type, LswConfig, exist_ok=True)
    AutoModel.register(LswConfig, LswModel, exist_ok=True)
    AutoModelForCausalLM.register(LswConfig, LswForCausalLM, exist_ok=True)


register()
