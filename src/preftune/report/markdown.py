"""Markdown to HTML for the report: no raw HTML, no images, and links printed instead of linked."""

from collections.abc import MutableMapping, Sequence
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import OptionsDict


def render_markdown(text: str) -> str:
    """HTML of CommonMark with tables. Headings sink by two levels, for the report has its own above them."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    parser.add_render_rule("link_open", _open_link)
    parser.add_render_rule("link_close", _close_link)
    tokens = parser.parse(text)
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1]) + 2)}"
    rendered: str = parser.renderer.render(tokens, parser.options, {})
    return rendered


Environment = MutableMapping[str, Any]


def _open_link(
    renderer: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: Environment
) -> str:
    return ""


def _close_link(
    renderer: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: Environment
) -> str:
    opening = next(token for token in reversed(tokens[:index]) if token.type == "link_open")
    address = str(opening.attrs.get("href", ""))
    if tokens[index - 1].content == address:
        return ""
    return f" ({address.replace('&', '&amp;').replace('<', '&lt;')})"
