"""An upload-ready folder for each trained model: weights, configuration, tokenizer, card, licences and record, and no more.

The weights are hard links to those of the results, so that the folder costs no disk; where two disks are involved they are
copied. So it is made when it is asked for, and no step of the workflow: it is a view of the results, and nothing rests on it.
"""

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from preftune.errors import PreftuneError
from preftune.exports.licences import hub_licence, list_limits, write_licence, write_notice
from preftune.exports.model_cards import write_card
from preftune.exports.models import ADAPTER, Model, base_path
from preftune.exports.sections import is_embedded
from preftune.exports.sources import Source, Sources
from preftune.files import atomic_write_text, read_json, replace_path, write_json
from preftune.provenance.hashes import Hashes
from preftune.provenance.privacy import find_private, find_secret
from preftune.provenance.records import Record
from preftune.provenance.store import Store

CARD, LICENCE, NOTICE, RECORD = "README.md", "LICENSE", "NOTICE", "run.json"
WEIGHTS = ".safetensors"
_PLAIN = (".json", ".jsonl", ".jinja", ".txt", ".md", ".model")
"""Endings of other files that a model may bring: no pickle, and nothing that runs when it is loaded."""
_TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt",
    "tokenizer.model", "chat_template.jinja", "generation_config.json",
)  # fmt: skip
_WORDS = ("tokenizer.json", "vocab.json", "merges.txt", "tokenizer.model", "added_tokens.json")
"""Files that list words of a language, among which names of users and machines may stand by chance."""
_TERMS = ("LICENSE*", "LICENCE*", "NOTICE*", "COPYING*", "USE_POLICY*")
_ABSOLUTE = re.compile(
    r'"/(?:[\w.+-]+/)+[\w.+-]*|(?<![\w./:"])/(?:root|tmp|mnt|scratch|data|var|opt|workspace)/[\w.+-]+'
)


@dataclass(frozen=True)
class Folder:
    """A finished folder and what a person should know before it leaves the house.

    licence: the one licence of all its parts by the hub's name, or theirs together.
    limits: a sentence for each part whose licence limits what may be done with the model.
    demo: whether rows take part that this project draws.
    """

    path: Path
    model: Model
    licence: str
    limits: tuple[str, ...]
    demo: bool

    @property
    def files(self) -> dict[str, int]:
        """Bytes of each file by its path in the folder."""
        found = sorted(path for path in self.path.rglob("*") if path.is_file())
        return {path.relative_to(self.path).as_posix(): path.stat().st_size for path in found}


def build_folder(store: Store, known: Sources, model: Model, steps: Sequence[Record]) -> Folder:
    """Write `upload/<paper>/<run>/seed-<n>/` below the results; an older folder there is replaced.

    Args:
        known: what each step's output rests on.
        steps: the steps that evaluated the model.

    Raises:
        PreftuneError: a file of the model is not what its record says, is of a kind that is not uploaded, or tells who made it.
    """
    sources = known.of(model.record)
    target = store.folder / "upload" / model.paper / model.run / model.seed
    new = target.with_name(f".{target.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    _copy_model(store, sources, model, new)
    _copy_terms(store, model, new)
    atomic_write_text(new / CARD, write_card(store, sources, model, steps))
    atomic_write_text(new / LICENCE, write_licence(sources))
    atomic_write_text(new / NOTICE, write_notice(sources))
    shutil.copyfile(model.record.path, new / RECORD)
    for path in sorted(new.rglob("*")):
        if path.is_file():
            _check_file(path, new)
    replace_path(new, target)
    licence = hub_licence(sources)
    named = licence.license_name or licence.license
    return Folder(target, model, named, tuple(list_limits(sources)), is_embedded(sources))


def _copy_model(store: Store, sources: Sequence[Source], model: Model, target: Path) -> None:
    """The files that its training wrote, and of an adapter the tokenizer that it was trained with."""
    folder = store.locate(str(model.output["path"]))
    found = Hashes().files(folder) if folder.is_dir() else {}
    for name, digest in model.output["files"].items():
        if found.get(name) != digest:
            raise PreftuneError(
                f"{folder / name} is missing or not what its record says was written: {store.remake(model.record.made)}"
            )
        if name.rsplit("/", 1)[-1] != CARD:  # PEFT's own, an empty form
            _place(folder / name, target / name)
    if model.is_adapter and (base := base_path(store, model.record)) is not None:
        for name in _TOKENIZER:
            if (store.locate(base) / name).is_file() and not (target / name).exists():
                _place(store.locate(base) / name, target / name)
        for path in target.rglob(ADAPTER):
            _name_base(path, base, sources)


def _place(source: Path, target: Path) -> None:
    """Link weights, which are large and never edited; copy all else, so that the results' own files stay apart."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix == WEIGHTS:
        try:
            os.link(source.resolve(), target)
            return
        except OSError:  # another disk, or one without links
            pass
    shutil.copyfile(source, target)


def _name_base(path: Path, base: str, sources: Sequence[Source]) -> None:
    """Let an adapter name the repository of its base model, where it has one, and not a folder of ours."""
    name = base.rsplit("/", 1)[-1]
    hub = next((source.hub for source in sources if source.name == name and source.hub), base)
    write_json(path, {**read_json(path), "base_model_name_or_path": hub})


def _copy_terms(store: Store, model: Model, target: Path) -> None:
    """The licence files that a fetched model brought along, as its licence may ask: `licences/<model>/`."""
    for record in store.upstream([str(model.output["path"])]):
        if record.rule != "fetch_model":
            continue
        folder = store.locate(record.made)
        for path in sorted(path for pattern in _TERMS for path in folder.glob(pattern) if path.is_file()):
            _place(path, target / "licences" / folder.name / path.name)


def _check_file(path: Path, folder: Path) -> None:
    """Raise PreftuneError for a file of a kind that is not uploaded, or that tells who made it or where."""
    name = path.relative_to(folder).as_posix()
    own = name in (LICENCE, NOTICE) or name.startswith("licences/")
    if not own and path.suffix != WEIGHTS and path.suffix not in _PLAIN:
        raise PreftuneError(
            f"{name} is of a kind that is not uploaded (weights must be safetensors, never pickles): take it out of the model's "
            "folder by training the run again."
        )
    text = _head(path) if path.suffix == WEIGHTS else path.read_bytes().decode("utf-8", "replace")
    found = find_secret(text) if path.name in _WORDS or name.startswith("licences/") else _find_any(text)
    if found:
        raise PreftuneError(
            f"{name} of {folder.parent.name} would tell {found}: make the step that wrote it again without it."
        )


def _find_any(text: str) -> str:
    return find_private(text) or ("an absolute path" if _ABSOLUTE.search(text) else "")


def _head(path: Path) -> str:
    """The header of a safetensors file, with its metadata: 8 bytes of length, then JSON."""
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        return stream.read(length).decode("utf-8", "replace")
