"""What the chain tells the rules about one request, in the words of its schema (section 14)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final

import schemas

ACTIONS: Final = ("upload", "access", "download")
CONSENTS: Final = ("permit", "deny", "none")
PURPOSES: Final = ("care", "emergency", "research", "claims", "public-health", "audit", "directory")
#: Who may be meant to read; an institution that is no hospital can only name itself.
READERS: Final = ("patient", "doctor", "hospital", "nursing-home", "insurer", "research", "regulator", "participant")
#: The last moment that the engine's datetime and Python's share.
_LAST_MS: Final = 253_402_300_799_999


@dataclass(frozen=True, slots=True)
class PartyFacts:
    """An institution as the rules see it.

    Attributes:
        name: Its id in the region's files.
        class_: One of ``roster.CLASSES``.
        party: One of ``roster.PARTIES``.
        standing: One of ``roster.STANDINGS``.
        credit: 0 to 1,000.
    """

    name: str
    class_: str
    party: str
    standing: str = "active"
    credit: int = 600

    def entity(self) -> dict[str, Any]:
        """Return it as an entity of the engine."""
        attrs = {
            "class": _reference("Class", self.class_),
            "party": _reference("Party", self.party),
            "standing": _reference("Standing", self.standing),
            "credit": self.credit,
        }
        return {"uid": {"type": "Institution", "id": self.name}, "attrs": attrs, "parents": []}


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One action that an institution wants to take.

    Attributes:
        action: One of ``ACTIONS``.
        principal: Who wants to.
        owners: Whose records; all must be allowed. For an upload the one that the records are published under.
        now_ms: The block's time, milliseconds since 1970 UTC.
        reader: Who will read, one of ``READERS``; empty for the institution itself.
        purpose: One of ``PURPOSES``; empty for an upload.
        consent: What the patient's statement says, one of ``CONSENTS``.
        dataset: Whether many patients' records are asked for.
        ethics: Whether it names an ethics committee's approval.
        approved: Whether the data access committee approved it.
        erased: Whether the record is erased.
        type: FHIR resource type; empty for a batch or a dataset.
        records: How many, at most.
        recent: Requests of its kind (records, or datasets) that the institution had made in the epoch before it.
        waited: Blocks since the decision, for a download.
    """

    action: str
    principal: PartyFacts
    owners: tuple[PartyFacts, ...]
    now_ms: int
    reader: str = ""
    purpose: str = ""
    consent: str = "none"
    dataset: bool = False
    ethics: bool = False
    approved: bool = False
    erased: bool = False
    type: str = ""
    records: int = 1
    recent: int = 0
    waited: int = 0

    def requests(self) -> list[dict[str, Any]]:
        """Return one request of the engine for each owner."""
        return [
            {
                "principal": {"type": "Institution", "id": self.principal.name},
                "action": {"type": "Action", "id": self.action},
                "resource": {"type": "Records", "id": owner.name},
                "context": json.dumps(self._context()),
            }
            for owner in self.owners
        ]

    def entities(self) -> list[dict[str, Any]]:
        """Return everyone and everything that the requests name."""
        everyone = {one.name: one for one in (*self.owners, self.principal)}
        return [*(one.entity() for one in everyone.values()), *self._records()]

    def _records(self) -> Iterator[dict[str, Any]]:
        attrs: dict[str, Any]
        for name in {one.name: None for one in self.owners}:
            attrs = {"owner": _reference("Institution", name), "erased": self.erased}
            attrs |= {"type": self.type} if self.type else {}
            yield {"uid": {"type": "Records", "id": name}, "attrs": attrs, "parents": []}

    def _context(self) -> dict[str, Any]:
        context: dict[str, Any] = {"now": _moment(self.now_ms), "records": self.records}
        if self.action == "upload":
            return context
        context |= {
            "party": _reference("Party", self.reader or self.principal.party),
            "purpose": _reference("Purpose", self.purpose),
            "consent": _reference("Consent", self.consent),
            "dataset": self.dataset,
            "ethics": self.ethics,
            "approved": self.approved,
            "recent": self.recent,
        }
        return context | ({"waited": self.waited} if self.action == "download" else {})


def _reference(type_: str, id_: str) -> dict[str, Any]:
    return {"__entity": {"type": type_, "id": id_}}


def _moment(ms: int) -> dict[str, Any]:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=min(ms, _LAST_MS))
    text = f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"
    return {"__extn": {"fn": "datetime", "arg": text}}


@cache
def _types() -> dict[int, str]:
    path = Path(schemas.__file__).parent / "resource_types.json"
    numbers: dict[str, int] = json.loads(path.read_text(encoding="utf-8"))
    return {number: name for name, number in numbers.items()}


def type_name(number: int) -> str:
    """Return the FHIR type that a number on the chain stands for, or ``""`` for 0 and unknown ones."""
    return _types().get(number, "")
