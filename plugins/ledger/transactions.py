"""Every type of transaction there is, by the number its bytes begin with."""

from __future__ import annotations

from typing import Final

from ledger.access import AccessRequest
from ledger.batch import SUBMIT_BATCH, SubmitBatch
from ledger.consent import Consent
from ledger.credit_messages import Finding, LateVote, Missed
from ledger.delivery import Delivered, Received
from ledger.encoding import Reader
from ledger.erasure import Erase
from ledger.governance import Propose, Vote
from ledger.transaction import DOMAIN, Transaction

#: Types beside SUBMIT_BATCH. A number once given is never given again.
TRANSACTIONS: Final[dict[int, type[Transaction]]] = {
    one.TYPE: one
    for one in (
        *(Propose, Vote),  # governance
        *(AccessRequest, Delivered, Received, Consent, Erase),  # sharing
        *(LateVote, Missed, Finding),  # credit
    )
}

#: Types that only say something for credit.
CREDIT_FACTS: Final = frozenset({LateVote.TYPE, Missed.TYPE})


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
