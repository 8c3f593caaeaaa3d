"""What is said under a table of prompts and of the sources of its published rows."""

import json
from collections.abc import Iterable
from pathlib import Path

import pytest
from jsonschema import validate

from preftune.errors import PreftuneError
from preftune.provenance.store import Store
from preftune.report.cells import describe_cell, view_claim
from preftune.report.chains import Chains
from preftune.tables.assemble import Setting, build_records
from preftune.tables.cells import CellRecord, read_cells
from preftune.tables.claims import judge_claims, read_claims
from preftune.tables.claims_render import describe_claims, render_claims_latex, render_claims_markdown
from preftune.tables.render import describe, render_csv, render_latex, render_markdown
from preftune.tables.scores import ScoreStore
from preftune.tables.templates import state_templates
from tests.unit.tables.score_folders import write_run

CONFIG = Path(__file__).parents[3] / "config"
CELLS = read_cells(CONFIG / "cells.tsv")
DEMO = Setting("demo", "embedded")
CHAT, PLAIN = ("chat", "ab" * 32), ("plain", "cd" * 32)
CITED = "Cited rows were scored by others, with other prompts or none."


def state(root: Path, run: str, name: str, sha256: str, tasks: Iterable[str] = ("*",)) -> None:
    """Write the template set into the score files of a run."""
    for path in (path for task in tasks for path in root.glob(f"{run}/seed-*/{task}.json")):
        record = json.loads(path.read_text()) | {"templates": {"name": name, "sha256": sha256}}
        path.write_text(json.dumps(record))


def table(name: str, root: Path) -> list[CellRecord]:
    store = ScoreStore([root])
    return state_templates(build_records([cell for cell in CELLS if cell.table == name], store, DEMO), store)


def prompts(records: list[CellRecord], name: str = "race") -> list[str]:
    return [line for line in describe(name, records, DEMO) if "rompts" in line]


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    write_run(tmp_path, "sft", [0, 1], 0.5, items=8)
    write_run(tmp_path, "dph-joint", [0], 0.5, reward=0.5, items=8)
    return tmp_path


def test_rows_that_share_their_prompts_say_so(scores: Path) -> None:
    for run in ("sft", "dph-joint"):
        state(scores, run, *CHAT)
    records = table("race", scores)
    assert prompts(records) == ["Prompts: chat (abababab).", CITED]
    found = {(record.row, record.column): record.as_json()["templates"] for record in records}
    assert found["Ours (SFT)", "Avg"] == [{"name": "chat", "sha256": "ab" * 32}]
    assert found["GPT-1", "Avg"] == []
    schema = json.loads((CONFIG / "schemas" / "cell.schema.json").read_text())
    validate([record.as_json() for record in records], schema["properties"]["records"])
    shown = {(record.row, record.column): dict(describe_cell(record)) for record in records}
    assert shown["Ours (SFT)", "Avg"]["prompts"] == f"chat ({'ab' * 32})"
    assert "prompts" not in shown["GPT-1", "Avg"]


def test_rows_with_other_prompts_are_named(scores: Path) -> None:
    state(scores, "sft", *CHAT)
    state(scores, "dph-joint", *PLAIN)
    assert prompts(table("race", scores)) == [
        "Prompts differ: chat (abababab): rows Ours (SFT); plain (cdcdcdcd): rows Ours (DPO), Ours (DPH).",
        CITED,
    ]


def test_a_row_of_two_sets_stands_with_both_and_older_files_are_not_hidden(scores: Path) -> None:
    state(scores, "sft", *CHAT, tasks=["race-middle"])
    state(scores, "sft", *PLAIN, tasks=["race-high"])
    assert prompts(table("race", scores))[0] == (
        "Prompts differ: chat (abababab): rows Ours (SFT); plain (cdcdcdcd): rows Ours (SFT); "
        "not stated: rows Ours (DPO), Ours (DPH)."
    )


