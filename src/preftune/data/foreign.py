"""Wording by other people's own code, which is fetched as text and words rows in a process of its own.

So the DPH paper's released weights are asked in the very words that they were trained with: nothing of them is retyped, and
nothing of their code stands here. What is relied on: a module `tasks/<name>.py` with a DIRECTORY of factories (one argument, a
cache folder), whose objects have `create_unlabelled_message_list(row)`. It gives for each candidate, in the order of the labels,
the messages of a conversation that the candidate ends. Anything else is refused by name.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import Field

from preftune.data import foreign_worker
from preftune.errors import PreftuneError
from preftune.settings.base import Settings

ROLES = ("system", "user", "assistant")


class CodeSource(Settings):
    """A repository whose code words questions: an archive of one commit, and the folder in it that holds the code."""

    url: str = Field(description="archive of the pinned commit")
    folder: str = Field(
        pattern="/$", description="folder of the archive with task_base.py and tasks/, ending in /"
    )
    licence: str
    files: dict[str, str] = Field(
        default_factory=dict, description="its files as they were fetched; none in a set of config/templates/"
    )


class Wordings:
    """The process of one source; it ends with this one."""

    def __init__(self, source: CodeSource) -> None:
        self._source = source
        command = [sys.executable, "-I", "-S", str(foreign_worker.__file__)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8", env={},
            cwd=tempfile.gettempdir(),
        )  # fmt: skip
        self._send(source.files)

    def ask(self, task: str, row: Mapping[str, Any]) -> tuple[list[dict[str, str]], list[str]]:
        """Messages and candidates of a row of one of their tasks (`arc/easy`).

        Raises:
            ValueError: their code fails on the row.
            PreftuneError: the process has ended, or words rows in another form.
        """
        self._send({"task": task, "row": dict(row)})
        line = self._process.stdout.readline()  # type: ignore[union-attr]
        if not line:
            raise PreftuneError(
                f"{self._source.url}: its code ended the process that words questions: see above, and pin the commit that the "
                "template set was written for."
            )
        answer = json.loads(line)
        if "error" in answer:
            raise ValueError(f"{task} of {self._source.url} fails on it ({answer['error']})")
        return self._read(task, answer["conversations"])

    def _send(self, value: Any) -> None:
        stream = self._process.stdin
        assert stream is not None
        try:
            stream.write(json.dumps(value) + "\n")
            stream.flush()
        except BrokenPipeError:
            pass  # the missing answer says it

    def _read(self, task: str, conversations: list[list[Any]]) -> tuple[list[dict[str, str]], list[str]]:
        heads = {json.dumps(one[:-1]) for one in conversations}
        messages = [message for one in conversations for message in one]
        ends = {one[-1][0] for one in conversations if one}
        sound = all(
            role in ROLES and isinstance(text, str) and complete is True for role, text, complete in messages
        )
        if len(conversations) < 2 or len(heads) != 1 or ends != {"assistant"} or not sound:
            raise PreftuneError(
                f"{self._source.url}: {task} does not word a row as one question with an answer a candidate: pin the commit that "
                "the template set was written for."
            )
        question = [{"role": role, "content": text} for role, text, _ in conversations[0][:-1]]
        return question, [one[-1][1] for one in conversations]


def start_wordings(source: CodeSource, name: str) -> Wordings:
    """The process of a source, started once; `name` is the template set's.

    Raises:
        PreftuneError: the source was not fetched.
    """
    if not source.files:
        raise PreftuneError(
            f"the template set {name} is worded by {source.url}, which is not fetched yet: give --templates the file that "
            "fetch_prompts makes of it."
        )
    return _start(source.model_dump_json())


@cache
def _start(source: str) -> Wordings:
    return Wordings(CodeSource.model_validate_json(source))
