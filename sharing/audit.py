"""Who received what, when, why, allowed by whom: read from blocks alone, for whoever supervises (section 14).

Everything here stands on the chain; nothing is asked of anybody. A replica that took a state over by fast sync has no
receipts of the blocks below it: the decision of requests made there is then not told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ledger.chain.block import Block
from ledger.chain.leaves import RecordLeaf
from ledger.chain.receipt import read_receipt
from ledger.chain.replica import Replica
from ledger.chain.transaction import Transaction
from ledger.chain.transactions import open_transaction
from ledger.messages.access import AccessRequest
from ledger.messages.approval import Approval
from ledger.messages.asked import RecordAsked
from ledger.messages.delivery import Delivered, Received
from ledger.messages.notice import Notice
from ledger.messages.request_state import Verdict
from ledger.messages.review import Review

Fact = dict[str, Any]


@dataclass(slots=True)
class Access:
    """One request and all that came of it.

    Attributes:
        request: Id of the ACCESS_REQ.
        height: Its block.
        time_ms: That block's time, milliseconds since 1970 UTC.
        requester: Who asked, by id in region.yaml.
        holders: Who was asked.
        kind: ``record`` or ``dataset``.
        purpose: What for.
        reader: For whom; empty for the institution itself.
        digest: Of the request file, or the record's ``ct_digest`` as its leaf has it.
        most: Records that may be delivered.
        decision: What the rules said, and which of them; None where this replica has no receipt.
        later: Approvals, refusals, answers, receipts, notices and reviews, in the chain's order: ``height, time_ms,
            who, what`` and what else each says.
    """

    request: bytes
    height: int
    time_ms: int
    requester: str
    holders: tuple[str, ...]
    kind: str
    purpose: str
    reader: str
    digest: bytes
    most: int
    decision: Verdict | None
    later: list[Fact] = field(default_factory=list)

    @property
    def given(self) -> bool:
        """Whether anything was delivered."""
        return any(one["what"] == "delivered" for one in self.later)

    def as_dict(self) -> Fact:
        """Return it for programs."""
        verdict = self.decision
        return {
            "request": self.request.hex(), "height": self.height, "time_ms": self.time_ms,
            "requester": self.requester, "holders": list(self.holders), "kind": self.kind, "purpose": self.purpose,
            "reader": self.reader, "digest": self.digest.hex(), "most": self.most,
            "decision": None if verdict is None else {
                "allowed": verdict.allowed, "reason": verdict.reason, "rules": list(verdict.policies),
            },
            "later": self.later,
        }  # fmt: skip


def accesses(replica: Replica, heights: range | None = None) -> list[Access]:
    """Return every request among these heights, oldest first, with all that came of it up to the head.

    Args:
        replica: Whose copy of the chain is read.
        heights: Blocks whose requests are meant; without it all.
    """
    view = replica.view
    every = range(1, view.head.height + 1)
    meant, found = every if heights is None else heights, dict[bytes, Access]()
    for height, tx, receipt, time_ms in _messages(replica, range(max(meant.start, 1), every.stop)):
        if isinstance(tx, AccessRequest):
            if height in meant:
                found[tx.tx_id] = _asked(tx, height, time_ms, receipt, view.name)
        elif (request := getattr(tx, "request", None)) in found and (fact := _fact(tx)) is not None:
            fact |= {"height": height, "time_ms": time_ms, "who": view.name(tx.sender)}
            found[request].later.append(fact)
    return list(found.values())


def _messages(replica: Replica, heights: range) -> Iterator[tuple[int, Transaction, bytes | None, int]]:
    for height, (encoded, _) in zip(heights, replica.blocks(heights), strict=True):
        block = Block.decode(encoded)
        receipts = replica.receipts(height)
        for place, data in enumerate(block.transactions):
            tx = open_transaction(data)
            if isinstance(tx, Transaction):
                yield height, tx, receipts[place] if receipts else None, block.header.timestamp_ms


def _asked(tx: AccessRequest, height: int, time_ms: int, receipt: bytes | None, name: Callable[[bytes], str]) -> Access:
    asked = tx.asked
    if isinstance(asked, RecordAsked):
        kind, digest, most = "record", RecordLeaf.decode(asked.leaf).ct_digest, 1
    else:
        kind, digest, most = "dataset", asked.digest, asked.most
    decision = None
    if receipt is not None:
        _, outcome = read_receipt(receipt)
        decision = Verdict.decode(outcome.code, outcome.detail)
    return Access(
        tx.tx_id, height, time_ms, name(tx.sender), tuple(map(name, tx.holders)), kind, tx.purpose, tx.reader, digest,
        most, decision,
    )  # fmt: skip


def _fact(tx: Transaction) -> Fact | None:
    """Return what a later message says of a request, or None where it says nothing of one."""
    match tx:
        case Approval():
            return {"what": "approved" if tx.approves else "refused", "reason": tx.reason}
        case Delivered():
            return {
                "what": tx.answer, "records": tx.records, "bytes": tx.size, "package": tx.package.hex(),
            }  # fmt: skip
        case Received():
            return {"what": "received", "package": tx.package.hex()}
        case Notice():
            return {"what": f"rows {tx.step}", "persons": tx.affected}
        case Review():
            return {"what": "reviewed", "reason": tx.reason}
    return None
