"""What a database's refusals mean for us: try again, or a person must act. Its own words are never repeated.

The text of a database error holds the statement and its values, and now and then the password; what is told of one is
its class and its code (SQLSTATE, MySQL's number, SQLite's name), which is what its manual explains.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from connectors.errors import ConnectorError, Retry, Stop

#: What a person must mend, by the code that the server gives.
_STOP: Final = {
    # PostgreSQL, SQLSTATE (appendix A of its manual); a prefix of two is the whole class
    "28": "the account or its password is refused; correct url or password_secret",
    "3D": "the database is not there; correct url",
    "42501": "the account may not read; grant SELECT on the tables to it",
    "42P01": "a table is not there; correct settings.tables",
    "42703": "a column is not there; correct settings.tables",
    "25006": "the server refused to write, as it must; report this",
    # MySQL and MariaDB
    "1044": "the account may not use the database; grant it",
    "1045": "the account or its password is refused; correct url or password_secret",
    "1698": "the account or its password is refused; correct url or password_secret",
    "1049": "the database is not there; correct url",
    "1142": "the account may not read; grant SELECT on the tables to it",
    "1143": "the account may not read a column; grant SELECT on the tables to it",
    "1146": "a table is not there; correct settings.tables",
    "1054": "a column is not there; correct settings.tables",
    # SQLite
    "SQLITE_NOTADB": "the file is no SQLite database; correct url",
    "SQLITE_CORRUPT": "the file is damaged; restore it",
    "SQLITE_ERROR": "a table or column is not there; correct settings.tables",
    "SQLITE_AUTH": "the file may not be read; give this user the right to",
}


class RowFault(Exception):
    """A row, not the server, is the trouble: its value cannot be read. The rows of the page are then read singly."""


def code_of(error: BaseException) -> str:
    """Return the server's code for its error, or ``""``."""
    origin = error.orig if isinstance(error, DBAPIError) else error
    first = origin.args[0] if isinstance(origin, BaseException) and origin.args else None
    if isinstance(first, int):  # MySQL's own number says more than its SQLSTATE
        return str(first)
    if isinstance(state := getattr(origin, "sqlstate", None), str):
        return state
    if isinstance(name := getattr(origin, "sqlite_errorname", None), str):
        return name
    # psycopg gives no SQLSTATE where the connection itself was refused.
    text = str(origin)
    return "28" if "authentication failed" in text else "3D" if "does not exist" in text else ""


def told(source: str, error: BaseException) -> ConnectorError:
    """Return what an error of the database means, without anything it quotes."""
    code = code_of(error)
    kind = type(error.orig if isinstance(error, DBAPIError) and error.orig else error).__name__
    reason = _STOP.get(code) or _STOP.get(code[:2] if len(code) in (2, 5) and not code.isdigit() else "")
    reason = reason or (_STOP.get(code[:2]) if len(code) == 5 else None)
    if reason:
        return Stop(f"{source}: {reason} ({kind} {code})")
    return Retry(f"{source}: the database could not be read ({kind} {code}); see that it runs, then run again")


def is_row_fault(error: BaseException) -> bool:
    """Whether reading failed for what a row holds: a value that cannot be decoded, cast or computed."""
    if isinstance(error, (UnicodeError, ValueError, OverflowError, ArithmeticError)):
        return True
    code = code_of(error)
    # SQLSTATE class 22 is data; MySQL 1292, 1366, 1690 and 3140 to 3143 are bad values; SQLite computes row by row and
    # has one code for all that fails while a row is made, which a missing column would have met before the first row.
    return (len(code) == 5 and code.startswith("22")) or code in _DATA


_DATA: Final = frozenset(
    {"1292", "1366", "1690", "3140", "3141", "3142", "3143", "4038", "SQLITE_ERROR", "SQLITE_MISMATCH"}
)


@contextmanager
def translated(source: str) -> Iterator[None]:
    """What a database raises inside becomes Retry or Stop."""
    try:
        yield
    except SQLAlchemyError as error:
        raise told(source, error) from None
