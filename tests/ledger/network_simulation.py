"""A network of real nodes that loses, delays, doubles and reorders messages, splits, crashes and lies (section 17).

Each honest institution runs a real ``Node`` over a real replica, vote store and key. Its ``Participant`` only carries
bytes. What may go wrong is done through seams that production has as well: the ``Signer`` protocol, the vote store,
the replica's database, the network. Nothing here waits or reads a clock of this machine; everything random comes from
whoever drives it, so the same drive gives the same run.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from passed_time import PassedTime
from region_simulation import Clock, Envelopes

from ledger.agreement.certificate import COMMIT, NO_ROUND, PREPARE, TIMEOUT, Ballot, QuorumCertificate, Vote, qc_digest
from ledger.agreement.proposal import Proposal
from ledger.agreement.votes import Signed, Slot, VoteStore
from ledger.chain.block import Block
from ledger.chain.genesis import Genesis
from ledger.chain.header import Header
from ledger.chain.replica import FinalBlock, Replica
from ledger.chain.validators import institution_id
from ledger.encoding import ZERO_DIGEST
from ledger.errors import Behind, Refused
from ledger.node import Node
from schemas.records import Entry
from schemas.region import Institution, Parameters, Region
from shangmi import PrivateKey, PublicKey, sm3

FOUNDED = datetime.fromisoformat("2026-11-01T00:00:00+08:00")
AUDITOR = "auditor"
#: Four voters of equal weight: one of them may be byzantine.
FOUR = (
    Institution(AUDITOR, "区卫生健康委员会", "R", "auditor", 0),
    *(Institution(f"hospital-{one}", f"{one} 医院", "A", "producer", 3) for one in "abcd"),
)
#: Weights 3, 3, 3, 2 and 1 of 12: a third is more than 3.
FIVE = (
    Institution(AUDITOR, "区卫生健康委员会", "R", "auditor", 0),
    *(Institution(f"hospital-{one}", f"{one} 医院", "A", "producer", 3) for one in "abc"),
    Institution("hospital-d", "d 医院", "B", "validator", 2),
    Institution("nursing-home", "颐年养老院", "C", "validator", 1),
)
#: Where a process may die while it signs: nothing written; written; signed; stored and not yet handed out.
SIGNING = ("before persist", "before sign", "after sign", "before release")
#: The same while it applies a block: before a command of its database.
WRITING = "before write"


class Killed(BaseException):
    """The process died here; nothing that it had in memory is left."""


class InvariantBroken(AssertionError):
    """An invariant of section 17 does not hold."""


def require(holds: object, message: str) -> None:
    """Raise InvariantBroken unless it holds."""
    if not holds:
        raise InvariantBroken(message)


@dataclass
class Fuse:
    """Kills an institution's process at a named point, after passing it so many times."""

    point: str = ""
    passes: int = 0

    def pass_by(self, point: str) -> None:
        """Die here if this is the point and the time."""
        if point != self.point:
            return
        if self.passes == 0:
            self.point = ""
            raise Killed
        self.passes -= 1


class WatchedKey:
    """A key that keeps a record of everything it ever signed, whether or not anybody got to see it."""

    def __init__(self, key: PrivateKey, fuse: Fuse, record: list[bytes]) -> None:
        self._key, self._fuse, self._record = key, fuse, record

    @property
    def public(self) -> PublicKey:
        return self._key.public

    def sign(self, message: bytes) -> bytes:
        self._fuse.pass_by("before sign")
        signature = self._key.sign(message)
        self._record.append(message)
        self._fuse.pass_by("after sign")
        return signature

    def decrypt(self, ciphertext: bytes) -> bytes:
        return self._key.decrypt(ciphertext)


class WatchedVotes(VoteStore):
    """A vote store whose process may die around it."""

    def __init__(self, path: Path, fuse: Fuse) -> None:
        super().__init__(path)
        self._fuse = fuse

    def sign(self, *arguments: Any, **named: Any) -> Signed:
        self._fuse.pass_by("before persist")
        signed = super().sign(*arguments, **named)
        self._fuse.pass_by("before release")
        return signed


class MortalDatabase:
    """A MongoDB database whose client dies before one of its writing commands."""

    def __init__(self, inner: Any, fuse: Fuse) -> None:
        self._inner, self._fuse = inner, fuse

    def __getitem__(self, name: str) -> MortalCollection:
        return MortalCollection(self._inner[name], self._fuse)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def with_options(self, *arguments: Any, **named: Any) -> MortalDatabase:
        return MortalDatabase(self._inner.with_options(*arguments, **named), self._fuse)


