"""The catalogue of one institution: what may be asked for, without patient data."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import orjson

from sharing.catalogue.counting import counted
from sharing.views import compile_view, dictionary, library
from vault.store import Vault

FORMAT: Final = "xinglin-catalogue/v1"


def refresh(vault: Vault, now: datetime | None = None) -> dict[str, Any]:
    """The vault is counted anew, and what may be told of it is kept in its database; returns the catalogue.

    Seconds for 100,000 records; a step of the night, or whoever publishes, calls it.

    Args:
        vault: The institution's.
        now: Time of the count; the clock's where it is not given.
    """
    counts = counted(vault, now)
    vault.census.keep(orjson.dumps(counts, option=orjson.OPT_SORT_KEYS))
    return _whole(vault, counts)


def describe(vault: Vault) -> dict[str, Any]:
    """Return the catalogue by the last count; where there is none yet, it is counted now."""
    kept = vault.census.kept()
    return refresh(vault) if kept is None else _whole(vault, orjson.loads(kept))


def _whole(vault: Vault, counts: dict[str, Any]) -> dict[str, Any]:
    views = [dictionary(compile_view(one)) for one in library().values()]
    return {"format": FORMAT, "institution": vault.institution, **counts, "views": views}
