"""REVIEW: an emergency stands out from its block on until its holder or a regulator has looked at it (section 14)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sharing_world import DISTRICT, EAST, INSURER, LAB, PATIENT, REGULATOR, WEST, MemoryLedger, asked, key_of

from ledger.chain.rules import ACCEPTED, DENIED
from ledger.chain.state import EMERGENCY, ONLY
from ledger.chain.transactions import is_message, open_transaction
from ledger.errors import Malformed
from ledger.messages.access import AccessRequest
from ledger.messages.consent import Consent
from ledger.messages.provisions import Provision
from ledger.messages.review import (
    JUSTIFIED,
    REASONS,
    REVIEW_BLOCKS,
    UNJUSTIFIED,
    Emergency,
    Given,
    Review,
    emergency,
    unreviewed,
)
from ledger.remote.dispatch import OPERATORS_ONLY
from shangmi import sm3


class Ward:
    """A chain on which WEST breaks the glass over EAST's records."""

    def __init__(self) -> None:
        self.ledger = MemoryLedger()
        self.leaves = self.ledger.publish(EAST)

    def ask(self, index: int = 2, **content: Any) -> tuple[bytes, int]:
        standard = {"purpose": "emergency", "answer_key": key_of(WEST), "asked": asked(self.leaves, index)}
        tx = AccessRequest(**self.ledger.heading(WEST), holders=(EAST,), **(standard | content))
        return tx.tx_id, self.ledger.run(tx).code

    def broken(self, index: int = 2) -> bytes:
        tx_id, code = self.ask(index)
        assert code == ACCEPTED
        return tx_id

    def review(self, request: bytes, sender: bytes = EAST, reason: str = JUSTIFIED[0]) -> Review:
        return Review(**self.ledger.heading(sender), request=request, reason=reason)

    def open(self) -> list[bytes]:
        return [tx_id for tx_id, _ in unreviewed(self.ledger)]


@pytest.fixture
def ward() -> Ward:
    return Ward()


def test_an_emergency_is_allowed_without_a_statement_and_waits_for_a_review(ward: Ward) -> None:
    tx_id = ward.broken()
    assert emergency(ward.ledger, tx_id) == Emergency(WEST, EAST, 7, 7 + REVIEW_BLOCKS)
    assert ward.open() == [tx_id]


def test_care_that_was_permitted_waits_for_no_review(ward: Ward) -> None:
    statement = {"patient": PATIENT, "sequence": 1, "provisions": (Provision(True),), "reference": sm3(b"form")}
    ward.ledger.run(Consent(**ward.ledger.heading(EAST), **statement))
    tx_id, code = ward.ask(purpose="care", patient=PATIENT)
    assert (code, ward.open(), emergency(ward.ledger, tx_id)) == (ACCEPTED, [], None)
    assert ward.ledger.refuse(ward.review(tx_id)) == "review"


def test_an_emergency_that_was_denied_waits_for_no_review(ward: Ward) -> None:
    _, code = ward.ask(reader="insurer")
    assert (code, ward.open()) == (DENIED, [])


def test_accesses_of_several_epochs_are_listed_oldest_first_until_reviewed(ward: Ward) -> None:
    first = [ward.broken(index) for index in (0, 1)]
    ward.ledger.height, ward.ledger.epoch = 107, 1
    later = ward.broken(2)
    assert ward.open() == [*first, later]
    ward.ledger.run(ward.review(first[1]))
    assert ward.open() == [first[0], later]
    ward.ledger.run(ward.review(first[0], reason=UNJUSTIFIED[0]))
    assert ward.open() == [later]
    ward.ledger.run(ward.review(later, REGULATOR))
    assert ward.open() == []
    assert ward.ledger.get(EMERGENCY, ONLY) is None


def test_a_regulator_has_the_last_word_over_the_holder(ward: Ward) -> None:
    tx_id = ward.broken()
    assert ward.ledger.run(ward.review(tx_id)).detail == b"\1"
    ward.ledger.height = 9
    assert ward.ledger.run(ward.review(tx_id, REGULATOR, "no-treatment")).detail == b"\0"
    found = emergency(ward.ledger, tx_id)
    assert found is not None
    assert found.reviews == (Given(EAST, JUSTIFIED[0], False, 7), Given(REGULATOR, "no-treatment", True, 9))
    assert found.verdict == found.reviews[1] and not found.verdict.justified


def test_who_may_not_review_is_refused_and_the_access_stays_open(ward: Ward) -> None:
    tx_id = ward.broken()
    refuse = ward.ledger.refuse
    for sender in (WEST, LAB, DISTRICT, INSURER):
        assert refuse(ward.review(tx_id, sender)) == "reviewer"
    assert refuse(ward.review(sm3(b"no request"))) == "review"
    assert refuse(ward.review(bytes(32))) == "review"
    assert ward.open() == [tx_id]


def test_a_review_is_given_once_and_not_after_a_regulators(ward: Ward) -> None:
    tx_id, refuse = ward.broken(), ward.ledger.refuse
    ward.ledger.run(ward.review(tx_id))
    assert refuse(ward.review(tx_id, reason="unexplained")) == "review"
    other = ward.broken(3)
    ward.ledger.run(ward.review(other, REGULATOR))
    assert refuse(ward.review(other)) == refuse(ward.review(other, REGULATOR)) == "review"


def test_a_review_that_comes_late_still_counts(ward: Ward) -> None:
    tx_id = ward.broken()
    ward.ledger.height = 8 + REVIEW_BLOCKS
    assert ward.open() == [tx_id]
    ward.ledger.run(ward.review(tx_id, REGULATOR, "unexplained"))
    assert ward.open() == []


def test_a_review_is_asked_of_a_node_by_operators_and_asks_for_a_block(ward: Ward) -> None:
    assert Review.TYPE in OPERATORS_ONLY
    assert is_message(ward.review(bytes(32)).encode() + bytes(64))


def test_reasons_and_states_have_one_encoding(ward: Ward) -> None:
    assert len(REASONS) == len(set(REASONS)) == 7
    for reason in REASONS:
        sent = ward.review(sm3(b"a request"), reason=reason)
        opened = open_transaction(sent.encode() + bytes(64))
        assert isinstance(opened, Review) and (opened.reason, opened.request) == (reason, sent.request)
    good = replace(sent, signature=bytes(64)).encode()
    for bad in (good[:-65] + bytes([len(REASONS)]) + good[-64:], good[:-1], good + b"\0"):
        with pytest.raises(Malformed):
            open_transaction(bad)
    state = Emergency(WEST, EAST, 1, 2, (Given(EAST, REASONS[0], False, 3),))
    assert Emergency.decode(state.encode()) == state
    for bad in (state.encode()[:-1], state.encode() + b"\0"):
        with pytest.raises(Malformed):
            Emergency.decode(bad)
