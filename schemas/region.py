"""The region's YAML file as one checked value: who takes part, with what weight, under which parameters."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from schemas.documents import load_document
from schemas.errors import ConfigurationError

MIN_VOTERS = 4
MIN_PRODUCERS = 3


@dataclass(frozen=True, slots=True)
class Parameters:
    """Rules of the ledger that genesis fixes.

    Attributes:
        epoch_blocks: Blocks in an epoch.
        batch_entries: Entries in one batch, at most.
        clock_drift_ms: How far a proposal's time may be from a validator's clock, milliseconds.
        expiry_blocks: Blocks after which an unconfirmed batch lapses.
        sample_envelopes: Envelopes each validator reads back of every block.
        round_seconds: How long a round waits for its votes, seconds.
        jail_epochs: Epochs that whoever signed two ways stays out, at least.
        evidence_blocks: How old evidence may be, in blocks.
        late_blocks: Blocks within which a voter left out of a certificate may be added.
        deliver_blocks: Blocks within which a holder delivers what a contract allowed.
        lock_epochs: Whole epochs that a widening change of rules waits.
    """

    epoch_blocks: int = 100
    batch_entries: int = 100_000
    clock_drift_ms: int = 30_000
    expiry_blocks: int = 1_000
    sample_envelopes: int = 64
    round_seconds: int = 20
    jail_epochs: int = 4
    evidence_blocks: int = 1_000
    late_blocks: int = 20
    deliver_blocks: int = 100
    lock_epochs: int = 1


@dataclass(frozen=True, slots=True)
class Institution:
    """One member of the consortium.

    Attributes:
        id: Its name everywhere in the system.
        name: What people call it.
        class_: ``A``, ``B``, ``C``, ``R`` (regulator) or ``P`` (takes part without a vote).
        role: ``producer``, ``validator``, ``auditor`` or ``member``.
        weight: Votes it casts; 0 for auditors and members.
        public_key: SM2 point x||y as 128 hex digits, or ``""`` to take the keystore's.
        party: For class ``P``: ``insurer``, ``research`` or ``participant``; ``""`` for what the class says.
    """

    id: str
    name: str
    class_: str
    role: str
    weight: int
    public_key: str = ""
    party: str = ""


@dataclass(frozen=True, slots=True)
class Region:
    """A region as ``region.yaml`` describes it; institutions in order of id."""

    name: str
    founded: datetime
    institutions: tuple[Institution, ...]
    parameters: Parameters = field(default_factory=Parameters)

    @property
    def voters(self) -> tuple[Institution, ...]:
        """Institutions with weight, in order of id."""
        return tuple(one for one in self.institutions if one.weight)

    def institution(self, id_: str) -> Institution:
        """Return the institution with this id.

        Raises:
            ConfigurationError: The region has none.
        """
        for one in self.institutions:
            if one.id == id_:
                return one
        raise ConfigurationError(f"region.yaml has no institution {id_!r}")


_CLASS_WEIGHT = {"A": 3, "B": 2, "C": 1, "R": 0, "P": 0}
_VOTERS = ("producer", "validator")


def load_region(path: Path) -> Region:
    """Read and check ``region.yaml``.

    Raises:
        ConfigurationError: The file breaks ``region.schema.json`` or the floors and caps of ``ledger.md`` 11:
            at least 4 voters and 3 producers, weight for exactly those who vote, no voter above
            ⌊(W-1)/3⌋.
    """
    document = load_document(path, "region")
    institutions = tuple(
        Institution(
            one["id"], one["name"], one["class"], one["role"],
            one.get("weight", _CLASS_WEIGHT[one["class"]]), one.get("public_key", ""), one.get("party", ""),
        )
        for one in sorted(document["institutions"], key=lambda one: str(one["id"]))
    )  # fmt: skip
    founded = datetime.fromisoformat(document["founded"])
    region = Region(document["name"], founded, institutions, Parameters(**document.get("parameters", {})))
    _check(region, path.name)
    return region


def _check(region: Region, name: str) -> None:
    ids = [one.id for one in region.institutions]
    total = sum(one.weight for one in region.voters)
    faults = {
        "founded: needs an offset": region.founded.utcoffset() is None,
        "institutions: an id stands twice": len(set(ids)) != len(ids),
        f"institutions: at least {MIN_VOTERS} must vote": len(region.voters) < MIN_VOTERS,
        f"institutions: at least {MIN_PRODUCERS} must be producers": sum(
            one.role == "producer" for one in region.institutions
        )
        < MIN_PRODUCERS,
        "institutions: producers and validators have a weight, and nobody else": any(
            (one.role in _VOTERS) != (one.weight > 0) for one in region.institutions
        ),
        "institutions: only class P says which party it is": any(
            one.party and one.class_ != "P" for one in region.institutions
        ),
        "institutions: one weighs more than a third of the votes": any(
            one.weight > (total - 1) // 3 for one in region.voters
        ),
    }
    for fault, found in faults.items():
        if found:
            raise ConfigurationError(f"{name}: {fault}")
