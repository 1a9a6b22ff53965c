"""The offline verifier: one proof file, one anchor, no network, no database (section 12).

It imports the ledger's pure modules, ``shangmi`` and the standard library, nothing else. Whatever is wrong with a
file raises ``ProofError``. The format stands in ``docs/formats/proof.md``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ledger.chain.batch import SubmitBatch
from ledger.chain.header import Header, history_leaf
from ledger.chain.leaves import RecordLeaf
from ledger.chain.merkle import leaf_hash
from ledger.chain.smt import StateProof, value_hash, verify_state
from ledger.chain.state import tombstone_key
from ledger.chain.validators import ValidatorSet
from ledger.encoding import DIGEST
from ledger.errors import ProofError, Refused
from ledger.messages.erasure import Tombstone
from ledger.proofs.anchor import MAX_STEPS, Anchor, Step, load_anchor
from ledger.proofs.checkpoint import Checkpoint, Note
from ledger.proofs.strict_json import MAX_FILE, Fields, parse
from shangmi import sm3

__all__ = ["FORMAT", "MAX_FILE", "Anchor", "Verdict", "load_anchor", "verify_proof"]

FORMAT = "xinglin-proof/v1"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a proof file that holds proves.

    Attributes:
        region: Name of the region, from the anchor.
        chain_id: The chain, hex.
        institution: Who published the record.
        rid: The record's id, hex.
        version: Its version.
        resource_type: Number of its FHIR type.
        ct_digest: SM3 of its sealed envelope, hex.
        height: Height of its block.
        timestamp_ms: Time of its block, milliseconds since 1970 UTC.
        head_height: Height of the block whose quorum certificate covers it.
        signers: Institutions that signed that certificate.
        status: ``active`` or ``erased`` as of the head, or None where the file does not say.
        erased_height: Height at which it was erased, where it is.
        checkpoint_ms: When an auditor vouched for the chain up to the head, milliseconds since 1970 UTC, by its own
            clock; None where the file does not say.
        envelope: Whether an envelope was given and is the one.
    """

    region: str
    chain_id: str
    institution: str
    rid: str
    version: int
    resource_type: int
    ct_digest: str
    height: int
    timestamp_ms: int
    head_height: int
    signers: tuple[str, ...]
    status: str | None
    erased_height: int | None
    checkpoint_ms: int | None
    envelope: bool


def verify_proof(proof: bytes, anchor: bytes, envelope: bytes | None = None, now_ms: int | None = None) -> Verdict:
    """Return what the file proves to whoever trusts the anchor.

    Args:
        proof: The proof file, at most 1 MiB.
        anchor: The anchor file, obtained by hand and not from whoever sent the proof.
        envelope: The sealed envelope, where it is at hand.
        now_ms: The verifier's time; needed where the anchor limits the head's age.

    Raises:
        ProofError: The file does not hold; the message says which part.
    """
    try:
        return _verify(Fields(parse(proof, "proof"), "proof"), load_anchor(anchor), envelope, now_ms)
    except Refused as error:
        raise ProofError(str(error)) from error


def _verify(fields: Fields, anchor: Anchor, envelope: bytes | None, now_ms: int | None) -> Verdict:
    genesis = anchor.genesis
    fields.constant("format", FORMAT)
    if fields.hex("chain_id", 32) != genesis.chain_id:
        raise ProofError("chain_id: the proof is of another chain than the anchor")
    encoded_leaf = fields.part("record", ("leaf",)).hex("leaf")
    leaf = RecordLeaf.decode(encoded_leaf)
    validators = anchor.follow(_steps(fields.take("epochs")))
    given = fields.part("head", ("header", "commit_qc"))
    head = Header.decode(given.hex("header"))
    certificate = anchor.check_head(head, given.hex("commit_qc"), validators, now_ms)
    vouched = _check_checkpoint(fields.optional("checkpoint"), head, anchor, now_ms)
    header = Header.decode(fields.part("block", ("header",)).hex("header"))
    _check_history(fields.take("history"), header, head)
    tx = _check_tx(fields.part("tx", ("bytes", "index", "size", "path")), header)
    batch = fields.part("batch", ("index", "size", "path"))
    if tx.chain_id != genesis.chain_id:
        raise ProofError("tx: the batch was signed for another chain")
    batch.check_path(leaf_hash(encoded_leaf), tx.count, tx.batch_root)
    status, erased_height = _check_status(fields.take("status"), tx.submitter, leaf, head)
    fields.end()
    if envelope is not None and (len(envelope) != leaf.ct_len or sm3(envelope) != leaf.ct_digest):
        raise ProofError("envelope: it is not the one whose digest stands on the chain")
    return Verdict(
        region=genesis.name,
        chain_id=genesis.chain_id.hex(),
        institution=genesis.institution(tx.submitter),
        rid=leaf.rid.hex(),
        version=leaf.version,
        resource_type=leaf.resource_type,
        ct_digest=leaf.ct_digest.hex(),
        height=header.height,
        timestamp_ms=header.timestamp_ms,
        head_height=head.height,
        signers=tuple(genesis.institution(validators.voters[one].id) for one in certificate.signers),
        status=status,
        erased_height=erased_height,
        checkpoint_ms=vouched,
        envelope=envelope is not None,
    )


