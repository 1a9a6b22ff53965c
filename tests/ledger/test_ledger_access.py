"""ACCESS_REQ: the contract decides in the block; what it is asked must be well formed, and somebody's (section 14)."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sharing_world import (
    EAST,
    INSURER,
    LAB,
    PATIENT,
    REGULATOR,
    START_MS,
    TYPE,
    WEST,
    MemoryLedger,
    SharingRegion,
    asked,
    key_of,
    leaf,
)  # fmt: skip

from ledger.chain.leaves import Leaves
from ledger.chain.rules import ACCEPTED, DENIED, PENDING
from ledger.chain.state import REQUEST
from ledger.chain.transactions import open_transaction
from ledger.contracts.policy import FORBIDDEN, NO_RULES, NOT_PERMITTED, PERMITTED, PolicySet, default_policies
from ledger.contracts.policy_request import PURPOSES as ASKED_PURPOSES
from ledger.encoding import ZERO_DIGEST
from ledger.errors import Malformed, Refused
from ledger.messages.access import AccessRequest, judge, recent
from ledger.messages.asked import RecordAsked, SelectionAsked
from ledger.messages.consent import Consent
from ledger.messages.erasure import Erase
from ledger.messages.provisions import PURPOSES, Provision
from ledger.messages.request_state import ALLOWED, ERASED, WAITING, RequestState, Verdict
from shangmi import PrivateKey, sm3

Chain = tuple[MemoryLedger, AccessRequest]


@pytest.fixture
def chain() -> Chain:
    """A chain on which EAST has published five records, and WEST's request for one of them to treat its patient."""
    ledger = MemoryLedger()
    leaves = ledger.publish(EAST)
    return ledger, AccessRequest(
        **ledger.heading(WEST), asked=asked(leaves), holders=(EAST,), purpose="care", answer_key=key_of(WEST),
        patient=PATIENT,
    )  # fmt: skip


def permit(ledger: MemoryLedger, sequence: int = 1, permits: bool = True, **scope: Any) -> None:
    provision = Provision(permits, **scope)
    ledger.run(
        Consent(
            **ledger.heading(EAST), patient=PATIENT, sequence=sequence, provisions=(provision,), reference=sm3(b"f")
        )
    )


def verdict(ledger: MemoryLedger, tx: AccessRequest) -> Verdict:
    outcome = ledger.run(tx)
    return Verdict.decode(outcome.code, outcome.detail)


def test_a_permitted_request_is_allowed_and_stands_in_the_state(chain: Chain) -> None:
    ledger, tx = chain
    permit(ledger)
    outcome = ledger.run(tx)
    found = Verdict.decode(outcome.code, outcome.detail)
    policy_hash = PolicySet.decode(default_policies()).hash
    assert found == Verdict(True, PERMITTED, policy_hash, ("care.consented",))
    state = RequestState.decode(ledger.get(REQUEST, tx.tx_id) or b"")
    record = leaf(ledger.publish(EAST))
    assert (state.rid, state.version, state.type, state.digest) == (record.rid, 1, TYPE, record.ct_digest)
    assert (state.height, state.deadline, state.most) == (7, 17, 1)


def test_without_a_statement_of_the_patient_it_is_denied_and_leaves_nothing_in_the_state(chain: Chain) -> None:
    ledger, tx = chain
    before = dict(ledger.values)
    assert verdict(ledger, tx) == Verdict(False, NOT_PERMITTED, PolicySet.decode(default_policies()).hash, ())
    assert recent(ledger, WEST, False) == 1
    ledger.put(REQUEST, WEST, None)  # the count of requests alone
    assert ledger.values == before


def test_a_denial_of_the_patient_holds_in_an_emergency_too_and_its_rule_is_named(chain: Chain) -> None:
    ledger, tx = chain
    assert ledger.run(replace(tx, purpose="emergency")).code == ACCEPTED
    permit(ledger, permits=False)
    denied = verdict(ledger, replace(tx, purpose="emergency", nonce=bytes(16)))
    assert (denied.allowed, denied.reason, denied.policies) == (False, FORBIDDEN, ("never.denied",))


