"""A head on one's own model and pairs: the code of docs/dph.md as it stands on the page, and what it is made of."""

import csv
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from preftune.data.chat import encode_completion, encode_prompt
from preftune.errors import PreftuneError
from preftune.files import read_jsonl, sha256_file
from preftune.preference.alignment import AlignmentObjective, parameter_groups, start_alignment
from preftune.preference.heads import PreferenceModel
from preftune.preference.pairs import encode_pairs, train_on_pairs
from preftune.settings.alignment import AlignmentSettings
from preftune.tables.cells import TABLES
from preftune.training.loop import fit
from tests.conftest import ROOT
from tests.unit.preference.helpers import place_in

PAGE = (ROOT / "docs" / "dph.md").read_text(encoding="utf-8")
ROWS = [
    {"prompt": "Is the dog small?", "chosen": "yes", "rejected": "no"},
    {"prompt": "Is the cup red?", "chosen": "yes, the cup is red", "rejected": "no, it is blue"},
    {"prompt": "the ball", "chosen": "yes", "rejected": "no, under the chair"},
]
USER = {"role": "user", "content": "Is the dog small?"}
YES = {"role": "assistant", "content": "yes"}
TRAINING = {"steps": 8, "batch": 2, "learning_rate": 1e-2}


def settings(**changes: Any) -> AlignmentSettings:
    values = {"dph": "separable", "policy": "none", "freeze": "model", "pooler": "bert", "training": TRAINING}
    return AlignmentSettings.model_validate(values | changes)


def run_page(monkeypatch: pytest.MonkeyPatch, base: Path, folder: Path, code: str) -> dict[str, Any]:
    """What the page's code leaves behind, run where `my-model` is the tiny model."""
    shutil.copytree(base, folder / "my-model")
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    exec(compile(code, "docs/dph.md", "exec"), names)
    return names