class MortalCollection:
    """A collection of such a database."""

    WRITES = frozenset({"bulk_write", "replace_one", "delete_many", "delete_one", "insert_one", "insert_many",
                        "update_one", "update_many", "find_one_and_update"})  # fmt: skip

    def __init__(self, inner: Any, fuse: Fuse) -> None:
        self._inner, self._fuse = inner, fuse

    def __getattr__(self, name: str) -> Any:
        if name in self.WRITES:
            self._fuse.pass_by(WRITING)
        return getattr(self._inner, name)

    def with_options(self, *arguments: Any, **named: Any) -> MortalCollection:
        return MortalCollection(self._inner.with_options(*arguments, **named), self._fuse)


@dataclass(frozen=True, slots=True)
class Message:
    """Bytes on their way: ``proposal``, ``vote``, ``certificate``, ``timeout certificate`` or ``final``."""

    kind: str
    data: bytes


@dataclass
class Known:
    """What a participant has heard about one height."""

    proposals: dict[bytes, int] = field(default_factory=dict)
    votes: dict[int, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    certificates: list[bytes] = field(default_factory=list)
    opened: dict[int, bytes] = field(default_factory=dict)


class Participant:
    """An honest institution: a node, and the hands that carry its bytes.

    All judgement is the node's. The participant remembers messages only as long as its process lives.
    """

    def __init__(self, network: NetworkSimulation, name: str) -> None:
        self.network, self.name = network, name
        self.fuse = Fuse()
        self.signed: list[bytes] = []
        self.inbox: list[Message] = []
        self.refusals: list[Refused] = []
        self.node: Node
        self.votes: WatchedVotes
        self.start()

    def start(self) -> None:
        """Open the node as a fresh process would: from database, key and vote store alone."""
        database: Any = MortalDatabase(self.network.database(self.name), self.fuse)
        self.votes = WatchedVotes(self.network.votes_path(self.name), self.fuse)
        key = WatchedKey(self.network.keys[self.name], self.fuse, self.signed)
        replica = Replica(database, self.network.genesis)
        self.node = Node(
            self.network.genesis, self.name, key, replica, self.votes, self.network.envelopes, self.network.clock,
            PassedTime(),
        )  # fmt: skip
        self.known: dict[int, Known] = defaultdict(Known)

    def survive(self, act: Callable[[], None]) -> bool:
        """Do something; where the process dies over it, start it again. Say whether it lived."""
        try:
            act()
        except Killed:
            self.votes.close()
            self.fuse.point = ""
            self.start()
            return False
        return True

    @property
    def height(self) -> int:
        """The height to be decided."""
        return self.node.height + 1

    def open_round(self) -> int:
        """Return the round this participant believes open."""
        return max((one + 1 for one in self.known[self.height].opened), default=0)

    def receive(self, message: Message) -> None:
        """Show a message to the node, and send whatever comes of it."""
        handle = {
            "proposal": self._on_proposal,
            "vote": self._on_vote,
            "certificate": self._on_certificate,
            "timeout certificate": self._on_timeout_certificate,
            "final": self._on_final,
        }[message.kind]
        try:
            handle(message.data)
        except Refused as error:
            require(error.rule and error.section, f"a refusal without rule or section: {error}")
            self.refusals.append(error)
            if error.lock_qc:
                self.send("certificate", error.lock_qc)
        except Behind:
            pass

    def send(self, kind: str, data: bytes) -> None:
        """Hand bytes to the network, for everybody."""
        self.network.send(self.name, Message(kind, data))

    def propose(self) -> None:
        """Propose in the open round, where it is this institution's turn and something waits."""
        height, round_ = self.height, self.open_round()
        known = self.known[height]
        if not self.node.is_producer(height, round_):
            return
        tc = known.opened.get(round_ - 1)
        highest = max(known.certificates, key=lambda one: QuorumCertificate.decode(one).ballot.round, default=None)
        try:
            made = self.node.propose(
                self.network.submissions, round_, tc, prepare_qc=highest if round_ else None, carried=[*known.proposals]
            )
        except (Refused, Behind):
            return
        if made is not None:
            self.network.register(made)
            self.send("proposal", made)

    def time_out(self) -> None:
        """Give the open round up."""
        height, round_ = self.height, self.open_round()
        tc = self.known[height].opened.get(round_ - 1)
        try:
            self.send("vote", self.node.timeout(height, round_, tc))
        except Refused as error:
            self.refusals.append(error)

    def catch_up(self, other: Participant) -> None:
        """Fetch what another institution's replica has as final."""
        self.node.sync(other.node.replica)

    def _on_proposal(self, data: bytes) -> None:
        opened = Proposal.decode(data)
        height = Block.decode(opened.block).header.height
        if height < self.height:
            return
        self.known[height].proposals.setdefault(data, opened.round)
        self.send("vote", self.node.prepare(data))
        for one in [*self.known[height].certificates]:
            self._on_certificate(one)

    def _on_vote(self, data: bytes) -> None:
        ballot = Vote.decode(data).ballot
        if ballot.height < self.height:
            return
        heard = self.known[ballot.height].votes[ballot.type]
        if data in heard:
            return
        heard.append(data)
        same = [one for one in heard if Vote.decode(one).ballot.round == ballot.round]
        if not self.network.may_be_quorum(same):
            return
        if ballot.type == PREPARE and self.network.linear and not self.node.is_producer(ballot.height, ballot.round):
            return
        if ballot.type == TIMEOUT:
            if (tc := self.node.assemble_tc(same, ballot.height, ballot.round)) is not None:
                self._on_timeout_certificate(tc)
        else:
            assemble = self.node.assemble_prepare if ballot.type == PREPARE else self.node.assemble_commit
            if (found := assemble(same)) is not None:
                if ballot.type == PREPARE:
                    self.send("certificate", found)
                self._on_certificate(found)

    def _on_certificate(self, data: bytes) -> None:
        ballot = QuorumCertificate.decode(data).ballot
        if ballot.height < self.height:
            return
        known = self.known[ballot.height]
        if ballot.type == PREPARE and data not in known.certificates:
            found = self.node.good_certificate([data], ballot.height, ballot.round, PREPARE)
            if found is None:
                raise Refused("prepare certificate", "6", "not good")
            known.certificates.append(data)
        carrying = next((one for one in known.proposals if _block_id(one) == ballot.block_id), None)
        if carrying is None:
            return
        if ballot.type == PREPARE:
            self.network.learn(Message("certificate", data))
            self.send("vote", self.node.commit(data, carrying))
            return
        opened = Proposal.decode(carrying)
        self.finish(FinalBlock(opened.block, data, opened.bodies))

    def finish(self, final: FinalBlock) -> None:
        """Apply a certified block and pass it on."""
        receipt = self.node.apply(final.block, final.commit_qc, final.bodies)
        if not receipt.repeated:
            self.network.began.setdefault(self.height, len(self.network.sent))
            self.send("final", final.encode())

    def _on_timeout_certificate(self, data: bytes) -> None:
        height, known = self.height, self.known[self.height]
        for round_ in range(self.open_round(), self.open_round() + 8):
            if self.node.good_certificate([data], height, round_, TIMEOUT) is not None:
                if round_ not in known.opened:
                    known.opened[round_] = data
                    self.send("timeout certificate", data)
                return

    def _on_final(self, data: bytes) -> None:
        final = FinalBlock.decode(data)
        if Block.decode(final.block).header.height >= self.height:
            self.finish(final)


def _block_id(proposal: bytes) -> bytes:
    return Block.decode(Proposal.decode(proposal).block).header.block_id


class NetworkSimulation:
    """Honest participants, byzantine keys, and the network between them.

    Args:
        databases: Gives the database of a name: a real server's client, or ``MemoryDatabase``.
        folder: Where the vote stores lie.
        name: Begins the databases' names.
        members: The consortium.
        byzantine: Voters that nobody simulates: the driver signs with their keys whatever it likes.
        parameters: Of the region.
    """

    def __init__(
        self,
        databases: Callable[[str], Any],
        folder: Path,
        name: str,
        members: tuple[Institution, ...] = FOUR,
        byzantine: Collection[str] = (),
        **parameters: int,
    ) -> None:
        self.folder, self.name, self.members = folder, name, members
        self._databases = {one.id: databases(f"{name}_{one.id}") for one in members}
        self.keys = {one.id: PrivateKey.from_scalar(sm3(b"simulation" + one.id.encode())) for one in members}
        self.region = Region("模拟区", FOUNDED, members, Parameters(**parameters))
        self.genesis = Genesis.from_region(self.region, {one: key.public for one, key in self.keys.items()})
        self.weights = {self.genesis.institution(one.id): one.weight for one in self.genesis.validators.voters}
        for one in members:
            VoteStore.create(folder / f"{one.id}.empty", self.keys[one.id].public).close()
        self.participants: dict[str, Participant] = {}
        self.reset(byzantine)

    # --- beginning and end -------------------------------------------------------------------------------------

    def reset(self, byzantine: Collection[str] = (), *, linear: bool = True) -> None:
        """Begin anew at genesis, faster than by dropping databases.

        Args:
            byzantine: Voters that the driver plays.
            linear: Whether a round's PrepareQC is its producer's to assemble; otherwise everybody makes one.
        """
        self.shut()
        self.byzantine, self.linear = tuple(byzantine), linear
        self.watch: Callable[[str], None] = lambda _: None
        self.clock, self.envelopes = Clock(), Envelopes()
        self.submissions: list[tuple[bytes, bytes]] = []
        self.finals: dict[int, bytes] = {}
        self.headers: dict[bytes, Header] = {}
        self.certificates: dict[bytes, bytes] = {}
        self.groups: dict[str, int] = {}
        self.sent: list[Message] = []
        self.began: dict[int, int] = {}
        self._made = 0
        for one in self.members:
            for collection in (database := self.database(one.id)).list_collection_names():
                database[collection].delete_many({})
            for left in self.folder.glob(f"{one.id}.votes*"):
                left.unlink()
            shutil.copy(self.folder / f"{one.id}.empty", self.votes_path(one.id))
        honest = [one.id for one in self.members if one.id not in self.byzantine]
        self.participants = {one: Participant(self, one) for one in honest}

    def shut(self) -> None:
        """Let go of every file."""
        for one in self.participants.values():
            one.votes.close()

    def database(self, institution: str) -> Any:
        return self._databases[institution]

    def snapshot(self) -> dict[str, Any]:
        """Return everything every honest institution has stored: documents, votes, names of files."""
        found: dict[str, Any] = {"files": sorted(path.name for path in self.folder.iterdir())}
        for name, one in self.participants.items():
            database = self.database(name)
            for kind in sorted(database.list_collection_names()):
                found[f"{name}/{kind}"] = sorted(database[kind].find(), key=lambda each: str(each["_id"]))
            found[f"{name}/votes"] = one.votes.dump()
            found[f"{name}/lock"] = one.votes.lock(self.genesis.chain_id, one.height)
        return found

    def votes_path(self, institution: str) -> Path:
        return self.folder / f"{institution}.votes"

    # --- who is who --------------------------------------------------------------------------------------------

    @property
    def honest(self) -> list[str]:
        """Honest voters in the order of certificates."""
        return [one for one in self.weights if one not in self.byzantine]

    def voter(self, name: str) -> Participant:
        return self.participants[name]

    @property
    def total(self) -> int:
        """All votes together."""
        return sum(self.weights.values())

    @property
    def quorum(self) -> int:
        """The least weight that is more than two thirds."""
        return 2 * self.total // 3 + 1

    def may_be_quorum(self, votes: Iterable[bytes]) -> bool:
        """Say whether these votes name enough weight to be worth verifying."""
        names = {self.genesis.institution(Vote.decode(one).voter) for one in votes}
        return sum(self.weights.get(one, 0) for one in names) >= self.quorum

    # --- the network -------------------------------------------------------------------------------------------

    def send(self, sender: str, message: Message, to: Collection[str] | None = None) -> None:
        """Put a message into the inboxes of everybody who can be reached and is meant."""
        self.sent.append(message)
        self.learn(message)
        for name, one in self.participants.items():
            if (to is None or name in to) and self.groups.get(name, 0) == self.groups.get(sender, 0):
                one.inbox.append(message)

    def learn(self, message: Message) -> None:
        """Remember certificates by digest: votes name them so."""
        try:
            shown = {
                "certificate": lambda: message.data,
                "proposal": lambda: Proposal.decode(message.data).justify,
                "vote": lambda: Vote.decode(message.data).lock,
            }.get(message.kind, lambda: b"")()
            if shown:
                QuorumCertificate.decode(shown)
                self.certificates[qc_digest(shown)] = shown
        except Refused:
            pass  # garbage teaches nothing

    def register(self, proposal: bytes) -> None:
        """Remember a valid block by its id."""
        header = Block.decode(Proposal.decode(proposal).block).header
        self.headers[header.block_id] = header

    def replay(self, name: str) -> None:
        """Show an institution again whatever was sent since the height it decides was open, as an exchange would."""
        one = self.participants[name]
        one.inbox[:] = self.sent[self.began.get(one.height, 0) :]

    def split(self, groups: dict[str, int]) -> None:
        """Part the network: only members of one group hear each other."""
        self.groups = dict(groups)

    def deliver(self, name: str, index: int, *, keep: bool = False) -> bool:
        """Deliver one message of an inbox, whichever; with ``keep`` it will come again."""
        one = self.participants[name]
        if not one.inbox:
            return False
        place = index % len(one.inbox)
        message = one.inbox[place] if keep else one.inbox.pop(place)
        self.act(name, lambda: one.receive(message))
        return True

    def act(self, name: str, step: Callable[[], None]) -> bool:
        """Let an institution do something, dead or alive after it, and look at what became of it."""
        lived = self.participants[name].survive(step)
        self.watch(name)
        return lived

    def flush(self, names: Iterable[str] | None = None, most: int = 2_000) -> int:
        """Deliver what waits, oldest first, and what comes of it, until nothing waits."""
        wanted, done = list(names or self.participants), 0
        while done < most and sum(self.deliver(name, 0) for name in wanted):
            done += 1
        return done

    def deliver_kind(self, kind: str, names: Collection[str], *, lose: bool = False) -> None:
        """Deliver what waits of one kind to some, in the order of sending; with ``lose`` others never get it."""
        for name, one in self.participants.items():
            waiting = [message for message in one.inbox if message.kind == kind]
            if name in names or lose:
                one.inbox[:] = [message for message in one.inbox if message.kind != kind]
            for message in waiting if name in names else ():
                self.act(name, partial(one.receive, message))

    # --- content -----------------------------------------------------------------------------------------------

    def publish(self, institution: str | None = None, count: int = 1) -> None:
        """Offer a batch of freshly sealed records to all producers."""
        one = self.participants[institution or self.honest[0]]
        entries = [self._entry(one.name) for _ in range(count)]

        def submit() -> None:
            made = one.node.submit(entries, one.node.next_seq(), f"vault of {one.name}")
            self.submissions.append((made.tx, made.leaves))

        self.act(one.name, submit)

    def _entry(self, institution: str) -> Entry:
        self._made += 1
        seed = sm3(b"record %d" % self._made)
        envelope, locator = seed + b"sealed", seed[:8].hex()
        self.envelopes[institution, locator] = envelope
        return Entry(seed[:16], 1, sm3(envelope), sm3(seed), bytes(32), len(envelope), 14, locator)


def signed_vote(genesis: Genesis, name: str, key: PrivateKey, ballot: Ballot, lock: bytes = b"") -> bytes:
    """Return a voter's vote on any ballot."""
    return Vote(ballot, institution_id(name), key.sign(ballot.signed_bytes(genesis.chain_id)), lock).encode()


def prepare_ballot(header: Header, round_: int, justify: bytes = b"") -> Ballot:
    """Return what a PREPARE of a block says."""
    number = QuorumCertificate.decode(justify).ballot.round if justify else NO_ROUND
    return Ballot(PREPARE, header.height, round_, header.epoch, header.block_id, number, qc_digest(justify))


def commit_ballot(certificate: bytes) -> Ballot:
    """Return what a COMMIT under a PrepareQC says."""
    at = QuorumCertificate.decode(certificate).ballot
    return Ballot(COMMIT, at.height, at.round, at.epoch, at.block_id, at.round, qc_digest(certificate))


def timeout_ballot(height: int, round_: int, epoch: int, lock: bytes = b"") -> Ballot:
    """Return what a TIMEOUT says."""
    number = QuorumCertificate.decode(lock).ballot.round if lock else NO_ROUND
    return Ballot(TIMEOUT, height, round_, epoch, ZERO_DIGEST, number, qc_digest(lock))


def signed_slots(messages: Iterable[bytes]) -> Iterator[tuple[Slot, bytes]]:
    """Yield where each vote or proposal that a key signed stands, in the order of signing."""
    for one in messages:
        for domain, step in ((b"XL/VOTE/1\0", one[42:43]), (b"XL/PROP/1\0", b"\0")):
            if one.startswith(domain):
                at = 43 if step != b"\0" else 42
                yield (
                    Slot(
                        int.from_bytes(one[at : at + 8], "big"), int.from_bytes(one[at + 8 : at + 12], "big"), step[0]
                    ),
                    one,
                )
