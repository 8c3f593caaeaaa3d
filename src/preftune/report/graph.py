"""The graph of the rules that made the results, drawn from their records as SVG: no step that did not run is in it."""

from collections.abc import Mapping
from html import escape

from preftune.provenance.store import Store

WIDTH, HEIGHT, GAP, COLUMN = 176, 22, 8, 226
"""Of a box, between boxes of a column, and from column to column, in pixels."""
MANY = ("plot_", "tabulate_")
"""Rules that are one box: they read the same files."""


def rule_edges(store: Store) -> tuple[dict[str, int], dict[str, set[str]]]:
    """Steps of each rule, and the rules whose outputs it reads."""
    counts: dict[str, int] = {}
    parents: dict[str, set[str]] = {}
    for record in store.steps:
        name = _box(record.rule)
        counts[name] = counts.get(name, 0) + 1
        own = parents.setdefault(name, set())
        for item in record.inputs():
            for path in store.parts(item["path"]) or [item["path"]]:
                maker = store.maker(path)
                if maker is not None and _box(maker.rule) != name:
                    own.add(_box(maker.rule))
    return counts, parents


def _box(rule: str) -> str:
    return next((f"{head}*" for head in MANY if rule.startswith(head)), rule)


def find_columns(parents: Mapping[str, set[str]]) -> dict[str, int]:
    """The length of the longest way to each rule."""
    columns: dict[str, int] = {}

    def column(name: str, above: tuple[str, ...]) -> int:
        if name not in columns:
            before = [column(one, (*above, name)) for one in parents.get(name, ()) if one not in above]
            columns[name] = 1 + max(before, default=-1)
        return columns[name]

    for name in sorted(parents):
        column(name, ())
    return columns


def draw_graph(store: Store) -> str:
    """SVG of the rules, from left to right; empty without records."""
    counts, parents = rule_edges(store)
    if not counts:
        return ""
    columns = find_columns(parents)
    places: dict[str, tuple[int, int]] = {}
    for number in range(max(columns.values()) + 1):
        for row, name in enumerate(sorted(one for one, own in columns.items() if own == number)):
            places[name] = (number * COLUMN + 4, row * (HEIGHT + GAP) + 4)
    width = max(x for x, _ in places.values()) + WIDTH + 4
    height = max(y for _, y in places.values()) + HEIGHT + 4
    lines = [
        _edge(places[parent], places[name]) for name in sorted(parents) for parent in sorted(parents[name])
    ]
    boxes = [_draw_box(name, counts[name], place) for name, place in sorted(places.items())]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img"'
    )
    return "\n".join([f'{head} aria-label="Rules and what they read">', *lines, *boxes, "</svg>"])


def _edge(start: tuple[int, int], end: tuple[int, int]) -> str:
    x, y = start[0] + WIDTH, start[1] + HEIGHT / 2
    to_x, to_y = end[0], end[1] + HEIGHT / 2
    return f'<path d="M{x} {y} C{x + 30} {y} {to_x - 30} {to_y} {to_x} {to_y}" fill="none" stroke="#999"/>'


def _draw_box(name: str, count: int, place: tuple[int, int]) -> str:
    x, y = place
    box = f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="3" fill="#fff" stroke="#333"/>'
    text = f'<text x="{x + 7}" y="{y + 15}" font-size="11">{escape(name)} ({count})</text>'
    return box + text
