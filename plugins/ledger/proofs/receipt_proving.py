"""Receipt and entry proofs made from a replica; ``ledger.proofs.receipts`` verifies them without one."""

from __future__ import annotations

from ledger.chain.block import Block
from ledger.chain.merkle import Levels, inclusion_path
from ledger.chain.receipt import read_receipt
from ledger.chain.replica import Replica, ReplicaView
from ledger.chain.smt import state_key
from ledger.chain.state import SEEN
from ledger.errors import Behind
from ledger.proofs.receipts import EntryProof, ReceiptProof, Step, Trunk


def prove_receipt(replica: Replica, tx_id: bytes) -> bytes:
    """Return the file that shows what became of a transaction; a batch has the record proof instead.

    Raises:
        KeyError: No final block of this replica holds it.
        Behind: The replica began with a later state and has no receipts of that block; ask another node.
    """
    view = replica.view
    found = view.state(SEEN, tx_id)
    if found is None:
        raise KeyError(f"no final block up to height {view.head.height} holds this transaction")
    height = int.from_bytes(found, "big")
    receipts = replica.receipts(height)
    index = next((at for at, one in enumerate(receipts) if read_receipt(one)[0] == tx_id), None)
    if index is None:
        raise Behind(f"the receipts of block {height} are not kept here; ask a node that executed it")
    history = [] if height == view.head.height else inclusion_path(height, view.head.height, replica.history_node)
    return ReceiptProof(
        trunk(replica, view),
        Block.decode(replica.block(height)[0]).header.encode(),
        tuple(history),
        receipts[index],
        index,
        tuple(Levels.over(receipts).inclusion(index)),
    ).encode()


def prove_entry(replica: Replica, kind: int, identity: bytes) -> bytes:
    """Return the file that shows what the state holds at one place, or that nothing stands there."""
    view = replica.view
    proof = view.tree.prove(state_key(kind, identity))
    return EntryProof(trunk(replica, view), view.state(kind, identity), proof).encode()


def trunk(replica: Replica, view: ReplicaView) -> Trunk:
    """Return what leads from genesis to the view's head: every change of voters, each certified.

    Raises:
        Behind: There is no final block yet.
    """
    if not view.head.height:
        raise Behind("genesis alone proves nothing; wait for the first block")
    return Trunk(replica.genesis.chain_id, tuple(steps(replica, view)), view.head.encode(), view.commit_qc)


def steps(replica: Replica, view: ReplicaView) -> list[Step]:
    """Return every change of voters from genesis to the view's head, oldest first, each certified."""
    genesis, found = replica.genesis, []
    for epoch in range(genesis.epoch(view.head.height)):
        before, after = view.validators_of(epoch), view.validators_of(epoch + 1)
        if before is None or after is None or before.hash == after.hash:
            continue
        block, certificate = replica.block((epoch + 1) * genesis.parameters.epoch_blocks)
        found.append(Step(Block.decode(block).header.encode(), certificate, after.encode()))
    return found
