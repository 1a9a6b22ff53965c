"""Voters who keep to no rule: they sign anything, tell everybody a different story, hide locks, send garbage."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from dataclasses import replace

from network_simulation import (
    Message,
    NetworkSimulation,
    commit_ballot,
    prepare_ballot,
    signed_vote,
    timeout_ballot,
)

from ledger.agreement.certificate import PREPARE, TIMEOUT, Ballot, QuorumCertificate, Vote, assemble_qc, assemble_tc
from ledger.agreement.proposal import Proposal
from ledger.agreement.votes import VoteStore
from ledger.chain.block import Block
from ledger.chain.header import Header
from ledger.chain.replica import Replica
from ledger.chain.validators import institution_id
from ledger.errors import Behind, Refused
from ledger.node import Node
from shangmi import sm3


class ByzantineVoters:
    """All byzantine voters of a network; they hear everything and act together."""

    def __init__(self, network: NetworkSimulation) -> None:
        self.network = network
        self._made = itertools.count()

    # --- what they know ----------------------------------------------------------------------------------------

    @property
    def height(self) -> int:
        """The height that the most advanced honest node is deciding."""
        return max(one.height for one in self.network.participants.values())

    def heard(self, kind: str) -> Iterator[bytes]:
        """Yield everything of a kind that was ever sent at this height and can be read."""
        for one in self.network.sent:
            if one.kind == kind:
                yield one.data

    def votes(self, type_: int, round_: int) -> list[bytes]:
        """Return the votes of a step that were sent."""
        height = self.height
        return [
            data
            for data in self.heard("vote")
            if (ballot := _ballot(data)) and (ballot.type, ballot.height, ballot.round) == (type_, height, round_)
        ]

    def headers(self) -> list[Header]:
        """Return the valid blocks of this height, oldest first."""
        return [one for one in self.network.headers.values() if one.height == self.height]

    def certificates(self) -> list[bytes]:
        """Return the PrepareQCs of this height that anybody has named, and those they can make themselves."""
        known = {
            data: None
            for data in self.network.certificates.values()
            if QuorumCertificate.decode(data).ballot.height == self.height
        }
        return [*known]

    # --- what they sign ----------------------------------------------------------------------------------------

    def vote(self, ballot: Ballot, lock: bytes = b"", to: Collection[str] | None = None) -> None:
        """Every one of them votes so."""
        for name in self.network.byzantine:
            data = signed_vote(self.network.genesis, name, self.network.keys[name], ballot, lock)
            self.network.send(name, Message("vote", data), to)

    def prepare_everything(self, round_: int, to: Collection[str] | None = None) -> None:
        """They PREPARE every block of the height, under every justification there is."""
        for header in self.headers():
            if header.build_round == round_:
                self.vote(prepare_ballot(header, round_), to=to)
            for data in self.certificates():
                at = QuorumCertificate.decode(data).ballot
                if at.block_id == header.block_id and at.round < round_:
                    self.vote(prepare_ballot(header, round_, data), to=to)

    def commit_everything(self, to: Collection[str] | None = None) -> None:
        """They COMMIT under every PrepareQC there is."""
        for data in self.certificates():
            self.vote(commit_ballot(data), to=to)

    def hide_locks(self, round_: int, to: Collection[str] | None = None) -> None:
        """They say in a TIMEOUT that they are locked on nothing, whatever they have committed to."""
        self.vote(timeout_ballot(self.height, round_, self.network.genesis.epoch(self.height)), to=to)

    def certify(self, round_: int, to: Collection[str] | None = None) -> None:
        """They make the PrepareQCs that votes allow, and show them to some only."""
        votes = self.votes(PREPARE, round_)
        for ballot in dict.fromkeys(Vote.decode(one).ballot for one in votes):
            same = [one for one in votes if Vote.decode(one).ballot == ballot]
            found = assemble_qc(same, PREPARE, self.network.genesis.chain_id, self.network.genesis.validators)
            if found is not None and self.network.byzantine:
                self.network.send(self.network.byzantine[0], Message("certificate", found), to)

    def timeout_certificate(self, round_: int) -> bytes | None:
        """Return the certificate with the lowest locks that the TIMEOUTs sent allow, as a producer who hides would."""
        genesis, height = self.network.genesis, self.height
        epoch = genesis.epoch(height)
        own = [
            signed_vote(genesis, name, self.network.keys[name], timeout_ballot(height, round_, epoch))
            for name in self.network.byzantine
        ]
        votes = [*own, *sorted(self.votes(TIMEOUT, round_), key=lambda one: len(Vote.decode(one).lock))]
        for count in range(len(votes) + 1):
            found = assemble_tc(votes[:count], genesis.chain_id, genesis.validators, height, round_, epoch)
            if found is not None:
                return found
        return None

    # --- what they propose -------------------------------------------------------------------------------------

    def propose(self, round_: int, *, hide: bool = True) -> list[bytes]:
        """Return two different good proposals of a round where it is the turn of one of them, or nothing.

        With ``hide`` the timeout certificate is the one that reports as little as possible.
        """
        producer = self.network.genesis.institution(self.network.genesis.validators.producer(self.height, round_).id)
        if producer not in self.network.byzantine or not self.network.submissions:
            return []
        tc = self.timeout_certificate(round_ - 1) if round_ else None
        if round_ and tc is None:
            return []
        made = self.build(producer, round_, tc, () if hide else self.certificates())
        return [made, self.twin(producer, made)] if made else []

    def build(self, producer: str, round_: int, tc: bytes | None, known: Collection[bytes]) -> bytes | None:
        """Return what the code itself would propose, with a vote store that knows of nothing."""
        network = self.network
        furthest = max(network.participants.values(), key=lambda one: one.height)
        path = network.folder / f"{producer}.{next(self._made)}.scratch"
        votes = VoteStore.create(path, network.keys[producer].public)
        replica = Replica(network.database(furthest.name), network.genesis)
        node = Node(network.genesis, producer, network.keys[producer], replica, votes, network.envelopes, network.clock)
        try:
            made = node.propose(
                network.submissions, round_, tc, prepare_qc=next(iter(known), None), carried=[*self.heard("proposal")]
            )
        except (Refused, Behind):
            return None
        finally:
            votes.close()
            for left in network.folder.glob(f"{path.stem}*"):
                left.unlink()
        if made is not None:
            network.register(made)
        return made

    def twin(self, producer: str, proposal: bytes, **changes: object) -> bytes:
        """Return another proposal of the same round: a later block, or one whose header lies as told."""
        opened = Proposal.decode(proposal)
        block = Block.decode(opened.block)
        if opened.justify:
            return proposal  # a certified block has no twin
        lies = changes or {"timestamp_ms": block.header.timestamp_ms + 1}
        later = replace(block, header=replace(block.header, **lies))  # type: ignore[arg-type]
        made = self.sign(producer, replace(opened, block=later.encode()))
        if not changes:
            self.network.register(made)
        return made

    def sign(self, producer: str, proposal: Proposal) -> bytes:
        """Return a proposal signed past every rule."""
        mine = replace(proposal, producer=institution_id(producer))
        return replace(mine, signature=self.network.keys[producer].sign(mine.signed_bytes())).encode()

    def equivocate(self, round_: int, split: int) -> None:
        """They show one block to some and another to the others, where it is their turn."""
        names = [*self.network.participants]
        for bit, made in enumerate(self.propose(round_)):
            to = [name for place, name in enumerate(names) if (split >> place & 1) == bit]
            self.network.send(self.network.byzantine[0], Message("proposal", made), to)

    def lie_in_header(self, round_: int) -> None:
        """They propose a block whose state root is invented."""
        for made in self.propose(round_)[:1]:
            if not Proposal.decode(made).justify:
                producer = self.network.genesis.institution(Proposal.decode(made).producer)
                lie = self.twin(producer, made, state_root=sm3(b"an invented state"))
                self.network.send(self.network.byzantine[0], Message("proposal", lie))

    def spoil(self, pick: int, place: int) -> None:
        """They send something heard before with one byte changed."""
        if self.network.sent and self.network.byzantine:
            one = self.network.sent[pick % len(self.network.sent)]
            data = bytearray(one.data)
            data[place % len(data)] ^= 0x11
            self.network.send(self.network.byzantine[0], Message(one.kind, bytes(data)))


def _ballot(data: bytes) -> Ballot | None:
    try:
        return Vote.decode(data).ballot
    except Refused:
        return None
