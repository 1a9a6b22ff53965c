"""The evidence of a dataset, gathered from a replica; ``ledger.proofs.dataset_evidence`` verifies it without one."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Final

from ledger.chain.block import Block
from ledger.chain.leaves import Leaves
from ledger.chain.merkle import Levels, inclusion_path
from ledger.chain.receipt import read_receipt
from ledger.chain.smt import state_key
from ledger.chain.state import ONLY, REQUEST, ROSTER, SEEN
from ledger.chain.transactions import open_transaction
from ledger.chain.validators import institution_id
from ledger.encoding import u32
from ledger.errors import Behind
from ledger.messages.approval import Approval, read_approval
from ledger.messages.request_state import ALLOWED, RequestState, Verdict
from ledger.proofs.dataset_evidence import BlockShown, Evidence, Named, RecordsShown, StateShown
from ledger.proofs.multiproof import multiproof
from ledger.proofs.receipt_proving import trunk
from shangmi import sm3
from sharing.errors import NotYet

if TYPE_CHECKING:
    from ledger.chain.replica import Replica, ReplicaView
    from ledger.proofs.checkpoint import Note

#: Records whose places are held at a time.
_LOOKED_UP: Final = 20_000
Place = tuple[int, int]
"""Height, and transaction in the block."""


def gather(
    replica: Replica,
    request_tx: bytes,
    records: Iterable[tuple[bytes, int]],
    *,
    holder: str | None = None,
    note: Note | None = None,
) -> bytes:
    """Return the evidence of a dataset, as of the replica's present head.

    Args:
        replica: One that executed the blocks of the request; another has no receipts of them.
        request_tx: Id of the ACCESS_REQ.
        records: ``rid`` and version of every source record, in any order.
        holder: Whose records, by its id in region.yaml; without it whoever of those asked published all of them.
        note: An auditor's checkpoint to put in; left out where it is above the head.

    Raises:
        NotYet: The request does not stand allowed here, or a record is in no final block so far.
    """
    view = replica.view
    value = view.state(REQUEST, request_tx)
    state = None if value is None else RequestState.decode(value)
    if value is None or state is None or state.stage != ALLOWED:
        raise NotYet("evidence: the request does not stand allowed up to this replica's head")
    asked = state.holders if holder is None else (institution_id(holder),)
    chosen = _places(replica, view, asked, records)
    messages = _messages(replica, view, request_tx, state)
    blocks, shown = _shown(replica, chosen, messages)
    heights = [height for height in blocks if height < view.head.height]
    history = multiproof(heights, view.head.height, replica.history_node) if heights else []
    try:
        stem = trunk(replica, view)
    except Behind as error:
        raise NotYet(str(error)) from None
    return Evidence(
        stem, _note(replica, view, note), _state(view, ROSTER, ONLY), _state(view, REQUEST, request_tx),
        tuple(blocks.values()), tuple(history), tuple(shown),
    ).encode()  # fmt: skip


def policies_at_decision(replica: Replica, request_tx: bytes) -> bytes:
    """Return the policy set that allowed a request, as the chain encoded it; governance may have changed it since.

    Raises:
        NotYet: The request does not stand allowed here, or this replica began with a later state.
    """
    view = replica.view
    value = view.state(REQUEST, request_tx)
    state = None if value is None else RequestState.decode(value)
    if state is None or state.stage != ALLOWED:
        raise NotYet("policies: the request does not stand allowed up to this replica's head")
    receipts = list(_messages(replica, view, request_tx, state).values())
    _, outcome = read_receipt(receipts[-1])
    if len(receipts) == 1:
        wanted = Verdict.decode(outcome.code, outcome.detail).policy_hash
    else:
        verdict = read_approval(outcome.code, outcome.detail)[1]
        wanted = b"" if verdict is None else verdict.policy_hash
    for one in chain([view.policies, replica.genesis.policies], replica.every_value()):
        if sm3(one) == wanted:
            return one
    raise NotYet("policies: this replica began with a later state than the decision's; ask one that executed it")


def _places(
    replica: Replica, view: ReplicaView, asked: Iterable[bytes], records: Iterable[tuple[bytes, int]]
) -> dict[Place, Sequence[int]]:
    """Return the chosen leaves of each batch, ascending; all are one publisher's."""
    keys = sorted({rid + u32(version) for rid, version in records})
    missing = len(keys)
    for publisher in asked:
        chosen = _published(replica, view, publisher, keys)
        if not (left := len(keys) - sum(map(len, chosen.values()))):
            return chosen
        missing = min(missing, left)
    raise NotYet(f"evidence: {missing} of {len(keys)} records are in no final block so far")


