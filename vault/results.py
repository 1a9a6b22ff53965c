"""What becomes of a batch: the result of each record, and the counts of all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal

from schemas.records import Refusal, Resource


@dataclass(frozen=True, slots=True)
class RecordResult:
    """What normalising and checking made of one landed record.

    Attributes:
        landed_id: Id of the landed record.
        outcome: ``sealed``, ``quarantined`` or ``filtered`` (a source's rule leaves it out on purpose).
        resources: What to seal, in the sender's order; only with ``sealed``.
        refusal: Why it is set aside; only with ``quarantined``.
        notes: What of it could not be read fully.
        unmapped: System, code and display of each use of a code that no standard system knows.
    """

    landed_id: str
    outcome: Literal["sealed", "quarantined", "filtered"]
    resources: tuple[Resource, ...] = ()
    refusal: Refusal | None = None
    notes: tuple[Refusal, ...] = ()
    unmapped: tuple[tuple[str, str, str], ...] = ()

    def __post_init__(self) -> None:
        if (self.outcome == "quarantined") != (self.refusal is not None):
            raise RuntimeError("a quarantined record has a refusal, and no other has one")
        if self.resources and self.outcome != "sealed":
            raise RuntimeError(f"a {self.outcome} record has no resources")


@dataclass(frozen=True, slots=True)
class BatchCounts:
    """Numbers of one batch: the first five are records, the rest resources.

    Attributes:
        received: Times a record of this batch was received: sealed + duplicate + quarantined + filtered
            (+ waiting, until it is settled).
        sealed: Records whose resources are in the vault.
        duplicate: Receptions beyond a record's first.
        quarantined: Records set aside.
        filtered: Records left out on purpose.
        waiting: Records not settled yet.
        resources: Resource versions sealed.
        unchanged: Resources that stood there already with the same content.
        stale: Resources not stored because a record that arrived later had been sealed before.
    """

    received: int = 0
    sealed: int = 0
    duplicate: int = 0
    quarantined: int = 0
    filtered: int = 0
    waiting: int = 0
    resources: int = 0
    unchanged: int = 0
    stale: int = 0

    def as_dict(self) -> dict[str, int]:
        """Return the counts by name."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch as it stands.

    Attributes:
        id: ``<source>-<number>``.
        source: Id of its source.
        run: The run that planned it.
        state: ``open``, ``stopped`` or ``reconciled``.
        records: Landed records in it.
        counts: As far as it got.
        mapping: Version of the mapping tables that were used.
        timings: Seconds by step.
        reason: Why it was stopped, or "".
        created_at: When it was planned.
        closed_at: When it was reconciled or stopped.
    """

    id: str
    source: str
    run: str
    state: Literal["open", "stopped", "reconciled"]
    records: int
    counts: BatchCounts
    mapping: str = ""
    timings: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""
    created_at: datetime | None = None
    closed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Totals:
    """Numbers of one source since it was onboarded.

    Attributes:
        received: Every reception that was made durable, repeats included; the sum of the next six.
        sealed: Records sealed.
        duplicate: Receptions beyond a record's first.
        quarantined: Records in quarantine.
        filtered: Records left out on purpose.
        pending: Records not in a batch yet.
        batched: Records in a batch that is not settled.
        refused: Messages refused at the door and not kept, by reason code; not part of ``received``.
    """

    received: int = 0
    sealed: int = 0
    duplicate: int = 0
    quarantined: int = 0
    filtered: int = 0
    pending: int = 0
    batched: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)


def counts_from(document: Mapping[str, Any]) -> BatchCounts:
    """Return the counts of a stored mapping; what it lacks is 0."""
    return BatchCounts(**{name: int(document.get(name, 0)) for name in BatchCounts.__dataclass_fields__})