def _steps(value: object) -> Iterator[Step]:
    """Yield the changes of the voter set that the file names."""
    if not isinstance(value, list) or len(value) > MAX_STEPS:
        raise ProofError(f"epochs: expected a list of at most {MAX_STEPS} steps")
    for one in value:
        fields = Fields(one, "epochs").only(("header_last", "commit_qc", "next_validators"))
        header, certificate = Header.decode(fields.hex("header_last")), fields.hex("commit_qc")
        yield Step(header, certificate, ValidatorSet.decode(fields.hex("next_validators")))


def _check_checkpoint(value: object, head: Header, anchor: Anchor, now_ms: int | None) -> int | None:
    """Return when an auditor last vouched for the chain up to the head, or None where the file does not say.

    Raises:
        ProofError: The anchor demands it and it is missing, too old, or not of this chain's history.
    """
    if value is None:
        anchor.check_checkpoint(None, now_ms)
        return None
    fields = Fields(value, "checkpoint").only(("note", "history"))
    note = fields.take("note")
    if not isinstance(note, str):
        raise ProofError("checkpoint: note is no text")
    found = Note.decode(note.encode("utf-8", "replace"))
    checkpoint, history = found.checkpoint, fields.take("history")
    if checkpoint.chain_id != head.chain_id:
        raise ProofError("checkpoint: it is of another chain")
    if history is None:
        if checkpoint != Checkpoint.of(head):
            raise ProofError("checkpoint: it is not of the head, and no path to its block is given")
    else:
        path = Fields(history, "checkpoint history").only(("index", "size", "path"))
        leaf = leaf_hash(history_leaf(checkpoint.block_id))
        path.check_path(leaf, head.height, head.history_root, index=checkpoint.height)
    time_ms = max(one.time_ms for one in found.verify(anchor.validators))
    anchor.check_checkpoint(time_ms, now_ms)
    return time_ms


def _check_history(value: object, header: Header, head: Header) -> None:
    """Raise ProofError unless the block is the head or stands in the head's history."""
    if value is None:
        if header != head:
            raise ProofError("history: missing, and the block is not the head itself")
        return
    fields = Fields(value, "history").only(("index", "size", "path"))
    leaf = leaf_hash(history_leaf(header.block_id))
    fields.check_path(leaf, head.height, head.history_root, index=header.height)


def _check_tx(fields: Fields, header: Header) -> SubmitBatch:
    encoded = fields.hex("bytes")
    fields.check_path(leaf_hash(encoded), header.tx_count, header.tx_root)
    return SubmitBatch.decode(encoded)


def _check_status(value: object, submitter: bytes, leaf: RecordLeaf, head: Header) -> tuple[str | None, int | None]:
    """Return the record's status as of the head's state and the height of its erasure; None for what is not said."""
    if value is None:
        return None, None
    fields = Fields(value, "status")
    key = tombstone_key(submitter, leaf.rid, leaf.version)
    if fields.hex("key", DIGEST) != key:
        raise ProofError("status: the key is not the record's")
    proof, erased = StateProof.decode(fields.hex("proof")), fields.optional("value")
    fields.end()
    if erased is None:
        if not verify_state(head.state_root, key, None, proof):
            raise ProofError("status: the record is not proved active under the head's state")
        return "active", None
    stone = Fields({"value": erased}, "status").hex("value")
    if not verify_state(head.state_root, key, value_hash(stone), proof):
        raise ProofError("status: the record is not proved erased under the head's state")
    return "erased", Tombstone.decode(stone).height
