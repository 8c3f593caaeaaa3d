"""The code of docs/adapters.md, as it stands on the page."""

import re
from pathlib import Path

import pytest
import torch
import yaml

from preftune.settings.adapters import AdapterSettings
from tests.conftest import ROOT
from tests.tiny import tiny_language_model

PAGE = (ROOT / "docs" / "adapters.md").read_text(encoding="utf-8")


def test_the_pages_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tiny_language_model(tmp_path / "my-model")
    code = "".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    torch.manual_seed(0)
    found: dict[str, object] = {}
    exec(compile(code, "docs/adapters.md", "exec"), found)
    losses, loaded, adapters = found["losses"], found["loaded"], found["adapters"]
    assert losses[-1] < losses[0]  # type: ignore[index]
    assert list(loaded.groups) == ["image", "text", "question"]  # type: ignore[attr-defined]
    own = dict(adapters.named_parameters())  # type: ignore[attr-defined]
    again = dict(loaded.named_parameters())  # type: ignore[attr-defined]
    assert own.keys() <= again.keys() and all(torch.equal(value, again[name]) for name, value in own.items())


def test_the_pages_groups_are_settings() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    groups = AdapterSettings.model_validate(yaml.safe_load(text)).named_groups()
    assert {name: (group.rank, group.targets) for name, group in groups.items()} == {
        "picture": (16, "AF"), "question": (8, "A"), "everywhere": (8, "AF"),
    }  # fmt: skip
