"""A task of one's own: the code, the row and the words of docs/evaluation.md as they stand on the page."""

import gc
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from preftune.data import tasks as package
from preftune.data.tasks import registry
from preftune.data.tasks.registry import find_tasks
from preftune.data.templates import read_templates
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
ROW = {
    "premise": "It rained.",
    "question": "effect",
    "choice1": "It was wet.",
    "choice2": "It was dry.",
    "label": 0,
}


def test_the_pages_task_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    example, row, words = (yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
    tasks, templates = tmp_path / "tasks.yaml", tmp_path / "words.yaml"
    tasks.write_text(yaml.safe_dump(row))
    templates.write_text(yaml.safe_dump({"format": "chat", "tasks": words}))
    # A file in the package's folder, which the registry finds.
    (tmp_path / "copa.py").write_text(code)
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    registry.kinds.cache_clear()
    (task,) = find_tasks(["copa"], str(templates), tasks)
    (question,) = task.questions([ROW])
    assert question.messages == [{"role": "user", "content": "It rained. What was the effect?"}]
    assert (question.candidates, question.answer) == (["It was wet.", "It was dry."], "It was wet.")
    (own := tmp_path / "example.yaml").write_text(yaml.safe_dump(example))
    asked = find_tasks(["cola"], str(own))[0].question({"sentence": "Red.", "label": 1}, 0)
    assert asked.messages[1]["content"] == "Sentence: Red.\nDoes it make sense? no or yes?"


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    """The page's class is gone after its test: the registry asks a base class for its subclasses."""
    yield
    sys.modules.pop("preftune.data.tasks.copa", None)
    vars(package).pop("copa", None)
    gc.collect()
    registry.kinds.cache_clear()


@pytest.mark.parametrize("name", ["chat", "lm-eval"])
def test_the_page_names_every_set(name: str) -> None:
    assert f"config/templates/{read_templates(name).path.name}" in PAGE
