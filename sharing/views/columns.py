"""A column: what it is called, what it holds, and how its values become Arrow's.

Dates are the text FHIR writes unless the column says otherwise (``ansi/type``), because FHIR's may be less exact than
a day. Source: SQL on FHIR v2, column types and type hinting with tags.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

import orjson

from sharing.views.faults import Fault
from sharing.views.model import NUMBERS, PRIMITIVE
from sharing.views.scalars import as_text
from sharing.views.temporal import day, moment
from sharing.views.values import items, number

if TYPE_CHECKING:
    import pyarrow as pa

_NOTHING: Final = type(None)
#: How Arrow holds what: its factory's name, and the types of values that it takes as they are.
_HELD: Final[dict[str, tuple[str, frozenset[type]]]] = {
    "text": ("string", frozenset({str, _NOTHING})),
    "boolean": ("bool_", frozenset({bool, _NOTHING})),
    "integer": ("int32", frozenset({int, _NOTHING})),
    "integer64": ("int64", frozenset({int, _NOTHING})),
    "decimal": ("float64", frozenset({float, int, _NOTHING})),
    "day": ("date32", frozenset({_NOTHING})),
    "moment": ("timestamp", frozenset({_NOTHING})),
    "element": ("string", frozenset({_NOTHING})),
    "any": ("string", frozenset({str, _NOTHING})),
}
_ANSI: Final = re.compile(r"([A-Z][A-Z ]*?)\s*(?:\(\d+(?:\s*,\s*\d+)?\))?( WITH TIME ZONE)?", re.ASCII)
_ANSI_HELD: Final = {
    "BOOLEAN": "boolean",
    "SMALLINT": "integer",
    "INTEGER": "integer",
    "INT": "integer",
    "BIGINT": "integer64",
    "REAL": "decimal",
    "FLOAT": "decimal",
    "DOUBLE PRECISION": "decimal",
    "DECIMAL": "decimal",
    "NUMERIC": "decimal",
    "DATE": "day",
    "TIMESTAMP": "moment",
    "CHARACTER": "text",
    "CHAR": "text",
    "CHARACTER VARYING": "text",
    "VARCHAR": "text",
    "CHARACTER LARGE OBJECT": "text",
    "CLOB": "text",
}
_TAKES: Final = {
    "text": {"text"},
    "boolean": {"boolean"},
    "integer": {"number"},
    "integer64": {"number"},
    "decimal": {"number"},
    "day": {"text"},
    "moment": {"text"},
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a view.

    Attributes:
        name: Its name.
        path: Its FHIRPath expression; of a union, the first branch's.
        type: FHIR type of its values; "" where nothing says it.
        description: For people.
        collection: Whether a cell is a list.
        role: ``quasi-identifier``, ``sensitive``, ``identifier`` or "".
        hierarchy: How it is generalised: ``age``, ``date``, ``place``, ``code`` or "".
        ansi: Its type in SQL, of the tag ``ansi/type``, or "".
        tags: All its tags.
    """

    name: str
    path: str
    type: str
    description: str = ""
    collection: bool = False
    role: str = ""
    hierarchy: str = ""
    ansi: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def held(self) -> str:
        """How its values are held: ``text``, ``decimal``, ``day`` and others."""
        if self.ansi:
            return ansi_held(self.ansi)
        if self.type == "":
            return "any"
        if self.type in NUMBERS:
            return self.type if self.type in ("decimal", "integer64") else "integer"
        return "boolean" if self.type == "boolean" else "text" if self.type in PRIMITIVE else "element"

    def arrow(self) -> pa.DataType:
        """Return its type in Arrow."""
        one = _arrow(self.held)
        return _list(one) if self.collection else one


def ansi_held(ansi: str) -> str:
    """Return how a type of SQL is held.

    Raises:
        Fault: There is no such type, or none that a view has.
    """
    match = _ANSI.fullmatch(ansi.upper().strip())
    if match is None or match[1] not in _ANSI_HELD:
        raise Fault(f"ansi/type {ansi!r} is none of {', '.join(_ANSI_HELD)}")
    return _ANSI_HELD[match[1]]


