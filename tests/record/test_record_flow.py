"""From a summary to the record itself: asked, allowed, answered, opened, confirmed; and every answer that is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from bson import Binary
from record_world import OTHER, OWNER, READER, REGULATOR, World

from dags.steps.records import desk
from ledger.chain.roster import Roster
from ledger.chain.state import INSTITUTION, ONLY, ROSTER, SEEN, InstitutionState
from ledger.chain.transaction import Transaction
from ledger.chain.transactions import open_transaction
from ledger.chain.validators import institution_id
from ledger.encoding import ZERO_DIGEST
from ledger.messages.access import AccessRequest
from ledger.messages.approval import Approval
from ledger.messages.delivery import Delivered
from ledger.messages.erasure import Erase
from ledger.messages.provisions import Provision
from shangmi import PrivateKey
from sharing.errors import Malformed, NotForThisKey, NotYet, Refused
from sharing.record.answer import open_answer
from sharing.record.answering import judged, terms_of
from sharing.record.asking import Question, Reference, ask, find_record
from sharing.record.opening import confirm, open_record, requests_of
from vault.entries import locator

DAY_2026_01_05 = (1_767_542_400_000, 1_767_628_800_000)  # in UTC+8


def stage(world: World, tx_id: bytes) -> str:
    [found] = [one.stage for one in requests_of(world.desk()) if one.request == tx_id]
    return found


def answered(world: World, tx_id: bytes) -> str | None:
    """What the holder says in the block after the one that came before."""
    world.answer()
    world.block()
    world.answer()
    found = world.delivery(tx_id)
    return None if found is None else found.answer


def reasons(world: World, tx_id: bytes) -> set[str | None]:
    """Why there is no record, as the holder's answer says, the refusal to open it, and the list of requests."""
    answer = answered(world, tx_id)
    with pytest.raises(Refused) as error:
        open_record(world.desk(), tx_id)
    return {answer, error.value.rule, stage(world, tx_id)}


def test_a_permitted_record_is_asked_for_answered_opened_and_confirmed(world: World) -> None:
    at = world.fresh()
    tx_id = world.ask(at)
    assert stage(world, tx_id) == "allowed"
    with pytest.raises(NotYet, match="has not answered"):
        open_record(world.desk(), tx_id)
    assert world.answer() == {"waiting": 1, "delivered": 1}
    assert world.shelf() == []  # nothing leaves before the chain has it
    world.block()
    assert world.answer() == {"shown": 1}
    opened = open_record(world.desk(), tx_id)
    wanted = world.reference(at)
    assert opened.body == world.at.vault(OWNER).records.open_located(locator(wanted.rid, wanted.version))
    confirm(world.desk(), tx_id)
    confirm(world.desk(), tx_id)
    world.block()
    found = world.delivery(tx_id)
    assert found is not None and found.received == found.height + 1
    assert stage(world, tx_id) == "received"
    assert world.answer() == {"taken": 1}
    assert world.shelf() == [] == list(world.at.client[f"xinglin_{OWNER}"]["answers"].find())
    with pytest.raises(NotYet, match="taken away"):
        open_record(world.desk(), tx_id)


def test_a_pass_that_is_repeated_offers_the_same_answer_again(world: World) -> None:
    at = world.fresh()
    tx_id = world.ask(at)
    for _ in range(3):
        world.answer()
        offered = [open_transaction(tx) for tx, _ in world.at.exchange.submissions()]
        assert sum(isinstance(one, Delivered) for one in offered) == 1
    [kept] = world.at.client[f"xinglin_{OWNER}"]["answers"].find()
    world.block()
    world.answer()
    world.answer()
    assert world.shelf() == [kept["_id"]]
    assert open_record(world.desk(), tx_id).body["resourceType"]
    confirm(world.desk(), tx_id)
    world.block()
    world.answer()


