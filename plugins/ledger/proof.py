"""The offline verifier: one proof file, one anchor, no network, no database (section 12).

It imports the ledger's pure modules, ``shangmi`` and the standard library, nothing else. Whatever is wrong with a
file raises ``ProofError``. The format stands in ``docs/formats/proof.md``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

from ledger.batch import SubmitBatch
from ledger.certificate import QuorumCertificate, check_commit
from ledger.errors import ProofError, Refused
from ledger.genesis import Genesis
from ledger.header import Header, history_leaf
from ledger.leaves import RecordLeaf
from ledger.merkle import leaf_hash, verify_inclusion
from ledger.smt import StateProof, verify_state
from ledger.state import tombstone_key
from ledger.validators import ValidatorSet
from shangmi import sm3

FORMAT = "xinglin-proof/v1"
ANCHOR_FORMAT = "xinglin-anchor/v1"
MAX_FILE = 1 << 20
MAX_PATH = 64


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
    envelope: bool


@dataclass(frozen=True, slots=True)
class Anchor:
    """What the verifier believes beforehand: genesis, and how old a head may be."""

    genesis: Genesis
    max_age_seconds: int | None


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
        return _verify(_Fields(_parse(proof, "proof"), "proof"), load_anchor(anchor), envelope, now_ms)
    except Refused as error:
        raise ProofError(str(error)) from error


def load_anchor(data: bytes) -> Anchor:
    """Return the trust anchor in a file.

    Raises:
        ProofError: It is none.
    """
    fields = _Fields(_parse(data, "anchor"), "anchor")
    fields.constant("format", ANCHOR_FORMAT)
    chain_id, encoded = fields.hex("chain_id", 32), fields.hex("genesis")
    age = fields.take("max_age_seconds")
    fields.end()
    if age is not None and (type(age) is not int or age <= 0):
        raise ProofError("anchor: max_age_seconds is neither null nor a positive whole number")
    try:
        genesis = Genesis.load(encoded)
    except Refused as error:
        raise ProofError(f"anchor: {error}") from error
    if genesis.chain_id != chain_id:
        raise ProofError("anchor: chain_id is not the id of the genesis in it")
    return Anchor(genesis, age)


def _verify(fields: _Fields, anchor: Anchor, envelope: bytes | None, now_ms: int | None) -> Verdict:
    genesis = anchor.genesis
    fields.constant("format", FORMAT)
    if fields.hex("chain_id", 32) != genesis.chain_id:
        raise ProofError("chain_id: the proof is of another chain than the anchor")
    encoded_leaf = fields.part("record", ("leaf",)).hex("leaf")
    leaf = RecordLeaf.decode(encoded_leaf)
    validators = _walk_epochs(fields.take("epochs"), genesis)
    head, certificate = _check_head(fields.part("head", ("header", "commit_qc")), genesis, validators)
    _check_age(head, anchor, now_ms)
    header = Header.decode(fields.part("block", ("header",)).hex("header"))
    _check_history(fields.take("history"), header, head)
    tx = _check_tx(fields.part("tx", ("bytes", "index", "size", "path")), header)
    batch = fields.part("batch", ("index", "size", "path"))
    if tx.chain_id != genesis.chain_id:
        raise ProofError("tx: the batch was signed for another chain")
    batch.check_path(leaf_hash(encoded_leaf), tx.count, tx.batch_root)
    status = _check_status(fields.take("status"), tx.submitter, leaf, head)
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
        envelope=envelope is not None,
    )


def _walk_epochs(steps: object, genesis: Genesis) -> ValidatorSet:
    """Return the voter set reached from genesis through every change of it, each certified by the set before."""
    if not isinstance(steps, list):
        raise ProofError("epochs: expected a list")
    validators, height = genesis.validators, 0
    for step in steps:
        fields = _Fields(step, "epochs").only(("header_last", "commit_qc", "next_validators"))
        header = Header.decode(fields.hex("header_last"))
        following = ValidatorSet.decode(fields.hex("next_validators"))
        if header.height <= height:
            raise ProofError("epochs: the steps do not go forward")
        _check_certified(header, fields.hex("commit_qc"), genesis, validators)
        if header.next_validators_hash != following.hash or following.hash == validators.hash:
            raise ProofError("epochs: a step's next validators are not those its header names")
        validators, height = following, header.height
    return validators


def _check_certified(
    header: Header, certificate: bytes, genesis: Genesis, validators: ValidatorSet
) -> QuorumCertificate:
    if header.chain_id != genesis.chain_id:
        raise ProofError("a header of another chain")
    if header.validators_hash != validators.hash or header.epoch != genesis.epoch(header.height):
        raise ProofError("a header names another voter set than the one the proof leads to")
    return check_commit(certificate, header.block_id, header.height, header.epoch, genesis.chain_id, validators)


def _check_head(fields: _Fields, genesis: Genesis, validators: ValidatorSet) -> tuple[Header, QuorumCertificate]:
    head = Header.decode(fields.hex("header"))
    return head, _check_certified(head, fields.hex("commit_qc"), genesis, validators)


def _check_age(head: Header, anchor: Anchor, now_ms: int | None) -> None:
    if anchor.max_age_seconds is None:
        return
    if now_ms is None:
        raise ProofError("head: the anchor limits its age, and no present time was given")
    age = (now_ms - head.timestamp_ms) // 1000
    if age > anchor.max_age_seconds:
        raise ProofError(f"head: {age} s old, the anchor allows {anchor.max_age_seconds}; ask for a newer proof")


def _check_history(value: object, header: Header, head: Header) -> None:
    """Raise ProofError unless the block is the head or stands in the head's history."""
    if value is None:
        if header != head:
            raise ProofError("history: missing, and the block is not the head itself")
        return
    fields = _Fields(value, "history").only(("index", "size", "path"))
    leaf = leaf_hash(history_leaf(header.block_id))
    fields.check_path(leaf, head.height, head.history_root, index=header.height)


