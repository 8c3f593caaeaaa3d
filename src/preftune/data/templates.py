"""Template sets: the wording of every task, one YAML file a set (`config/templates/<name>.yaml`).

A set is `chat` (ChatML messages; an answer ends with `<|im_end|>`, where a reward head reads) or `text` (a plain context that
the answer continues after `delimiter`, as in lm-eval). A task's entry has Jinja2 templates over the fields of a row
(`Task.fields`): `prompt`, and either `answers`, the words of the labels in their order, or `answer`, the wording of each
`option` (with its `letter`). A prompt may name `answers`, the worded candidates. A chat prompt may be opened by `system`; a
text prompt that names `option` is worded for each candidate apart (WinoGrande in lm-eval).

A set with a `source` holds no words: each entry names the task of that code which words it (`foreign`), and the code is fetched.
"""

import re
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import jinja2
import yaml
from jinja2 import meta
from pydantic import Field, ValidationError

from preftune.data.foreign import CodeSource, start_wordings
from preftune.errors import PreftuneError
from preftune.files import atomic_write_text, sha256_file
from preftune.settings.base import Settings

FOLDER = Path(__file__).resolve().parents[3] / "config" / "templates"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_ENVIRONMENT = jinja2.Environment(
    undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False
)


def clean_wikihow(text: str) -> str:
    """HellaSwag's text without the marks of its WikiHow rows, as lm-eval prints it."""
    text = text.strip().replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", text).replace("  ", " ")


_ENVIRONMENT.filters["wikihow"] = clean_wikihow


class Wording(Settings):
    """One task's entry of a set."""

    prompt: str = ""
    system: str | None = Field(default=None, description="the message before a chat prompt")
    answers: tuple[str, ...] = Field(
        default=(), strict=False, description="words of the labels, in their order"
    )
    answer: str | None = Field(default=None, description="wording of each option")
    foreign: str | None = Field(default=None, description="the source's own task, such as arc/easy")


class SetFile(Settings):
    """A set's file."""

    format: Literal["chat", "text"]
    delimiter: str = Field(default="", description="between a text prompt and its answer")
    leading_eos: bool = Field(
        default=False, description="whether a chat starts with the tokenizer's end-of-sequence token"
    )
    source: CodeSource | None = Field(default=None, description="code that words every task")
    tasks: dict[str, Wording]


@dataclass(frozen=True)
class Asked:
    """A worded question: messages (chat) or contexts (text: one for all candidates, or one each), and candidates."""

    candidates: list[str]
    messages: list[dict[str, str]]
    contexts: tuple[str, ...]


@dataclass(frozen=True)
class Template:
    """The wording of one task, and the set that it belongs to."""

    set_name: str
    sha256: str
    format: str
    delimiter: str
    wording: Wording
    leading_eos: bool = False
    source: CodeSource | None = field(default=None, compare=False)

    @property
    def fields(self) -> set[str]:
        """The names that the wording reads of a row."""
        texts = (self.wording.prompt, self.wording.system, self.wording.answer)
        return set().union(*(_names(text) for text in texts if text is not None))

    def ask(self, fields: Mapping[str, Any], options: Sequence[str], letters: Sequence[str]) -> Asked:
        """Word a question; a field that a template names and the row lacks is a KeyError."""
        if self.source is not None:
            return self._ask_source(self.source, fields, options)
        wording = self.wording
        each = [{"option": text, "letter": letter} for text, letter in zip(options, letters, strict=True)]
        if wording.answer is None:
            candidates = list(wording.answers)
        else:
            candidates = [_render(wording.answer, {**fields, **one}) for one in each]
        known = {**fields, "answers": candidates}
        if self.format == "text":
            apart = each if "option" in _names(wording.prompt) else [{}]
            return Asked(candidates, [], tuple(_render(wording.prompt, {**known, **one}) for one in apart))
        system = [] if wording.system is None else [_message("system", _render(wording.system, known))]
        return Asked(candidates, [*system, _message("user", _render(wording.prompt, known))], ())

    def _ask_source(self, source: CodeSource, fields: Mapping[str, Any], options: Sequence[str]) -> Asked:
        """The source's own messages and candidates; of a row with options, each candidate must hold its option."""
        task = str(self.wording.foreign)
        messages, candidates = start_wordings(source, self.set_name).ask(task, fields)
        held = len(candidates) == len(options) and all(
            map(str.__contains__, candidates, map(str.strip, options))
        )
        if options and not held:
            raise ValueError(
                f"{task} of {source.url} words other candidates than its options, or in another order"
            )
        return Asked(candidates, messages, ())


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


@cache
def _compile(text: str) -> jinja2.Template:
    return _ENVIRONMENT.from_string(text)


