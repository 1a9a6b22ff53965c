"""What became of one transaction, or what the state says of one thing, verifiable offline (sections 12, 14 and 15).

Two small files beside the record proof: a *receipt proof* (a request was allowed, and by which policies; a consent, an
erasure was executed) and an *entry proof* (a request stands allowed, a consent stands, a record is erased, or none of
them does). Both hang on a header that the voters reached from the anchor have certified. Whoever verifies says what
is to be proved; a file never names its own question. Bytes: ``docs/formats/receipt.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ledger.agreement.certificate import MAX_QC
from ledger.chain.genesis import MAX_GENESIS
from ledger.chain.header import HEADER_BYTES, Header, history_leaf
from ledger.chain.merkle import leaf_hash, verify_inclusion
from ledger.chain.receipt import MAX_RECEIPT, read_receipt
from ledger.chain.rules import Outcome
from ledger.chain.smt import StateProof, state_key, value_hash, verify_state
from ledger.chain.validators import ValidatorSet
from ledger.encoding import DIGEST, Reader, listed, u8, u32, var
from ledger.errors import ProofError, Refused
from ledger.proofs.anchor import Anchor, load_anchor
from ledger.proofs.anchor import Step as AnchorStep

MAX_FILE: Final = 1 << 20
MAX_VALUE: Final = 1 << 19
_MAX_PATH: Final = 64
_MAX_STEPS: Final = 1_000
_TRUNK, _RECEIPT, _ENTRY = b"XL/TRUNK/1\0", b"XL/RPROOF/1\0", b"XL/EPROOF/1\0"


@dataclass(frozen=True, slots=True)
class Step:
    """One change of voters: the last header of the old set's last epoch, certified, and the new set."""

    header: bytes
    certificate: bytes
    validators: bytes

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return self.header + var(self.certificate) + var(self.validators)

    @classmethod
    def read(cls, data: bytes) -> Step:
        """Read what ``encode`` wrote, or raise Malformed."""
        reader = Reader(data, "step of a proof")
        found = cls(reader.take(HEADER_BYTES), reader.var(MAX_QC), reader.var(MAX_GENESIS))
        reader.end()
        return found

    def opened(self) -> AnchorStep:
        """Return it decoded, or raise Malformed."""
        return AnchorStep(Header.decode(self.header), self.certificate, ValidatorSet.decode(self.validators))


@dataclass(frozen=True, slots=True)
class Trunk:
    """What leads from the anchor to a header: the changes of voters, the header, its certificate."""

    chain_id: bytes
    steps: tuple[Step, ...]
    head: bytes
    certificate: bytes

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return _TRUNK + self.chain_id + listed([one.encode() for one in self.steps]) + self.head + var(self.certificate)

    @classmethod
    def read(cls, reader: Reader) -> Trunk:
        """Return the next trunk, or raise Malformed."""
        reader.constant(_TRUNK)
        chain_id = reader.take(DIGEST)
        steps = tuple(Step.read(one) for one in reader.listed(_MAX_STEPS, MAX_FILE))
        return cls(chain_id, steps, reader.take(HEADER_BYTES), reader.var(MAX_QC))

    def check(self, anchor: Anchor, now_ms: int | None) -> Header:
        """Return the head after every certificate on the way to it was found good.

        Raises:
            ProofError: It does not follow from the anchor, or is older than the anchor allows.
            Refused: A certificate or header is not good.
        """
        if self.chain_id != anchor.genesis.chain_id:
            raise ProofError("chain: the proof is of another chain than the anchor")
        validators = anchor.follow(one.opened() for one in self.steps)
        head = Header.decode(self.head)
        anchor.check_head(head, self.certificate, validators, now_ms)
        anchor.check_checkpoint(None, now_ms)  # these files carry none
        return head


@dataclass(frozen=True, slots=True)
class ReceiptProof:
    """That a block's receipts hold one receipt.

    Attributes:
        trunk: Leads to the head.
        header: Header of the block; that of the head where it is the head.
        history: Path of the block in the head's history; nothing where it is the head.
        receipt: The receipt.
        index: Its place among the block's.
        path: From it to the header's ``receipts_root``.
    """

    trunk: Trunk
    header: bytes
    history: tuple[bytes, ...]
    receipt: bytes
    index: int
    path: tuple[bytes, ...]

    def encode(self) -> bytes:
        """Return the file."""
        return (
            _RECEIPT + self.trunk.encode() + self.header + listed(self.history) + var(self.receipt) + u32(self.index)
            + listed(self.path)
        )  # fmt: skip

    @classmethod
    def decode(cls, data: bytes) -> ReceiptProof:
        """Read what ``encode`` wrote, or raise Malformed; nothing in it is verified."""
        reader = Reader(data, "receipt proof")
        reader.constant(_RECEIPT)
        found = cls(
            Trunk.read(reader), reader.take(HEADER_BYTES), reader.digests(_MAX_PATH), reader.var(MAX_RECEIPT),
            reader.u32(), reader.digests(_MAX_PATH),
        )  # fmt: skip
        reader.end()
        return found


