"""A signed request goes on its way: its file to where people read it, its transaction to the next block."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from ledger.chain.rules import Ledger
from ledger.exchange import Exchange
from sharing.request import desk
from sharing.request.answer import Answer, answer
from sharing.request.checks import require_askable
from sharing.request.reading import read_request
from sharing.request.signing import check_signed


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of it.

    Attributes:
        tx_id: Id of the ACCESS_REQ that was offered; None where it was kept back, since the rules would deny it.
        answer: What the rules say now.
    """

    tx_id: bytes | None
    answer: Answer


def submit(
    exchange: Exchange, ledger: Ledger, content: bytes, signatures: bytes, today: date, *, anyway: bool = False
) -> Sent:
    """A request that is signed, askable and new is offered to the next block, and its file lies in the exchange.

    Args:
        exchange: Where nodes and people leave each other bytes.
        ledger: The chain, as the next block would find it.
        content: The request file.
        signatures: What lies beside it.
        today: The date.
        anyway: Whether to offer what the rules would deny, so that the denial stands on the chain.

    Raises:
        Malformed: One of the files is not what its format says.
        Tampered: They were changed, or do not belong together.
        Refused: It is another region's, lapsed, asked before, or may not be asked so.
    """
    tx = check_signed(ledger, content, signatures)
    require_askable(read_request(content), ledger.roster, ledger.chain_id, today)
    found = answer(ledger, tx.facts(ledger))
    if found.word == "denied" and not anyway:
        return Sent(None, found)
    desk.post(exchange, content)
    exchange.post_submission(tx.encode(), b"")
    return Sent(tx.tx_id, found)
