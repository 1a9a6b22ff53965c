"""A record is asked for by its reference: shown to be published, judged as the block will judge it, signed, offered."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from ledger.chain.batch import SubmitBatch
from ledger.chain.block import Block
from ledger.chain.leaves import Leaves
from ledger.chain.record_index import Place
from ledger.chain.validators import institution_id
from ledger.chain.working_state import WorkingState
from ledger.contracts.policy_request import READERS
from ledger.encoding import ZERO_DIGEST, u32
from ledger.errors import Refused as NotTaken
from ledger.messages.access import AccessRequest
from ledger.messages.asked import RecordAsked
from ledger.messages.provisions import PURPOSES
from ledger.messages.request_state import Verdict
from sharing.errors import Malformed, Refused
from sharing.record.desk import Desk
from sharing.record.explaining import refusal

#: What a single record may be asked for; ``directory`` is being read in summaries, without asking.
ASKED_FOR: Final = PURPOSES[:-1]
EMERGENCY: Final = "emergency"
_REFERENCE: Final = re.compile(r"(?:([a-z0-9-]{1,64})/)?([0-9a-f]{32})(?:\.([1-9][0-9]{0,9}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Reference:
    """Where a record stands on the chain, as people write it: ``INSTITUTION/RECORD.VERSION``.

    Attributes:
        rid: The record's id, 16 bytes.
        version: From 1.
        holder: Who published it, by its id in the region's files; "" for whoever did.
    """

    rid: bytes
    version: int = 1
    holder: str = ""

    def __str__(self) -> str:
        return (f"{self.holder}/" if self.holder else "") + f"{self.rid.hex()}.{self.version}"

    @classmethod
    def read(cls, text: str) -> Reference:
        """Return what was written.

        Raises:
            Malformed: It is no reference.
        """
        found = _REFERENCE.fullmatch(text.strip().lower())
        version = int(found[3] or 1) if found else 0
        if found is None or version >= 1 << 32:
            raise Malformed(
                f"{text!r} is no record: expected INSTITUTION/RECORD.VERSION, such as lab-centre/{'0' * 32}.1"
            )
        return cls(bytes.fromhex(found[2]), version, found[1] or "")


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked for one record.

    Attributes:
        reference: Which.
        purpose: One of ``ASKED_FOR``.
        reader: Who will read, of ``policy_request.READERS``; "" for the institution itself.
        patient: The patient's pseudonym at the holder as the summary gives it, or zeros.
    """

    reference: Reference
    purpose: str
    reader: str = ""
    patient: bytes = ZERO_DIGEST

    def __post_init__(self) -> None:
        if self.purpose not in ASKED_FOR or self.reader not in ("", *READERS):
            raise Malformed(
                f"purpose {self.purpose!r}, reader {self.reader!r}: expected one of {', '.join(ASKED_FOR)}, "
                f"and one of {', '.join(READERS)}"
            )


def ask(desk: Desk, question: Question) -> bytes:
    """The request is signed and offered to the next block; returns its id.

    Raises:
        Refused: No such record is published, or the rules would say no; nothing was signed.
    """
    state = desk.now()
    holder, asked = find_record(desk, question.reference)

    def draft() -> AccessRequest:
        heading = desk.node.heading()
        return AccessRequest(
            **heading, asked=asked, holders=(holder,), purpose=question.purpose, reader=question.reader,
            patient=question.patient, answer_key=heading["key_id"],
        )  # fmt: skip

    made = draft()
    _check(state, made)
    facts = {"reference": str(Reference(question.reference.rid, question.reference.version, state_name(state, holder)))}
    return desk.outgoing.offer(f"request/{made.tx_id.hex()}", lambda: (made, facts)).opened.tx_id


def _check(state: WorkingState, request: AccessRequest) -> None:
    """Raise Refused where the next block would not take the request, or would deny it."""
    try:
        facts = request.facts(state)
        with state.attempt():
            outcome = request.execute(state)
    except NotTaken as error:
        raise Refused(error.rule, str(error)) from None
    verdict = Verdict.decode(outcome.code, outcome.detail)
    if not verdict.allowed and not verdict.pending:
        raise refusal(state, facts, verdict)


def find_record(desk: Desk, reference: Reference) -> tuple[bytes, RecordAsked]:
    """Return whose record it is, and the record with the proof that it is published.

    Raises:
        Refused: No final block holds it.
    """
    view, key = desk.replica.view, reference.rid + u32(reference.version)
    whose = [institution_id(reference.holder)] if reference.holder else [one.id for one in view.roster]
    for submitter in whose:
        place = desk.replica.places(submitter, [key], view.head.height).get(key)
        if place is not None:
            return submitter, _asked(desk, place)
    raise Refused("link", f"no final block up to {view.head.height} holds {reference}; see `xinglin ledger summaries`")


def _asked(desk: Desk, place: Place) -> RecordAsked:
    batch = SubmitBatch.decode(Block.decode(desk.replica.block(place.height)[0]).transactions[place.tx])
    leaves = Leaves.decode(desk.replica.body(place.height, place.tx))
    path = leaves.levels.inclusion(place.leaf)
    return RecordAsked(batch.seq, place.leaf, leaves.record(place.leaf), tuple(path))


def state_name(state: WorkingState, institution: bytes) -> str:
    """Return an institution's id in the region's files."""
    found = state.roster.registration(institution)
    return institution.hex() if found is None else found.name