@cache
def _names(text: str) -> frozenset[str]:
    return frozenset(meta.find_undeclared_variables(_ENVIRONMENT.parse(text)))


def _render(text: str, fields: Mapping[str, Any]) -> str:
    missing = _names(text) - fields.keys()
    if missing:
        raise KeyError(min(missing))
    return _compile(text).render(fields)


@dataclass(frozen=True)
class TemplateSet:
    """A set: its name, the sha256 of its file and the wording of each task."""

    name: str
    path: Path
    sha256: str
    content: SetFile

    def find(self, task: str, template: str, labels: int) -> Template:
        """The wording of a task; none, or a number of answers that is not that of its labels, is a PreftuneError."""
        wording = self.content.tasks.get(template)
        if wording is None:
            raise PreftuneError(
                f"{self.path}: the template set {self.name} has no wording of {template}, which task {task} needs: add it or "
                "take the task out."
            )
        content = self.content
        if content.source is None and len(wording.answers) != labels:
            remedy = (
                "give a word for each label, in their order" if labels else "word each `option` by `answer`"
            )
            raise PreftuneError(
                f"{self.path}: {template} has {len(wording.answers)} answers but {labels} labels: {remedy}."
            )
        return Template(
            self.name,
            self.sha256,
            content.format,
            content.delimiter,
            wording,
            content.leading_eos,
            content.source,
        )


def add_templates_option(parser: ArgumentParser) -> None:
    """Give a step the option `--templates`."""
    parser.add_argument(
        "--templates",
        type=Path,
        default=template_path("chat"),
        help="file of the template set that words the questions (default: %(default)s)",
    )


def template_path(name: str) -> Path:
    """The file of a set: `config/templates/<name>.yaml`, or the file itself where `name` ends in .yaml."""
    return Path(name) if name.endswith(".yaml") else FOLDER / f"{name}.yaml"


@cache
def read_templates(name: str) -> TemplateSet:
    """A set by its name, or from a file of the user's own; a fault of the file is a PreftuneError that names the key."""
    path = template_path(name)
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in FOLDER.glob("*.yaml")))
        raise PreftuneError(
            f"there is no template set {name!r} ({path}): give one of {known}, or a path that ends in .yaml."
        )
    try:
        content = SetFile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except yaml.YAMLError as error:
        raise PreftuneError(
            f"{path} is no YAML ({' '.join(str(error).split())}): correct the file."
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        raise PreftuneError(
            f"{path}: key {'.'.join(map(str, first['loc']))}: {first['msg']}: correct the file."
        ) from error
    for task, wording in content.tasks.items():
        _check_origin(path, task, wording, content.source)
        if content.source is None:
            _check(path, task, wording, content.format)
    return TemplateSet(path.stem, path, sha256_file(path), content)


def _check_origin(path: Path, task: str, wording: Wording, source: CodeSource | None) -> None:
    given = wording.model_fields_set
    if source is None and "prompt" not in given:
        raise PreftuneError(f"{path}: key tasks.{task}.prompt: it is missing: correct the file.")
    if given != {"foreign"} if source is not None else "foreign" in given:
        raise PreftuneError(
            f"{path}: {task}: a set with a source gives `foreign` alone, any other one never: correct it."
        )


def _check(path: Path, task: str, wording: Wording, form: str) -> None:
    for text in filter(None, (wording.prompt, wording.system, wording.answer)):
        try:
            _names(text)
        except jinja2.TemplateSyntaxError as error:
            raise PreftuneError(f"{path}: {task}: {error.message} in {text!r:.60}: correct it.") from error
    if bool(wording.answers) == (wording.answer is not None):
        raise PreftuneError(
            f"{path}: {task} needs either `answers` (words of the labels) or `answer` (each option): give one."
        )
    if form == "chat" and "option" in _names(wording.prompt):
        raise PreftuneError(
            f"{path}: {task}: a chat prompt is one for all candidates and cannot name `option`: use `answers`."
        )
    if form == "text" and wording.system is not None:
        raise PreftuneError(f"{path}: {task}: a text set has no messages: put `system` into the prompt.")


def write_fetched(path: Path, code: Path, output: Path) -> int:
    """Write a set with the files of its source, which lie in `code`, as text; returns their number.

    Raises:
        PreftuneError: there is no code, or it is no text.
    """
    files = sorted(code.rglob("*.py"))
    try:
        texts = {file.relative_to(code).as_posix(): file.read_text(encoding="utf-8") for file in files}
    except UnicodeDecodeError as error:
        raise PreftuneError(
            f"{path}: a file of its source is no UTF-8 text ({error}): pin another commit."
        ) from error
    if not texts:
        raise PreftuneError(
            f"{path}: its source holds no code in the folder that it names: correct the key source."
        )
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    content["source"]["files"] = texts
    atomic_write_text(output, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    return len(texts)
