"""What an institution asks, answers, reviews and erases with: its node, its replica, the exchange, and what it sent."""

from __future__ import annotations

from dataclasses import dataclass

from pymongo.database import Database

from ledger.carrier import catch_up
from ledger.chain.replica import Replica
from ledger.chain.validators import institution_id
from ledger.chain.working_state import WorkingState
from ledger.exchange import Exchange
from ledger.notary import Notary
from sharing.outgoing import Document, Outgoing
from sharing.record.shelf import Shelf


@dataclass(frozen=True, slots=True)
class Desk:
    """One institution's.

    Attributes:
        institution: Its id in the region's files.
        node: Signs and decrypts for it.
        replica: Its own copy of the chain.
        exchange: Where transactions are offered.
        shelf: Where answers lie for those who asked.
        drafts: Where its own lie until they are announced.
        outgoing: What it signed.
    """

    institution: str
    node: Notary
    replica: Replica
    exchange: Exchange
    shelf: Shelf
    drafts: Shelf
    outgoing: Outgoing

    @classmethod
    def open(
        cls,
        institution: str,
        node: Notary,
        replica: Replica,
        exchange: Exchange,
        own: Database[Document],
        shared: Database[Document],
    ) -> Desk:
        """Return an institution's desk.

        Args:
            institution: Its id.
            node: Its node.
            replica: Its replica.
            exchange: The region's.
            own: Its own database, the vault's.
            shared: The exchange's database.
        """  # fmt: skip
        return cls(
            institution, node, replica, exchange, Shelf(shared), Shelf(own), Outgoing(own, node, exchange)
        )  # fmt: skip

    @property
    def id(self) -> bytes:
        """The institution's 16 bytes."""
        return institution_id(self.institution)

    def now(self) -> WorkingState:
        """Return the chain as the next block would find it, after catching up with what is final."""
        catch_up(self.node, self.exchange)
        view = self.replica.view
        return WorkingState(view, view.head.timestamp_ms + 1)
