"""A statement on the chain written as a FHIR R4 Consent, such that ``read_consent`` reads the same statement again.

Its base rule is the region's own, which no other system can take for an opt-in or opt-out: each provision stands by
itself, a denial counts more than a permit, and where none speaks the region's rules do.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from ledger.contracts.policy_request import type_name
from ledger.messages.consent import ConsentState
from ledger.messages.provisions import EVERY_PURPOSE, FOREVER, PURPOSES, Interval, Provision
from sharing.consent.dates import moment
from sharing.consent.fhir_table import Table, table
from sharing.consent.parties import Parties
from sharing.errors import Refused

_CATEGORY: Final = ("http://loinc.org", "59284-0")
_RECIPIENT: Final = ("http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "IRCP")
_SAYS: Final = "Each provision stands by itself; a denial counts more than a permit; else the region's rules hold."


def write_consent(
    state: ConsentState, patient: str, holder: str, parties: Parties, time_ms: int | None = None
) -> dict[str, Any]:
    """Return a statement as a Consent.

    Args:
        state: What stands.
        patient: Id of the Patient.
        holder: Whose records it is about, by its id in the region's files.
        parties: Whom it may name.
        time_ms: When it came into force, in the chain's time.

    Raises:
        Refused: It names a resource type or a year that FHIR R4 does not have.
    """
    known = table()
    body: dict[str, Any] = {
        "resourceType": "Consent",
        "status": "inactive" if state.withdrawn else "active",
        "scope": {"coding": [_coding(*next(iter(known.scopes)))]},
        "category": [{"coding": [_coding(*_CATEGORY)]}],
        "patient": {"reference": f"Patient/{patient}"},
    }
    if time_ms is not None:
        body["dateTime"] = _moment(time_ms)
    body["organization"] = [{"identifier": _actor(known, "institution", holder)}]
    base = next(key for key, meaning in known.bases.items() if meaning == "silence")
    body["policyRule"] = {"coding": [_coding(*base)], "text": _SAYS}
    if not state.withdrawn:
        body["provision"] = {"provision": [_provision(one, known, parties) for one in state.provisions]}
    return body


def _coding(system: str, code: str) -> dict[str, str]:
    return {"system": system, "code": code}


def _actor(known: Table, kind: str, value: str) -> dict[str, str]:
    return {"system": next(one for one, meaning in known.actors.items() if meaning == kind), "value": value}


def _provision(said: Provision, known: Table, parties: Parties) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "permit" if said.permits else "deny"}
    if said.valid != (0, FOREVER):
        found["period"] = _period(said.valid)
    named = [_actor(known, "class", one) for one in said.classes]
    named += [_actor(known, "institution", parties.name(one)) for one in said.institutions]
    if named:
        role = {"coding": [_coding(*_RECIPIENT)]}
        found["actor"] = [{"role": role, "reference": {"identifier": one}} for one in named]
    if said.purposes != EVERY_PURPOSE:
        found["purpose"] = [_coding(*one) for one in _purposes(said.purposes, known)]
    if said.types:
        found["class"] = [_coding(known.class_system, _type(one)) for one in said.types]
    if said.data != (0, FOREVER):
        found["dataPeriod"] = _period(said.data)
    return found


def _purposes(purposes: frozenset[str], known: Table) -> list[tuple[str, str]]:
    """Return the fewest codes that say these purposes, in the table's order."""
    left, found = set(purposes), []
    for key, meant in sorted(known.purposes.items(), key=lambda one: (-len(one[1]), min(map(PURPOSES.index, one[1])))):
        if meant <= left:
            found.append(key)
            left -= meant
    return found


def _type(number: int) -> str:
    if not (name := type_name(number)):
        raise Refused("fhir-consent", f"resource type {number} of the statement is none of FHIR R4")
    return name


def _period(interval: Interval) -> dict[str, str]:
    """Return an interval as a Period, whose end is included."""
    found: dict[str, str] = {}
    if interval[0]:
        found["start"] = _moment(interval[0])
    if interval[1] != FOREVER:
        last = interval[1] - 1
        found["end"] = _day(last) if _midnight(interval[1]) else _moment(last, exact=True)
    return found


def _midnight(ms: int) -> bool:
    return (ms + 8 * 3_600_000) % 86_400_000 == 0


def _day(ms: int) -> str:
    return f"{_time(ms):%Y-%m-%d}"


def _moment(ms: int, *, exact: bool = False) -> str:
    if _midnight(ms) and not exact:
        return _day(ms)
    return f"{_time(ms):%Y-%m-%dT%H:%M:%S}.{ms % 1_000:03}+08:00"


def _time(ms: int) -> datetime:
    try:
        return moment(ms)
    except OverflowError:
        raise Refused(
            "fhir-consent", "a date of the statement lies beyond the year 9999, the last that FHIR has"
        ) from None
