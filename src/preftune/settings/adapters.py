"""Context adapters: which parameters are added to a language model, and for which tokens (Context-PEFT, section 3.3)."""

from typing import Literal

from pydantic import Field, model_validator

from preftune.settings.base import Settings

Modality = Literal["image", "text"]
Role = Literal["system", "user", "assistant", "caption"]
"""Whose words a token belongs to: those of a chat, or a caption without a chat (image tokens and BOS included)."""


class GroupSettings(Settings):
    """One group of parameters; it is on at a token whose modality and role are both named (null: any)."""

    modalities: list[Modality] | None = Field(default=None, min_length=1)
    roles: list[Role] | None = Field(default=None, min_length=1)
    rank: int | None = Field(default=None, ge=1, description="LoRA's rank (null: the adapter's)")
    targets: Literal["A", "F", "AF"] | None = Field(default=None, description="null: the adapter's")
    alpha: float | None = Field(default=None, gt=0, description="null: the adapter's")


CONTEXTS: dict[str, dict[str, GroupSettings]] = {
    "agnostic": {"all": GroupSettings()},
    "specific": {"image": GroupSettings(modalities=["image"]), "text": GroupSettings(modalities=["text"])},
    "image": {"image": GroupSettings(modalities=["image"])},
    "text": {"text": GroupSettings(modalities=["text"])},
}
"""The paper's two, and its controls: a group for image tokens alone (P-LoRA of InternLM-XComposer2) or for text alone."""


class AdapterSettings(Settings):
    """A context adapter, or none, or the whole language model (`full`)."""

    kind: Literal["none", "lora", "bitfit", "ia3", "moka", "full"]
    context: Literal["agnostic", "specific", "image", "text"] = "specific"
    groups: dict[str, GroupSettings] | None = Field(
        default=None, min_length=1, description="groups of one's own by name, in the place of the context's"
    )
    targets: Literal["A", "F", "AF"] = "AF"
    rank: int = Field(default=8, ge=1)
    alpha: float | None = Field(
        default=None,
        gt=0,
        description="LoRA's updates are scaled by alpha / rank (null: by 1, as the paper's)",
    )
    rslora: bool = Field(default=False, description="scale by alpha / sqrt(rank) instead")

    @model_validator(mode="after")
    def _scaled(self) -> "AdapterSettings":
        scaled = self.rslora or any(group.alpha is not None for group in self.named_groups().values())
        if scaled and self.kind != "lora":
            raise ValueError(f"alpha and rslora scale LoRA's updates: leave them out for {self.kind}")
        if self.rslora and any(group.alpha is None for group in self.named_groups().values()):
            raise ValueError("rslora: true needs alpha, which it divides by the root of the rank")
        return self

    @model_validator(mode="after")
    def _named(self) -> "AdapterSettings":
        for name in self.groups or ():
            if not name.isidentifier() or name != name.lower():
                raise ValueError(f"the group name '{name}' must be of lower-case letters, digits and _")
        return self

    def named_groups(self) -> dict[str, GroupSettings]:
        """The groups by name, rank, targets and alpha filled in."""
        own = self.groups if self.groups is not None else CONTEXTS[self.context]
        return {
            name: group.model_copy(
                update={
                    "rank": group.rank or self.rank,
                    "targets": group.targets or self.targets,
                    "alpha": group.alpha or self.alpha,
                }
            )
            for name, group in own.items()
        }
