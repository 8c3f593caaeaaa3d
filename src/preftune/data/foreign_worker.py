"""The process in which other people's task classes word rows: run by its path with `python -I -S`, never imported for use.

The first line that comes is a JSON object, their files by path (`task_base.py`, `tasks/arc.py`); each further one is a task
(`arc/easy`: the module, and the key in its DIRECTORY) and a row. Each of these is answered by one line: for each candidate the
messages (role, content, whether it is complete) of the conversation that it ends, or an error. What they import beside the
standard library is not there: anything stands for it, since wording needs none of it.
"""

import importlib
import importlib.abc
import importlib.machinery
import json
import os
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

PACKAGE = "theirs"


class _Kind(type):
    """So that the class has every attribute too: `torch.nn.Module` is one of a library's."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything


class Anything(metaclass=_Kind):
    """Whatever a library has: a class, an object of it, what a function gives back."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything()

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return Anything()

    def __class_getitem__(cls, item: Any) -> Any:
        return cls


class Files(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports their files as modules of one package, without the packages' own code, which would import every task."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self._files = files

    def find_spec(
        self, name: str, path: Any = None, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name.partition(".")[0] != PACKAGE:
            return None
        folder = "/".join(name.split(".")[1:])
        is_package = any(file.startswith(f"{folder}/" if folder else "") for file in self._files)
        if not is_package and f"{folder}.py" not in self._files:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=is_package)

    def exec_module(self, module: ModuleType) -> None:
        path = "/".join(module.__name__.split(".")[1:]) + ".py"
        if path in self._files:
            exec(compile(self._files[path], path, "exec"), vars(module))


class Libraries(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives a module of Anything for whatever nobody else has found."""

    def find_spec(
        self, name: str, path: Any = None, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name.partition(".")[0] == PACKAGE:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__getattr__"] = self._give

    @staticmethod
    def _give(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything


def word(tasks: dict[str, Any], task: str, row: Mapping[str, Any]) -> list[list[tuple[str, str, bool]]]:
    """The conversation of each candidate; `tasks` keeps what was made before."""
    if task not in tasks:
        module, _, key = task.partition("/")
        tasks[task] = importlib.import_module(f"{PACKAGE}.tasks.{module}").DIRECTORY[key]("")
    lists = tasks[task].create_unlabelled_message_list(row)
    return [[(one.role, one.content, one.complete) for one in messages] for messages in lists]


def main() -> None:
    """Answer until the lines end; what their code prints is no answer."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    sys.stdout = sys.stderr
    sys.meta_path.insert(0, Files(json.loads(sys.stdin.readline())))
    sys.meta_path.append(Libraries())
    tasks: dict[str, Any] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            answer: dict[str, Any] = {"conversations": word(tasks, asked["task"], asked["row"])}
        except Exception as error:  # theirs may raise any
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
