"""What crosses the borders inside sharing: the request that people signed, and what a cut of records left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

#: Classes of institutions that keep patients' records.
HOLDERS: Final = ("A", "B", "C")


@dataclass(frozen=True, slots=True)
class Code:
    """A coding to look for."""

    system: str
    code: str


@dataclass(frozen=True, slots=True)
class Cohort:
    """Which patients, and which of their records.

    Attributes:
        criteria: A patient has, for each of these lists, a record with one of its codes; none means every patient.
        period: First and last date of the records that count and are exported; None is open.
        ages: Least and greatest age in completed years on ``period``'s last day, or the request's; None is any.
        sexes: Of FHIR's administrative genders; empty is any.
    """

    criteria: tuple[tuple[Code, ...], ...] = ()
    period: tuple[date | None, date | None] = (None, None)
    ages: tuple[int, int] | None = None
    sexes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Demands:
    """What the disclosure-risk gate demands of each table.

    Attributes:
        k: Persons that are alike in the declared quasi-identifiers, at least.
        l: Different values of each sensitive column among them, at least; 1 asks for nothing.
        t: Distance of their distribution from the table's, in thousandths; 1,000 asks for nothing.
        suppression: Rows that may be left out for it, in thousandths of the table.
    """

    k: int = 5
    l: int = 1  # noqa: E741  (the literature's name)
    t: int = 1_000
    suppression: int = 50


@dataclass(frozen=True, slots=True)
class Ethics:
    """The ethics committee's approval that a request rests on.

    Attributes:
        committee: Its name.
        number: The approval's number there.
        valid: First and last date.
        digest: SM3 of the approval's document, 32 bytes.
    """

    committee: str
    number: str
    valid: tuple[date, date]
    digest: bytes

    def held(self, time_ms: int) -> bool:
        """Say whether the approval held at a time, milliseconds since 1970 UTC; a day that began anywhere counts."""
        day, (first, last) = datetime.fromtimestamp(time_ms / 1_000, UTC).date(), self.valid
        return first - timedelta(1) <= day <= last


@dataclass(frozen=True, slots=True)
class DatasetRequest:
    """What a requester asks for, as the file says that people read and sign.

    Attributes:
        chain_id: The region's chain, 32 bytes.
        title: One line for people.
        requester: Institution that asks, by its id in region.yaml.
        holders: Institutions whose records are asked for, in order.
        purpose: One of ``ledger.messages.provisions.PURPOSES``.
        reader: Who will read, of ``policy_request.READERS``; "" for the institution itself.
        recipient: SM2 public key x||y that the dataset is sealed to; empty for the requester's registered one.
        cohort: Which patients and records.
        views: ViewDefinitions by name, whole, as they are applied.
        profile: De-identification profile, a name of ``schemas/deidentify``.
        demands: Of the disclosure-risk gate.
        ndjson: Whether de-identified FHIR is wanted beside the tables.
        most: Records that may be delivered at most.
        ethics: The approval it rests on, or None.
        made: Date of the request.
        keep_until: Date by which the requester deletes the dataset.
        nonce: 16 random bytes; two requests are never the same.
    """

    chain_id: bytes
    title: str
    requester: str
    holders: tuple[str, ...]
    purpose: str
    reader: str
    recipient: bytes
    cohort: Cohort
    views: Mapping[str, Mapping[str, Any]]
    profile: str
    demands: Demands
    ndjson: bool
    most: int
    ethics: Ethics | None
    made: date
    keep_until: date
    nonce: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Excluded:
    """What one stage of an export left out, counted.

    Attributes:
        stage: ``cohort``, ``consent``, ``deidentify``, ``project`` or ``risk``.
        reason: A code from a closed list, never a patient's data.
        count: How many records, or rows where the stage is ``risk``.
    """

    stage: str
    reason: str
    count: int
