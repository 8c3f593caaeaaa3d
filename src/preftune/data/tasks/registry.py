"""The tasks of `config/tasks.yaml`, by name."""

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from preftune.data.tasks.arc import Arc
from preftune.data.tasks.base import Task
from preftune.data.tasks.boolq import BoolQ
from preftune.data.tasks.cola import Cola
from preftune.data.tasks.gsm8k import Gsm8k
from preftune.data.tasks.hellaswag import HellaSwag
from preftune.data.tasks.mmlu import Mmlu
from preftune.data.tasks.mnli import Mnli
from preftune.data.tasks.mrpc import Mrpc
from preftune.data.tasks.openbookqa import OpenBookQa
from preftune.data.tasks.pairs import Pairs
from preftune.data.tasks.passage_contradiction import PassageContradiction
from preftune.data.tasks.piqa import Piqa
from preftune.data.tasks.qnli import Qnli
from preftune.data.tasks.qqp import Qqp
from preftune.data.tasks.race import Race
from preftune.data.tasks.rte import Rte
from preftune.data.tasks.squad_v2 import SquadAnswerable, SquadUnanswerable, SquadV2
from preftune.data.tasks.sst2 import Sst2
from preftune.data.tasks.stsb import Stsb
from preftune.data.tasks.truthfulqa import TruthfulQaMc1
from preftune.data.tasks.winogrande import WinoGrande
from preftune.data.tasks.wnli import Wnli
from preftune.data.templates import TemplateSet, read_templates
from preftune.errors import PreftuneError

TASKS_FILE = Path(__file__).resolve().parents[4] / "config" / "tasks.yaml"
KINDS: dict[str, type[Task]] = {
    "arc": Arc,
    "boolq": BoolQ,
    "cola": Cola,
    "gsm8k": Gsm8k,
    "hellaswag": HellaSwag,
    "hellaswag-choice": HellaSwag,
    "mmlu": Mmlu,
    "mnli": Mnli,
    "mrpc": Mrpc,
    "openbookqa": OpenBookQa,
    "pairs": Pairs,
    "passage-contradiction": PassageContradiction,
    "piqa": Piqa,
    "qnli": Qnli,
    "qqp": Qqp,
    "race": Race,
    "rte": Rte,
    "squad-answerable": SquadAnswerable,
    "squad-unanswerable": SquadUnanswerable,
    "squad-v2": SquadV2,
    "sst2": Sst2,
    "stsb": Stsb,
    "truthfulqa-mc1": TruthfulQaMc1,
    "winogrande": WinoGrande,
    "wnli": Wnli,
}


def nearest(name: str, names: Iterable[str]) -> str:
    """Return "did you mean ..." for the nearest of `names`, or the list of all of them."""
    names = sorted(names)
    close = get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"valid names are {', '.join(names)}"


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
    if kind not in KINDS:
        raise PreftuneError(f"{path}: task {name} has the unknown template {kind!r}: {nearest(kind, KINDS)}.")
    task = KINDS[kind]
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