def test_a_permission_for_another_purpose_party_type_or_time_is_none(chain: Chain) -> None:
    ledger, tx = chain
    scopes: list[dict[str, Any]] = [
        {"purposes": frozenset({"research"})}, {"institutions": (LAB,)}, {"classes": ("C",)}, {"types": (TYPE + 1,)},
        {"valid": (0, START_MS)}, {"valid": (START_MS + 1, START_MS + 2)},
    ]  # fmt: skip
    for sequence, scope in enumerate(scopes, 1):
        permit(ledger, sequence, **scope)
        assert not verdict(ledger, tx).allowed, scope
    permit(ledger, 99, institutions=(LAB, WEST), types=(TYPE, TYPE + 1), purposes=frozenset({"care"}))
    assert verdict(ledger, tx).allowed


def test_an_erased_record_is_denied_whatever_policies_say(chain: Chain) -> None:
    ledger, tx = chain
    permit(ledger)
    record = leaf(ledger.publish(EAST))
    ledger.run(Erase(**ledger.heading(EAST), reason="patient", records=((record.rid, 1),)))
    assert verdict(ledger, tx) == Verdict(False, ERASED, ZERO_DIGEST, ())
    ledger.policies = PolicySet(
        '@id("all") @says("Everything.") permit (principal, action, resource);',
        PolicySet.decode(ledger.policies).schema,
    ).encode()
    assert verdict(ledger, tx) == Verdict(False, ERASED, ZERO_DIGEST, ())


def test_a_chain_without_policies_allows_nobody_anything(chain: Chain) -> None:
    ledger, tx = chain
    permit(ledger)
    ledger.policies = b""
    assert verdict(ledger, tx) == Verdict(False, NO_RULES, ZERO_DIGEST, ())


def test_an_insurer_without_a_vote_may_ask_and_is_judged_by_its_own_rules(chain: Chain) -> None:
    ledger, tx = chain
    permit(ledger)
    mine = replace(tx, **ledger.heading(INSURER), answer_key=key_of(INSURER))
    assert not verdict(ledger, mine).allowed
    assert verdict(ledger, replace(mine, purpose="claims")).policies == ("claims.consented",)


def test_a_dataset_for_research_waits_for_the_committee_and_without_ethics_approval_it_is_denied(chain: Chain) -> None:
    ledger, tx = chain
    selection = SelectionAsked(sm3(b"request"), 5_000)
    dataset = replace(
        tx, **ledger.heading(EAST), asked=selection, holders=tuple(sorted((LAB, WEST))), patient=ZERO_DIGEST,
        purpose="research", answer_key=key_of(EAST),
    )  # fmt: skip
    assert verdict(ledger, dataset).reason == NOT_PERMITTED
    assert ledger.get(REQUEST, dataset.tx_id) is None
    ethical = replace(dataset, ethics=sm3(b"document of an ethics committee"))
    outcome = ledger.run(ethical)
    found = Verdict.decode(outcome.code, outcome.detail)
    assert (outcome.code, found.allowed, found.pending, found.policies) == (PENDING, False, True, ("research.dataset",))
    state = RequestState.decode(ledger.get(REQUEST, ethical.tx_id) or b"")
    assert (state.most, state.stage, state.height, state.deadline, state.recent) == (5_000, WAITING, 7, 807, 1)
    large = replace(ethical, asked=SelectionAsked(sm3(b"another"), 1_000_001))
    assert verdict(ledger, large).policies == ("never.whole-region",)
    assert ledger.get(REQUEST, large.tx_id) is None