def test_without_a_statement_nothing_is_signed_and_the_rule_is_named(world: World) -> None:
    at = world.fresh()
    nobody = Question(world.reference(at), "care", "doctor")
    with pytest.raises(Refused, match=r"^no rule: No rule permits it") as error:
        ask(world.desk(), nobody)
    assert "and the request names the patient" in str(error.value)
    assert str(error.value).endswith("in an emergency (--purpose emergency), which is reviewed.")
    insurer = Question(world.reference(at), "care", "insurer", world.patient(at))
    with pytest.raises(Refused, match="allowed with --reader doctor, or with --reader patient"):
        ask(world.desk(), insurer)
    claims = Question(world.reference(at), "claims", "hospital", world.patient(at))
    with pytest.raises(Refused) as error:
        ask(world.desk(), claims)
    assert "with --reader patient" in str(error.value)
    assert world.block() is None


def test_a_denied_request_stands_in_its_receipt_and_is_answered_by_nobody(world: World) -> None:
    at = world.fresh()
    here = world.desk()
    holder, asked = find_record(here, world.reference(at))
    key = here.node.heading()["key_id"]
    tx_id = world.offer(READER, AccessRequest, asked=asked, holders=(holder,), purpose="care", answer_key=key)
    assert world.block() is not None
    assert world.request(tx_id) is None
    assert "waiting" not in world.answer()
    with pytest.raises(Refused, match=r"not permitted|No rule permitted it"):
        open_record(world.desk(), tx_id)


def test_what_waits_for_the_committee_is_answered_once_two_of_its_members_approve(world: World) -> None:
    at, supervisor = world.fresh(), desk(REGULATOR, world.at)
    tx_id = ask(supervisor, Question(world.reference(at), "audit"))
    world.block()
    assert [one.stage for one in requests_of(supervisor)] == ["pending"]
    with pytest.raises(NotYet, match="data access committee"):
        open_record(supervisor, tx_id)
    request = world.request(tx_id)
    assert request is not None
    for member in (OTHER, READER):
        world.offer(member, Approval, request=tx_id, digest=request.digest, approves=True)
    world.block()
    assert answered(world, tx_id) == "delivered"
    assert open_record(supervisor, tx_id).body["resourceType"] == "DiagnosticReport"


def test_what_nobody_published_is_refused_by_its_name(world: World) -> None:
    for text in ("lab-centre/" + "0" * 32 + ".1", "0" * 32, f"{OTHER}/{world.reference().rid.hex()}.1"):
        with pytest.raises(Refused, match="no final block up to"):
            ask(world.desk(), Question(Reference.read(text), "emergency"))
    for text in ("", "lab", "0" * 31, "a/b/" + "0" * 32, "0" * 32 + ".0", "0" * 32 + ".9999999999", "../" + "0" * 32):
        with pytest.raises(Malformed, match="expected INSTITUTION/RECORD"):
            Reference.read(text)
    for purpose, reader in (("directory", ""), ("curiosity", ""), ("care", "neighbour")):
        with pytest.raises(Malformed, match="expected one of"):
            Question(world.reference(), purpose, reader)
    assert Reference.read(str(world.reference()).upper()) == world.reference()


# --- what comes in between ---------------------------------------------------------------------------------------


def test_a_withdrawal_before_the_answer_stops_it(world: World) -> None:
    at, before = world.fresh(), world.shelf()
    tx_id = world.ask(at)
    world.consent(at, withdraw=True)
    assert reasons(world, tx_id) == {"not-permitted"}
    assert world.shelf() == before


def test_a_withdrawal_after_the_answer_was_made_and_before_its_block_stops_it(world: World) -> None:
    at = world.fresh()
    tx_id = world.ask(at)
    world.answer()
    waiting, before = world.at.exchange.submissions(), world.shelf()
    for tx, leaves in waiting:  # the holder's message is late
        world.at.exchange.retire_submission(tx, leaves)
    world.consent(at, withdraw=True)
    for tx, leaves in waiting:
        world.at.exchange.post_submission(tx, leaves)
    world.block()  # producers leave it out: the rules forbid it by now
    assert world.delivery(tx_id) is None and world.shelf() == before
    assert reasons(world, tx_id) == {"not-permitted"}
    assert world.shelf() == before


