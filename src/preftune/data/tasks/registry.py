"""The tasks of `config/tasks.yaml`, by name."""

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from preftune.data.tasks.base import Task
from preftune.data.templates import TemplateSet, read_templates
from preftune.errors import PreftuneError
from preftune.modules import import_submodules
from preftune.names import nearest

TASKS_FILE = Path(__file__).resolve().parents[4] / "config" / "tasks.yaml"


@cache
def kinds() -> dict[str, type[Task]]:
    """The class of each template: every module of this package is read, so that a new task is a new file."""
    import_submodules("preftune.data.tasks")
    found: dict[str, type[Task]] = {}
    waiting = Task.__subclasses__()
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        found |= dict.fromkeys(vars(kind).get("templates", ()), kind)
    return found


def read_rows(path: Path = TASKS_FILE) -> dict[str, dict[str, Any]]:
    """Return every row of the registry file by its task's name."""
    rows: dict[str, dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return rows


def read_tasks(templates: str = "chat", path: Path = TASKS_FILE) -> dict[str, Task]:
    """Return every task of the registry file by its name, worded by a template set that knows them all."""
    return {task.name: task for task in find_tasks(read_rows(path), templates, path)}


def find_tasks(names: Iterable[str], templates: str = "chat", path: Path = TASKS_FILE) -> list[Task]:
    """Return the named tasks in the given order, worded by a template set (its name, or a file of one's own); an unknown name
    is a PreftuneError with the nearest spelling.
    """
    rows, wordings = read_rows(path), read_templates(templates)
    found = []
    for name in names:
        if name not in rows:
            raise PreftuneError(f"the task {name!r} is not in {path}: {nearest(name, rows)}.")
        found.append(_build(name, rows[name], wordings, path))
    return found


def _build(name: str, row: dict[str, Any], wordings: TemplateSet, path: Path) -> Task:
    kind = row["template"]
    if kind not in kinds():
        raise PreftuneError(
            f"{path}: task {name} has the unknown template {kind!r}: {nearest(kind, kinds())}."
        )
    task = kinds()[kind]
    return task(
        name=name,
        suite=row["suite"],
        dataset=row["dataset"],
        split=row["split"],
        metrics=tuple(row["metrics"]),
        template=wordings.find(name, kind, task.labels),
        mixes=tuple(row["mixes"]),
        group=row.get("group", name),
    )
