"""What is made of the rows of natural language inference: a statement that a passage supports against one that it contradicts."""

from typing import Any

Row = dict[str, Any]


def oppose_hypotheses(rows: list[Row]) -> list[Row]:
    """Return one row for each premise of NLI rows that has an entailed and a contradicted hypothesis (the first of each)."""
    premises: dict[str, dict[int, Row]] = {}
    for row in rows:
        premises.setdefault(row["premise"], {}).setdefault(row["label"], row)
    return [
        {
            "document": found[0]["document"],
            "passage": premise,
            "supported": found[0]["hypothesis"],
            "contradicted": found[2]["hypothesis"],
        }
        for premise, found in premises.items()
        if {0, 2} <= set(found)
    ]
