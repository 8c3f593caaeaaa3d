"""Checks of single values against the type of their column, made once for a data set: each row goes through all of them."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from datasets import List

Check = Callable[[Any], Any]

_SURROGATE = re.compile("[\ud800-\udfff]")


def value_check(kind: Any, column: str, nullable: bool = False) -> Check:
    """Return a function that returns its argument, reduced to the fields of `kind`, if it has this type.

    The function's errors are ValueErrors that name the column, and a KeyError for a field that is missing.
    """
    if isinstance(kind, dict):
        return _struct_check(kind, column)
    if isinstance(kind, List):
        return _list_check(kind, column)
    scalar = {"string": _text_check, "int64": _whole_check, "float64": _real_check}[kind.dtype](column)
    return (lambda value: None if value is None else scalar(value)) if nullable else scalar


def text_of(row: Mapping[str, Any], column: str) -> str:
    """Return the text of a column that becomes part of a longer one, where a null would read "None"."""
    text: str = _text_check(column)(row[column])
    return text


def _text_check(column: str) -> Check:
    def check(value: Any) -> Any:
        if type(value) is not str:
            raise _wrong_type(value, column, "string")
        # JSON can escape halves of surrogate pairs.
        if not value.isascii() and _SURROGATE.search(value):
            raise ValueError(f"column {column} holds half of a surrogate pair, which is no Unicode text")
        return value

    return check


def _whole_check(column: str) -> Check:
    def check(value: Any) -> Any:
        if type(value) is not int or not -(2**63) <= value < 2**63:
            raise _wrong_type(value, column, "int64")
        return value

    return check


def _real_check(column: str) -> Check:
    def check(value: Any) -> Any:
        if type(value) is not float and type(value) is not int:
            raise _wrong_type(value, column, "float64")
        return value

    return check


def _struct_check(kind: Mapping[str, Any], column: str) -> Check:
    parts = {name: value_check(part, f"{column}.{name}") for name, part in kind.items()}

    def check(value: Any) -> Any:
        if not isinstance(value, dict):
            raise _wrong_type(value, column, f"an object of {', '.join(parts)}")
        return {name: part(value[name]) for name, part in parts.items()}

    return check


def _list_check(kind: List, column: str) -> Check:
    item = value_check(kind.feature, column)

    def check(value: Any) -> Any:
        if not isinstance(value, list):
            raise _wrong_type(value, column, "a list")
        return [item(one) for one in value]

    return check


def _wrong_type(value: Any, column: str, wanted: str) -> ValueError:
    return ValueError(f"column {column} holds {type(value).__name__} {value!r:.40} and not {wanted}")
