"""Several sampled answers to each prompt, of which a reward head chooses one."""

from pydantic import Field

from preftune.settings.base import Precision, Settings


class SamplingSettings(Settings):
    """How answers are written."""

    count: int = Field(default=8, ge=1, description="answers sampled for each prompt")
    max_new_tokens: int = Field(default=128, ge=1, description="tokens of an answer at most")
    temperature: float = Field(
        default=1.0, gt=0, description="tokens are drawn from softmax(logits / temperature)"
    )
    top_p: float = Field(
        default=1.0, gt=0, le=1, description="only the likeliest tokens that reach this share are drawn"
    )
    batch: int = Field(default=16, ge=1, description="answers written at once")
    dtype: Precision = Field(default="auto", description="auto: bfloat16 on CUDA, float32 on a CPU")


class BestOfSettings(SamplingSettings):
    """The head's choice among sampled answers to questions whose right answer is known."""

    tasks: tuple[str, ...] = Field(
        strict=False, min_length=1, description="tasks of config/tasks.yaml whose prompts list the answers"
    )
    prompts: int = Field(ge=1, description="questions a task")
