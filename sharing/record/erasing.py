"""Erasure: first nobody can read it again here, then the chain is told, and every node purges what it has of it.

Keys go before anything is signed: a crash may leave an erased record that the chain calls active, never a record that
the chain calls erased and somebody can still read. Whatever is killed where, the same call again finishes it: what has
no tombstone and waits in no message that was signed before is named in a new one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from ledger.chain.working_state import WorkingState
from ledger.messages.erasure import DIRECTORY, REASONS, Erase, RecordKey, erased, portions
from shangmi import sm3
from sharing.errors import Refused
from sharing.outgoing import Document
from sharing.record.answering import take_back
from sharing.record.desk import Desk
from vault.store import Erasure, Vault

#: Why a record may be erased; ``directory`` purges summaries alone and erases nothing.
WHY: Final = tuple(one for one in REASONS if one != DIRECTORY)
_NAME: Final = "erase/"


@dataclass(frozen=True, slots=True)
class Erased:
    """How far an erasure is.

    Attributes:
        vault: What the vault reached by this call; zeros where an earlier one did.
        records: Versions that it is about.
        final: Those of them whose tombstone stands in a final block.
        waiting: Those named in messages that no final block holds yet.
    """

    vault: Erasure
    records: int
    final: int
    waiting: int

    @property
    def done(self) -> bool:
        """Whether the chain says so of all of them."""
        return self.final == self.records


def erase_patient(desk: Desk, vault: Vault, patient: str, reason: str = "patient") -> Erased:
    """Nobody reads this patient's records here again, and the chain is told; the same call tells how far it is.

    Answers that nobody has fetched so far are taken back. Not reached: what lies in quarantine or was not settled yet,
    backups of the database's files, and answers and datasets fetched before, which nobody can call back.

    Args:
        desk: The institution's.
        vault: Its vault.
        patient: ``id`` of the Patient.
        reason: One of ``WHY``.

    Raises:
        Refused: The institution has no such patient.
    """
    done = vault.erase(patient)
    records = vault.records.versions(patient=patient)
    if not records and not done.existed:
        raise Refused("patient", "no record was ever sealed here under that patient's id; nothing was erased")
    return _tell(desk, done, records, reason)


def erase_record(desk: Desk, vault: Vault, rid: bytes, version: int | None = None, reason: str = "mistake") -> Erased:
    """Nobody reads this record here again, or this version of it, and the chain is told; otherwise as for a patient.

    Raises:
        Refused: The institution has no such record.
    """
    done = vault.erase_record(rid, version)
    if not done.existed:
        raise Refused("record", "no record is kept here under that id; nothing was erased")
    records = [(rid, version)] if version is not None else vault.records.versions(rid=rid)
    return _tell(desk, done, records, reason)


def _tell(desk: Desk, done: Erasure, records: Sequence[RecordKey], reason: str) -> Erased:
    """Answers that nobody fetched are gone, and every record without a tombstone is named in a message that waits."""
    take_back(desk, records)
    state = desk.now()
    left = _standing(state, desk.id, records)
    final, waiting = len(records) - len(left), _named(desk) & set(left)
    for part in portions(set(left) - waiting):
        named = b"".join(rid + version.to_bytes(4, "big") for rid, version in part)
        desk.outgoing.offer(f"{_NAME}{sm3(named).hex()}", partial(_draft, desk, reason, tuple(part)))
    return Erased(done, len(records), final, len(left))


def _draft(desk: Desk, reason: str, records: tuple[RecordKey, ...]) -> tuple[Erase, Document]:
    return Erase(**desk.node.heading(), reason=reason, records=records), {}


def _standing(state: WorkingState, owner: bytes, records: Sequence[RecordKey]) -> list[RecordKey]:
    return [(rid, version) for rid, version in records if not erased(state, owner, rid, version)]


def _named(desk: Desk) -> set[RecordKey]:
    """Return the records named in messages that were signed and still wait; they are offered again."""
    return {
        record
        for sent in desk.outgoing.named(_NAME)
        if sent.height is None and isinstance(erase := sent.opened, Erase)
        for record in erase.records
    }
