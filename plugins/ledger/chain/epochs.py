"""Where one epoch ends and the next begins: rules, credit, voters (sections 11 and 14)."""

from __future__ import annotations

from collections.abc import Sequence

from ledger.chain.rules import Ledger
from ledger.chain.state import VALIDATORS
from ledger.chain.validators import ValidatorSet
from ledger.contracts import governance
from ledger.credit import credit, evidence
from ledger.encoding import u32
from ledger.messages.delivery import overdue


def count_block(ledger: Ledger, builder: bytes, signers: Sequence[bytes], height: int) -> None:
    """The final block of a height counts for who built it and who confirmed it."""
    credit.count_block(ledger, builder, signers, height)


def convict(ledger: Ledger, data: bytes) -> None:
    """Whoever the evidence proves to have signed two ways bears the consequences.

    Raises:
        Refused: It proves nothing, or nothing new.
    """
    evidence.execute(data, ledger)


def close(ledger: Ledger) -> None:
    """What the next epoch begins with stands in the state; called once, in the epoch's last block."""
    governance.enact(ledger)
    credit.count_undelivered(ledger, (one.holder for one in overdue(ledger)))
    credit.close(ledger)
    ledger.put(VALIDATORS, u32(ledger.epoch + 1), credit.next_set(ledger).encode())


def following(ledger: Ledger) -> ValidatorSet:
    """Return the members who vote on the next height."""
    value = ledger.get(VALIDATORS, u32(ledger.epoch + 1)) if ledger.last_of_epoch else None
    return ledger.validators if value is None else ValidatorSet.decode(value)
