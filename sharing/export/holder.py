"""The institution that exports, as it is opened on its own machine."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ledger.chain.validators import institution_id
from sharing.errors import NotYet

if TYPE_CHECKING:
    from ledger.chain.replica import Replica
    from ledger.chain.transaction import Transaction
    from ledger.exchange import Exchange
    from ledger.notary import Notary
    from sharing.outgoing import Outgoing, Sent
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
        outgoing: What it signed: each answer once, whoever is killed.
        shelf: Where packages are fetched.
        folder: Its own, for sealed work.
    """

    id: str
    vault: Vault
    keystore: FileKeystore
    node: Notary
    replica: Replica
    exchange: Exchange
    outgoing: Outgoing
    shelf: Shelf
    folder: Path

    @property
    def party(self) -> bytes:
        """Its id on the chain."""
        return institution_id(self.id)

    def offer(self, name: str, kind: type[Transaction], **fields: Any) -> Sent:
        """Return the message that stands under a name: signed before, or signed and offered to the next block now."""
        return self.outgoing.offer(name, lambda: (kind(**self.node.heading(), **fields), {}))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """No other process of this machine exports for this institution meanwhile.

        Raises:
            NotYet: Another does.
        """
        handle = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise NotYet("another process exports for this institution; try again once it is done") from None
        finally:
            os.close(handle)
