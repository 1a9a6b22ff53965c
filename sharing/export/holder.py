"""The institution that exports, as it is opened on its own machine, and its answer to a request."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ledger.chain.transactions import open_transaction
from ledger.chain.validators import institution_id
from ledger.errors import Refused
from ledger.messages.delivery import Delivered

if TYPE_CHECKING:
    from ledger.chain.replica import Replica
    from ledger.chain.transaction import Transaction
    from ledger.exchange import Exchange
    from ledger.notary import Notary
    from sharing.package.shelf import Shelf
    from vault.keystore import FileKeystore
    from vault.store import Vault


@dataclass(frozen=True, slots=True)
class Holder:
    """An institution that exports.

    Attributes:
        id: Its id in region.yaml.
        vault: Its vault.
        keystore: Its keys, or those that are here.
        node: Its node, which signs.
        replica: Its replica.
        exchange: Where institutions leave each other bytes.
        shelf: Where packages are fetched.
        folder: Its own, for sealed work.
    """

    id: str
    vault: Vault
    keystore: FileKeystore
    node: Notary
    replica: Replica
    exchange: Exchange
    shelf: Shelf
    folder: Path

    @property
    def party(self) -> bytes:
        """Its id on the chain."""
        return institution_id(self.id)

    def offer(self, kind: type[Transaction], **fields: Any) -> bytes:
        """A message of this institution's is signed and offered to the next block; returns its id."""
        draft = kind(**self.node.heading(), **fields)
        self.exchange.post_submission(self.node.sign(draft), b"")
        return draft.tx_id

    def answer(self, request: bytes, answer: str, **fields: Any) -> bytes:
        """The answer to a request is offered to the next block; returns its id.

        Args:
            request: Id of the ACCESS_REQ.
            answer: One of ``delivery.ANSWERS``.
            **fields: The others of ``Delivered``.
        """
        return self.offer(Delivered, request=request, answer=answer, **fields)

    def offered(self, request: bytes) -> Delivered | None:
        """Return the answer to a request that waits for a block already, by this call or one that was killed."""
        return next((one for one in self._waiting() if (one.request, one.sender) == (request, self.party)), None)

    def _waiting(self) -> Iterator[Delivered]:
        for data in self.exchange.transactions():
            try:
                found = open_transaction(data)
            except Refused:
                continue  # anyone may list anything there
            if isinstance(found, Delivered) and found.expiry_height > self.replica.view.head.height:
                yield found