@pytest.mark.parametrize("kind", ["frozen", "joint"])
def test_the_code_of_the_page_runs(
    kind: str, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It learns its pairs, and the language model moves only where it is trained."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert code.count("rows, frozen,") == 1
    names = run_page(monkeypatch, base, tmp_path, code.replace("rows, frozen,", f"rows, {kind},"))
    good, bad = names["rewards"].tolist()
    assert good > bad + 0.1
    assert len(names["written"]) == 4
    assert names["written"] == sorted(names["written"], key=lambda pair: -pair[1])
    weights = [sha256_file(Path(folder, "model.safetensors")) for folder in ("my-model", "my-run")]
    assert (weights[0] == weights[1]) == (kind == "frozen")
    metrics = read_jsonl(Path("my-run/metrics.jsonl"))
    assert len(metrics) == names["training"].steps
    assert ("policy_loss" in metrics[0]) == (kind == "joint")
    assert metrics[-1]["dph_loss"] < metrics[0]["dph_loss"]


def test_joint_training_starts_at_its_own_reference(base: Path, tmp_path: Path) -> None:
    """Before the first step every implicit reward is 0, and cDPO is log 2."""
    changes = {"policy": "dpo", "training": TRAINING | {"learning_rate": 1e-9}}
    for freeze in ("lora", "none"):
        train_on_pairs(base, ROWS, settings(freeze=freeze, **changes), tmp_path / freeze)
        first = read_jsonl(tmp_path / freeze / "metrics.jsonl")[0]
        assert first["policy_loss"] == pytest.approx(0.693147, abs=1e-4)
        assert first["implicit_margin"] == pytest.approx(0, abs=1e-4)


def test_cached_states_train_the_head_that_passes_through_the_model_train(base: Path, tmp_path: Path) -> None:
    train_on_pairs(base, ROWS, settings(), tmp_path / "cached", seed=5)
    found = PreferenceModel.from_pretrained(tmp_path / "cached")
    online = start_alignment(None, base, settings(), 5, "cpu", torch.float32)
    objective = AlignmentObjective(online, encode_pairs(online.tokenizer, ROWS), None, settings(), 5)
    fit(parameter_groups(online, settings()), objective, settings().training, place_in(tmp_path, seed=5))
    assert found.head is not None and online.head is not None
    for one, other in zip(found.head.parameters(), online.head.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


def test_an_adapter_goes_on_as_an_adapter(base: Path, tmp_path: Path) -> None:
    start_alignment(None, base, settings(freeze="lora"), 0, "cpu", torch.float32).save_pretrained(
        tmp_path / "sft"
    )
    train_on_pairs(tmp_path / "sft", ROWS, settings(freeze="lora", policy="sft"), tmp_path / "run")
    assert (tmp_path / "run" / "adapter_config.json").is_file()
    loaded = PreferenceModel.from_pretrained(tmp_path / "run")  # the adapter names its base model
    assert loaded.head is not None and loaded.causal_lm is not loaded.language_model


def test_encoded_pairs(base: Path) -> None:
    """A text is a user's message; messages stand as they are; an answer may be a whole conversation."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    system = {"role": "system", "content": "the red cup"}
    no = {"role": "assistant", "content": "no"}
    plain, messages, conversations, answers_alone = encode_pairs(
        tokenizer,
        [
            {"prompt": USER["content"], "chosen": "yes", "rejected": "no"},
            {"prompt": [system, USER], "chosen": "yes", "rejected": "no"},
            {"prompt": USER["content"], "chosen": [USER, YES], "rejected": [USER, no]},
            {"prompt": [USER], "chosen": [YES], "rejected": [no]},
        ],
    )
    branches = (encode_completion(tokenizer, "yes"), encode_completion(tokenizer, "no"))
    for pair in (plain, conversations, answers_alone):
        assert pair.prompt == encode_prompt(tokenizer, [USER]) and pair.branches == branches
    assert messages.prompt == encode_prompt(tokenizer, [system, USER]) and messages.branches == branches


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"prompt": None}, "row 1 has no prompt that both answers share"),
        ({"prompt": ""}, "row 1 has no prompt that both answers share"),
        ({"prompt": []}, "row 1 has no prompt that both answers share"),
        ({"rejected": [{"role": "user", "content": "another"}, YES]}, "row 1: rejected .* no shared prompt"),
        ({"chosen": [USER]}, "row 1: chosen .* no shared prompt"),
        ({"chosen": ""}, "row 1: the chosen answer is empty"),
        ({"rejected": " \n"}, "row 1: the rejected answer is empty"),
        ({"rejected": [{"role": "assistant", "content": ""}]}, "row 1: the rejected answer is empty"),
        ({"rejected": 4}, "row 1: the rejected answer is empty or no text"),
        ({"chosen": "no"}, "row 1 has two equal answers"),
    ],
)
def test_refused_pairs(base: Path, changes: dict[str, Any], sentence: str) -> None:
    bad = {"prompt": USER["content"], "chosen": "yes", "rejected": "no"} | changes
    with pytest.raises(PreftuneError, match=sentence):
        encode_pairs(AutoTokenizer.from_pretrained(base), [ROWS[0], bad])


def test_no_pairs_and_a_taken_folder_are_refused_and_a_failure_leaves_nothing(
    base: Path, tmp_path: Path
) -> None:
    with pytest.raises(PreftuneError, match="no pairs to train on"):
        train_on_pairs(base, [], settings(), tmp_path / "run")
    long = {"prompt": "the red cup " * 600, "chosen": "yes", "rejected": "no"}
    with pytest.raises(PreftuneError, match="tokens but the model reads"):
        train_on_pairs(base, [long], settings(), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "run").mkdir()
    with pytest.raises(PreftuneError, match="exists already"):
        train_on_pairs(base, ROWS, settings(), tmp_path / "run")


def section(title: str) -> str:
    """A section of the page."""
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def named(text: str, column: int) -> set[str]:
    """Names in code marks in one column of the section's tables."""
    cells = [line.split(" | ")[column] for line in text.splitlines() if line.startswith("| ")]
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def test_the_page_names_what_there_is() -> None:
    """Every alignment run of the registry, table and figure stands on the page, and no other does."""
    with (ROOT / "config" / "runs.tsv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    assert named(section("Runs"), 0) == {row["run"] for row in rows if row["stage"] == "alignment"}
    answers = section("Which table or figure answers what")
    assert named(answers, 1) == {"claims", *TABLES["dph"]}
    figures = named(answers, 2)
    assert set(re.findall(r"dph/figures/(\w+)\.png", PAGE)) <= figures
    assert all((ROOT / "workflow" / "scripts" / f"plot_{figure}.py").is_file() for figure in figures)


def test_links_of_the_page_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", PAGE)
    own = [link for link in links if "results/published" not in link]  # those files are made, not written
    assert own and all((ROOT / "docs" / link).exists() for link in own)
