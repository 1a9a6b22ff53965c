"""Conditions that cut a table into ranges of its order, in SQL that every database speaks.

Row values (``(a, b) > (1, 2)``) are not known everywhere and slow where they are; written out they are, and the first
column alone bounds what an index has to be searched for.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final, cast
from zoneinfo import ZoneInfo

from sqlalchemy import and_, or_
from sqlalchemy.sql import ColumnElement

#: How times stand in text columns, longest first.
_FORMS: Final = (
    "%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%d %H:%M:%S.%f", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%SZ",
    "%Y-%m-%dT%H:%M:%S%z", "%Y/%m/%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y%m%d%H%M%S", "%Y-%m-%d", "%Y/%m/%d", "%Y%m%d",
)  # fmt: skip

Bound = Sequence[Any]


def after(columns: Sequence[ColumnElement[Any]], bound: Bound) -> ColumnElement[bool]:
    """Return whether a row comes behind ``bound`` in the order of ``columns``, none of which is NULL there."""
    first, rest = columns[0], columns[1:]
    if not rest:
        return cast(ColumnElement[bool], first > bound[0])
    behind: ColumnElement[bool] = or_(first > bound[0], after(rest, bound[1:]))
    return and_(first >= bound[0], behind)


def through(columns: Sequence[ColumnElement[Any]], bound: Bound) -> ColumnElement[bool]:
    """Return whether a row comes at or before ``bound`` in the order of ``columns``."""
    first, rest = columns[0], columns[1:]
    if not rest:
        return cast(ColumnElement[bool], first <= bound[0])
    before: ColumnElement[bool] = or_(first < bound[0], through(rest, bound[1:]))
    return and_(first <= bound[0], before)


def form_of(text: str) -> str | None:
    """Return how a time stands in a text, as ``strptime`` writes it; None where it is no time."""
    for form in _FORMS:
        try:
            datetime.strptime(text, form)  # noqa: DTZ007 - the form is asked for, not the time
        except ValueError:
            continue
        return form
    return None


def earlier(value: Any, seconds: int, values: int) -> Any:
    """Return a watermark moved back by the overlap, in the form in which it came.

    A text that is no time is returned as it is: nobody can tell what lies before it.
    """
    if isinstance(value, (int, Decimal)):
        return value - values
    if isinstance(value, str) and (form := form_of(value)):
        try:
            moved = datetime.strptime(value, form) - timedelta(seconds=seconds)  # noqa: DTZ007 - written back as it came
        except OverflowError:
            return value
        return _written(moved, form)
    return value


def at_most(value: Any, moment: datetime, zone: str, *, universal: bool) -> Any:
    """Return a watermark no later than a moment: a row dated in the future must not hide those dated until then.

    Args:
        value: The watermark, as it is read.
        moment: The server's time, with an offset.
        zone: IANA zone of times without an offset.
        universal: Whether the column is in UTC.
    """
    limit = like(value, moment, zone, universal=universal)
    return value if limit is None or value < limit else limit


def like(value: Any, moment: datetime, zone: str, *, universal: bool) -> str | None:
    """Return a moment as a watermark writes it; None where the watermark is no time. Arguments as `at_most`."""
    if not isinstance(value, str) or not (form := form_of(value)):
        return None
    return _written(moment.astimezone(ZoneInfo("UTC" if universal or form.endswith(("Z", "%z")) else zone)), form)


def _written(moment: datetime, form: str) -> str:
    if form.endswith("%z"):
        return moment.isoformat(timespec="seconds")
    return moment.strftime(form)
