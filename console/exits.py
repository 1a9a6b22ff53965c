"""Exit codes of every command, and the one place where errors become sentences and codes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn

import orjson
import typer

from schemas.errors import ConfigurationError

DONE: Final = 0
REFUSED: Final = 1  # a check failed, something was refused, or it could not be done
USAGE: Final = 2
UNREADABLE: Final = 3


def fail(message: str, code: int = REFUSED) -> NoReturn:
    """End the command with one sentence on stderr."""
    print(f"xinglin: {message}", file=sys.stderr)  # noqa: T201  (the console speaks here)
    raise typer.Exit(code)


def print_json(value: Any) -> None:
    """Write one JSON value and a line end to stdout, keys sorted."""
    sys.stdout.buffer.write(orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE))
    sys.stdout.flush()


@contextmanager
def sentences() -> Iterator[None]:
    """Turn the errors that a person can act on into one sentence and exit code 1."""
    from connectors.errors import ConnectorError
    from console.region.errors import RegionError
    from dags.steps.errors import Stop
    from ledger.errors import LedgerError
    from sharing.errors import SharingError
    from vault.errors import VaultError

    try:
        yield
    except (ConfigurationError, ConnectorError, RegionError, Stop, LedgerError, SharingError, VaultError) as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.filename or 'the system'}: {error.strerror or type(error).__name__}")
    except _database_errors() as error:
        # A driver's text may hold the address with its password.
        if (code := getattr(error, "code", None)) is not None:
            fail(f"the database refuses (code {code}); see the rights of the account in MONGODB_URI")
        fail(f"the database does not answer ({type(error).__name__}); see MONGODB_URI, or `xinglin up`")


def _database_errors() -> tuple[type[Exception], ...]:
    """Return the driver's family of errors; none where nobody has loaded it, as in the base installation."""
    driver = sys.modules.get("pymongo.errors")
    return () if driver is None else (driver.PyMongoError,)
