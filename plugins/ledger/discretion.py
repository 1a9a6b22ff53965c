"""What may be said of an error where many can read it, as in a task's log.

Drivers and libraries put what they were working on into the text of their errors: an address with its password, a
document, a value. Our own errors name shapes and coordinates only.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

#: Packages whose errors are written to be read by anybody.
_OURS = frozenset({"connectors", "dags", "ledger", "normalise", "quality", "schemas", "shangmi", "sharing", "vault"})
_PLACES = 4


class Withheld(Exception):
    """Something outside failed, and its text may hold what nobody should read; the same call may succeed later."""


@contextmanager
def discreet() -> Iterator[None]:
    """Let no error out but with words of ours: another's becomes ``Withheld``, which says what it was and where.

    What an error was raised from goes with it into no log either.
    """
    try:
        yield
    except Exception as error:
        if type(error).__module__.partition(".")[0] in _OURS | {"airflow"}:
            raise error from None
        raise Withheld(account(error)) from None


def account(error: BaseException) -> str:
    """Return an error's type, its code where it has a number, and where in our code it arose; nothing it says."""
    code = getattr(error, "code", None)
    number = f" {code}" if isinstance(code, int) else ""
    ours = [
        f"{frame.f_globals['__name__']}:{line}"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if str(frame.f_globals.get("__name__")).partition(".")[0] in _OURS
    ]
    places = ", ".join(reversed(ours[-_PLACES:])) or "outside our code"
    return f"{type(error).__module__}.{type(error).__qualname__}{number} at {places}; its text is withheld"
