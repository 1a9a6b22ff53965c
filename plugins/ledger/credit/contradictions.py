"""Which two signed statements no honest node signs both of, and finding them among messages (section 10).

E1: two votes of one kind in one round, two proposals of one round, two builds of one round. E3: a COMMIT, and later a
PREPARE of another block that leans on less. E4: a COMMIT, and later a TIMEOUT that hides it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from typing import Final

from ledger.agreement.certificate import COMMIT, NO_ROUND, PREPARE, TIMEOUT, Ballot
from ledger.credit.offences import BROKEN_LOCK, DOUBLE_BUILD, DOUBLE_PROPOSAL, DOUBLE_VOTE, HIDDEN_LOCK
from ledger.credit.statements import Announcement, Statement, Voters, statements_in
from shangmi import PublicKey

#: Different statements looked at in one place; whoever signs more is convicted by these.
MOST_IN_ONE_PLACE: Final = 16
_COMPARED = 256


def contradiction(one: Statement, other: Statement) -> int | None:
    """Return which rule one institution broke by signing both, or None; their signatures are the caller's.

    The order of the two does not matter.
    """
    if one.message == other.message or one.institution != other.institution or one.said.height != other.said.height:
        return None
    first, second = (one, other) if one.message < other.message else (other, one)
    if isinstance(first.said, Ballot) and isinstance(second.said, Ballot):
        return _votes(first.said, second.said)
    if isinstance(first.said, Announcement) and isinstance(second.said, Announcement):
        return _proposals(first, second)
    return None


def _votes(first: Ballot, second: Ballot) -> int | None:
    if first.type == second.type:
        return DOUBLE_VOTE if first.round == second.round else None
    first, second = sorted((first, second), key=lambda ballot: ballot.type)
    if (first.type, second.type) == (PREPARE, COMMIT):
        leans_on_less = _round(first) < second.round < first.round
        return BROKEN_LOCK if leans_on_less and first.block_id != second.block_id else None
    if (first.type, second.type) == (COMMIT, TIMEOUT):
        return HIDDEN_LOCK if _round(second) < first.round <= second.round else None
    return None


def _round(ballot: Ballot) -> int:
    """Return the round of the certificate that a ballot names, -1 for none."""
    return -1 if ballot.justify_round == NO_ROUND else ballot.justify_round


def _proposals(first: Statement, second: Statement) -> int | None:
    if first.said.round == second.said.round:
        return DOUBLE_PROPOSAL
    builds = [
        (one.header.build_round, one.header.block_id)
        for one in (first, second)
        if one.header is not None and one.header.builder_id == one.institution
    ]
    same = len(builds) == 2 and builds[0][0] == builds[1][0] and builds[0][1] != builds[1][1]
    return DOUBLE_BUILD if same else None


def find_contradictions(messages: Iterable[bytes], voters: Voters) -> list[tuple[int, Statement, Statement]]:
    """Return who provably signed two ways in these messages: rule and the two statements, signatures verified.

    One of each rule for each institution and height; messages that are nothing, forged or of nobody are passed over.
    """
    said: dict[tuple[bytes, int], dict[bytes, list[Statement]]] = {}
    for data in messages:
        for one in statements_in(data, voters):
            same = said.setdefault((one.institution, one.said.height), {}).setdefault(one.message, [])
            if all(one.signature != known.signature for known in same):
                same.append(one)
    found: list[tuple[int, Statement, Statement]] = []
    for (institution, height), by_message in sorted(said.items()):
        member = voters.member(height, institution)
        if member is not None and len(by_message) > 1:
            found += _of_one(list(by_message.values()), PublicKey.from_bytes(member.public_key))
    return found


def _of_one(said: Sequence[Sequence[Statement]], key: PublicKey) -> Iterator[tuple[int, Statement, Statement]]:
    """Yield the first contradiction of each rule among what one institution says of one height."""
    suspect = _in_contradiction([copies[0] for copies in said])
    signed: list[Statement] = []
    places: dict[tuple[object, ...], int] = {}
    for copies in said:
        place = _place(copies[0])
        if copies[0].message in suspect and places.get(place, 0) < MOST_IN_ONE_PLACE:
            good = next((one for one in copies if key.verify(one.signature, one.message)), None)
            if good is not None:
                signed.append(good)
                places[place] = places.get(place, 0) + 1
    known: set[int] = set()
    for one, other in combinations(signed, 2):
        rule = contradiction(one, other)
        if rule is not None and rule not in known:
            known.add(rule)
            first, second = sorted((one, other), key=lambda statement: statement.message)
            yield rule, first, second


def _place(one: Statement) -> tuple[object, ...]:
    kind = one.said.type if isinstance(one.said, Ballot) else 0
    return kind, one.said.round


def _in_contradiction(said: Sequence[Statement]) -> set[bytes]:
    """Return the messages that contradict another one: only their signatures are worth verifying."""
    if len(said) > _COMPARED:  # somebody floods in its name: verifying each is cheaper than comparing all
        return {one.message for one in said}
    found: set[bytes] = set()
    for one, other in combinations(said, 2):
        if contradiction(one, other) is not None:
            found |= {one.message, other.message}
    return found
