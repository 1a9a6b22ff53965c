"""The replicas of a region held against one another, pair by pair, by proofs that need no trust (section 13).

Each says where it stands: a certified header. For each that stands lower it proves that its own history continues the
other's: the RFC 9162 consistency of both history roots, and the lower block's place in the higher history. Whoever has
these bytes can judge them; that a quorum certified two histories which do not continue one another convicts a third of
the votes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ledger.agreement.certificate import MAX_QC, check_commit
from ledger.chain.header import HEADER_BYTES, Header, history_leaf
from ledger.chain.merkle import consistency_path, inclusion_path, leaf_hash, verify_consistency, verify_inclusion
from ledger.chain.replica import Replica, ReplicaView
from ledger.chain.validators import institution_id
from ledger.encoding import DIGEST, SHORT_ID, Reader, listed, var
from ledger.errors import Refused

MAX_STANDING: Final = MAX_QC + 1_024
MAX_CONTINUATION: Final = 8_192
_STANDING, _CONTINUATION = b"XL/STAND/1\0", b"XL/CONT/1\0"


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a replica stands, by its own word: its head, certified.

    Attributes:
        institution: Whose replica, 16 bytes.
        header: Its head.
        commit_qc: A CommitQC on it; empty at genesis.
    """

    institution: bytes
    header: Header
    commit_qc: bytes

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return _STANDING + self.institution + self.header.encode() + var(self.commit_qc)

    @classmethod
    def decode(cls, data: bytes) -> Standing:
        """Read what ``encode`` wrote, or raise Malformed; nothing in it is verified."""
        reader = Reader(data, "standing")
        reader.constant(_STANDING)
        found = cls(reader.take(SHORT_ID), Header.decode(reader.take(HEADER_BYTES)), reader.var(MAX_QC))
        reader.end()
        return found


@dataclass(frozen=True, slots=True)
class Continuation:
    """The proof that one head's history continues another's.

    Attributes:
        lower: Id of the lower block.
        higher: Id of the higher one.
        place: Path of the lower block in the higher one's history.
        consistency: Proof that the higher one's history begins with the lower one's; empty where that is empty.
    """

    lower: bytes
    higher: bytes
    place: tuple[bytes, ...]
    consistency: tuple[bytes, ...]

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return _CONTINUATION + self.lower + self.higher + listed(self.place) + listed(self.consistency)

    @classmethod
    def decode(cls, data: bytes) -> Continuation:
        """Read what ``encode`` wrote, or raise Malformed; nothing in it is verified."""
        reader = Reader(data, "continuation")
        reader.constant(_CONTINUATION)
        found = cls(reader.take(DIGEST), reader.take(DIGEST), reader.digests(64), reader.digests(64))
        reader.end()
        return found

    def holds(self, lower: Header, higher: Header) -> bool:
        """Say whether it shows that the higher header's history continues the lower one's."""
        if (self.lower, self.higher) != (lower.block_id, higher.block_id) or lower.height >= higher.height:
            return False
        leaf = leaf_hash(history_leaf(lower.block_id))
        stands = verify_inclusion(leaf, lower.height, higher.height, self.place, higher.history_root)
        if not lower.height:
            return stands and not self.consistency
        roots = lower.history_root, higher.history_root
        return stands and verify_consistency(lower.height, higher.height, self.consistency, *roots)


def standing(replica: Replica, institution: str) -> Standing:
    """Return where a replica stands now."""
    view = replica.view
    return Standing(institution_id(institution), view.head, view.commit_qc)


def continuation(replica: Replica, lower: Header, higher: Header) -> Continuation | None:
    """Return the proof that this replica's history up to ``higher`` continues what lies below ``lower``.

    None where it does not: the replica has another block at the lower height.
    """
    if not lower.height < higher.height or replica.header(lower.height) != lower:
        return None
    node = replica.history_node
    place = inclusion_path(lower.height, higher.height, node)
    proof = consistency_path(lower.height, higher.height, node) if lower.height else []
    return Continuation(lower.block_id, higher.block_id, tuple(place), tuple(proof))


@dataclass(frozen=True, slots=True)
class Comparison:
    """What comparing came to.

    Attributes:
        heights: Height of each institution whose certified head is known, by its 16 bytes.
        silent: Registered institutions without one.
        contradicting: Pairs of institutions whose certified heads are proved, or left, not to continue one another.
        common: Height that every compared history contains; 0 where none was compared.
    """

    heights: Mapping[bytes, int]
    silent: tuple[bytes, ...]
    contradicting: tuple[tuple[bytes, bytes], ...]
    common: int

    @property
    def agrees(self) -> bool:
        """Whether every pair that was compared agrees."""
        return not self.contradicting


def compare(view: ReplicaView, standings: Iterable[bytes], continuations: Iterable[bytes]) -> Comparison:
    """Return how the replicas of a region stand to one another.

    Args:
        view: The chain as the judge's own replica has it; heads above its next height are not judged.
        standings: What was shown as such; the highest good one of each institution counts.
        continuations: What was shown as such.
    """
    heads = _heads(view, standings)
    proofs = {(one.lower, one.higher): one for one in _readable(continuations)}
    ordered = sorted(heads.items(), key=lambda one: (one[1].height, one[0]))
    contradicting = []
    for place, (lower_name, lower) in enumerate(ordered):
        for higher_name, higher in ordered[place + 1 :]:
            if lower == higher:
                continue
            proof = proofs.get((lower.block_id, higher.block_id))
            if proof is None or not proof.holds(lower, higher):
                contradicting.append((lower_name, higher_name))
    silent = tuple(one.id for one in view.roster if one.id not in heads and one.standing == "active")
    common = min((one.height for one in heads.values()), default=0)
    return Comparison({name: one.height for name, one in heads.items()}, silent, tuple(contradicting), common)


def _heads(view: ReplicaView, standings: Iterable[bytes]) -> dict[bytes, Header]:
    """Return the certified head of each registered institution that shows one."""
    found: dict[bytes, Header] = {}
    for data in standings:
        try:
            one = Standing.decode(data)
            _check(view, one)
        except Refused:
            continue
        before = found.get(one.institution)
        if before is None or before.height < one.header.height:
            found[one.institution] = one.header
    return found


def _check(view: ReplicaView, one: Standing) -> None:
    """Raise Refused unless it is a registered institution's, and its header is genesis or certified."""
    genesis, header = view.genesis, one.header
    if view.roster.registration(one.institution) is None or header.chain_id != genesis.chain_id:
        raise Refused("standing", "13", "of nobody registered on this chain")
    if header == genesis.header and not one.commit_qc:
        return
    if not 0 < header.height <= view.head.height + 1:
        raise Refused("standing", "13", "at a height whose voters this replica does not know yet")
    epoch = genesis.epoch(header.height)
    voters = view.voters_at(header.height)
    check_commit(one.commit_qc, header.block_id, header.height, epoch, genesis.chain_id, voters)


def _readable(continuations: Iterable[bytes]) -> Sequence[Continuation]:
    found = []
    for data in continuations:
        try:
            found.append(Continuation.decode(data))
        except Refused:
            continue
    return found
