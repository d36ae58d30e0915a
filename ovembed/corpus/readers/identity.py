"""What a row is called: the value of its id column as text, the same from every kind of file."""

from __future__ import annotations

import math

import orjson


def identity(value: object) -> str | None:
    """A text as it is, a number as its digits, what is nested and a truth as JSON, bytes as their text, else as hex.

    None for what is missing, as NaN is where a table has no integers that lack.
    """
    match value:
        case None:
            return None
        case float() if math.isnan(value):
            return None
        case bool() | dict() | list():
            return orjson.dumps(value, default=_plain, option=orjson.OPT_NON_STR_KEYS).decode()
        case bytes():
            return _plain(value)
        case _:
            return str(value)


def _plain(value: object) -> str:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value.hex()
    return str(value)