def _published(
    replica: Replica, view: ReplicaView, publisher: bytes, keys: Sequence[bytes]
) -> dict[Place, Sequence[int]]:
    """Return those of the records that one publisher has on the chain: 4 bytes each, however many there are."""
    chosen: dict[Place, array[int]] = defaultdict(lambda: array("I"))
    for start in range(0, len(keys), _LOOKED_UP):
        for one in replica.places(publisher, keys[start : start + _LOOKED_UP], view.head.height).values():
            chosen[one.height, one.tx].append(one.leaf)
    return {place: sorted(leaves) for place, leaves in chosen.items()}


def _messages(replica: Replica, view: ReplicaView, request_tx: bytes, state: RequestState) -> dict[Place, bytes]:
    """Return the receipts of the request and of each voice, by where they stand."""
    seen = view.state(SEEN, request_tx)
    if seen is None:
        raise NotYet("evidence: the request is in no final block")
    first = int.from_bytes(seen, "big")
    found = dict[Place, bytes]()
    for height, (encoded, _) in enumerate(replica.blocks(range(first, state.height + 1)), first):
        transactions = Block.decode(encoded).transactions
        for place, data in enumerate(transactions):
            tx = open_transaction(data)
            if tx.tx_id == request_tx or (isinstance(tx, Approval) and tx.request == request_tx):
                receipts = replica.receipts(height)
                if len(receipts) != len(transactions):
                    raise NotYet(f"evidence: this replica has no receipts of block {height}; ask one that executed it")
                found[height, place] = receipts[place]
    return found


def _shown(
    replica: Replica, chosen: Mapping[Place, Sequence[int]], messages: dict[Place, bytes]
) -> tuple[dict[int, BlockShown], list[RecordsShown]]:
    blocks, shown = dict[int, BlockShown](), list[RecordsShown]()
    wanted: dict[int, list[int]] = defaultdict(list)
    for height, place in sorted({*chosen, *messages}):
        wanted[height].append(place)
    for height, places in wanted.items():
        block = Block.decode(replica.block(height)[0])
        receipts = [messages.get((height, one), b"") for one in places]
        named = [
            Named(place, block.transactions[place], receipt) for place, receipt in zip(places, receipts, strict=True)
        ]
        path = _path(places, block.transactions)
        spoken = [one.place for one in named if one.receipt]
        receipt_path = _path(spoken, replica.receipts(height)) if spoken else ()
        blocks[height] = BlockShown(block.header.encode(), tuple(named), path, receipt_path)
        shown += _records(replica, height, places, chosen)
    return blocks, shown


def _records(
    replica: Replica, height: int, places: Sequence[int], chosen: Mapping[Place, Sequence[int]]
) -> Iterator[RecordsShown]:
    for place in places:
        if (indices := chosen.get((height, place))) is None:
            continue
        levels = Leaves.decode(replica.body(height, place)).levels
        leaves = b"".join(levels.node(0, one) for one in indices)
        yield RecordsShown(tuple(indices), leaves, tuple(multiproof(indices, len(levels), levels.node)))


def _path(places: Sequence[int], leaves: Sequence[bytes]) -> tuple[bytes, ...]:
    levels = Levels.over(leaves)
    return tuple(multiproof(places, len(leaves), levels.node))


def _state(view: ReplicaView, kind: int, identity: bytes) -> StateShown:
    value = view.state(kind, identity)
    if value is None:
        raise RuntimeError("an entry vanished between two reads of one state")
    return StateShown(value, view.tree.prove(state_key(kind, identity)))


def _note(replica: Replica, view: ReplicaView, note: Note | None) -> tuple[bytes, tuple[bytes, ...]]:
    if note is None or note.checkpoint.height > view.head.height:
        return b"", ()
    height, size = note.checkpoint.height, view.head.height
    path = [] if height == size else inclusion_path(height, size, replica.history_node)
    return note.encode(), tuple(path)
