"""NOTICE: who delivered a dataset calls rows back, who received it answers; nobody else, nothing twice (section 14)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from sharing_world import EAST, LAB, REGULATOR, WEST, MemoryLedger, SharingRegion, key_of

from ledger.chain.state import NOTICE
from ledger.chain.transactions import open_transaction
from ledger.chain.validators import institution_id
from ledger.encoding import ZERO_DIGEST
from ledger.errors import Malformed
from ledger.messages.access import AccessRequest
from ledger.messages.approval import Approval
from ledger.messages.asked import SelectionAsked
from ledger.messages.delivery import Delivered
from ledger.messages.notice import Notice, NoticeState, notice
from ledger.proofs.receipt_proving import prove_entry, prove_receipt
from ledger.proofs.receipts import verify_entry, verify_receipt
from shangmi import sm3

NEW, NEW_MANIFEST = sm3(b"package cut anew"), sm3(b"its manifest")


class Delivery:
    """A chain on which EAST delivered a dataset to WEST, and LAB has not yet."""

    def __init__(self) -> None:
        self.ledger = MemoryLedger()
        asked = AccessRequest(
            **self.ledger.heading(WEST), asked=SelectionAsked(sm3(b"selection"), 100), answer_key=key_of(WEST),
            holders=tuple(sorted((EAST, LAB))), purpose="research", ethics=sm3(b"ethics approval"),
        )  # fmt: skip
        self.ledger.run(asked)
        assert self.ledger.approve(asked, LAB, REGULATOR).allowed
        self.request = asked.tx_id
        self.ledger.run(self.delivered())

    def delivered(self, holder: bytes = EAST) -> Delivered:
        package = {"package": sm3(b"package"), "manifest": sm3(b"manifest"), "records": 50, "size": 900}
        return Delivered(**self.ledger.heading(holder), request=self.request, **package)

    def says(self, step: str, sender: bytes = EAST, **changes: Any) -> Notice:
        package = {"package": NEW, "manifest": NEW_MANIFEST} if step == "recut" else {}
        standard: dict[str, Any] = {"affected": 5} if step == "raised" else package
        if step == "replaced":
            standard = {"package": NEW}
        content = {"request": self.request, "holder": EAST, "step": step} | standard | changes
        return Notice(**self.ledger.heading(sender), **content)

    def state(self) -> NoticeState | None:
        return notice(self.ledger, self.request, EAST)


@pytest.fixture
def chain() -> Delivery:
    return Delivery()


def test_rows_are_called_back_cut_anew_and_replaced_and_each_step_stands(chain: Delivery) -> None:
    assert chain.state() is None
    chain.ledger.run(chain.says("raised"))
    assert chain.state() == NoticeState("raised", 5, 7, ZERO_DIGEST, ZERO_DIGEST, 7)
    chain.ledger.height = 9
    chain.ledger.run(chain.says("recut"))
    assert chain.state() == NoticeState("recut", 5, 7, NEW, NEW_MANIFEST, 9)
    chain.ledger.height = 11
    assert chain.ledger.run(chain.says("replaced", WEST)).detail == bytes([2])
    assert chain.state() == NoticeState("replaced", 5, 7, NEW, NEW_MANIFEST, 11)


def test_what_is_deleted_is_answered_for_once_and_for_all(chain: Delivery) -> None:
    chain.ledger.run(chain.says("raised"))
    chain.ledger.run(chain.says("deleted", WEST))
    for again in (chain.says("deleted", WEST), chain.says("raised", affected=10), chain.says("recut")):
        assert chain.ledger.refuse(again) == "notice"


def test_the_same_number_again_is_refused_until_something_was_done(chain: Delivery) -> None:
    chain.ledger.run(chain.says("raised", affected=10))
    assert chain.ledger.refuse(chain.says("raised", affected=10)) == "notice"
    assert chain.ledger.refuse(chain.says("raised", affected=5)) == "notice"
    chain.ledger.run(chain.says("raised", affected=15))
    chain.ledger.run(chain.says("recut"))
    chain.ledger.run(chain.says("raised", affected=15))  # one more of the same five, after it was cut
    found = chain.state()
    assert found is not None and found.open and found.package == ZERO_DIGEST
    assert chain.ledger.refuse(chain.says("replaced", WEST)) == "notice"  # that package has rows to lose, too


def test_only_who_delivered_calls_back_and_only_who_asked_answers(chain: Delivery) -> None:
    assert chain.ledger.refuse(chain.says("raised", WEST)) == "notice"
    assert chain.ledger.refuse(chain.says("raised", LAB)) == "notice"
    assert chain.ledger.refuse(chain.says("raised", LAB, holder=LAB)) == "delivery"  # it has delivered nothing
    assert chain.ledger.refuse(chain.says("raised", request=sm3(b"another"))) == "request"
    chain.ledger.run(chain.says("raised"))
    for step in ("replaced", "deleted"):
        assert chain.ledger.refuse(chain.says(step, EAST)) == "notice"
        assert chain.ledger.refuse(chain.says(step, REGULATOR)) == "notice"


def test_nothing_is_answered_that_was_not_said(chain: Delivery) -> None:
    for step, sender in (("recut", EAST), ("replaced", WEST), ("deleted", WEST)):
        assert chain.ledger.refuse(chain.says(step, sender)) == "notice"
    chain.ledger.run(chain.says("raised"))
    assert chain.ledger.refuse(chain.says("replaced", WEST)) == "notice"
    chain.ledger.run(chain.says("recut"))
    assert chain.ledger.refuse(chain.says("replaced", WEST, package=sm3(b"the old one"))) == "notice"


@pytest.mark.parametrize(
    "content",
    [
        {"step": "raised", "affected": 0},
        {"step": "raised", "affected": 7},
        {"step": "raised", "package": NEW},
        {"step": "recut", "affected": 5},
        {"step": "recut", "package": ZERO_DIGEST},
        {"step": "recut", "manifest": ZERO_DIGEST},
        {"step": "replaced", "package": ZERO_DIGEST},
        {"step": "replaced", "manifest": NEW_MANIFEST},
        {"step": "deleted", "package": NEW},
    ],
)
def test_an_exact_number_and_a_step_that_names_what_is_not_its_own_are_malformed(
    chain: Delivery, content: dict[str, Any]
) -> None:
    with pytest.raises(Malformed):
        open_transaction(chain.says(**content).encode() + bytes(64))


def test_a_notice_is_executed_by_every_node_and_proved_offline(
    mongo: MongoClient[dict[str, Any]], tmp_path: Path
) -> None:
    region = SharingRegion(mongo, tmp_path, f"t{sm3(str(tmp_path).encode()).hex()[:12]}", batch_entries=100)
    try:
        asked = region.sign(
            "hospital-west", AccessRequest, asked=SelectionAsked(sm3(b"selection"), 100),
            holders=(institution_id("hospital-east"),), purpose="research", ethics=sm3(b"ethics"),
            answer_key=region.node("hospital-west").heading()["key_id"],
        )  # fmt: skip
        region.block_of(asked)
        voices = [
            region.sign(one, Approval, request=asked.tx_id, digest=sm3(b"selection"), approves=True)
            for one in ("lab-centre", "hospital-district")
        ]
        region.block_of(*voices)
        package = {"package": sm3(b"package"), "manifest": sm3(b"manifest"), "records": 50, "size": 900}
        region.block_of(region.sign("hospital-east", Delivered, request=asked.tx_id, **package))
        said = region.sign(
            "hospital-east", Notice, request=asked.tx_id, holder=institution_id("hospital-east"), step="raised",
            affected=5,
        )  # fmt: skip
        region.block_of(said)
        replica, anchor = region.node("nursing-home").replica, region.genesis.anchor()
        shown = verify_receipt(prove_receipt(replica, said.tx_id), anchor, said.tx_id)
        assert shown.outcome.detail == bytes([0])
        place = asked.tx_id + institution_id("hospital-east")
        stands = verify_entry(prove_entry(replica, NOTICE, place), anchor, NOTICE, place)
        assert NoticeState.decode(stands.value or b"").affected == 5
    finally:
        region.close()
