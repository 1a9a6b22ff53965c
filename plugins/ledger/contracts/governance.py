"""Governance: proposals, votes, and when what they decide comes into force (section 14).

A change passes with more than two thirds of all votes and a regulator's signature. What can only deny (a removal, a
freeze, further ``forbid`` rules) is made in the block in which the votes suffice. Everything else waits whole epochs
after that, in which votes may still be taken back, and is made in the last block of the last of them by ``enact``, if
the votes suffice by the validator set of that block.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

from ledger.chain.rules import Ledger, Outcome
from ledger.chain.state import ACTIVE, GOV_BALLOT, INSTITUTION, InstitutionState
from ledger.chain.transaction import Transaction
from ledger.contracts.change import Change, refused
from ledger.contracts.member_changes import RotateKey
from ledger.contracts.motions import (
    ENACTED,
    FOR,
    LAPSED,
    MAX_OPEN,
    MAX_OPEN_EACH,
    MAX_TITLE,
    OPEN,
    PASSED,
    STAGES,
    VOID,
    Motion,
    ballots_of,
    change_bytes,
    encode_ballots,
    motion_of,
    open_motions,
    put_motion,
    read_change,
)
from ledger.contracts.policy_text import is_line
from ledger.encoding import DIGEST, Reader, u8, u64, var
from ledger.errors import Refused

#: Epochs after which a proposal without enough votes lapses.
PROPOSAL_EPOCHS: Final = 8


@dataclass(frozen=True, slots=True)
class Count:
    """How the votes on a proposal stand.

    Attributes:
        weight: Votes for it.
        total: All votes there are.
        cosigned: Whether a regulator signed it.
        suffices: Whether that is enough.
    """

    weight: int
    total: int
    cosigned: bool
    suffices: bool


def count_votes(ledger: Ledger, change: Change, ballots: Mapping[bytes, int]) -> Count:
    """Return how the votes stand by the set of this height; who is frozen, removed or convicted counts not.

    A regulator's own lost key is the one change that all votes together may make without a regulator.
    """
    members = [one for one in ledger.validators.members if ballots.get(one.id) == FOR and _active(ledger, one.id)]
    weight, total = sum(one.weight for one in members), ledger.validators.total
    cosigned = any(one.role == "auditor" for one in members)
    alone = weight == total and isinstance(change, RotateKey) and _is_regulator(ledger, change.institution)
    return Count(weight, total, cosigned, ledger.validators.has_quorum(weight) and (cosigned or alone))


def _active(ledger: Ledger, institution: bytes) -> bool:
    found, value = ledger.roster.registration(institution), ledger.get(INSTITUTION, institution)
    convicted = value is not None and InstitutionState.decode(value).standing != ACTIVE
    return found is not None and found.active and not convicted


def _is_regulator(ledger: Ledger, institution: bytes) -> bool:
    found = ledger.roster.registration(institution)
    return found is not None and found.class_ == "R"


def due_epoch(ledger: Ledger, motion: Motion) -> int:
    """Return the epoch in whose last block a passed proposal is made: whole epochs lie between."""
    return motion.since + ledger.parameters.lock_epochs


@dataclass(frozen=True, slots=True, kw_only=True)
class Propose(Transaction):
    """GOV_PROPOSE: a change put to the vote; it carries its proposer's own vote for it.

    Attributes:
        title: What it is about, one line for people; no names of patients.
        change: What it would change.
    """

    TYPE: ClassVar[int] = 2
    NAME: ClassVar[str] = "GOV_PROPOSE"

    title: str
    change: Change

    def content(self) -> bytes:
        """Return the canonical bytes of the type's own fields."""
        return var(self.title.encode()) + change_bytes(self.change)

    @classmethod
    def read(cls, reader: Reader) -> dict[str, Any]:
        """Return the type's own fields by name, or raise Malformed."""
        title = reader.text(MAX_TITLE)
        if not is_line(title):
            raise reader.wrong("a title is one line that can be seen")
        return {"title": title, "change": read_change(reader)}

    def execute(self, ledger: Ledger) -> Outcome:
        """The proposal is open, with the proposer's vote for it.

        Raises:
            Refused: The sender neither votes nor audits, too many are open, or the change cannot be made.
        """
        _check_entitled(ledger, self.sender)
        self._check_room(ledger)
        self.change.check(ledger)
        put_motion(ledger, self.tx_id, Motion(self.sender, self.title, self.change, ledger.height, ledger.epoch))
        return _cast(ledger, self.tx_id, self.sender, FOR)

    def _check_room(self, ledger: Ledger) -> None:
        motions = [motion for one in open_motions(ledger) if (motion := motion_of(ledger, one)) is not None]
        if len(motions) >= MAX_OPEN or sum(one.proposer == self.sender for one in motions) >= MAX_OPEN_EACH:
            raise refused(f"at most {MAX_OPEN} proposals are open, and {MAX_OPEN_EACH} of one institution")
        if any(change_bytes(one.change) == change_bytes(self.change) for one in motions):
            raise refused("the same change is proposed already; vote for it")


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote(Transaction):
    """GOV_VOTE: an institution's vote, or a regulator's signature, on an open proposal; the later replaces the earlier.

    Attributes:
        proposal: Its id: that of the GOV_PROPOSE.
        choice: ``FOR`` or ``AGAINST``.
    """

    TYPE: ClassVar[int] = 3
    NAME: ClassVar[str] = "GOV_VOTE"

    proposal: bytes
    choice: int

    def content(self) -> bytes:
        """Return the canonical bytes of the type's own fields."""
        return self.proposal + u8(self.choice)

    @classmethod
    def read(cls, reader: Reader) -> dict[str, Any]:
        """Return the type's own fields by name, or raise Malformed."""
        proposal, choice = reader.take(DIGEST), reader.u8()
        if choice > FOR:
            raise reader.wrong("a vote is 1 (for) or 0 (against)")
        return {"proposal": proposal, "choice": choice}

    def execute(self, ledger: Ledger) -> Outcome:
        """The vote is counted; a change that can only deny is made here and now where it suffices.

        Raises:
            Refused: The sender neither votes nor audits, voted so already, or no such proposal is open.
        """
        _check_entitled(ledger, self.sender)
        if self.proposal not in open_motions(ledger):
            raise refused("no open proposal has that id; `xinglin policy show` lists them")
        if ballots_of(ledger, self.proposal).get(self.sender) == self.choice:
            raise refused("this vote was cast before")
        return _cast(ledger, self.proposal, self.sender, self.choice)


