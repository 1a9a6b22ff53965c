"""Signatures of one key, as others show them: what its vote store does not know of was signed elsewhere (section 8).

A vote store restored from a backup, a snapshot of the machine, a copy of the key: each shows as a signature that this
store never gave. SM2 is randomised, so signatures are known by what they sign and where.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from ledger.agreement.certificate import TIMEOUT, Ballot, QuorumCertificate, TimeoutCertificate, Vote
from ledger.agreement.proposal import Proposal
from ledger.agreement.votes import PROPOSE, Slot, VoteStore
from ledger.chain.block import Block
from ledger.chain.replica import Replica
from ledger.chain.validators import ValidatorSet
from ledger.encoding import ZERO_DIGEST
from ledger.errors import Refused
from shangmi import PublicKey

#: Returns the members of an epoch, or None where they are not known here.
VotersOf = Callable[[int], ValidatorSet | None]


@dataclass(frozen=True, slots=True)
class Claim:
    """Bytes that claim to be signed by a key, in one place."""

    slot: Slot
    message: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """Whose signatures are looked for.

    Attributes:
        chain_id: The chain.
        id: The institution, 16 bytes.
        key: Its public key.
        voters_of: The members of an epoch: a certificate names signers by their places.
    """

    chain_id: bytes
    id: bytes
    key: PublicKey
    voters_of: VotersOf

    def claims(self, data: bytes) -> list[Claim]:
        """Return what the bytes of a vote, a certificate or a proposal claim of this key; of other bytes nothing.

        No signature is verified yet.
        """
        for read in (self._in_vote, self._in_certificate, self._in_timeouts, self._in_proposal):
            try:
                return list(read(data))
            except Refused:
                continue
        return []

    def holds(self, claim: Claim) -> bool:
        """Say whether the key signed what is claimed."""
        return self.key.verify(claim.signature, claim.message)

    def _in_vote(self, data: bytes) -> Iterator[Claim]:
        vote = Vote.decode(data)
        if vote.voter == self.id:
            yield self._claim(vote.ballot, vote.signature)
        if vote.lock:
            yield from self._in_certificate(vote.lock)

    def _in_certificate(self, data: bytes) -> Iterator[Claim]:
        found = QuorumCertificate.decode(data)
        if (place := self._place(found.ballot.epoch, found.bits)) in found.signers:
            yield self._claim(found.ballot, found.signatures[found.signers.index(place)])

    def _in_timeouts(self, data: bytes) -> Iterator[Claim]:
        found = TimeoutCertificate.decode(data)
        if (place := self._place(found.epoch, found.bits)) in found.signers:
            at = found.signers.index(place)
            number, digest = found.reports[at]
            blank = Ballot(TIMEOUT, found.height, found.round, found.epoch, ZERO_DIGEST)
            yield self._claim(replace(blank, justify_round=number, justify_digest=digest), found.signatures[at])
        for lock in found.locks:
            yield from self._in_certificate(lock)

    def _in_proposal(self, data: bytes) -> Iterator[Claim]:
        found = Proposal.decode(data)
        header = Block.decode(found.block).header
        if found.producer == self.id and header.chain_id == self.chain_id:
            yield Claim(Slot(header.height, found.round, PROPOSE), found.signed_bytes(), found.signature)

    def _claim(self, ballot: Ballot, signature: bytes) -> Claim:
        return Claim(Slot(ballot.height, ballot.round, ballot.type), ballot.signed_bytes(self.chain_id), signature)

    def _place(self, epoch: int, bits: int) -> int:
        """Return the institution's place among an epoch's voters; -1, nobody's, where it has none."""
        validators = self.voters_of(epoch)
        voters = () if validators is None else validators.voters
        if len(voters) != bits:
            return -1
        return next((place for place, one in enumerate(voters) if one.id == self.id), -1)


def unknown_signature(shown: Iterable[bytes], holder: KeyHolder, votes: VoteStore) -> Claim | None:
    """Return the first signature of the key in these bytes that its vote store does not account for, or None.

    What the store knows costs no verification; what is badly signed is nobody's.
    """
    for data in shown:
        for claim in holder.claims(data):
            if not votes.knows(holder.chain_id, claim.slot, claim.message) and holder.holds(claim):
                return claim
    return None


def certificates_of(replica: Replica, newest: int) -> Iterator[bytes]:
    """Yield the certificates of a replica's newest final blocks: each its own, and the one its successor carries."""
    top = replica.view.head.height
    for height in range(top, max(0, top - newest), -1):
        encoded, certificate = replica.block(height)
        yield certificate
        yield Block.decode(encoded).prev_commit


def highest_signed(shown: Iterable[bytes], holder: KeyHolder) -> int:
    """Return the highest height at which the key verifiably signed something of this; 0 where it signed nothing."""
    claims = (claim for data in shown for claim in holder.claims(data))
    return max((claim.slot.height for claim in claims if holder.holds(claim)), default=0)
