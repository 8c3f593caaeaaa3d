"""Text for LaTeX: nothing is left that it reads as a command, or that its fonts lack."""

import pytest

from preftune.tables.latex import escape_latex
from preftune.tables.notes import HEADS, NOTES, TITLES


def test_special_characters_are_escaped_once() -> None:
    assert escape_latex(r"50 % of a_b\c & {d}") == r"50 \% of a\_b\textbackslash{}c \& \{d\}"
    assert escape_latex("p < 0.1 || <|im_end|> ~ ^") == (
        r"p $<$ 0.1 $|$$|$ $<$$|$im\_end$|$$>$ \textasciitilde{} \textasciicircum{}"
    )
    assert escape_latex("ε = 0.1 ± 2 – σ(δ/T) · a − b") == (
        r"$\varepsilon$ = 0.1 $\pm$ 2 -- $\sigma$($\delta$/T) $\cdot$ a $-$ b"
    )


@pytest.mark.parametrize("texts", [TITLES, NOTES, HEADS])
def test_nothing_that_is_printed_under_a_table_needs_another_font(texts: dict[str, str]) -> None:
    assert all(escape_latex(text).isascii() for text in texts.values())
