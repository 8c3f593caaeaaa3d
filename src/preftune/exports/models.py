"""The trained models of a results folder: which there are, and what kind of folder each is."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from preftune.provenance.records import Record
from preftune.provenance.store import Store

ADAPTER, CONFIG, HEAD, CONNECTOR = "adapter_config.json", "config.json", "head.json", "connector.safetensors"
LANGUAGE_MODEL = "language_model"


@dataclass(frozen=True)
class Model:
    """One trained model: its step, the folder that holds it, and its name in the paper's part of the results."""

    record: Record
    output: dict[str, Any]
    paper: str
    run: str
    seed: str

    @property
    def name(self) -> str:
        """Run and seed."""
        return f"{self.run}-{self.seed}"

    @property
    def files(self) -> list[str]:
        """The files of its folder, as its record names them."""
        return sorted(self.output["files"])

    @cached_property
    def groups(self) -> list[str]:
        """The folders of a captioner's adapters."""
        inside = (PurePosixPath(file) for file in self.files)
        return [path.parent.name for path in inside if path.name == ADAPTER and len(path.parts) == 2]

    @property
    def is_captioner(self) -> bool:
        """Whether it has a connector to images."""
        return CONNECTOR in self.files

    @property
    def is_adapter(self) -> bool:
        """Whether it has to be put on its base model."""
        return CONFIG not in self.files and f"{LANGUAGE_MODEL}/{CONFIG}" not in self.files

    @property
    def loader(self) -> str:
        """What loads it: the connector of a captioner is known to this project alone."""
        return "preftune" if self.is_captioner else "peft" if ADAPTER in self.files else "transformers"


def list_models(store: Store) -> list[Model]:
    """Every trained model of a results folder, by its path."""
    found = []
    for record in sorted(store.steps, key=lambda one: one.made):
        parts = record.made.removeprefix(f"{store.prefix}/").split("/")
        if record.rule.startswith("train_") and len(parts) == 4:
            found.append(Model(record, next(iter(record.outputs())), parts[0], *parts[2:]))
    return found


def base_path(store: Store, record: Record) -> str | None:
    """The path, as records name it, of the fetched language model that a model was trained from."""
    inputs = record.facts["inputs"]
    for item in inputs.get("base", ()):
        return str(item["path"])
    for item in inputs.get("model", ()):
        above = store.maker(item["path"])
        return base_path(store, above) if above is not None else None
    return None


def scale_of(store: Store) -> str:
    """The scale of a results folder by its name: results/ itself is the demo's."""
    return Path(store.prefix).name if "/" in store.prefix else "demo"
