"""Tables as csv (one row a cell), Markdown and LaTeX (rows are systems, columns tasks), from cell records."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence

from preftune.stats.intervals import SEEDS_FOR_T
from preftune.tables.assemble import Setting
from preftune.tables.cells import EXACT, NOT_RUN, CellRecord
from preftune.tables.latex import escape_latex
from preftune.tables.templates import describe_templates

TITLES = {
    "glue": "GLUE (DPH paper)",
    "gpt4all": "GPT4All (DPH paper)",
    "race": "RACE (DPH paper)",
    "ablations": "Ablations of DPH: mean accuracy over tasks",
    "preferences": "Held-out preference pairs and choice tasks: accuracy by each score",
    "baselines": "Heads and what stands in their place: quality and cost",
    "frozen_grid": "Heads on the frozen SFT model: accuracy by the reward",
    "alignment_cost": "What alignment costs the language model",
    "reasoning": "Reasoning, contradiction and abstention",
    "calibration": "Are differences of rewards probabilities?",
    "paired_tests": "Two systems on the same questions, task by task",
    "best_of": "Best of n: the answer that the reward chooses",
    "pairwise": "Pairwise accuracy by section, in the manner of RewardBench",
    "gradients": "Norm of each loss's gradient, by part of the model",
    "overlap": "Questions of the evaluation that stand in the training mixes",
    "adaptors": "Adaptors (Context-PEFT paper, Table 1): caption perplexity",
    "encoders": "Encoders (Context-PEFT paper, Table 2): test perplexity, adaptors in attention and FFN",
    "parameters": "Trainable LM parameters (Context-PEFT paper, Table 3)",
    "captions": "Caption metrics, times 100",
    "controls": "Do captions use the image? Two controls",
}
NOTES = {
    "glue": "DPO, DPH and implicit are the log-probability score, the reward score and the log-ratio to the SFT model "
    "(DPO's implicit reward) of one checkpoint (run dph-joint).",
    "preferences": "Log a token is the mean log-probability of an answer's tokens, log summed that of the whole answer "
    "with its end, implicit the log-ratio to the SFT model. A dash: the run has no such score; a run with the SFT "
    "model's own weights has no implicit one.",
    "baselines": "Each system is read by the score that its training shapes, named in parentheses. Passes are those of "
    "every language model involved: an aligned policy scores what it generates, a reward model of its own comes on top "
    "of the generator, the implicit reward needs policy and reference. An aligned policy stands in the SFT model's place "
    "and adds its head to it; where SFT is a LoRA adapter, all share the base model, so a reward model of its own adds an "
    "adapter with a head, and the reference an adapter. A pair counts each time that it is seen. Computed once, before "
    "the training, is the SFT model's pass over the pairs (wall time of the step, loading included): states for heads on "
    "the frozen model, log-probabilities for DPO. All runs share it.",
    "alignment_cost": "KL(SFT || run) over held-out answers; length, repetition and ended answers of greedy decoding. "
    "Lower is better for the first two, higher for accuracy; outside the mix are tasks of which no pair was trained on.",
    "reasoning": "Higher is better for multi-step questions and TruthfulQA, lower for the three between: answers that "
    "contradict their passage, answers to questions that have none, and declined questions that have one.",
    "calibration": "δ is the reward of the preferred answer less that of the other. Pairs are the held-out preference pairs; "
    "choice pairs set the gold candidate of a question against each wrong one: all count alike, and questions are resampled "
    "with all of theirs. Choice tasks are without STS-B, whose answers are grades: the nearest is hardly wrong. A contrastive "
    "loss makes σ(δ) the probability, the separable one σ(δ/2) where the rewards of a pair are centred on zero. T is fitted by maximum likelihood, between 0.05 and 20, on one half of the questions (a seeded "
    "split) and predicts the other; the table gives the geometric mean of both fits, the interval of a prediction takes them "
    "as they are. ECE: ten bins of equal width, each seed by itself. ECE has no interval: chance lifts a sum of "
    "absolute gaps, and a resample lifts it once more, so that an interval can lie above the estimate. Lower is better for "
    "Brier score, log loss and ECE; always saying 1/2 has a Brier score of 0.25 and a log loss of 0.693.",
    "paired_tests": "The pairs of systems are those that the claims compare by accuracy. The interval of a − b is the paired "
    "bootstrap's, over items and, where there are several, seeds. Answers of several seeds to one question are not "
    "independent: who alone is right, and McNemar's exact two-sided p, are of the first seed of either system. Holm's "
    "correction is over the tasks of one pair of systems.",
    "best_of": "Shares of right answers among those that the run writes itself, mean over tasks. Random is the mean over the "
    "samples, which is what a choice by chance is right with; any of n, that one of the samples is right: no choice does "
    "better. Samples disagree where some are right and others are not, and only there a choice matters. An answer is right if "
    "it is the gold one but for case and punctuation. Left out are questions whose gold answer is longer than max_new_tokens "
    "(long_answer), whose prompt leaves no room for an answer in the model's context (long_prompt), or whose candidates are "
    "empty or equal but for case and punctuation (not_distinct); the best_of.json of each run and seed counts them by task, "
    "under skipped. "
    "The intervals of both differences are paired bootstraps over questions, and seeds where there are several.",
    "pairwise": "A pair is a question's gold answer against one of the others: won where the gold one has the higher score; a "
    "tie counts one half (RewardBench: as lost). A section counts all its pairs alike, overall is the plain mean of the "
    "sections that were run. Chat: preference pairs. Reasoning: GSM8K, WinoGrande, PIQA, HellaSwag, OpenBookQA, ARC. Reading: "
    "RACE, BoolQ, answerable SQuAD. Faithfulness: unanswerable SQuAD, passage contradiction, TruthfulQA. Language: GLUE without "
    "STS-B. Columns named RewardBench, where they were run, are its own pairs and sections, without its prior sets.",
    "gradients": "A dash: the part is frozen, or the loss does not reach it; a language-model head that is the token "
    "embedding counts as embeddings. KL is at its minimum at the SFT model, so its gradient is 0 up to rounding.",
    "overlap": "Counts of questions; 0 is a clean task. Texts are compared without case, punctuation and white space; "
    "only prompts of 13 words or more can share a 13-gram.",
    "encoders": "Swin-Tiny and Swin-Large are the paper's; other scales use the encoders of config/runs.tsv.",
    "parameters": "Agnostic and specific are counted for the shape of the paper's LM, at every scale alike.",
}
NOTES["gpt4all"] = NOTES["race"] = NOTES["glue"]
HEADS = {
    "gradients": "Loss",
    "overlap": "Task",
    "frozen_grid": "Head",
    "calibration": "Run, prediction",
    "paired_tests": "a − b, task",
}
CSV_FIELDS = (
    "table",
    "row",
    "column",
    "value",
    "low",
    "high",
    "interval_method",
    "n_seeds",
    "n_items",
    "unit",
    "metric",
    "score",
    "split",
    "published",
    "source",
    "system",
    "run",
    "verdict",
    "reason",
    "scale",
    "data",
)


def format_number(value: float, decimals: int) -> str:
    """Fixed decimals, thousands separated for counts, no negative zero."""
    text = f"{value:,.{decimals}f}" if decimals == 0 else f"{value:.{decimals}f}"
    return text.lstrip("-") if float(text.replace(",", "")) == 0 else text


def format_published(record: CellRecord) -> str:
    """The published number with the digits of the paper."""
    return (
        f"{int(record.published):,}" if record.unit == "parameters" and record.published else record.published
    )


def format_point(record: CellRecord, value: float) -> str:
    """A value with the record's decimals; a p-value that they would show as 0 is below their last one."""
    if record.unit == "p" and round(value, record.rounding) == 0:
        return f"< {10**-record.rounding:.{record.rounding}f}"
    return format_number(value, record.rounding)