def _check_tx(fields: _Fields, header: Header) -> SubmitBatch:
    encoded = fields.hex("bytes")
    fields.check_path(leaf_hash(encoded), header.tx_count, header.tx_root)
    return SubmitBatch.decode(encoded)


def _check_status(value: object, submitter: bytes, leaf: RecordLeaf, head: Header) -> str | None:
    """Return the record's status as of the head's state, or None where the file says nothing."""
    if value is None:
        return None
    fields = _Fields(value, "status").only(("key", "proof"))
    key = tombstone_key(submitter, leaf.rid, leaf.version)
    if fields.hex("key", 32) != key:
        raise ProofError("status: the key is not the record's")
    if not verify_state(head.state_root, key, None, StateProof.decode(fields.hex("proof"))):
        raise ProofError("status: the record is not proved active under the head's state")
    return "active"


def _parse(data: bytes, what: str) -> object:
    """Return the JSON value in untrusted bytes: strict UTF-8, no doubled keys, no fractions, bounded."""
    if len(data) > MAX_FILE:
        raise ProofError(f"{what}: {len(data)} bytes, at most {MAX_FILE} allowed")
    try:
        return json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_float=_refuse_number,
            parse_constant=_refuse_number,
        )
    except ProofError:
        raise
    except (ValueError, RecursionError) as error:
        raise ProofError(f"{what}: not JSON that this format allows ({type(error).__name__})") from error


def _unique(pairs: Iterable[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found:
            raise ProofError("a key stands twice")
        found[key] = value
    return found


def _refuse_number(_: str) -> float:
    raise ProofError("a number that is not whole")


class _Fields:
    """The members of a JSON object, each taken once; what is left at the end is unknown and refused."""

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, dict):
            raise ProofError(f"{where}: expected an object")
        self._left = dict(cast("dict[str, Any]", value))
        self._where = where

    def take(self, name: str) -> object:
        """Return a member, which must be there."""
        if name not in self._left:
            raise ProofError(f"{self._where}: {name} is missing")
        return self._left.pop(name)

    def end(self) -> None:
        """Raise ProofError where members are left over."""
        if self._left:
            raise ProofError(f"{self._where}: {len(self._left)} unknown members")

    def only(self, names: Iterable[str]) -> _Fields:
        """Return these fields after checking that they are exactly ``names``."""
        if set(self._left) != set(names):
            raise ProofError(f"{self._where}: expected exactly {', '.join(names)}")
        return self

    def part(self, name: str, names: Iterable[str]) -> _Fields:
        """Return a member that is an object with exactly these names."""
        return _Fields(self.take(name), name).only(names)

    def constant(self, name: str, expected: str) -> None:
        """Raise ProofError unless the member is this string."""
        if self.take(name) != expected:
            raise ProofError(f"{self._where}: {name} is not {expected}")

    def hex(self, name: str, length: int | None = None) -> bytes:
        """Return a member that is lower-case hex, of a given length in bytes."""
        value = self.take(name)
        if not isinstance(value, str):
            raise ProofError(f"{self._where}: {name} is no string")
        return _unhex(value, f"{self._where}: {name}", length)

    def whole(self, name: str) -> int:
        """Return a member that is a whole number, 0 or more."""
        value = self.take(name)
        if type(value) is not int or value < 0:
            raise ProofError(f"{self._where}: {name} is no whole number")
        return value

    def check_path(self, leaf: bytes, size: int, root: bytes, index: int | None = None) -> None:
        """Raise ProofError unless index, size and path lead from the leaf hash to the root.

        Args:
            leaf: The leaf's hash.
            size: Size of the tree, from a source the caller verified; the file must name the same.
            root: Root of the tree, likewise.
            index: Place of the leaf, where the caller knows it.
        """
        given, given_size, path = self.whole("index"), self.whole("size"), self.take("path")
        if given_size != size or index not in (None, given):
            raise ProofError(f"{self._where}: index or size is not the one the chain gives")
        if not isinstance(path, list) or len(path) > MAX_PATH or not all(isinstance(one, str) for one in path):
            raise ProofError(f"{self._where}: path is no list of at most {MAX_PATH} digests")
        hashes = [_unhex(one, f"{self._where}: path", 32) for one in path]
        if not verify_inclusion(leaf, given, size, hashes, root):
            raise ProofError(f"{self._where}: the path does not lead to the root")


def _unhex(value: str, where: str, length: int | None) -> bytes:
    try:
        data = bytes.fromhex(value)
    except ValueError:
        raise ProofError(f"{where}: not hex") from None
    if data.hex() != value or length not in (None, len(data)):
        raise ProofError(f"{where}: not lower-case hex of the right length")
    return data
