"""Proposals of governance as the state holds them: what is proposed, who voted how, and which are open (section 14)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ledger.chain.rules import Ledger
from ledger.chain.state import GOV_BALLOT, GOV_INDEX, GOV_PROPOSAL, ONLY
from ledger.chain.transaction import MAX_TRANSACTION
from ledger.chain.validators import MAX_MEMBERS
from ledger.contracts.change import Change
from ledger.contracts.member_changes import Admit, Freeze, NewWeight, Remove, RotateKey, Thaw
from ledger.contracts.rule_changes import NewEngine, NewNumbers, NewRules
from ledger.encoding import DIGEST, SHORT_ID, Reader, listed, u8, u32, u64, var

#: Every kind of change by its number. A number once given is never given again.
CHANGES: Final[Mapping[int, type[Change]]] = {
    one.KIND: one
    for one in (NewRules, NewNumbers, NewEngine, Admit, Remove, Freeze, Thaw, RotateKey, NewWeight)
}  # fmt: skip
#: Proposals that are open at once: in all, and of one institution.
MAX_OPEN: Final = 64
MAX_OPEN_EACH: Final = 4
MAX_TITLE: Final = 400
#: Where a proposal stands. ``void``: its votes sufficed, but by then it could not be made any more.
STAGES: Final = ("open", "passed", "enacted", "lapsed", "void")
OPEN, PASSED, ENACTED, LAPSED, VOID = STAGES
AGAINST, FOR = 0, 1


def read_change(reader: Reader) -> Change:
    """Return a change from its kind and content, or raise Malformed."""
    kind, content = reader.u8(), reader.var(MAX_TRANSACTION)
    if kind not in CHANGES:
        raise reader.wrong(f"kind {kind} of change is none that this program knows")
    return CHANGES[kind].decode(content)


def change_bytes(change: Change) -> bytes:
    """Return kind and content of a change."""
    return u8(change.KIND) + var(change.content())


@dataclass(frozen=True, slots=True)
class Motion:
    """One proposal.

    Attributes:
        proposer: Who made it, by id.
        title: What it is about, one line.
        change: What it would change.
        height: Block it was proposed in.
        epoch: Epoch of that block.
        stage: One of ``STAGES``.
        since: Epoch in which its votes came to suffice, where it is ``passed``; height at which it was closed, where
            it is closed; else 0.
    """

    proposer: bytes
    title: str
    change: Change
    height: int
    epoch: int
    stage: str = OPEN
    since: int = 0

    def encode(self) -> bytes:
        """Return the canonical bytes: the state's value of kind GOV_PROPOSAL under the proposal's id."""
        place = u64(self.height) + u32(self.epoch) + u8(STAGES.index(self.stage)) + u64(self.since)
        return self.proposer + var(self.title.encode()) + change_bytes(self.change) + place

    @classmethod
    def decode(cls, data: bytes) -> Motion:
        """Read what ``encode`` wrote, or raise Malformed."""
        reader = Reader(data, "proposal of governance")
        proposer, title, change = reader.take(SHORT_ID), reader.text(MAX_TITLE), read_change(reader)
        height, epoch, stage, since = reader.u64(), reader.u32(), reader.one_of(STAGES), reader.u64()
        reader.end()
        return cls(proposer, title, change, height, epoch, stage, since)


Ballots = dict[bytes, int]


def encode_ballots(ballots: Ballots) -> bytes:
    """Return the canonical bytes: the state's value of kind GOV_BALLOT under the proposal's id."""
    return listed([voter + u8(choice) for voter, choice in sorted(ballots.items())])


def decode_ballots(data: bytes) -> Ballots:
    """Read what ``encode_ballots`` wrote, or raise Malformed."""
    reader = Reader(data, "ballots")
    rows = reader.listed(MAX_MEMBERS, SHORT_ID + 1)
    reader.end()
    found = {one[:SHORT_ID]: one[SHORT_ID] for one in rows if len(one) == SHORT_ID + 1}
    if encode_ballots(found) != data or any(choice not in (AGAINST, FOR) for choice in found.values()):
        raise reader.wrong("not in order of voters, a voter stands twice, or a choice is none")
    return found


def motion_of(ledger: Ledger, id_: bytes) -> Motion | None:
    """Return a proposal, open or closed, or None."""
    value = ledger.get(GOV_PROPOSAL, id_)
    return None if value is None else Motion.decode(value)


def put_motion(ledger: Ledger, id_: bytes, motion: Motion) -> None:
    """The proposal stands in the state, and among the open ones exactly where it is open or passed."""
    ledger.put(GOV_PROPOSAL, id_, motion.encode())
    before = open_motions(ledger)
    is_open = motion.stage in (OPEN, PASSED)
    if not is_open:
        ledger.put(GOV_BALLOT, id_, None)
    if is_open != (id_ in before):
        after = [*before, id_] if is_open else [one for one in before if one != id_]
        ledger.put(GOV_INDEX, ONLY, encode_index(after))


def ballots_of(ledger: Ledger, id_: bytes) -> Ballots:
    """Return who voted how on an open proposal."""
    value = ledger.get(GOV_BALLOT, id_)
    return {} if value is None else decode_ballots(value)


def encode_index(ids: list[bytes]) -> bytes:
    """Return the canonical bytes: the state's value of kind GOV_INDEX."""
    return listed(ids)


def decode_index(data: bytes) -> list[bytes]:
    """Read what ``encode_index`` wrote, or raise Malformed."""
    reader = Reader(data, "open proposals")
    found = list(reader.listed(MAX_OPEN, DIGEST))
    reader.end()
    if len(set(found)) != len(found) or any(len(one) != DIGEST for one in found):
        raise reader.wrong("an id stands twice or is no digest")
    return found


def open_motions(ledger: Ledger) -> list[bytes]:
    """Return the ids of the proposals that are not closed, in the order they were made."""
    value = ledger.get(GOV_INDEX, ONLY)
    return [] if value is None else decode_index(value)