def format_value(record: CellRecord) -> str:
    """Value ± half the interval's width, `not run at this scale`, or nothing for a cited system."""
    if record.value is None:
        return NOT_RUN if record.system == "ours" else ""
    text = format_point(record, record.value)
    if record.interval is None:
        return text
    half = (record.interval[1] - record.interval[0]) / 2
    return f"{text} ± {format_number(half, record.rounding)}"


def labels(records: Iterable[CellRecord]) -> tuple[list[str], list[str]]:
    """Row and column labels in the order of their first appearance."""
    records = list(records)
    return list(dict.fromkeys(r.row for r in records)), list(dict.fromkeys(r.column for r in records))


def span(values: Iterable[int]) -> str:
    """`12`, or `10 to 12`."""
    found = sorted(set(values))
    return str(found[0]) if len(found) == 1 else f"{found[0]} to {found[-1]}"


def describe(table: str, records: Sequence[CellRecord], setting: Setting) -> list[str]:
    """The sentences that belong to a table: data, scale, how to read a cell, n, verdicts, notes."""
    run = [record for record in records if record.n_seeds and record.n_items and record.unit not in EXACT]
    lines = [f"data: {setting.data} · scale: {setting.scale}"]
    if setting.incomparable and table != "parameters":
        lines[0] += f" · not comparable with the paper ({setting.incomparable})"
    if any(record.published for record in records):
        lines.append("Published numbers in parentheses.")
    lines += describe_intervals(run)
    if run:
        items, seeds = (span(getattr(record, name) for record in run) for name in ("n_items", "n_seeds"))
        lines.append(f"n of a cell: {items} items; seeds: {seeds}.")
    seen = {int(record.value) for record in records if record.unit == "pairs" and record.value is not None}
    if len(seen) > 1:
        lines.append(
            f"The systems saw different numbers of pairs, {span(seen)}: this compares them at unequal amounts of data."
        )
    verdicts = Counter(record.verdict for record in records)
    lines.append(
        "Cells: " + "; ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items())) + "."
    )
    scored = {(record.split, record.table) for record in run}
    if table == "adaptors" and scored and scored != {("validation", table)}:
        lines.append(f"Scored on the {' and '.join(sorted({split for split, _ in scored}))} split.")
    if any("undefined" in record.aggregation for record in run):
        lines.append("A correlation of constant predictions is undefined and counted as 0.")
    lines += describe_templates(records)
    lines += [NOTES[table]] if table in NOTES else []
    return lines + describe_sources(records)


