"""Routes that prove: records, blocks, transactions, state entries, consistency of two histories (section 12)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Query
from pydantic import BaseModel

from ledger.chain.block import Block
from ledger.chain.header import history_leaf
from ledger.chain.merkle import Levels, consistency_path, inclusion_path, leaf_hash, span_root
from ledger.chain.replica import ReplicaView
from ledger.chain.smt import state_key
from ledger.errors import Diverged
from ledger.proofs.proving import prove
from ledger.serving.faults import REFUSALS, Missing
from ledger.serving.parameters import BlockHeight, Height, Identity, Kind, Place, Rid, Size, Version
from ledger.serving.served import Here, Served

router = APIRouter(prefix="/v1/proofs", responses=REFUSALS, tags=["proofs"])
Institution = Annotated[str | None, Query(pattern=r"^[a-z0-9][a-z0-9-]{0,99}$", description="Who published it.")]
_T = TypeVar("_T")


class Inclusion(BaseModel):
    """A leaf's place in a tree: RFC 9162 section 2.1.3, hashes in hex."""

    index: int
    size: int
    leaf_hash: str
    path: list[str]
    root: str


class Consistency(BaseModel):
    """That a history begins with an older one: RFC 9162 section 2.1.4, hashes in hex."""

    old: int
    new: int
    old_root: str
    new_root: str
    path: list[str]


class StateEntry(BaseModel):
    """A state entry under a certified header, or the proof that there is none; hex."""

    kind: int
    identity: str
    key: str
    value: str | None
    proof: str
    header: str
    commit_qc: str


@router.get("/record/{rid}")
def record(here: Here, rid: Rid, version: Version = 1, institution: Institution = None) -> dict[str, Any]:
    """The proof file of a record, format ``xinglin-proof/v1``: see docs/formats/proof.md."""
    try:
        note = next(iter(here.checkpoints.newest()), None)
        return _steady(here, lambda _: prove(here.replica, bytes.fromhex(rid), version, institution, note))
    except KeyError:
        raise Missing("record", "no final block of this node holds it in this version") from None


@router.get("/block/{height}")
def block(here: Here, height: Height, size: Annotated[Size | None, Query()] = None) -> Inclusion:
    """That a block stands in the history of ``size`` blocks; by default of all that this node has."""
    view = here.replica.view
    size = _size(view, size)
    header = here.header(height, view)
    if height >= size:
        raise Missing("size", f"a history of {size} blocks ends at height {size - 1}")
    node = here.replica.history_node
    return Inclusion(
        index=height,
        size=size,
        leaf_hash=leaf_hash(history_leaf(header.block_id)).hex(),
        path=[one.hex() for one in inclusion_path(height, size, node)],
        root=_root(here, size).hex(),
    )


@router.get("/consistency")
def consistency(here: Here, old: Size, new: Annotated[Size | None, Query()] = None) -> Consistency:
    """That the history of ``new`` blocks begins with that of ``old``."""
    new = _size(here.replica.view, new)
    if old > new:
        raise Missing("size", f"{old} blocks are more than {new}")
    path = consistency_path(old, new, here.replica.history_node)
    roots = _root(here, old).hex(), _root(here, new).hex()
    return Consistency(old=old, new=new, old_root=roots[0], new_root=roots[1], path=[one.hex() for one in path])


@router.get("/transaction/{height}/{index}")
def transaction(here: Here, height: BlockHeight, index: Place) -> Inclusion:
    """That a transaction stands in its block's ``tx_root``."""
    header = here.header(height, here.replica.view)
    if index >= header.tx_count:
        raise Missing("transaction", f"block {height} has {header.tx_count} transactions")
    transactions = Block.decode(here.replica.block(height)[0]).transactions
    levels = Levels.over(transactions)
    return Inclusion(
        index=index,
        size=len(levels),
        leaf_hash=leaf_hash(transactions[index]).hex(),
        path=[one.hex() for one in levels.inclusion(index)],
        root=levels.root().hex(),
    )


@router.get("/state/{kind}/{identity}")
def state(here: Here, kind: Kind, identity: Identity) -> StateEntry:
    """What the state holds of an entry after the last final block, or that it holds nothing."""
    known = b"" if identity == "-" else bytes.fromhex(identity)
    return _steady(here, lambda view: _entry(view, kind, known))


def _entry(view: ReplicaView, kind: int, identity: bytes) -> StateEntry:
    value, key = view.state(kind, identity), state_key(kind, identity)
    return StateEntry(
        kind=kind,
        identity=identity.hex(),
        key=key.hex(),
        value=None if value is None else value.hex(),
        proof=view.tree.prove(key).encode().hex(),
        header=view.head.encode().hex(),
        commit_qc=view.commit_qc.hex(),
    )


def _steady(here: Served, work: Callable[[ReplicaView], _T]) -> _T:
    """Return what ``work`` makes of the present view, again where the head moved under it."""
    view = here.replica.view
    try:
        return work(view)
    except Diverged:
        later = here.replica.view
        if later.head == view.head:
            raise
        return work(later)


def _size(view: ReplicaView, size: int | None) -> int:
    most = view.head.height + 1
    if size is not None and size > most:
        raise Missing("size", f"this node has {most} blocks, genesis among them")
    return size or most


def _root(here: Served, size: int) -> bytes:
    return span_root(0, size, here.replica.history_node)