def test_requests_are_counted_by_kind_and_epoch_whatever_comes_of_them_and_too_many_are_denied(chain: Chain) -> None:
    ledger, tx = chain
    many = replace(
        tx, **ledger.heading(REGULATOR), answer_key=key_of(REGULATOR), asked=SelectionAsked(sm3(b"request"), 5),
        patient=ZERO_DIGEST, purpose="audit",
    )  # fmt: skip
    for number in range(20):
        one = replace(many, asked=SelectionAsked(sm3(b"%d" % number), 5))
        denied = verdict(ledger, replace(one, purpose="care")) if number % 2 else None
        assert denied is None or not denied.allowed
        assert denied or verdict(ledger, one).allowed
    assert (recent(ledger, REGULATOR, True), recent(ledger, REGULATOR, False)) == (20, 0)
    assert verdict(ledger, many).policies == ("rate.datasets",)
    assert recent(ledger, WEST, True) == recent(ledger, WEST, False) == 0
    record = replace(many, asked=tx.asked)
    assert verdict(ledger, record).pending  # records are counted apart
    ledger.epoch = 1
    assert verdict(ledger, many).allowed
    assert (recent(ledger, REGULATOR, True), recent(ledger, REGULATOR, False)) == (1, 0)


def test_every_broken_link_is_refused_and_nothing_changes(chain: Chain) -> None:
    ledger, tx = chain
    permit(ledger)
    good = tx.asked
    assert isinstance(good, RecordAsked)
    leaves = ledger.publish(EAST)
    other, changed = leaf(leaves, 3), replace(leaf(leaves), version=2)
    broken = [
        replace(good, seq=2),
        replace(good, index=3),
        replace(good, index=2**32 - 1),
        replace(good, leaf=other.encode()),
        replace(good, leaf=changed.encode()),
        replace(good, path=good.path[1:]),
        replace(good, path=(*good.path, bytes(32))),
        # A node of the tree handed in as a record would be found under the root, were leaves and nodes hashed alike.
        replace(good, leaf=good.path[0] + good.path[1], path=good.path[2:]),
    ]
    for one in broken:
        assert ledger.refuse(replace(tx, asked=one)) == "link"
    assert ledger.refuse(replace(tx, holders=(LAB,))) == "link"


def test_who_cannot_answer_or_cannot_open_the_answer_is_refused(chain: Chain) -> None:
    ledger, tx = chain
    permit(ledger)
    assert ledger.refuse(replace(tx, answer_key=key_of(LAB))) == "answer key"
    assert ledger.refuse(replace(tx, holders=(sm3(b"nobody")[:16],))) == "holder"
    assert ledger.refuse(replace(tx, **ledger.heading(EAST), answer_key=key_of(EAST))) == "holder"
    for standing in ("frozen", "revoked"):
        ledger.stand(EAST, standing)
        assert ledger.refuse(tx) == "holder"
    ledger.stand(EAST, "active")
    ledger.rekey(WEST, PrivateKey.generate())
    assert ledger.refuse(tx) == "answer key"


def test_what_is_no_request_is_malformed(chain: Chain) -> None:
    _, tx = chain
    selection = SelectionAsked(sm3(b"request"), 1)
    unordered = tuple(sorted((EAST, LAB), reverse=True))
    for wrong in (
        replace(tx, holders=()), replace(tx, holders=(EAST, EAST)), replace(tx, holders=tuple(sorted((EAST, LAB)))),
        replace(tx, holders=unordered, asked=selection, patient=ZERO_DIGEST), replace(tx, asked=selection),
        replace(tx, asked=replace(selection, most=0), patient=ZERO_DIGEST),
    ):  # fmt: skip
        with pytest.raises(Malformed):
            open_transaction(wrong.encode() + bytes(64))


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.data())
def test_changed_bytes_are_another_request_or_refused_by_one_family_of_errors(data: st.DataObject) -> None:
    ledger = MemoryLedger()
    tx = AccessRequest(
        **ledger.heading(WEST), asked=asked(ledger.publish(EAST)), holders=(EAST,), purpose="care",
        answer_key=key_of(WEST), patient=PATIENT, signature=bytes(64),
    )  # fmt: skip
    encoded = tx.encode()
    at = data.draw(st.integers(0, len(encoded) - 1))
    changed = encoded[:at] + bytes([encoded[at] ^ data.draw(st.integers(1, 255))]) + encoded[at + 1 :]
    for one in (changed, encoded[:at], encoded + b"\0"):
        with suppress(Refused):
            assert open_transaction(one).encode() == one
    assert open_transaction(encoded) == tx


