"""Pages that show published numbers: each is what the records say, and no result is typed by hand."""

import json
import re
from pathlib import Path

import pytest

from preftune.errors import PreftuneError
from preftune.files import read_json
from preftune.tables.pages import (
    NUMBER,
    PAGES,
    PUBLISHED,
    fill_markers,
    fill_numbers,
    print_number,
    read_blocks,
)

ROOT = Path(__file__).resolve().parents[3]
RACE = "demo/dph/race/Ours (SFT)/middle"
RESULT = re.compile(r"\d\.\d|±|\d ?%|\[-?\d")
"""What a result looks like; years, seeds and counts of items have no such form."""


def prose(text: str) -> str:
    """A page without what is generated, its code and the targets of its links."""
    text = re.sub(r"<!-- generated:.*?<!-- /generated -->", "", text, flags=re.DOTALL)
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return re.sub(r"`[^`]*`|\]\([^)]*\)", "", NUMBER.sub("", text))


@pytest.mark.parametrize("page", PAGES.values())
def test_numbers_in_sentences_are_the_published_ones(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert fill_numbers(text, PUBLISHED, page) == text, "make publish writes the pages anew"


@pytest.mark.parametrize("scale", PAGES)
def test_tables_of_a_page_are_the_published_ones(scale: str) -> None:
    text = (ROOT / PAGES[scale]).read_text(encoding="utf-8")
    blocks = read_blocks(PUBLISHED / scale)
    shown = re.findall(r"<!-- generated:(\w+/\w+) -->", text)
    assert shown
    for name in shown:
        (found,) = re.findall(rf"<!-- generated:{name} -->\n\n(.*?)\n\n<!-- /generated -->", text, re.DOTALL)
        assert found == blocks[name].strip(), name


def test_no_result_of_the_page_of_results_is_typed_by_hand() -> None:
    assert RESULT.findall(prose((ROOT / "docs/results.md").read_text(encoding="utf-8"))) == []
    typed = "It is 43.0 ± 3.7 here, 12 % there.\n<!-- number:a/b/c/d/e -->1.0<!-- /number --> and `0.1`\n"
    assert len(RESULT.findall(prose(typed))) == 4


def test_a_number_is_printed_as_its_table_prints_it() -> None:
    table = (PUBLISHED / "demo/dph/tables/race.md").read_text(encoding="utf-8")
    number = print_number(PUBLISHED, RACE, "page")
    assert "±" in number and number in table
    text = f"The score is <!-- number:{RACE} -->?<!-- /number -->, so."
    assert fill_numbers(text, PUBLISHED, "page") == text.replace("?", number)


def test_a_column_may_hold_a_slash() -> None:
    name = "demo/context_peft/controls/bitfit-af-specific/ratio blank / image"
    assert float(print_number(PUBLISHED, name, "page").split()[0]) > 0


def test_a_claim_is_printed_with_its_verdict() -> None:
    (record,) = [
        one
        for one in read_json(PUBLISHED / "demo/dph/tables/claims.audit.json")["records"]
        if one["id"] == "sft-above-base"
    ]
    number = print_number(PUBLISHED, "demo/dph/claims/sft-above-base", "page")
    assert number.startswith("+" if record["effect"] > 0 else "-") and number.endswith(record["verdict"])
    assert f"{abs(record['effect']):.1f} points [" in number
    untested = print_number(PUBLISHED, "demo/dph/claims/dph-lm-unchanged", "page")
    assert untested.startswith("not testable at this scale: settled by")


def test_a_second_opinion_is_a_row_a_task() -> None:
    text = read_blocks(PUBLISHED / "demo")["dph/second_opinion"]
    (first,) = [line for line in text.splitlines() if "| openbookqa |" in line]
    (one,) = [
        one
        for one in read_json(PUBLISHED / "demo/dph/second_opinion/sft/seed-0.json")["comparisons"]
        if one["task"] == "openbookqa"
    ]
    assert (
        first.startswith("| sft | openbookqa | chat | 12 | 33.3 | 33.3 | 100.0% |")
        and f"{one['max_difference']:.1e}" in first
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- number:demo/dph/rice/a/b -->1<!-- /number -->", "rice.audit.json does not exist"),
        ("<!-- number:demo/dph/race/a/b -->1<!-- /number -->", "has no such cell"),
        ("<!-- number:demo/dph/claims/a -->1<!-- /number -->", "has no such claim"),
        ("<!-- number:demo/dph/glue/GPT-1/MNLI-m -->1<!-- /number -->", "nothing was computed for it"),
        (f"<!-- number:{RACE} -->1", "is not closed"),
        ("<!-- number:demo/dph -->1<!-- /number -->", "give scale/paper/table/row/column"),
    ],
)
def test_bad_numbers_are_named(text: str, message: str) -> None:
    with pytest.raises(PreftuneError, match=re.escape(message)):
        fill_numbers(text, PUBLISHED, "page")


def test_markers_keep_what_is_around_them() -> None:
    text = "a\n<!-- generated:x -->\nold\n<!-- /generated -->\nb\n"
    assert fill_markers(text, {"x": "new\n"}, "page") == text.replace("old", "\nnew\n")


def test_small_models_are_published_whole_and_large_ones_by_their_record(tmp_path: Path) -> None:
    from preftune.tables.publish import SMALL_MODEL, select_files

    def write(run: str, seed: int, rule: str, size: int) -> None:
        folder = tmp_path / "dph/models" / run / f"seed-{seed}"
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps({"rule": rule}))
        (folder / "metrics.jsonl").write_text("{}\n")
        (folder / "adapter_model.safetensors").write_bytes(b"0" * size)

    (tmp_path / "dph/tables").mkdir(parents=True)
    (tmp_path / "dph/tables/race.md").write_text("x")
    for seed in (0, 1, 10, 2):
        write("sft", seed, "train_sft", 10)
        write("dph-joint", seed, "train_alignment", 10)
    write("full", 0, "train_alignment", SMALL_MODEL)
    found = {path.as_posix() for path in select_files(tmp_path)}
    shipped = {path.split("/")[2] + path.split("/")[3] for path in found if path.endswith(".safetensors")}
    assert shipped == {"sftseed-0", "sftseed-1", "sftseed-2", "sftseed-10", "dph-jointseed-0"}
    assert {"dph/models/full/seed-0/run.json", "dph/models/full/seed-0/metrics.jsonl"} <= found
