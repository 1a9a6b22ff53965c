"""DELIVERED and RECEIVED: only what was allowed, only to whom it was addressed, only in time (section 14)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sharing_world import EAST, LAB, PATIENT, REGULATOR, WEST, MemoryLedger, asked, key_of, leaf

from ledger.chain.rules import ACCEPTED
from ledger.chain.state import DELIVERY, INSTITUTION, REVOKED, InstitutionState
from ledger.chain.transactions import open_transaction
from ledger.credit.credit import count_undelivered, tally_of
from ledger.credit.scoring import points
from ledger.encoding import ZERO_DIGEST
from ledger.errors import Malformed
from ledger.messages.access import AccessRequest
from ledger.messages.asked import SelectionAsked
from ledger.messages.consent import Consent
from ledger.messages.delivery import ANSWERS, Delivered, DeliveryState, Overdue, Received, overdue
from ledger.messages.erasure import Erase
from ledger.messages.provisions import Provision
from shangmi import PrivateKey, sm3

PACKAGE, MANIFEST = sm3(b"package"), sm3(b"manifest")


class Allowed:
    """A chain on which EAST is to deliver one record to WEST, and LAB and EAST parts of a dataset."""

    def __init__(self) -> None:
        self.ledger = MemoryLedger()
        self.leaves = self.ledger.publish(EAST)
        self.permit()
        self.record = self.ask(asked=asked(self.leaves), holders=(EAST,), patient=PATIENT)
        dataset = AccessRequest(
            **self.ledger.heading(WEST), asked=SelectionAsked(sm3(b"selection"), 100), answer_key=key_of(WEST),
            holders=tuple(sorted((EAST, LAB))), purpose="research", ethics=sm3(b"ethics approval"),
        )  # fmt: skip
        self.ledger.run(dataset)
        assert self.ledger.approve(dataset, LAB, REGULATOR).allowed
        self.dataset = dataset.tx_id

    def permit(self, sequence: int = 1, **changes: Any) -> None:
        standard: dict[str, Any] = {"provisions": (Provision(True),), "reference": sm3(b"form")}
        self.ledger.run(
            Consent(**self.ledger.heading(EAST), patient=PATIENT, sequence=sequence, **(standard | changes))
        )

    def ask(self, **content: Any) -> bytes:
        standard = {"purpose": "care", "answer_key": key_of(WEST)}
        tx = AccessRequest(**self.ledger.heading(WEST), **(standard | content))
        assert self.ledger.run(tx).code == ACCEPTED
        return tx.tx_id

    def delivered(self, holder: bytes = EAST, **changes: Any) -> Delivered:
        standard = {"request": self.record, "package": PACKAGE, "manifest": MANIFEST, "records": 1, "size": 500}
        return Delivered(**self.ledger.heading(holder), **(standard | changes))

    def received(self, sender: bytes = WEST, **changes: Any) -> Received:
        standard = {"request": self.record, "holder": EAST, "package": PACKAGE}
        return Received(**self.ledger.heading(sender), **(standard | changes))

    def state(self, holder: bytes = EAST) -> DeliveryState:
        return DeliveryState.decode(self.ledger.get(DELIVERY, self.record + holder) or b"")


@pytest.fixture
def chain() -> Allowed:
    return Allowed()


def test_what_was_allowed_is_delivered_and_received_and_stands_in_the_state(chain: Allowed) -> None:
    chain.ledger.run(chain.delivered())
    assert chain.state() == DeliveryState("delivered", PACKAGE, MANIFEST, 1, 500, 7)
    chain.ledger.height = 9
    chain.ledger.run(chain.received())
    assert chain.state().received == 9


def test_each_holder_delivers_its_own_part_of_a_dataset(chain: Allowed) -> None:
    for holder, records in ((EAST, 0), (LAB, 100)):
        chain.ledger.run(chain.delivered(holder, request=chain.dataset, records=records))
    assert chain.ledger.refuse(chain.delivered(LAB, request=chain.dataset, records=100)) == "delivery"


def test_an_answer_nobody_asked_for_is_refused_and_nothing_changes(chain: Allowed) -> None:
    refuse = chain.ledger.refuse
    assert refuse(chain.delivered(request=sm3(b"no request"))) == "request"
    assert refuse(chain.delivered(LAB)) == "holder"
    assert refuse(chain.delivered(WEST)) == "holder"
    assert refuse(chain.delivered(records=2)) == "delivery size"
    assert refuse(chain.delivered(records=0)) == "delivery size"
    assert refuse(chain.delivered(LAB, request=chain.dataset, records=101)) == "delivery size"
    chain.ledger.run(chain.delivered())
    assert refuse(chain.delivered(package=sm3(b"another"))) == "delivery"


def test_the_deadlines_block_is_in_time_and_the_next_is_not(chain: Allowed) -> None:
    chain.ledger.height = 18
    assert chain.ledger.refuse(chain.delivered()) == "deadline"
    chain.ledger.height = 17
    chain.ledger.run(chain.delivered())


def test_a_denied_request_can_never_be_delivered(chain: Allowed) -> None:
    tx = AccessRequest(
        **chain.ledger.heading(WEST), asked=asked(chain.leaves), holders=(EAST,), purpose="research",
        answer_key=key_of(WEST),
    )  # fmt: skip
    chain.ledger.run(tx)
    assert chain.ledger.refuse(chain.delivered(request=tx.tx_id)) == "request"


def test_what_came_in_between_stops_a_delivery_and_blames_nobody(chain: Allowed) -> None:
    ledger = chain.ledger
    record = leaf(chain.leaves)

    def withdraw() -> None:
        chain.permit(2, withdraw=True, provisions=())

    def erase() -> None:
        ledger.run(Erase(**ledger.heading(EAST), reason="patient", records=((record.rid, record.version),)))

    def freeze() -> None:
        ledger.stand(WEST, "frozen")

    def convict() -> None:
        ledger.put(INSTITUTION, WEST, InstitutionState(0, key_of(WEST), REVOKED).encode())

    def rekey() -> None:
        ledger.rekey(WEST, PrivateKey.generate())

    def change_policy() -> None:
        ledger.policies = b""

    values, roster, policies = dict(ledger.values), ledger.roster, ledger.policies
    for happens in (withdraw, erase, freeze, convict, rekey, change_policy):
        ledger.values, ledger.roster, ledger.policies = dict(values), roster, policies
        happens()
        assert ledger.refuse(chain.delivered()) == "delivery", happens.__name__
        ledger.height = 17
        assert chain.record not in {one.request for one in overdue(ledger)}, happens.__name__
        ledger.height = 7
    # The holder may still say why there is no answer.
    chain.ledger.run(chain.delivered(answer="erased", package=ZERO_DIGEST, manifest=ZERO_DIGEST, records=0, size=0))
    assert chain.state().answer == "erased"


def test_only_the_requester_confirms_what_was_announced_and_once(chain: Allowed) -> None:
    refuse = chain.ledger.refuse
    assert refuse(chain.received()) == "delivery"
    chain.ledger.run(chain.delivered())
    assert refuse(chain.received(LAB)) == refuse(chain.received(EAST)) == "requester"
    assert refuse(chain.received(package=MANIFEST)) == "delivery"
    assert refuse(chain.received(holder=LAB)) == "delivery"
    assert refuse(chain.received(request=sm3(b"no request"))) == "request"
    chain.ledger.run(chain.received())
    assert refuse(chain.received()) == "delivery"


def test_an_answer_without_data_cannot_be_confirmed_as_received(chain: Allowed) -> None:
    nothing = {"package": ZERO_DIGEST, "manifest": ZERO_DIGEST, "records": 0, "size": 0}
    chain.ledger.run(chain.delivered(answer="other-patient", **nothing))
    assert chain.ledger.refuse(chain.received(package=ZERO_DIGEST)) == "delivery"


def test_silence_until_the_deadline_is_counted_once_for_each_silent_holder(chain: Allowed) -> None:
    ledger = chain.ledger
    ledger.height = 16
    assert overdue(ledger) == []
    chain.ledger.run(chain.delivered())
    ledger.run(chain.delivered(LAB, request=chain.dataset, records=3))
    ledger.height = 17
    silent = [Overdue(chain.dataset, WEST, EAST, 17)]
    assert overdue(ledger) == overdue(ledger, [17]) == silent
    ledger.height = 50
    assert overdue(ledger) == silent and overdue(ledger, [16, 18]) == []
    ledger.stand(EAST, "frozen")
    assert overdue(ledger) == []  # who may not act is not blamed
    ledger.stand(EAST, "active")
    ledger.height, ledger.epoch = 101, 1
    assert overdue(ledger) == []  # it belonged to the epoch before


def test_a_silent_holder_loses_credit_when_the_epoch_ends_within_a_cap(chain: Allowed) -> None:
    chain.ledger.height = 17
    count_undelivered(chain.ledger, (one.holder for one in overdue(chain.ledger)))
    facts = tally_of(chain.ledger)
    assert (facts.of(EAST).unanswered, facts.of(LAB).unanswered, facts.of(WEST).unanswered) == (2, 1, 0)
    count_undelivered(chain.ledger, [WEST] * 50)
    assert points(tally_of(chain.ledger).of(WEST)) == (("unanswered requests", -100),)


def test_overdue_holders_change_nothing_and_are_told_in_the_same_order_everywhere(chain: Allowed) -> None:
    chain.ledger.height = 17
    before = dict(chain.ledger.values)
    assert [one.holder for one in overdue(chain.ledger)] == [EAST, *sorted((EAST, LAB))]
    assert chain.ledger.values == before


def test_what_is_no_answer_is_malformed(chain: Allowed) -> None:
    nothing = {"package": ZERO_DIGEST, "manifest": ZERO_DIGEST, "records": 0, "size": 0}
    good = chain.delivered()
    wrong = [
        replace(good, package=ZERO_DIGEST), replace(good, manifest=ZERO_DIGEST), replace(good, size=0),
        replace(good, answer="erased"), replace(good, answer="erased", **(nothing | {"records": 1})),
        replace(good, answer="erased", **(nothing | {"size": 1})),
    ]  # fmt: skip
    for one in wrong:
        with pytest.raises(Malformed):
            open_transaction(one.encode() + bytes(64))
    at = good.encode().index(chain.record) + 32
    for bad in (good.encode()[:at] + bytes([len(ANSWERS)]) + good.encode()[at + 1 :], good.encode() + bytes(63)):
        with pytest.raises(Malformed):
            open_transaction(bad + bytes(64))
    with pytest.raises(Malformed):
        DeliveryState.decode(b"\xff" + bytes(92))