def test_states_and_verdicts_read_back_what_was_written(chain: Chain) -> None:
    ledger, tx = chain
    permit(ledger)
    found = verdict(ledger, tx)
    assert Verdict.decode(ACCEPTED, found.encode()) == found
    state = RequestState.decode(ledger.get(REQUEST, tx.tx_id) or b"")
    assert RequestState.decode(replace(state, reader="doctor").encode()).reader == "doctor"
    assert judge(ledger, state).allowed
    for bad in (b"", found.encode() + b"\0", b"\xff" + found.encode()[1:]):
        with pytest.raises(Malformed):
            Verdict.decode(DENIED, bad)
    assert ASKED_PURPOSES == PURPOSES


def test_a_doctor_reads_through_a_hospital_and_not_through_an_insurer(chain: Chain) -> None:
    ledger, tx = chain
    permit(ledger)
    assert verdict(ledger, replace(tx, reader="doctor")).allowed
    mine = replace(tx, **ledger.heading(INSURER), answer_key=key_of(INSURER), purpose="claims")
    assert not verdict(ledger, replace(mine, reader="doctor")).allowed


def test_the_same_request_decides_alike_on_every_ledger(chain: Chain) -> None:
    ledger, tx = chain
    permit(ledger)
    other = MemoryLedger(values=dict(ledger.values))
    assert other.run(tx) == ledger.run(tx)
    assert other.values == ledger.values


def test_decision_and_its_policies_stand_in_the_block_and_a_repeat_has_one_effect(mongo: Any, tmp_path: Any) -> None:
    region = SharingRegion(mongo, tmp_path, f"t{sm3(str(tmp_path).encode()).hex()[:12]}")
    try:
        batch = region.publish("hospital-east")
        region.block_of(batch)
        leaves = Leaves.decode(batch.leaves)
        denied = region.request("hospital-west", "hospital-east", leaves, purpose="care")
        allowed = region.request("hospital-west", "hospital-east", leaves, purpose="emergency")
        region.block_of(denied, allowed)
        node = region.node("health-commission")
        assert node.replica.view.state(REQUEST, denied.tx_id) is None
        assert node.replica.view.state(REQUEST, allowed.tx_id) is not None
        receipts = node.replica.receipts(2)
        assert b"care.emergency" in receipts[1] and b"care" not in receipts[0]
        # Invariant 23: the same transaction offered again is left out, however it is signed.
        before = region.snapshot()
        again = region.producer().propose([(allowed.tx, b""), (denied.tx, b"")])
        assert again is None and region.snapshot() == before
        forged = region.node("hospital-west").sign(open_transaction(allowed.tx))  # type: ignore[arg-type]
        assert forged != allowed.tx and region.producer().propose([(forged, b"")]) is None
    finally:
        region.close()


def test_the_regulator_reads_one_record_for_supervision_with_the_committees_approval_only(chain: Chain) -> None:
    ledger, tx = chain
    mine = replace(tx, **ledger.heading(REGULATOR), answer_key=key_of(REGULATOR), purpose="audit", patient=ZERO_DIGEST)
    assert not verdict(ledger, mine).allowed
    assert not verdict(ledger, replace(mine, ethics=sm3(b"order"))).allowed
    approved = replace(mine, nonce=bytes(16))
    ledger.run(approved)
    assert ledger.approve(approved, WEST, LAB).policies == ("supervision.record",)
    assert RequestState.decode(ledger.get(REQUEST, approved.tx_id) or b"").stage == ALLOWED