def test_a_withdrawal_after_the_delivery_takes_away_what_was_not_fetched(world: World) -> None:
    at, before = world.fresh(), world.shelf()
    tx_id = world.ask(at)
    world.delivered(tx_id)
    world.consent(at, withdraw=True)
    assert world.answer()["taken"] >= 1 and world.shelf() == before
    with pytest.raises(Refused, match="no longer permits"):
        open_record(world.desk(), tx_id)


def test_a_statement_of_other_dates_does_not_permit_this_record(world: World) -> None:
    at, before = world.fresh(), world.shelf()
    world.consent(at, Provision(True, data=(0, DAY_2026_01_05[0])))
    assert reasons(world, world.ask(at)) == {"not-permitted"}
    assert world.shelf() == before
    world.consent(at, Provision(True, data=DAY_2026_01_05))
    assert answered(world, world.ask(at)) == "delivered"


def test_naming_another_patient_opens_nothing(world: World) -> None:
    willing, other, before = world.fresh(), world.fresh(), world.shelf()
    assert reasons(world, world.ask(other, patient=world.patient(willing))) == {"other-patient"}
    assert world.shelf() == before


def test_an_emergency_that_names_nobody_does_not_open_what_its_patient_denies(world: World) -> None:
    at, before = world.fresh(), world.shelf()
    world.consent(at, Provision(False))
    tx_id = world.ask(at, "emergency", patient=ZERO_DIGEST)
    assert reasons(world, tx_id) == {"not-permitted"}
    assert world.shelf() == before


def test_an_erasure_before_the_answer_stops_it(world: World) -> None:
    at, before = world.fresh(), world.shelf()
    tx_id, record = world.ask(at), world.reference(at)
    world.offer(OWNER, Erase, reason="patient", records=((record.rid, record.version),))
    world.block()
    assert reasons(world, tx_id) == {"erased"}
    assert world.shelf() == before
    with pytest.raises(Refused, match=r"never\.erased"):
        world.ask(at)


def test_a_key_that_is_gone_here_is_told_before_the_chain_knows_of_the_erasure(world: World) -> None:
    at, before = world.fresh(), world.shelf()
    tx_id, record = world.ask(at), world.reference(at)
    world.at.vault(OWNER).erase_record(record.rid)
    assert reasons(world, tx_id) == {"erased"}
    assert world.shelf() == before


def test_bytes_that_were_changed_in_the_store_are_not_given(world: World) -> None:
    at, before = world.fresh(), world.shelf()
    tx_id, record = world.ask(at), world.reference(at)
    records = world.at.client[f"xinglin_{OWNER}"]["records"]
    place = {"_id": locator(record.rid, record.version)}
    good = records.find_one(place, {"envelope": 1})
    assert good is not None
    bad = bytearray(good["envelope"])
    bad[-1] ^= 1
    records.update_one(place, {"$set": {"envelope": Binary(bytes(bad))}})
    assert reasons(world, tx_id) == {"unreadable"}
    assert world.shelf() == before
    records.update_one(place, {"$set": {"envelope": good["envelope"]}})


def test_a_requester_whose_key_changed_or_who_was_frozen_is_given_nothing(world: World) -> None:
    at = world.fresh()
    tx_id = world.ask(at)
    request = world.request(tx_id)
    assert request is not None
    vault, asking = world.at.vault(OWNER), institution_id(READER)

    def judged_after(change: Callable[[Roster], Roster]) -> object:
        state = world.now(OWNER)
        state.put(ROSTER, ONLY, change(state.roster).encode())
        return judged(vault, state, request)

    def rekeyed(roster: Roster) -> Roster:
        found = roster.registration(asking)
        assert found is not None
        return roster.with_(replace(found, public_key=PrivateKey.generate().public.bytes))

    def frozen(roster: Roster) -> Roster:
        found = roster.registration(asking)
        assert found is not None
        return roster.with_(replace(found, standing="frozen"))

    assert not isinstance(judged_after(lambda roster: roster), str)
    assert judged_after(rekeyed) == judged_after(frozen) == "not-permitted"
    state = world.now(OWNER)
    state.put(INSTITUTION, asking, InstitutionState(0, bytes(16), 2).encode())
    assert judged(vault, state, request) == "not-permitted"
    assert answered(world, tx_id) == "delivered"  # in truth nothing of that happened


