"""What institutions have signed, taken out of every message that carries it (section 10).

A vote says one thing; a certificate says one for each of its signers; a proposal brings its certificates along.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from ledger.agreement.certificate import TIMEOUT, Ballot, QuorumCertificate, TimeoutCertificate, Vote
from ledger.agreement.proposal import Proposal
from ledger.chain.block import Block
from ledger.chain.header import Header
from ledger.encoding import DIGEST, ZERO_DIGEST, Reader
from ledger.errors import Refused

if TYPE_CHECKING:
    from ledger.chain.genesis import ChainParameters
    from ledger.chain.validators import Member, ValidatorSet

_VOTE = b"XL/VOTE/1\0"
_PROPOSAL = b"XL/PROP/1\0"


class SetSource(Protocol):
    """Whatever knows the members of past epochs: a ledger in the middle of a block, or a view of a final one."""

    @property
    def parameters(self) -> ChainParameters:
        """The chain's parameters, for the length of an epoch."""
        ...

    def validators_of(self, epoch: int) -> ValidatorSet | None:
        """Return the members of an epoch."""
        ...


@dataclass(frozen=True, slots=True)
class Voters:
    """Who could sign what at which height.

    Attributes:
        chain_id: The chain.
        epoch: Epoch of a height.
        of: Members of an epoch, or None of one that is not decided.
    """

    chain_id: bytes
    epoch: Callable[[int], int]
    of: Callable[[int], ValidatorSet | None]

    @classmethod
    def known_to(cls, chain_id: bytes, source: SetSource) -> Voters:
        """Return the voters that a ledger or a view knows of."""
        return cls(chain_id, source.parameters.epoch_of, source.validators_of)

    def at(self, height: int) -> ValidatorSet | None:
        """Return the members at a height; None where they are not decided yet."""
        return self.of(self.epoch(height))

    def member(self, height: int, id_: bytes) -> Member | None:
        """Return one of the members at a height."""
        members = self.at(height)
        return None if members is None else members.member(id_)


@dataclass(frozen=True, slots=True)
class Announcement:
    """What a producer signs of its proposal: the fields behind domain and chain id."""

    height: int
    round: int
    epoch: int
    block_id: bytes
    justify: bytes
    tc: bytes


def opened(message: bytes, chain_id: bytes) -> Ballot | Announcement:
    """Return what signed bytes say, or raise Malformed: they are neither a vote nor a proposal of this chain."""
    reader = Reader(message, "signed statement")
    domain = reader.take(len(_VOTE))
    if domain not in (_VOTE, _PROPOSAL):
        raise reader.wrong("is neither a vote nor a proposal")
    reader.constant(chain_id)
    found = Ballot.read(reader) if domain == _VOTE else _announcement(reader)
    reader.end()
    return found


def _announcement(reader: Reader) -> Announcement:
    return Announcement(
        reader.u64(), reader.u32(), reader.u32(), reader.take(DIGEST), reader.take(DIGEST), reader.take(DIGEST)
    )


@dataclass(frozen=True, slots=True)
class Statement:
    """Bytes that somebody is said to have signed; nothing is verified yet.

    Attributes:
        institution: Who.
        message: The signed bytes.
        signature: SM2, r||s.
        said: What they say.
        header: For a proposal: the header of its block.
    """

    institution: bytes
    message: bytes
    signature: bytes
    said: Ballot | Announcement
    header: Header | None = None


def statements_in(data: bytes, voters: Voters) -> Iterator[Statement]:
    """Yield everything that a vote, certificate, timeout certificate or proposal shows as signed.

    Bytes that are none of these, or of another chain, show nothing.
    """
    for read in (_of_proposal, _of_vote, _of_certificate, _of_timeouts):
        try:
            yield from list(read(data, voters))
        except Refused:
            continue


def _of_vote(data: bytes, voters: Voters) -> Iterator[Statement]:
    vote = Vote.decode(data)
    yield Statement(vote.voter, vote.ballot.signed_bytes(voters.chain_id), vote.signature, vote.ballot)
    if vote.lock:
        yield from statements_in(vote.lock, voters)


def _of_certificate(data: bytes, voters: Voters) -> Iterator[Statement]:
    found = QuorumCertificate.decode(data)
    message = found.ballot.signed_bytes(voters.chain_id)
    for id_, signature in _signers(found, voters, found.ballot.height):
        yield Statement(id_, message, signature, found.ballot)


def _of_timeouts(data: bytes, voters: Voters) -> Iterator[Statement]:
    found = TimeoutCertificate.decode(data)
    empty = Ballot(TIMEOUT, found.height, found.round, found.epoch, ZERO_DIGEST)
    signers = _signers(found, voters, found.height)
    for (id_, signature), (round_, digest) in zip(signers, found.reports, strict=False):
        ballot = replace(empty, justify_round=round_, justify_digest=digest)
        yield Statement(id_, ballot.signed_bytes(voters.chain_id), signature, ballot)
    for lock in found.locks:
        yield from statements_in(lock, voters)


def _signers(found: QuorumCertificate | TimeoutCertificate, voters: Voters, height: int) -> list[tuple[bytes, bytes]]:
    members = voters.at(height)
    if members is None or found.bits != len(members.voters):
        return []
    return [(members.voters[place].id, one) for place, one in zip(found.signers, found.signatures, strict=True)]


def _of_proposal(data: bytes, voters: Voters) -> Iterator[Statement]:
    proposal = Proposal.decode(data)
    block = Block.decode(proposal.block)
    if block.header.chain_id != voters.chain_id:
        return
    message = proposal.signed_bytes()
    said = opened(message, voters.chain_id)
    yield Statement(proposal.producer, message, proposal.signature, said, block.header)
    for certificate in (proposal.justify, proposal.tc, block.prev_commit):
        if certificate:
            yield from statements_in(certificate, voters)
