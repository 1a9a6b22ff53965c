"""Credit on the chain: facts are counted block by block, scores and seats change at an epoch's end (section 11).

The rules are ``tally``, ``scoring`` and ``seats`` beside it; here they read and write the state.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from ledger.chain.roster import Registration
from ledger.chain.rules import Ledger
from ledger.chain.state import ACTIVE, CREDIT, INSTITUTION, ONLY, REVOKED, TALLY, InstitutionState
from ledger.chain.validators import ValidatorSet
from ledger.credit.scoring import Change, CreditState, earned_role, judge
from ledger.credit.seats import BARRED, FREE, JAILED, Alarms, Candidate, Seats, assign
from ledger.credit.tally import EpochFacts, Facts, MissedTurn, Tally
from ledger.encoding import u32
from ledger.errors import Refused

MIN_POINTS, MAX_POINTS = 100, 300


def tally_of(ledger: Ledger) -> Tally:
    """Return the epoch's facts so far."""
    return opened_tally(ledger.get(TALLY, ONLY))


def opened_tally(value: bytes | None) -> Tally:
    """Return the tally that a state value is; before block 2 there is none."""
    return Tally() if value is None else Tally.decode(value)


def credit_of(ledger: Ledger, institution: bytes) -> CreditState:
    """Return an institution's credit; who has none yet begins at 600, in the role of the first set that names it."""
    return opened_credit(ledger.get(CREDIT, institution), ledger.validators, institution)


def opened_credit(value: bytes | None, validators: ValidatorSet, institution: bytes) -> CreditState:
    """Return the credit that a state value is, or what an institution without one begins with."""
    if value is not None:
        return CreditState.decode(value)
    member = validators.member(institution)
    return CreditState(role="member" if member is None else member.role)


def _put_tally(ledger: Ledger, tally: Tally) -> None:
    ledger.put(TALLY, ONLY, tally.encode())


def count_block(ledger: Ledger, builder: bytes, signers: Sequence[bytes], height: int) -> None:
    """A final block is counted for its builder and for everyone whose COMMIT its certificate holds.

    Args:
        ledger: The state of the block above it.
        builder: Who built it.
        signers: The voters in the certificate that the block above carries.
        height: Its height; genesis counts for nobody.
    """
    if height == 0:
        return
    epoch = ledger.parameters.epoch_of(height)
    voters = ledger.validators_of(epoch)
    if voters is None:
        raise RuntimeError(f"block {height} is final and its voters are not in the state")
    keep = ledger.parameters.late_blocks
    _put_tally(ledger, tally_of(ledger).count(voters, epoch, builder, signers, height, keep))


def count_late_vote(ledger: Ledger, height: int, voter: bytes) -> None:
    """A voter left out of a certificate is counted, once; Refused where it is counted or too old."""
    _put_tally(ledger, tally_of(ledger).add_late_vote(height, voter))


def count_missed(ledger: Ledger, turn: MissedTurn) -> None:
    """A producer's missed turn is counted, once; Refused where it is counted or too old."""
    _put_tally(ledger, tally_of(ledger).add_missed(turn))


def count_broken_build(ledger: Ledger, institution: bytes) -> None:
    """A signed block that breaks a rule by itself is counted against who built it (E5)."""
    _put_tally(ledger, tally_of(ledger).add_broken(institution))


def count_violation(ledger: Ledger, institution: bytes, points: int) -> None:
    """A confirmed violation of the data service is counted.

    Args:
        ledger: The state.
        institution: Whose violation.
        points: 100 to 300.

    Raises:
        Refused: The points are none of these.
    """
    if not MIN_POINTS <= points <= MAX_POINTS:
        raise Refused("finding", "11", f"a violation costs {MIN_POINTS} to {MAX_POINTS} points, not {points}")
    _put_tally(ledger, tally_of(ledger).add_violation(institution, points))


def count_undelivered(ledger: Ledger, holders: Iterable[bytes]) -> None:
    """Each allowed request that a holder let pass its deadline is counted against it.

    Args:
        ledger: The state.
        holders: Who was silent, once for each request.
    """
    tally = tally_of(ledger)
    for holder, times in Counter(holders).items():
        tally = tally.add_unanswered(holder, times)
    _put_tally(ledger, tally)


def punish(ledger: Ledger, institution: bytes) -> None:
    """An institution that signed two ways has credit 0, sits in jail, and its key signs no transaction any more.

    Its weight goes at the epoch's end. The key stays revoked after jail: a new one takes governance.
    """
    jailed_until = ledger.epoch + ledger.parameters.jail_epochs
    before = credit_of(ledger, institution)
    fallen = CreditState(0, before.role, max(before.jailed_until, jailed_until), ledger.height)
    ledger.put(CREDIT, institution, fallen.encode())
    _put_tally(ledger, tally_of(ledger).add_conviction(institution))
    value = ledger.get(INSTITUTION, institution)
    if value is not None:
        ledger.put(INSTITUTION, institution, replace(InstitutionState.decode(value), standing=REVOKED).encode())


def settle(ledger: Ledger) -> dict[bytes, Change]:
    """Every registered institution's score and role follow from the epoch's facts; return how each score moved.

    The facts stay in the state under the epoch's number, so that each score can be explained and proved later.
    """
    facts, rest = tally_of(ledger).settle()
    changes = {}
    for one in ledger.roster:
        before = credit_of(ledger, one.id)
        change = judge(before.score, facts.get(one.id, Facts()))
        jailed = before.jailed_until > ledger.epoch
        role = earned_role(one.class_, change.after, before.role, jailed)
        ledger.put(CREDIT, one.id, replace(before, score=change.after, role=role).encode())
        changes[one.id] = change
    _put_tally(ledger, rest)
    ledger.put(TALLY, u32(ledger.epoch), EpochFacts(facts).encode())
    return changes


def close(ledger: Ledger) -> None:
    """Scores and roles of the ended epoch stand in the state, and every alarm about the next epoch's seats."""
    settle(ledger)
    ledger.put(CREDIT, ONLY, Alarms(ledger.epoch, _seats(ledger).alarms).encode())


def next_set(ledger: Ledger) -> ValidatorSet:
    """Return the members who vote from the next height on; called after ``close``."""
    return _seats(ledger).members


def _seats(ledger: Ledger) -> Seats:
    return assign([_candidate(ledger, one) for one in ledger.roster], ledger.validators)


def _candidate(ledger: Ledger, one: Registration) -> Candidate:
    credit = credit_of(ledger, one.id)
    return Candidate(
        one.id, one.class_, one.public_key, one.weight, credit.score, credit.role, _bar(ledger, one, credit)
    )


def _bar(ledger: Ledger, one: Registration, credit: CreditState) -> int:
    """Return what keeps an institution from the next seats; a convicted key does until governance renews it."""
    value = ledger.get(INSTITUTION, one.id)
    active = value is None or InstitutionState.decode(value).standing == ACTIVE
    if not one.active or (not active and not credit.convicted_at):
        return BARRED
    return FREE if active and credit.jailed_until <= ledger.epoch else JAILED
