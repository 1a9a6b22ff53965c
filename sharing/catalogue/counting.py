"""An institution's vault, counted for everybody: types, years, codes of standard systems, how much was set aside.

Types, patients and codes are counted by the database over blind tokens (`vault.census`). Years, which lie sealed, are
read from at most ``MOST_OPENED`` records; where there are more, that many drawn as by lot stand for all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime
from typing import Any, Final

from sharing.catalogue.rounding import FEW, HIDDEN, Cell, Told, tellable, tens, told
from sharing.catalogue.systems import codings, known
from sharing.consent import dated
from vault.census import Counted
from vault.store import Vault

#: Records that are opened for their dates; about 10,000 a second.
MOST_OPENED: Final = 200_000
#: Records that are opened to learn which code a token is and what it is called.
_PER_CODE: Final = 40
#: Codes that are told, the most frequent first.
MOST_CODES: Final = 2_000
UNDATED: Final = "undated"


def counted(vault: Vault, now: datetime | None = None) -> dict[str, Any]:
    """Return the counts as they may be told: rounded to tens, nothing of fewer than ten patients.

    Args:
        vault: The institution's.
        now: Time of the count, kept to the minute; the clock's where it is not given.
    """
    types = vault.census.types()
    years, opened = _years(vault)
    whole = sum(one.records for one in types) <= opened
    at = (now or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ")
    return {
        "counted": at,
        "patients": told(vault.census.patients()),
        "types": [_type(one, years.get(one.type, {}), whole) for one in types],
        "codes": list(_codes(vault)),
        "quality": _quality(vault),
    }


# --- types and years -------------------------------------------------------------------------------------------------


def _years(vault: Vault) -> tuple[dict[str, dict[str, Cell]], int]:
    """Return by type and year what was found among the records opened, and how many these were."""
    found: dict[str, dict[str, Cell]] = {}
    opened = 0
    for page in vault.census.sample(MOST_OPENED):
        for one in page:
            opened += 1
            kind, year = str(one.body.get("resourceType")), _year(one.body)
            cell = found.setdefault(kind, {}).setdefault(year, Cell((year,)))
            cell.records += 1
            if cell.few:  # ten are enough to know, and all that is remembered
                cell.patients.add(one.owner)
    return found, opened


def _year(body: dict[str, Any]) -> str:
    days = dated(body)
    if days is None:
        return UNDATED
    first, last = days
    day = first if first != date.min else last
    return UNDATED if day in (date.min, date.max) else f"{day.year:04}"


def _type(counted: Counted, years: dict[str, Cell], whole: bool) -> dict[str, Any]:
    nobodys = not counted.patients
    behind = None if nobodys else counted.patients
    found: dict[str, Any] = {"type": counted.type, "records": told(counted.records, behind)}
    if nobodys:
        return found
    found["patients"] = told(counted.patients)
    if counted.patients >= FEW:
        found |= _period(counted, tellable(years.values()), whole)
    return found


def _period(counted: Counted, cells: list[Cell], whole: bool) -> dict[str, Any]:
    """Return the years as they may be told; where not all records were opened, their shares of all records."""
    if any(one.few for one in cells):
        return {}
    opened = sum(one.records for one in cells)
    years = []
    for one in cells:
        records = one.records if whole else one.records * counted.records // max(opened, 1)
        years.append({"years": list(one.names), "records": tens(records)})
    return {"years": years} if whole else {"years": years, "estimated": True}


# --- codes -----------------------------------------------------------------------------------------------------------


def _codes(vault: Vault) -> Iterator[dict[str, Any]]:
    """Yield the codes of standard systems that ten patients or more have, most patients first."""
    left = MOST_CODES
    for one in vault.census.common(FEW):
        if left and (code := _code(vault, one)) is not None:
            left -= 1
            yield code


def _code(vault: Vault, counted: Counted) -> dict[str, Any] | None:
    """Return the code behind a token, or None where it is none of a standard system (or no code at all)."""
    found = [(one.owner, each) for one in vault.census.having(counted, _PER_CODE) for each in codings(one.body)]
    pairs = {(each["system"], each["code"]) for _, each in found}
    meant = vault.census.codes_of(counted.token, {one for one in pairs if known(*one)})
    if not meant:
        return None
    system, code = meant[0]
    names = ((owner, each["display"]) for owner, each in found if (each["system"], each["code"]) == meant[0])
    return {
        "type": counted.type,
        "system": system,
        "code": code,
        "display": _display(names),
        "patients": tens(counted.patients),
        "records": tens(counted.records),
    }


def _display(names: Iterable[tuple[bytes, str]]) -> str:
    """Return what ten patients' records or more call a code; what fewer call it might be about one of them."""
    shared = Counter(name for _, name in set(names) if name)
    best = min(shared.items(), key=lambda one: (-one[1], one[0]), default=("", 0))
    return best[0] if best[1] >= FEW else ""


# --- quality ---------------------------------------------------------------------------------------------------------


def _quality(vault: Vault) -> list[dict[str, Told]]:
    """Return by source what came, and how much of it was set aside, in thousandths of what came."""
    found: list[dict[str, Told]] = []
    for name, totals in vault.batches.totals().items():
        row: dict[str, Told] = {
            "source": name,
            "received": told(totals.received),
            "set_aside": told(totals.quarantined),
        }
        first = totals.received - totals.duplicate
        if HIDDEN not in row.values():
            row["thousandths"] = totals.quarantined * 1_000 // max(first, 1)
        found.append(row)
    return found