def takes(held: str, family: str) -> bool:
    """Whether a column that holds values so can have those of a family, as far as that is known."""
    return family in ("", *_TAKES.get(held, {family}))


def _list(one: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    return pa.list_(one)


def _arrow(held: str) -> pa.DataType:
    import pyarrow as pa

    return pa.timestamp("us", "UTC") if held == "moment" else getattr(pa, _HELD[held][0])()


def to_arrow(column: Column, values: Sequence[Any], fault: Callable[[int, Fault], Exception]) -> pa.Array:
    """Return the values of a column as Arrow holds them.

    Args:
        column: Whose they are.
        values: Collections, one a row.
        fault: Makes the error to raise of the position of a value that does not fit, and why.
    """
    import pyarrow as pa

    if column.collection or not _HELD[column.held][1].issuperset(map(type, values)):
        return _one_by_one(column, values, fault)
    try:
        return pa.array(values, column.arrow())
    except (pa.ArrowException, OverflowError, UnicodeError):
        # Arrow refuses the whole and does not say for which value: either one is beyond what the type holds, or it is
        # a whole number that no double has exactly and that becomes the nearest one.
        return _one_by_one(column, values, fault)


def _one_by_one(column: Column, values: Sequence[Any], fault: Callable[[int, Fault], Exception]) -> pa.Array:
    """Return the values of a column, each converted by itself; the first that does not fit raises its own fault."""
    import pyarrow as pa

    made, type_ = [], column.arrow()
    for at, value in enumerate(values):
        try:
            made.append(_cell(column, value))
            pa.array(made[-1:], type_)
        except (pa.ArrowException, OverflowError, UnicodeError):
            raise fault(at, Fault(f"a value is beyond what {type_} holds")) from None
        except Fault as error:
            raise fault(at, error) from None
    return pa.array(made, type_)


def _cell(column: Column, value: Any) -> Any:
    convert = _CONVERT[column.held]
    if column.collection:
        return [convert(item, column) for item in items(value)]
    if type(value) is list:
        raise Fault(
            f"column {column.name} holds one value and {len(value)} came; "
            'choose with first() or where(), join() them, or set "collection": true'
        )
    return None if value is None else convert(value, column)


def _clash(value: Any, column: Column, wanted: str) -> Fault:
    kind = "a boolean" if isinstance(value, bool) else "a number" if number(value) else "a text"
    kind = "an element" if isinstance(value, dict) else kind
    return Fault(f"column {column.name} holds {wanted}, and {kind} came")


def _to_text(value: Any, column: Column) -> str:
    if not isinstance(value, str):
        raise _clash(value, column, f"texts ({column.ansi or column.type})")
    return str(value)


def _to_any(value: Any, column: Column) -> str:
    text = as_text(value)
    if text is None:
        raise Fault(f"column {column.name} has no type, and an element came; go on to a value or name its type")
    return str(text)


def _to_boolean(value: Any, column: Column) -> bool:
    if not isinstance(value, bool):
        raise _clash(value, column, "booleans")
    return value


def _to_integer(value: Any, column: Column) -> int:
    if not number(value) or not isfinite(value) or value != int(value):
        raise _clash(value, column, "whole numbers")
    return int(value)


def _to_decimal(value: Any, column: Column) -> float:
    if not number(value):
        raise _clash(value, column, "numbers")
    return float(value)


def _to_day(value: Any, column: Column) -> Any:
    found = day(value) if isinstance(value, str) else None
    if found is None:
        raise _clash(value, column, "dates")
    return found


def _to_moment(value: Any, column: Column) -> Any:
    found = moment(value) if isinstance(value, str) else None
    if found is None:
        raise _clash(value, column, "dates with a zone where they have a time")
    return found


def _to_element(value: Any, column: Column) -> str:
    if not isinstance(value, dict):
        raise _clash(value, column, f"elements ({column.type})")
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS, default=as_text).decode()


_CONVERT: Final[dict[str, Callable[[Any, Column], Any]]] = {
    "text": _to_text,
    "any": _to_any,
    "boolean": _to_boolean,
    "integer": _to_integer,
    "integer64": _to_integer,
    "decimal": _to_decimal,
    "day": _to_day,
    "moment": _to_moment,
    "element": _to_element,
}