# --- whom it is not for ------------------------------------------------------------------------------------------


def test_nobody_but_who_asked_opens_or_confirms_the_answer(world: World) -> None:
    at = world.fresh()
    tx_id = world.ask(at)
    world.delivered(tx_id)
    for other in (OTHER, OWNER):
        with pytest.raises(Refused, match="another institution asked"):
            open_record(desk(other, world.at), tx_id)
        with pytest.raises(Refused, match="another institution asked"):
            confirm(desk(other, world.at), tx_id)
    delivery, request = world.delivery(tx_id), world.request(tx_id)
    assert delivery is not None and request is not None
    answer = world.desk().shelf.get(delivery.package, delivery.size)
    assert answer is not None
    terms, stranger = terms_of(world.at.genesis.chain_id, tx_id, request), world.at.keystore(OTHER).signing_key
    with pytest.raises(NotForThisKey):
        open_answer(answer, terms, OWNER, stranger.public, stranger.decrypt)
    assert stage(world, tx_id) == "delivered"


def test_an_answer_changed_on_the_shelf_is_not_taken(world: World) -> None:
    at = world.fresh()
    tx_id = world.ask(at)
    world.delivered(tx_id)
    delivery = world.delivery(tx_id)
    assert delivery is not None
    shelf, place = world.at.client["xinglin_exchange"]["answers"], {"_id": f"{delivery.package.hex()}.0"}
    good = shelf.find_one(place)
    assert good is not None
    for bad in ({"data": good["data"][:-1]}, {"data": "text"}, {"count": 2}, {"data": good["data"] + b"\0"}):
        shelf.update_one(place, {"$set": bad})
        with pytest.raises(NotYet, match="does not lie on the shelf"):
            open_record(world.desk(), tx_id)
        shelf.replace_one(place, good)
    assert open_record(world.desk(), tx_id).body


def test_requests_that_are_no_ones_word_never_enter_a_block(world: World) -> None:
    at = world.fresh()
    here, key = world.desk(), world.at.keystore(READER).signing_key
    holder, asked = find_record(here, world.reference(at))

    def made(**changes: object) -> AccessRequest:
        heading = {**here.node.heading(), **changes}
        return AccessRequest(
            **heading, asked=asked, holders=(holder,), purpose="care", reader="doctor", patient=world.patient(at),
            answer_key=here.node.heading()["key_id"],
        )  # fmt: skip

    def signed(tx: Transaction) -> bytes:
        return replace(tx, signature=key.sign(tx.signed_bytes())).encode()

    good = signed(made())
    altered = replace(made(), signature=signed(made())[-64:], purpose="emergency").encode()
    height = world.now().height
    bad = {
        "unsigned": replace(made(), signature=bytes(64)).encode(),
        "altered": altered,
        "expired": signed(made(expiry_height=height - 1)),
        "another chain's": signed(made(chain_id=bytes(32))),
        "another's name": signed(made(sender=institution_id(OTHER))),
    }
    for tx in bad.values():
        world.at.exchange.post_submission(tx, b"")
    assert world.block() is None
    world.at.exchange.post_submission(good, b"")
    world.block()
    world.at.exchange.post_submission(good, b"")  # replayed
    assert world.block() is None
    assert world.answer()["waiting"] == 1
    assert world.now().get(SEEN, AccessRequest.decode(good).tx_id) is not None
    for tx in bad.values():
        world.at.exchange.retire_submission(tx, b"")


def test_an_id_of_nothing_opens_nothing(world: World) -> None:
    for id_ in (bytes(32), b"", bytes(31)):
        with pytest.raises(Refused, match="no final block holds"):
            open_record(world.desk(), id_)