def describe_intervals(records: Iterable[CellRecord]) -> list[str]:
    """What the intervals of a table are over: one line, or none where there are no intervals."""
    shown = [record for record in records if record.interval]
    drawn = [record for record in shown if record.interval_method.startswith("bootstrap")]
    kept = [record for record in drawn if record.n_seeds >= SEEDS_FOR_T]
    texts = []
    if len(drawn) > len(kept):
        several = any(record.n_seeds > 1 for record in drawn)
        texts.append("over items" + " and, where there are several, seeds" * several)
    if len(shown) > len(drawn):
        texts.append("over seeds where there are three or more")
    parts = [", or ".join(texts)] if texts else []
    if kept:
        columns = ", ".join(dict.fromkeys(record.column for record in kept))
        parts.append(f"of {columns} over items and seeds, however many there are")
    return [f"± is half the 95 % interval, {'; '.join(parts)}."] if parts else []


def describe_sources(records: Iterable[CellRecord]) -> list[str]:
    """Where the published numbers of each row are from: one line, or none where there are no such numbers."""
    rows: dict[str, list[str]] = {}
    for record in records:
        if record.published:
            rows.setdefault(record.source, []).append(record.row)
    listed = [f"{', '.join(dict.fromkeys(own))}: {source}" for source, own in rows.items()]
    return [f"Sources: {' · '.join(listed)}."] if listed else []


def render_csv(records: Sequence[CellRecord], setting: Setting) -> str:
    """One row a cell, unrounded, so that the table can be computed with."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, CSV_FIELDS, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for record in records:
        low, high = record.interval or (None, None)
        extra = {"low": low, "high": high, "scale": setting.scale, "data": setting.data}
        writer.writerow({**record.as_json(), **extra})
    return stream.getvalue()


def grid(records: Sequence[CellRecord]) -> tuple[list[str], list[tuple[str, list[tuple[str, str]]]]]:
    """Columns, and for each row its (ours, published) texts; a cell that the papers leave blank is empty."""
    rows, columns = labels(records)
    found = {(record.row, record.column): record for record in records}
    lines = []
    for row in rows:
        cells = [found.get((row, column)) for column in columns]
        lines.append(
            (
                row,
                [
                    ("", "") if cell is None else (format_value(cell), format_published(cell))
                    for cell in cells
                ],
            )
        )
    return columns, lines


def render_markdown(table: str, records: Sequence[CellRecord], setting: Setting) -> str:
    """A Markdown table with the published number in parentheses, and its description."""
    columns, rows = grid(records)
    if all(not pair[0] or pair[0] == NOT_RUN for _, row in rows for pair in row):
        head = "Nothing of this table was run at this scale."
    else:
        head = ""
    lines = [f"**{TITLES[table]}**", "", *([head, ""] if head else [])]
    lines += [
        f"| {HEADS.get(table, 'System')} | " + " | ".join(columns) + " |",
        "| --- |" + " ---: |" * len(columns),
    ]
    lines += [
        f"| {row} | " + " | ".join(_markdown_cell(*pair) for pair in cells) + " |" for row, cells in rows
    ]
    return "\n".join([*lines, "", "  \n".join(describe(table, records, setting)), ""])


def _markdown_cell(ours: str, published: str) -> str:
    parts = [ours, f"({published})" if published else ""]
    return "<br>".join(part for part in parts if part) or "–"


def render_latex(table: str, records: Sequence[CellRecord], setting: Setting) -> str:
    """A booktabs table with a caption."""
    columns, rows = grid(records)
    lines = [
        r"\begin{table}",
        r"\centering\small",
        f"\\begin{{tabular}}{{l{'r' * len(columns)}}}",
        r"\toprule",
        " & ".join(escape_latex(text) for text in (HEADS.get(table, "System"), *columns)) + r" \\",
        r"\midrule",
    ]
    for row, cells in rows:
        texts = [_markdown_cell(*pair).replace("<br>", " ") for pair in cells]
        lines.append(" & ".join(escape_latex(text) for text in (row, *texts)) + r" \\")
    caption = (
        ". ".join([TITLES[table], *(line.rstrip(".") for line in describe(table, records, setting))]) + "."
    )
    lines += [
        r"\bottomrule",
        r"\end{tabular}",
        f"\\caption{{{escape_latex(caption)}}}",
        f"\\label{{tab:{table}}}",
    ]
    return "\n".join([*lines, r"\end{table}", ""])
