"""Messages that an institution signs once: kept before they are offered, offered again until a block holds them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pymongo import WriteConcern
from pymongo.database import Database
from pymongo.read_concern import ReadConcern

from ledger.chain.transaction import Transaction
from ledger.chain.transactions import open_transaction
from ledger.exchange import Exchange
from ledger.notary import Notary

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sent:
    """A transaction that was signed under a name, and what became of it.

    Attributes:
        name: What it is for: ``answer/<request>``, ``dataset/<request>``.
        tx: Its bytes, as first signed.
        height: The final block that it stands in, or None.
        facts: What was kept beside it.
    """

    name: str
    tx: bytes
    height: int | None
    facts: Document

    @property
    def opened(self) -> Transaction:
        """The transaction, read."""
        found = open_transaction(self.tx)
        if not isinstance(found, Transaction):
            raise RuntimeError("a batch is not kept here")
        return found


class Outgoing:
    """Transactions that an institution signed once: killed anywhere, it offers the same bytes again.

    SM2 draws a nonce, and an answer a key, so that signing again would be another message.

    Args:
        database: The institution's own.
        node: Signs, and knows what became of what it signed.
        exchange: Where it is offered.
    """

    def __init__(self, database: Database[Document], node: Notary, exchange: Exchange) -> None:
        self._sent = database.with_options(
            write_concern=WriteConcern("majority", j=True), read_concern=ReadConcern("majority")
        )["sent"]
        self._node, self._exchange = node, exchange

    def find(self, name: str) -> Sent | None:
        """Return what was signed under a name and can still become final, or is; offered again where it waits."""
        found = self._sent.find_one({"_id": name})
        return None if found is None else self._standing(found)

    def _standing(self, found: Document) -> Sent | None:
        tx, height = bytes(found["tx"]), found.get("height")
        if height is None:
            fate = self._node.fate(tx)
            if fate.height is None and not fate.lapsed:
                self._exchange.post_submission(tx, b"")
            else:
                self._exchange.retire_submission(tx, b"")
            if fate.lapsed:
                return None
            if (height := fate.height) is not None:
                self._sent.update_one({"_id": found["_id"], "tx": tx}, {"$set": {"height": height}})
        return Sent(found["_id"], tx, height, found.get("facts", {}))

    def offer(self, name: str, draft: Callable[[], tuple[Transaction, Document]]) -> Sent:
        """Return what stands under a name: what was signed before, or the draft, signed now and durable before offered.

        Args:
            name: What it is for.
            draft: Makes the transaction and what is to be kept beside it; called where nothing stands.
        """
        if (found := self.find(name)) is not None:
            return found
        tx, facts = draft()
        fresh = {"tx": self._node.sign(tx), "facts": facts, "at": datetime.now(UTC)}
        # Where another process of this institution was faster, its message stands and counts.
        if (lapsed := self._sent.find_one({"_id": name}, {"tx": 1})) is None:
            self._sent.update_one({"_id": name}, {"$setOnInsert": fresh}, upsert=True)
        else:
            self._sent.replace_one({"_id": name, "tx": lapsed["tx"]}, fresh)
        return self.find(name) or self.offer(name, draft)

    def forget(self, name: str) -> None:
        """Nothing stands under the name, and what stood there is not offered any more; it may be final already."""
        if (found := self._sent.find_one_and_delete({"_id": name})) is not None:
            self._exchange.retire_submission(bytes(found["tx"]), b"")

    def named(self, beginning: str) -> list[Sent]:
        """Return what stands under names that begin so, oldest first, the lapsed left out."""
        among = {"_id": {"$gte": beginning, "$lt": beginning + "\x7f"}}
        found = (self._standing(one) for one in list(self._sent.find(among).sort("at", 1)))
        return [one for one in found if one is not None]
