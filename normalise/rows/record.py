"""One row as its connector wrote it, checked: table, key, columns, and whether it was deleted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import NoReturn

from normalise.errors import set_aside

#: What a column may hold: NULL, truth, number, text, or bytes as ``{"base64": …}``.
Value = bool | int | Decimal | str | dict[str, str] | None


@dataclass(frozen=True, slots=True)
class Row:
    """One row.

    Attributes:
        table: As the source calls it.
        key: Columns that name the row.
        columns: All columns that were read.
        deleted: Whether the source says that it was deleted, or has it no more.
    """

    table: str
    key: Mapping[str, Value]
    columns: Mapping[str, Value]
    deleted: bool

    @property
    def name(self) -> str:
        """The sender's own name of the row, the same as its native id."""
        return f"{self.table}/{'/'.join(map(_digits, self.key.values()))}"


def _digits(value: Value) -> str:
    return format(value, "f") if isinstance(value, Decimal) else as_text(value)


def as_text(value: Value) -> str:
    """Return a column's value as people write it: numbers without exponent and idle zeros, bytes as base64."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        plain = format(value, "f")
        return plain.rstrip("0").rstrip(".") if "." in plain else plain
    if isinstance(value, dict):
        return value["base64"]
    return str(value)


def read(content: bytes) -> Row:
    """Return the row in these bytes, decimals with every digit.

    Raises:
        SetAside: They are no such row.
    """
    try:
        whole = json.loads(content.decode(), parse_float=_decimal, parse_int=_integer, parse_constant=_refuse)
    except (ValueError, RecursionError, ArithmeticError):
        raise set_aside("bad_value", "", "Expected a row as JSON; send it again by the source's connector.") from None
    if not isinstance(whole, dict) or not isinstance(table := whole.get("table"), str) or not table:
        raise set_aside("bad_value", "", "Expected a row with its table; send it again by the source's connector.")
    key, row = whole.get("key"), whole.get("row")
    for name, part in (("key", key), ("row", row)):
        if not isinstance(part, dict) or not all(map(_is_value, part.values())):
            raise set_aside("bad_value", f"{table}.{name}"[:200], "Expected columns and their plain values.")
    assert isinstance(key, dict) and isinstance(row, dict)
    if not key or any(value is None for value in key.values()):
        raise set_aside("required", table[:200], "A key column is empty, so nothing tells this row from others.")
    return Row(table, key, row, whole.get("deleted") is True)


def _is_value(value: object) -> bool:
    if isinstance(value, dict):
        return set(value) == {"base64"} and isinstance(value["base64"], str)
    return not isinstance(value, (list, float))


def _decimal(text: str) -> Decimal:
    if len(text) > 400:
        raise ValueError
    return Decimal(text)


def _integer(text: str) -> int:
    if len(text) > 400:
        raise ValueError
    return int(text)


def _refuse(_: str) -> NoReturn:
    raise ValueError