def _check_entitled(ledger: Ledger, sender: bytes) -> None:
    member = ledger.validators.member(sender)
    if member is None or member.role == "member":
        raise refused("only who votes in this epoch, or audits, proposes and votes")


def _cast(ledger: Ledger, id_: bytes, voter: bytes, choice: int) -> Outcome:
    """Count a vote; return the proposal's stage and since when, as the receipt says."""
    motion = motion_of(ledger, id_)
    if motion is None:
        raise RuntimeError("a vote is cast on a proposal that was put before")
    ballots = ballots_of(ledger, id_) | {voter: choice}
    ledger.put(GOV_BALLOT, id_, encode_ballots(ballots))
    after = _advance(ledger, motion, ballots)
    put_motion(ledger, id_, after)
    return Outcome(detail=u8(STAGES.index(after.stage)) + u64(after.since))


def _advance(ledger: Ledger, motion: Motion, ballots: Mapping[bytes, int]) -> Motion:
    """Return where a proposal stands with these votes; what can only deny is made at once."""
    if not count_votes(ledger, motion.change, ballots).suffices:
        return replace(motion, stage=OPEN, since=0)
    try:
        motion.change.check(ledger)
    except Refused:
        return replace(motion, stage=VOID, since=ledger.height)
    if motion.change.deny_only(ledger):
        return _make(ledger, motion)
    return motion if motion.stage == PASSED else replace(motion, stage=PASSED, since=ledger.epoch)


def _make(ledger: Ledger, motion: Motion) -> Motion:
    """Make a change whose votes suffice and that can be made."""
    motion.change.apply(ledger)
    return replace(motion, stage=ENACTED, since=ledger.height)


def enact(ledger: Ledger) -> None:
    """Every change whose time has come is made, in the order of proposing; what found too few votes for long lapses.

    Called once, in the last block of an epoch, before its credit is settled. Votes are weighed by the set that votes
    on this very block: a proposal that passed with votes which are gone waits for others, and then waits anew.
    """
    for id_ in open_motions(ledger):
        motion = motion_of(ledger, id_)
        if motion is None:
            continue
        after = _advance(ledger, motion, ballots_of(ledger, id_))
        if after.stage == PASSED and due_epoch(ledger, after) <= ledger.epoch:
            after = _make(ledger, after)
        elif after.stage == OPEN and after.epoch + PROPOSAL_EPOCHS <= ledger.epoch:
            after = replace(after, stage=LAPSED, since=ledger.height)
        if after != motion:
            put_motion(ledger, id_, after)
