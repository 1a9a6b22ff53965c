"""Proof files made from a replica (section 12); ``ledger.proofs.proof`` verifies them without one."""

from __future__ import annotations

from typing import Any

from ledger.chain.batch import SubmitBatch
from ledger.chain.block import Block
from ledger.chain.leaves import Leaves
from ledger.chain.merkle import Levels, inclusion_path
from ledger.chain.record_index import Place
from ledger.chain.replica import Replica, ReplicaView
from ledger.chain.state import tombstone_key
from ledger.chain.validators import institution_id
from ledger.proofs.checkpoint import Note
from ledger.proofs.proof import FORMAT
from ledger.proofs.receipt_proving import steps


def prove(
    replica: Replica, rid: bytes, version: int, institution: str | None = None, note: Note | None = None
) -> dict[str, Any]:
    """Return the proof file of a record as plain JSON values.

    Args:
        replica: Where it stands.
        rid: The record's id, 16 bytes.
        version: Its version.
        institution: Who published it; without it every member is asked.
        note: A checkpoint to put in; left out where it is above the head.

    Raises:
        KeyError: No final block of this replica holds it.
    """
    view = replica.view
    submitter, place = _find(replica, view, rid, version, institution)
    encoded, _ = replica.block(place.height)
    block = Block.decode(encoded)
    leaves = Leaves.decode(replica.body(place.height, place.tx))
    transactions = Levels.over(block.transactions)
    tx = SubmitBatch.decode(block.transactions[place.tx])
    made = {
        "format": FORMAT,
        "chain_id": replica.genesis.chain_id.hex(),
        "record": {"leaf": leaves.record(place.leaf).hex()},
        "batch": _path(place.leaf, tx.count, leaves.levels.inclusion(place.leaf)),
        "tx": {
            "bytes": block.transactions[place.tx].hex(),
            **_path(place.tx, len(block.transactions), transactions.inclusion(place.tx)),
        },
        "block": {"header": block.header.encode().hex()},
        "history": _history(replica, view, place.height),
        "head": {"header": view.head.encode().hex(), "commit_qc": view.commit_qc.hex()},
        "epochs": [
            {
                "header_last": one.header.hex(),
                "commit_qc": one.certificate.hex(),
                "next_validators": one.validators.hex(),
            }
            for one in steps(replica, view)
        ],
        "status": _status(view, submitter, rid, version),
    }
    if note is not None and note.checkpoint.height <= view.head.height:
        height = note.checkpoint.height
        made["checkpoint"] = {"note": note.encode().decode(), "history": _history(replica, view, height)}
    return made


def _status(view: ReplicaView, submitter: bytes, rid: bytes, version: int) -> dict[str, str]:
    """Return the proof of the record's tombstone, or that it has none."""
    key = tombstone_key(submitter, rid, version)
    proof = {"key": key.hex(), "proof": view.tree.prove(key).encode().hex()}
    stone = view.state_values([key]).get(key)
    return proof if stone is None else {**proof, "value": stone.hex()}


def _find(
    replica: Replica, view: ReplicaView, rid: bytes, version: int, institution: str | None
) -> tuple[bytes, Place]:
    key = rid + version.to_bytes(4, "big")
    members = [one.id for one in view.roster]
    for submitter in [institution_id(institution)] if institution else members:
        found = replica.places(submitter, [key], view.head.height).get(key)
        if found:
            return submitter, found
    raise KeyError(f"no final block up to height {view.head.height} holds version {version} of this record")


def _path(index: int, size: int, path: list[bytes]) -> dict[str, Any]:
    return {"index": index, "size": size, "path": [one.hex() for one in path]}


def _history(replica: Replica, view: ReplicaView, height: int) -> dict[str, Any] | None:
    """Return the path of an older block to the head's history root; None for the head itself."""
    size = view.head.height
    if height == size:
        return None
    path = inclusion_path(height, size, replica.history_node)
    return _path(height, size, path)
