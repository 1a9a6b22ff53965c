"""What is in a database's tables, from a bounded sample: types, what is missing, codes, lengths, volumes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, true

from connectors.his.sql_errors import RowFault
from connectors.his.sql_rows import Taken, take
from connectors.his.sql_session import Session
from connectors.his.sql_settings import read_sql_settings
from connectors.his.sql_shape import Column, Shape
from connectors.his.sql_values import dumps
from schemas.source import Source

#: Rows of each table that are looked at.
SAMPLE: Final = 2_000
#: A column with at most so many different values, each this short, holds codes.
CODES: Final = 24
CODE_LENGTH: Final = 40
#: Columns of a key, at most.
TELLING: Final = 4

_FORMS: Final[Sequence[tuple[str, re.Pattern[str]]]] = (
    ("identity", re.compile(r"[1-9]\d{5}(?:18|19|20)\d{9}[\dXx]", re.ASCII)),
    ("phone", re.compile(r"1\d{10}|0\d{2,3}-?\d{7,8}", re.ASCII)),
    ("time", re.compile(r"\d{4}[-/]\d\d?[-/]\d\d?[ T]\d\d?:\d\d.*|(?:19|20)\d{12}", re.ASCII)),
    ("date", re.compile(r"\d{4}[-/]\d\d?[-/]\d\d?|(?:19|20)\d{6}", re.ASCII)),
    ("icd", re.compile(r"[A-Z]\d\d(?:\.[\dxX]{1,4}.*)?", re.ASCII)),
    ("number", re.compile(r"[+-]?\d{1,15}(?:\.\d+)?", re.ASCII)),
    ("compared", re.compile(r"[<>≤≥]=?\s*\d+(?:\.\d+)?")),
    ("name", re.compile(r"[\u4e00-\u9fff\u3400-\u4dbf·]{2,6}|[\u4e00-\u9fff]{2,8}·[\u4e00-\u9fff]{1,8}")),
)


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """What a column holds in the sample.

    Attributes:
        name: Its name.
        declared: Its type in the database's words.
        nulls: Rows in which it is NULL or empty.
        distinct: Different values.
        shortest: Characters of the shortest value, 0 where there is none.
        longest: Characters of the longest value.
        form: What most values look like (``identity``, ``phone``, ``date``, ``number``…), or ``text``.
        codes: Its values with their number where they are few and short; may be a patient's, for the terminal only.
    """

    name: str
    declared: str
    nulls: int
    distinct: int
    shortest: int
    longest: int
    form: str
    codes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class TableProfile:
    """What a table holds.

    Attributes:
        name: As the settings call it.
        rows: All its rows, as the server counts them.
        sampled: Rows looked at.
        unreadable: Of these, rows that would be set aside.
        key: Its primary key, empty where it declares none.
        telling: Columns that together tell all rows of the sample apart, as few as are found at once.
        repeated: Rows of the sample whose key, as the settings name it, another row has as well.
        columns: In the database's order.
    """

    name: str
    rows: int
    sampled: int
    unreadable: int
    key: tuple[str, ...]
    telling: tuple[str, ...]
    repeated: int
    columns: tuple[ColumnProfile, ...]


@dataclass(frozen=True, slots=True)
class Profile:
    """What a source's tables hold, in the order of its settings."""

    tables: tuple[TableProfile, ...]


def profile(source: Source, home: Path, sample: int = SAMPLE) -> Profile:
    """Return what the source's tables hold; nothing is changed or kept.

    Args:
        source: The source, of kind ``his.sql_tables``.
        home: The home folder.
        sample: Rows of each table, at most.

    Raises:
        Retry: The database is not there.
        Stop: A person must act first.
        ConfigurationError: The settings cannot be used.
    """
    settings = read_sql_settings(source)
    session = Session(source, settings, home)
    tables = []
    for name in settings.tables:
        with session.transaction() as connection:
            tables.append(_table(session, connection, session.look(connection, name), sample))
    return Profile(tuple(tables))


def _table(session: Session, connection: Connection, shape: Shape, sample: int) -> TableProfile:
    rows = session.count(connection, shape, true())
    try:
        taken = [take(shape, row) for row in session.stream(connection, shape.select().limit(sample))]
    except RowFault:
        taken = []
    key = shape.dialect.key(connection, shape.schema, shape.bare)
    keys = Counter(dumps(list(one.key.values())) for one in taken)
    return TableProfile(
        shape.name,
        rows,
        len(taken),
        sum(one.refusal is not None for one in taken),
        tuple(key),
        _telling(taken),
        sum(count for count in keys.values() if count > 1),
        tuple(_column(one, taken) for one in shape.columns),
    )


def _telling(taken: Sequence[Taken]) -> tuple[str, ...]:
    """Return columns without NULL and no times that tell the rows apart, each time the one that tells most more."""
    if not taken:
        return ()
    first = taken[0].row
    names = [
        name
        for name in first
        if form_of(_text(first[name])) not in ("date", "time") and all(one.row[name] is not None for one in taken)
    ]
    seen: list[tuple[str, ...]] = [()] * len(taken)
    found: list[str] = []
    while names and len(set(seen)) < len(taken) and len(found) < TELLING:
        longer = {name: [(*s, dumps(one.row[name])) for s, one in zip(seen, taken, strict=True)] for name in names}
        best = max(names, key=lambda name: len(set(longer[name])))
        seen = longer[best]
        found.append(best)
        names.remove(best)
    return tuple(found)


def _column(column: Column, taken: Sequence[Taken]) -> ColumnProfile:
    values = [_text(one.row[column.name]) for one in taken]
    filled = [value for value in values if value]
    counted = Counter(filled)
    lengths = [len(value) for value in counted] or [0]
    few = len(counted) <= CODES and max(lengths) <= CODE_LENGTH
    forms = Counter(form_of(value) for value in filled)
    return ColumnProfile(
        column.name,
        column.declared,
        len(values) - len(filled),
        len(counted),
        min(lengths),
        max(lengths),
        forms.most_common(1)[0][0] if forms else "text",
        dict(counted.most_common()) if few else {},
    )


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else "" if value is None else dumps(value)


def form_of(value: str) -> str:
    """Return what a value looks like."""
    return next((name for name, pattern in _FORMS if pattern.fullmatch(value)), "text")
