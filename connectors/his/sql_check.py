"""What can be told of a database without taking a row: whether it answers, what we may do, what time it is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Final

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from connectors.contract import Finding
from connectors.errors import ConnectorError
from connectors.his.sql_errors import told
from connectors.his.sql_order import Order
from connectors.his.sql_ranges import form_of
from connectors.his.sql_session import Session
from connectors.his.sql_settings import SqlSettings
from connectors.his.sql_shape import Shape
from schemas.errors import ConfigurationError

#: Seconds by which two clocks may differ before somebody is told.
SKEW: Final = 60


def check(session: Session, settings: SqlSettings, now: Callable[[], datetime]) -> tuple[Finding, ...]:
    """Return the findings; nothing is raised for the database's faults."""
    findings: list[Finding] = []
    try:
        with session.transaction() as connection:
            findings.append(Finding("connection", True, f"{connection.dialect.name} answers"))
            findings.append(_clock(session, connection, now))
            findings += _read_only(session)
        for name in settings.tables:
            findings += _table(session, name)
    except (ConnectorError, ConfigurationError) as error:
        findings.append(Finding("connection" if not findings else "content", False, str(error)))
    return tuple(findings)


def _clock(session: Session, connection: Connection, now: Callable[[], datetime]) -> Finding:
    """How far the server's clock is from ours: watermarks are stamped by it."""
    ahead = (session.dialect.now(connection) - now()).total_seconds()
    if abs(ahead) <= SKEW:
        return Finding("clock", True, f"the server's clock and ours differ by {abs(ahead):.0f} s")
    way = "ahead of" if ahead > 0 else "behind"
    return Finding(
        "clock", False, f"the server's clock is {abs(ahead):.0f} s {way} ours; set it by NTP, or raise overlap_seconds"
    )


def _read_only(session: Session) -> Iterator[Finding]:
    if not session.dialect.read_only:
        message = "nobody here knows how to open this database read-only; use an account that can only SELECT"
        yield Finding("rights", session.settings.accept_writer, message)
    if not session.dialect.snapshot:
        yield Finding(
            "content", True, "this database is read without a snapshot; rows that change meanwhile come twice"
        )


def _table(session: Session, name: str) -> Iterator[Finding]:
    try:
        with session.transaction() as connection:
            shape = session.look(connection, name)
            session.count(connection, shape, Order(shape).unplaced(timed=False))
            yield Finding("rights", True, f"{name} may be read: {len(shape.columns)} columns")
            yield from _rights(session, connection, shape)
            yield from _charset(shape)
            yield from _watermark(connection, shape)
            yield from _index(connection, shape)
    except ConnectorError as error:
        aspect = "rights" if "may not read" in str(error) else "content"
        yield Finding(aspect, False, str(error))  # type: ignore[arg-type]  # one of two literals
    except SQLAlchemyError as error:
        yield Finding("content", False, str(told(session.source.id, error)))


def _rights(session: Session, connection: Connection, shape: Shape) -> Iterator[Finding]:
    if session.dialect.writable(connection, shape.schema, shape.bare):
        message = (
            f"the account could write {shape.name}; sessions here are read-only all the same. Give an account that can "
            "only SELECT, or set accept_writer: true"
        )
        yield Finding("rights", session.settings.accept_writer, message)


def _charset(shape: Shape) -> Iterator[Finding]:
    texts = [one for one in shape.columns if one.family in ("text", "char")]
    known = sorted({one.charset for one in texts if one.charset})
    unsaid = sum(one.charset is None for one in texts)
    if texts:
        tried = f"; {unsaid} columns do not say theirs: UTF-8, then GB 18030 is tried" if unsaid else ""
        yield Finding(
            "charset", True, f"{shape.name}: texts in {', '.join(known) or 'no declared character set'}{tried}"
        )


def _watermark(connection: Connection, shape: Shape) -> Iterator[Finding]:
    """Whether the watermark can be moved back by an overlap."""
    order = Order(shape)
    if order.watermark is None:
        return
    top = order.top(connection)
    if isinstance(top, str) and form_of(top) is None:
        message = (
            f"{shape.name}: the watermark is neither a time nor a number, so nothing before it is read again; "
            "set compare_hours to find what is committed late"
        )
        yield Finding("content", shape.settings.compare_hours is not None, message)


def _index(connection: Connection, shape: Shape) -> Iterator[Finding]:
    """Whether an index begins with what the table is ordered by; without one each page searches the whole table."""
    names = shape.settings.watermark or shape.settings.key
    first = shape.dialect.indexed(connection, shape.schema, shape.bare)
    if first is not None and names[0] not in first:
        message = f"{shape.name}: no index begins with {names[0]}; ask for one, or raise page_rows"
        yield Finding("content", True, message)