@dataclass(frozen=True, slots=True)
class EntryProof:
    """What the state under the head holds at one place.

    Attributes:
        trunk: Leads to the head.
        value: What stands there, or None for nothing.
        proof: From there to the head's ``state_root``.
    """

    trunk: Trunk
    value: bytes | None
    proof: StateProof

    def encode(self) -> bytes:
        """Return the file."""
        value = u8(0) if self.value is None else u8(1) + var(self.value)
        return _ENTRY + self.trunk.encode() + value + var(self.proof.encode())

    @classmethod
    def decode(cls, data: bytes) -> EntryProof:
        """Read what ``encode`` wrote, or raise Malformed; nothing in it is verified."""
        reader = Reader(data, "entry proof")
        reader.constant(_ENTRY)
        trunk = Trunk.read(reader)
        value = reader.var(MAX_VALUE) if reader.flag() else None
        found = cls(trunk, value, StateProof.decode(reader.var(MAX_FILE)))
        reader.end()
        return found


@dataclass(frozen=True, slots=True)
class Executed:
    """What a receipt proof shows.

    Attributes:
        tx_id: The transaction.
        outcome: What became of it.
        header: Header of its block.
        head: The certified head that covers the block.
    """

    tx_id: bytes
    outcome: Outcome
    header: Header
    head: Header


@dataclass(frozen=True, slots=True)
class Stands:
    """What an entry proof shows.

    Attributes:
        value: What stands in the state, or None for nothing.
        head: As of which certified block.
    """

    value: bytes | None
    head: Header


def verify_receipt(proof: bytes, anchor: bytes, tx_id: bytes, now_ms: int | None = None) -> Executed:
    """Return what became of a transaction, to whoever trusts the anchor.

    Args:
        proof: The file, at most 1 MiB.
        anchor: The anchor file, obtained by hand and not from whoever sent the proof.
        tx_id: The transaction in question.
        now_ms: The verifier's time; needed where the anchor limits the head's age.

    Raises:
        ProofError: The file does not hold, or is about another transaction.
    """
    try:
        found, trusted = ReceiptProof.decode(_bounded(proof)), load_anchor(anchor)
        head = found.trunk.check(trusted, now_ms)
        header = Header.decode(found.header)
        _check_history(found, header, head)
        if not verify_inclusion(
            leaf_hash(found.receipt), found.index, header.tx_count, found.path, header.receipts_root
        ):
            raise ProofError("receipt: the path does not lead to the block's receipts")
        shown, outcome = read_receipt(found.receipt)
    except Refused as error:
        raise ProofError(str(error)) from error
    if shown != tx_id:
        raise ProofError("receipt: it is another transaction's")
    return Executed(tx_id, outcome, header, head)


def verify_entry(proof: bytes, anchor: bytes, kind: int, identity: bytes, now_ms: int | None = None) -> Stands:
    """Return what the state holds at one place, to whoever trusts the anchor.

    Args:
        proof: The file, at most 1 MiB.
        anchor: The anchor file.
        kind: Kind of the entry (``ledger.chain.state``): ``REQUEST``, ``CONSENT``, ``TOMBSTONE``, ``DELIVERY``.
        identity: Which one of the kind.
        now_ms: The verifier's time; needed where the anchor limits the head's age.

    Raises:
        ProofError: The file does not hold, or is about another place.
    """
    try:
        found, trusted = EntryProof.decode(_bounded(proof)), load_anchor(anchor)
        head = found.trunk.check(trusted, now_ms)
    except Refused as error:
        raise ProofError(str(error)) from error
    hash_ = None if found.value is None else value_hash(found.value)
    if not verify_state(head.state_root, state_key(kind, identity), hash_, found.proof):
        raise ProofError("entry: the proof does not lead to the head's state, or is of another entry")
    return Stands(found.value, head)


def _bounded(data: bytes) -> bytes:
    if len(data) > MAX_FILE:
        raise ProofError(f"file: {len(data)} bytes, at most {MAX_FILE} allowed")
    return data


def _check_history(found: ReceiptProof, header: Header, head: Header) -> None:
    if header == head and not found.history:
        return
    leaf = leaf_hash(history_leaf(header.block_id))
    if not verify_inclusion(leaf, header.height, head.height, found.history, head.history_root):
        raise ProofError("history: the block does not stand below the head")
