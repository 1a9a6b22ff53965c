"""Every type of transaction there is, by the number its bytes begin with."""

from __future__ import annotations

from typing import Final

from ledger.chain.batch import SUBMIT_BATCH, SubmitBatch
from ledger.chain.transaction import DOMAIN, Transaction
from ledger.contracts.governance import Propose, Vote
from ledger.credit.credit_messages import Finding, LateVote, Missed
from ledger.encoding import Reader
from ledger.messages.access import AccessRequest
from ledger.messages.approval import Approval
from ledger.messages.consent import Consent
from ledger.messages.delivery import Delivered, Received
from ledger.messages.erasure import Erase
from ledger.messages.notice import Notice
from ledger.messages.review import Review

#: Types beside SUBMIT_BATCH. A number once given is never given again.
TRANSACTIONS: Final[dict[int, type[Transaction]]] = {
    one.TYPE: one
    for one in (
        *(Propose, Vote),  # governance
        *(AccessRequest, Approval, Delivered, Received, Consent, Erase, Notice, Review),  # sharing
        *(LateVote, Missed, Finding),  # credit
    )
}

#: Types that only say something for credit.
CREDIT_FACTS: Final = frozenset({LateVote.TYPE, Missed.TYPE})


def is_message(data: bytes) -> bool:
    """Say whether these bytes begin as a transaction that is worth a block: no batch, and no fact for credit."""
    number = data[len(DOMAIN) : len(DOMAIN) + 1]
    return bool(number) and number[0] in TRANSACTIONS.keys() - CREDIT_FACTS


def open_transaction(data: bytes) -> Transaction | SubmitBatch:
    """Return the transaction that these bytes are, or raise Malformed; nothing in it is verified yet."""
    reader = Reader(data, "transaction")
    reader.constant(DOMAIN)
    number = reader.u8()
    if number == SUBMIT_BATCH:
        return SubmitBatch.decode(data)
    if number not in TRANSACTIONS:
        raise reader.wrong(f"type {number} is none that this program knows")
    return TRANSACTIONS[number].decode(data)
