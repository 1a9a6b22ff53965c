"""That a dataset was allowed and what it was made from, verifiable offline (sections 4, 12 and 14).

One file shows, under one certified head: the request and the decision on it, each voice of the committee, the holder's
registered key, and that every source record stands in a batch that the holder published. Source records are shown by
their leaf hashes in order of batch and place: a leaf hash commits to the record's digests and says nothing to who does
not hold the leaf, and the order has nothing to do with that of rows. Nothing may be in the file that the verdict does
not need. Bytes: ``docs/formats/dataset.md``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from ledger.agreement.certificate import MAX_QC, QuorumCertificate
from ledger.chain.batch import SUBMIT_BATCH, SubmitBatch
from ledger.chain.header import HEADER_BYTES, Header, history_leaf
from ledger.chain.leaves import MAX_LEAVES
from ledger.chain.merkle import DIGEST, leaf_hash, verify_inclusion
from ledger.chain.receipt import MAX_RECEIPT, read_receipt
from ledger.chain.roster import Registration, Roster
from ledger.chain.rules import Outcome
from ledger.chain.smt import StateProof, state_key, value_hash, verify_state
from ledger.chain.state import ONLY, REQUEST, ROSTER
from ledger.chain.transaction import DOMAIN, MAX_TRANSACTION
from ledger.chain.validators import ValidatorSet
from ledger.encoding import Reader, u8, u32, var
from ledger.errors import ProofError, Refused
from ledger.messages.access import AccessRequest
from ledger.messages.approval import Approval, read_approval
from ledger.messages.request_state import ALLOWED, RequestState, Verdict
from ledger.proofs.anchor import Anchor
from ledger.proofs.checkpoint import MAX_NOTE, Checkpoint, Note
from ledger.proofs.multiproof import verify_multiproof
from ledger.proofs.receipts import MAX_VALUE, Trunk

MAX_EVIDENCE: Final = 256 << 20
_MAX_BLOCKS: Final = 1_000_000
_MAX_ENTRIES: Final = 10_000
_MAX_PROOF: Final = 10_000_000
_MAX_STATE_PROOF: Final = 1 << 14
_DOMAIN: Final = b"XL/DATASET/EVIDENCE/1\0"


@dataclass(frozen=True, slots=True)
class Named:
    """One transaction of a block.

    Attributes:
        place: Among the block's.
        data: Its bytes.
        receipt: Its receipt; empty for a batch, whose block would not be final if it had been refused.
    """

    place: int
    data: bytes
    receipt: bytes = b""

    @property
    def is_batch(self) -> bool:
        """Whether it is a batch."""
        return self.data.startswith(DOMAIN + u8(SUBMIT_BATCH))

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return u32(self.place) + var(self.data) + var(self.receipt)

    @classmethod
    def read(cls, reader: Reader) -> Named:
        """Return the next one, or raise Malformed."""
        found = cls(reader.u32(), reader.var(MAX_TRANSACTION), reader.var(MAX_RECEIPT))
        if found.is_batch == bool(found.receipt):
            raise reader.wrong("a batch comes without a receipt, and a message with one")
        return found


@dataclass(frozen=True, slots=True)
class BlockShown:
    """What is shown of one block.

    Attributes:
        header: Its header.
        named: Transactions of it, in order.
        path: From them to ``tx_root``.
        receipt_path: From the receipts among them to ``receipts_root``; nothing where there is none.
    """

    header: bytes
    named: tuple[Named, ...]
    path: tuple[bytes, ...]
    receipt_path: tuple[bytes, ...]

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        named = u32(len(self.named)) + b"".join(one.encode() for one in self.named)
        return self.header + named + _joined(self.path) + _joined(self.receipt_path)

    @classmethod
    def read(cls, reader: Reader) -> BlockShown:
        """Return the next one, or raise Malformed."""
        header = reader.take(HEADER_BYTES)
        named = tuple(Named.read(reader) for _ in range(reader.count(_MAX_ENTRIES)))
        return cls(header, named, _digests(reader), _digests(reader))

    def check(self, header: Header) -> None:
        """Raise ProofError unless the transactions and receipts stand in the block of this header."""
        _check_tree(
            [(one.place, leaf_hash(one.data)) for one in self.named], header.tx_count, self.path, header.tx_root,
            "a transaction",
        )  # fmt: skip
        receipts = [(one.place, leaf_hash(one.receipt)) for one in self.named if one.receipt]
        if not receipts and not self.receipt_path:
            return
        _check_tree(receipts, header.tx_count, self.receipt_path, header.receipts_root, "a receipt")


@dataclass(frozen=True, slots=True)
class RecordsShown:
    """Records of one batch.

    Attributes:
        places: In the batch, ascending.
        leaves: Their leaf hashes, joined.
        path: From them to the batch root.
    """

    places: tuple[int, ...]
    leaves: bytes
    path: tuple[bytes, ...]

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        count = len(self.places)
        return u32(count) + struct.pack(f">{count}I", *self.places) + self.leaves + _joined(self.path)

    @classmethod
    def read(cls, reader: Reader) -> RecordsShown:
        """Return the next ones, or raise Malformed."""
        count = reader.count(MAX_LEAVES)
        places = struct.unpack(f">{count}I", reader.take(4 * count))
        return cls(places, reader.take(DIGEST * count), _digests(reader))


@dataclass(frozen=True, slots=True)
class StateShown:
    """What stands at one place of the state under the head."""

    value: bytes
    proof: StateProof

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return var(self.value) + var(self.proof.encode())

    @classmethod
    def read(cls, reader: Reader) -> StateShown:
        """Return the next one, or raise Malformed."""
        return cls(reader.var(MAX_VALUE), StateProof.decode(reader.var(_MAX_STATE_PROOF)))

    def check(self, head: Header, kind: int, identity: bytes, what: str) -> None:
        """Raise ProofError unless it stands there."""
        if not verify_state(head.state_root, state_key(kind, identity), value_hash(self.value), self.proof):
            raise ProofError(f"{what}: it does not stand in the state under the head")


@dataclass(frozen=True, slots=True)
class Evidence:
    """The file.

    Attributes:
        trunk: Leads from the anchor to the head.
        note: An auditor's checkpoint, or nothing; and the path of its block in the head's history.
        roster: Everyone registered, under the head.
        request: The request, under the head.
        blocks: Blocks below or at the head, ascending.
        history: From them to the head's ``history_root``.
        records: Of every batch in them, in order.
    """

    trunk: Trunk
    note: tuple[bytes, tuple[bytes, ...]]
    roster: StateShown
    request: StateShown
    blocks: tuple[BlockShown, ...]
    history: tuple[bytes, ...]
    records: tuple[RecordsShown, ...]

    def encode(self) -> bytes:
        """Return the file."""
        return b"".join(
            [
                _DOMAIN, self.trunk.encode(), var(self.note[0]), _joined(self.note[1]), self.roster.encode(),
                self.request.encode(), u32(len(self.blocks)), *(one.encode() for one in self.blocks),
                _joined(self.history), u32(len(self.records)), *(one.encode() for one in self.records),
            ]
        )  # fmt: skip

    @classmethod
    def decode(cls, data: bytes) -> Evidence:
        """Read what ``encode`` wrote, or raise Malformed; nothing in it is verified."""
        reader = Reader(data, "evidence")
        if len(data) > MAX_EVIDENCE:
            raise reader.wrong(f"{len(data)} bytes, at most {MAX_EVIDENCE}")
        reader.constant(_DOMAIN)
        found = cls(
            Trunk.read(reader), (reader.var(MAX_NOTE), _digests(reader)), StateShown.read(reader),
            StateShown.read(reader), tuple(BlockShown.read(reader) for _ in range(reader.count(_MAX_BLOCKS))),
            _digests(reader), tuple(RecordsShown.read(reader) for _ in range(reader.count(_MAX_BLOCKS))),
        )  # fmt: skip
        reader.end()
        return found


@dataclass(frozen=True, slots=True)
class Spoken:
    """One voice of the committee.

    Attributes:
        member: Who, by its id in region.yaml.
        approves: Whether it approved.
        height: Block of it.
        timestamp_ms: Time of that block, milliseconds since 1970 UTC.
    """

    member: str
    approves: bool
    height: int
    timestamp_ms: int


@dataclass(frozen=True, slots=True)
class Allowed:
    """What the evidence of a dataset proves.

    Attributes:
        request: The ACCESS_REQ.
        state: What the chain holds of it: it stands allowed.
        verdict: What the rules said when they allowed it.
        requester: Who asked.
        holder: Whose records they are.
        decided: Header of the block in which it was allowed.
        voices: What the committee said, in the chain's order.
        records: Source records shown in notarised batches.
        batches: In how many.
        first: Time of the earliest of those batches' blocks, milliseconds since 1970 UTC; likewise ``last``.
        last: Time of the latest.
        head: The certified head that covers all of it.
        signers: Who certified that.
        checkpoint_ms: When an auditor vouched for the chain up to there, or None.
    """

    request: AccessRequest
    state: RequestState
    verdict: Verdict
    requester: Registration
    holder: Registration
    decided: Header
    voices: tuple[Spoken, ...]
    records: int
    batches: int
    first: int
    last: int
    head: Header
    signers: tuple[str, ...]
    checkpoint_ms: int | None


def verify_evidence(data: bytes, anchor: Anchor, request: bytes, holder: bytes, now_ms: int | None = None) -> Allowed:
    """Return what the file proves to whoever trusts the anchor.

    Args:
        data: The file.
        anchor: What is trusted; never from whoever sent the file.
        request: Id of the ACCESS_REQ in question.
        holder: Id of the institution that delivers, 16 bytes.
        now_ms: The verifier's time; needed where the anchor limits ages.

    Raises:
        ProofError: It does not hold, is about something else, or holds more than is needed.
    """
    try:
        return _verify(Evidence.decode(data), anchor, request, holder, now_ms)
    except Refused as error:
        raise ProofError(str(error)) from error


def _verify(found: Evidence, anchor: Anchor, request: bytes, holder: bytes, now_ms: int | None) -> Allowed:
    head, validators, certificate = _check_trunk(found.trunk, anchor, now_ms)
    vouched = _check_note(found.note, head, anchor, now_ms)
    found.roster.check(head, ROSTER, ONLY, "roster")
    found.request.check(head, REQUEST, request, "request")
    roster, state = Roster.decode(found.roster.value), RequestState.decode(found.request.value)
    headers = _check_blocks(found, head)
    placed = [(header, one) for header, block in zip(headers, found.blocks, strict=True) for one in block.named]
    asked, verdict, decided, voices = _decision([one for one in placed if one[1].receipt], request, state, roster)
    batches = [(header, SubmitBatch.decode(one.data)) for header, one in placed if one.is_batch]
    _check_records(batches, found.records, holder, anchor.genesis.chain_id)
    if holder not in state.holders:
        raise ProofError("request: it does not ask this holder")
    return Allowed(
        asked, state, verdict, _registered(roster, state.requester), _registered(roster, holder), decided, voices,
        sum(len(one.places) for one in found.records), len(batches),
        min((header.timestamp_ms for header, _ in batches), default=0),
        max((header.timestamp_ms for header, _ in batches), default=0),
        head, tuple(_name(roster, validators.voters[one].id) for one in certificate.signers), vouched,
    )  # fmt: skip


def _check_trunk(trunk: Trunk, anchor: Anchor, now_ms: int | None) -> tuple[Header, ValidatorSet, QuorumCertificate]:
    if trunk.chain_id != anchor.genesis.chain_id:
        raise ProofError("chain: the evidence is of another chain than the anchor")
    steps, head = [one.opened() for one in trunk.steps], Header.decode(trunk.head)
    if steps and steps[-1].header.height > head.height:
        raise ProofError("epochs: a step lies above the head")
    validators = anchor.follow(steps)
    if len(trunk.certificate) > MAX_QC:
        raise ProofError("head: its certificate is too large for one")
    return head, validators, anchor.check_head(head, trunk.certificate, validators, now_ms)


def _check_note(note: tuple[bytes, tuple[bytes, ...]], head: Header, anchor: Anchor, now_ms: int | None) -> int | None:
    data, path = note
    if not data:
        if path:
            raise ProofError("checkpoint: a path without one")
        anchor.check_checkpoint(None, now_ms)
        return None
    found = Note.decode(data)
    stands = found.checkpoint
    leaf = leaf_hash(history_leaf(stands.block_id))
    below = verify_inclusion(leaf, stands.height, head.height, path, head.history_root)
    if stands.chain_id != head.chain_id or not (below or (stands == Checkpoint.of(head) and not path)):
        raise ProofError("checkpoint: it is not of this chain up to the head")
    time_ms = max(one.time_ms for one in found.verify(anchor.validators))
    anchor.check_checkpoint(time_ms, now_ms)
    return time_ms


def _check_blocks(found: Evidence, head: Header) -> list[Header]:
    """Return the headers after each block was found at or below the head, and its transactions in it."""
    headers = [Header.decode(one.header) for one in found.blocks]
    if any(one.height >= two.height for one, two in pairwise(headers)):
        raise ProofError("blocks: they do not go upwards")
    below = [one for one in headers if one != head]
    if below or found.history:
        leaves = [(one.height, leaf_hash(history_leaf(one.block_id))) for one in below]
        _check_tree(leaves, head.height, found.history, head.history_root, "a block")
    for block, header in zip(found.blocks, headers, strict=True):
        if not block.named:
            raise ProofError("blocks: one is shown of which nothing is needed")
        block.check(header)
    return headers


def _decision(
    messages: Sequence[tuple[Header, Named]], request: bytes, state: RequestState, roster: Roster
) -> tuple[AccessRequest, Verdict, Header, tuple[Spoken, ...]]:
    """Return the request, the verdict that allowed it, where that was, and the voices; nothing else may be shown."""
    if not messages or state.stage != ALLOWED:
        raise ProofError("request: it is not shown, or does not stand allowed")
    (header, first), *others = messages
    asked, outcome = AccessRequest.decode(first.data), _receipt(first, request)
    if asked.tx_id != request:
        raise ProofError("request: another one is shown")
    verdict = Verdict.decode(outcome.code, outcome.detail)
    if not others:
        if not verdict.allowed or state.voices or state.height != header.height:
            raise ProofError("request: it was not allowed where the evidence says")
        return asked, verdict, header, ()
    spoken = tuple(_voices(others, request, state, roster))
    last_header, last = others[-1]
    final = _receipt(last, Approval.decode(last.data).tx_id)
    stage, allowed = read_approval(final.code, final.detail)
    if not verdict.pending or stage != ALLOWED or allowed is None or not allowed.allowed:
        raise ProofError("approval: the last one shown did not allow the request")
    if state.height != last_header.height:
        raise ProofError("approval: the request was allowed in another block")
    return asked, allowed, last_header, spoken


def _voices(
    others: Sequence[tuple[Header, Named]], request: bytes, state: RequestState, roster: Roster
) -> Iterator[Spoken]:
    if len(others) != len(state.voices):
        raise ProofError("approval: not every voice that the chain counts is shown, or others are")
    for (header, one), voice in zip(others, state.voices, strict=True):
        found = Approval.decode(one.data)
        _receipt(one, found.tx_id)
        said = (found.request, found.digest, found.sender, found.approves, found.reason)
        if said != (request, state.digest, voice.member, voice.approves, voice.reason):
            raise ProofError("approval: it is not the one that the chain counts")
        yield Spoken(_name(roster, found.sender), found.approves, header.height, header.timestamp_ms)


def _receipt(one: Named, tx_id: bytes) -> Outcome:
    shown, outcome = read_receipt(one.receipt)
    if shown != tx_id:
        raise ProofError("receipt: it is another transaction's")
    return outcome


def _check_records(
    batches: Sequence[tuple[Header, SubmitBatch]], records: Sequence[RecordsShown], holder: bytes, chain_id: bytes
) -> None:
    if len(batches) != len(records):
        raise ProofError("records: there are other batches than records of them")
    for (_, batch), one in zip(batches, records, strict=True):
        if batch.submitter != holder or batch.chain_id != chain_id:
            raise ProofError("records: a batch of another institution or chain")
        if not verify_multiproof(one.leaves, one.places, batch.count, one.path, batch.batch_root):
            raise ProofError("records: they do not stand in the batch")


def _check_tree(leaves: Sequence[tuple[int, bytes]], size: int, path: Sequence[bytes], root: bytes, what: str) -> None:
    places = [place for place, _ in leaves]
    if not verify_multiproof(b"".join(hash_ for _, hash_ in leaves), places, size, path, root):
        raise ProofError(f"{what} does not stand where the evidence says, or something more is shown")


def _registered(roster: Roster, id_: bytes) -> Registration:
    found = roster.registration(id_)
    if found is None:
        raise ProofError("roster: requester or holder is not registered under the head")
    return found


def _name(roster: Roster, id_: bytes) -> str:
    found = roster.registration(id_)
    return id_.hex() if found is None else found.name


def _joined(digests: Sequence[bytes]) -> bytes:
    return u32(len(digests)) + b"".join(digests)


def _digests(reader: Reader) -> tuple[bytes, ...]:
    data = reader.take(DIGEST * reader.count(_MAX_PROOF))
    return tuple(data[at : at + DIGEST] for at in range(0, len(data), DIGEST))
