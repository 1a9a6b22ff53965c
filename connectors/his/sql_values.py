"""Values of a database as JSON that loses nothing, and rows as canonical JSON.

A row is one object: ``{"key": {…}, "row": {…}, "table": "…"}`` with names in order (those of the key in its own), no
spaces, UTF-8. Decimals are JSON
numbers with the digits of their column (``50.00``), to be read with exact decimals; times are ISO 8601; bytes are
``{"base64": "…"}``; NULL is null. The same row gives the same bytes from every database.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from json.encoder import encode_basestring
from typing import Any, Final, Literal

Family = Literal[
    "text", "char", "integer", "decimal", "float", "boolean", "date", "time", "moment", "instant", "bytes", "other"
]

_MOMENT: Final = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d(?:\.\d{1,6})?)([+-]\d\d(?::?\d\d)?|Z)?", re.ASCII)
#: Codecs tried, in turn, where nobody says which one texts are in.
AUTO: Final = ("utf-8", "gb18030")


class BadValue(ValueError):
    """A value that cannot become JSON; ``code`` and ``message`` say why, never what it is."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def text(value: bytes, charset: str | None) -> str:
    """Return the text in bytes as the database holds them; None tries UTF-8 and GB 18030.

    Raises:
        BadValue: They are not in that character set.
    """
    for codec in (charset,) if charset else AUTO:
        try:
            return value.decode(codec)
        except UnicodeDecodeError:
            continue
    expected = charset or " or ".join(AUTO)
    raise BadValue("charset", f"expected text in {expected}; correct the row, or set charset for the table")


def plain(value: Any, family: Family, charset: str | None, scale: int | None) -> Any:
    """Return a driver's value as what JSON can hold exactly: None, bool, int, Decimal, str or ``{"base64": …}``.

    Raises:
        BadValue: It cannot be.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (bytes, bytearray, memoryview)):
        if family == "bytes":
            return {"base64": base64.b64encode(bytes(value)).decode()}
        value = text(bytes(value), charset)
    if isinstance(value, (int, float, Decimal)):
        return _number(value, family, scale)
    if isinstance(value, str):
        return _typed(value, family, scale)
    if family == "instant" and isinstance(value, datetime) and value.tzinfo is None:
        value = value.replace(tzinfo=UTC)  # the session is in UTC
    return _time(value)


def _typed(value: str, family: Family, scale: int | None) -> Any:
    if family == "char":
        return value.rstrip(" ")
    if family in ("moment", "instant") and (match := _MOMENT.fullmatch(value)):
        return _iso(match)
    if family in ("decimal", "integer", "float"):  # a column of SQLite holds whatever was written into it
        try:
            return _number(Decimal(value.strip()), family, scale)
        except InvalidOperation:
            return value
    return value


def _iso(match: re.Match[str]) -> str:
    day, clock, offset = match[1], match[2], match[3] or ""
    if "." in clock:
        clock = clock.rstrip("0").rstrip(".")
    if offset == "Z":
        offset = "+00:00"
    elif len(offset) == 3:
        offset += ":00"
    elif len(offset) == 5:
        offset = f"{offset[:3]}:{offset[3:]}"
    return f"{day}T{clock}{offset}"


def _number(value: int | float | Decimal, family: Family, scale: int | None) -> Any:
    if isinstance(value, float):
        if not math.isfinite(value):
            return str(value)
        value = Decimal(repr(value))
    if family == "boolean" and value in (0, 1):
        return bool(value)
    if isinstance(value, Decimal) and not value.is_finite():
        return str(value)
    if family == "integer" and value == (whole := int(value)):
        return whole
    if family == "decimal" and scale is not None:
        return _scaled(Decimal(value), scale)
    return value


def _scaled(value: Decimal, scale: int) -> Decimal:
    """The digits that the column declares, unless that would lose some that the value has."""
    try:
        scaled = value.quantize(Decimal(1).scaleb(-scale))
    except InvalidOperation:
        return value
    return scaled if scaled == value else value


def _time(value: Any) -> str:
    if isinstance(value, datetime):
        whole = value.isoformat()
        return whole.rstrip("0").rstrip(".") if value.microsecond and value.tzinfo is None else whole
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        seconds, sign = abs(int(value.total_seconds())), "-" if value < timedelta(0) else ""
        return f"{sign}{seconds // 3600:02}:{seconds % 3600 // 60:02}:{seconds % 60:02}"
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False, sort_keys=True)
    return str(value)


def dumps(value: Any) -> str:
    """Return canonical JSON: keys in order, no spaces, decimals with every digit they have."""
    if isinstance(value, str):
        return encode_basestring(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, Mapping):
        inside = ",".join(f"{encode_basestring(name)}:{dumps(value[name])}" for name in sorted(value))
        return f"{{{inside}}}"
    return f"[{','.join(map(dumps, value))}]"


def record(
    table: str, key: Mapping[str, Any], row: Mapping[str, Any], *, deleted: bool = False, change: int = 0
) -> bytes:
    """Return a row as canonical JSON.

    Args:
        table: As the source's settings call it.
        key: Its key columns.
        row: All columns read.
        deleted: Whether the source says that the row was deleted, or no longer has it.
        change: Which comparison met it anew, where nothing in the row itself tells that it changed; 0 for none.
    """
    # The key's columns keep their order: it is the order in which other tables refer to it.
    named = ",".join(f"{encode_basestring(name)}:{dumps(value)}" for name, value in key.items())
    parts = [f'"change":{change}'] if change else []
    parts += ['"deleted":true'] if deleted else []
    parts += [f'"key":{{{named}}}', f'"row":{dumps(row)}', f'"table":{encode_basestring(table)}']
    # A lone surrogate cannot be written as UTF-8; JSON's own escape keeps it for whoever repairs the row.
    return f"{{{','.join(parts)}}}".encode("utf-8", "backslashreplace")


def native_id(table: str, key: Mapping[str, Any]) -> str:
    """Return the sender's own name of a row: the table and the values of its key."""
    return f"{table}/{'/'.join(value if isinstance(value, str) else dumps(value) for value in key.values())}"
