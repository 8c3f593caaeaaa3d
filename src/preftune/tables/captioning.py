"""Tables of Context-PEFT that are made from the runs of a scale: captions, controls, equal data, forgetting."""

from __future__ import annotations

from collections.abc import Callable

from preftune.errors import PreftuneError
from preftune.tables.assemble import Setting, build_records
from preftune.tables.captioners import CaptioningTableSettings, main_runs
from preftune.tables.cells import CAPTIONING_TABLES, Cell, CellRecord
from preftune.tables.controls import tabulate_controls
from preftune.tables.equal_data import tabulate_equal_data
from preftune.tables.forgetting import tabulate_forgetting
from preftune.tables.records import Records
from preftune.tables.scores import ScoreStore
from preftune.tables.sheet import Sheet

CAPTION_METRICS = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr")


def tabulate_captions(
    sheet: Sheet, store: ScoreStore, records: Records, settings: CaptioningTableSettings
) -> None:
    """BLEU-1 to 4, METEOR, ROUGE-L and CIDEr of every run, and SPICE where its jars were configured, times 100."""
    cells = [
        Cell("captions", run, metric, metric, run=run, task="captions")
        for run in main_runs(settings.captioners)
        for metric in (*CAPTION_METRICS, *(["SPICE"] if _has_spice(store, run) else []))
    ]
    sheet.records += build_records(cells, store, sheet.setting)


def _has_spice(store: ScoreStore, run: str) -> bool:
    seeds = store.seeds(run, "captions")
    return bool(seeds) and all("SPICE" in store.read(run, seed, "captions")["metrics"] for seed in seeds)


Tabulate = Callable[[Sheet, ScoreStore, Records, CaptioningTableSettings], None]
_TABLES: dict[str, Tabulate] = {
    "captions": tabulate_captions,
    "controls": tabulate_controls,
    "equal_data": tabulate_equal_data,
    "forgetting": tabulate_forgetting,
}
assert tuple(_TABLES) == CAPTIONING_TABLES


def captioning_records(
    table: str, store: ScoreStore, records: Records, settings: CaptioningTableSettings
) -> list[CellRecord]:
    """Records of one table; a table of which nothing was run has one row that says so."""
    if table not in CAPTIONING_TABLES:
        raise PreftuneError(f"--table: no table {table}: give one of {', '.join(CAPTIONING_TABLES)}.")
    sheet = Sheet(table, Setting(settings.scale, settings.data))
    _TABLES[table](sheet, store, records, settings)
    if not sheet.records:
        sheet.add("every run", "perplexity", "perplexity", None, run="", missing="runs of this table")
    return sheet.records