def test_files_that_state_no_prompts_have_no_line(scores: Path) -> None:
    assert prompts(table("race", scores)) == [CITED]
    assert prompts(table("parameters", scores), "parameters") == []


def test_claims_state_the_prompts_of_what_they_compare(scores: Path) -> None:
    claims = [claim for claim in read_claims(CONFIG / "claims.tsv", CELLS) if claim.paper == "dph"]
    state(scores, "sft", *CHAT)
    state(scores, "dph-joint", *CHAT)
    records = judge_claims(claims, CELLS, ScoreStore([scores]))
    schema = json.loads((CONFIG / "schemas/claim.schema.json").read_text())
    validate([one.as_json() for one in records], schema["properties"]["records"])
    found = {record.id: record for record in records}
    assert found["dph-above-sft"].templates == ({"name": "chat", "sha256": "ab" * 32},)
    assert found["dph-above-dpo-only"].templates == ()
    chains = Chains(Store(scores, "results"))
    assert dict(view_claim(found["dph-above-sft"], chains).record)["prompts"] == f"chat ({'ab' * 32})"
    text = render_claims_markdown("dph", records, DEMO)
    assert text.splitlines()[-1].endswith("a lower perplexity is better. Prompts: chat (abababab).")


def test_claims_that_compare_other_prompts_are_named(scores: Path) -> None:
    claims = [claim for claim in read_claims(CONFIG / "claims.tsv", CELLS) if claim.paper == "dph"]
    state(scores, "sft", *CHAT)
    records = judge_claims(claims, CELLS, ScoreStore([scores]))
    assert "rompts" not in describe_claims([one for one in records if not one.templates], DEMO)
    state(scores, "dph-joint", *PLAIN)
    records = judge_claims(claims, CELLS, ScoreStore([scores]))
    note = describe_claims([one for one in records if one.id in ("dph-above-sft", "dph-above-log")], DEMO)
    assert note.endswith(
        "Prompts differ: chat (abababab): rows dph-joint:reward vs sft:log; "
        "plain (cdcdcdcd): rows dph-joint:reward vs sft:log, dph-joint:reward vs dph-joint:log."
    )
    assert render_claims_latex("dph", records, DEMO).isascii()


@pytest.mark.parametrize("stated", ["chat", {"name": "chat"}, {"name": "chat", "sha256": 3}])
def test_templates_of_another_shape_are_named(scores: Path, stated: object) -> None:
    path = scores / "sft" / "seed-0" / "race-high.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"templates": stated}))
    with pytest.raises(PreftuneError, match=r"race-high\.json: templates is .*, not a name and a sha256"):
        table("race", scores)


@pytest.mark.parametrize("name", ["glue", "gpt4all", "race"])
def test_tables_end_with_the_source_of_every_published_row(tmp_path: Path, name: str) -> None:
    records = table(name, tmp_path)
    last = render_markdown(name, records, DEMO).splitlines()[-1]
    assert last.startswith("Sources: ")
    for record in records:
        if record.published:
            assert record.row in last and record.source in last
    assert last == f"{describe(name, records, DEMO)[-1]}"
    latex = render_latex(name, records, DEMO)
    assert "Sources: " in latex and latex.isascii()
    assert records[-1].source in render_csv(records, DEMO)


def test_sources_group_their_rows(tmp_path: Path) -> None:
    (line,) = [line for line in describe("gpt4all", table("gpt4all", tmp_path), DEMO) if "Sources" in line]
    readme = "authors' README, direct-preference-heads 25bf5273"
    cited = "Pythia-1.0B, Pythia-1.4B, TinyLlama (3T)"
    checked = "checked against the released"
    assert line == (
        f"Sources: Ours (Vocab), {cited}: {readme} · Ours (SFT): {readme}; {checked} -sft score files · "
        f"Ours (DPO), Ours (DPH): {readme}; {checked} -dph score files."
    )
