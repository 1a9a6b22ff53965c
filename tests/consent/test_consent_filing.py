"""Wishes become statements on the chain once, joined with what stands; killed anywhere, filing goes on."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from consent_world import RESEARCH, ConsentWorld, deny, grant, paper, withdraw
from vault_world import NAME, everything, patient, seal_one

from ledger.chain.transactions import open_transaction
from ledger.messages.erasure import Erase
from ledger.messages.provisions import Provision
from schemas.records import Resource
from schemas.residents import RESIDENT
from shangmi import PrivateKey
from sharing.consent.desk import settle
from sharing.consent.filing import Wish, file_many, file_one
from sharing.errors import Refused
from vault.consents import Form

CARE = frozenset({"care"})


def test_a_wish_stands_after_the_next_block_and_rests_on_a_paper_nobody_else_can_try(world: ConsentWorld) -> None:
    world.admit(1)
    form = paper()
    assert file_one(world.desk, replace(grant("p0"), form=form)).filed == 1
    assert world.state("p0") is None
    world.block()
    state = world.state("p0")
    assert state is not None and state.provisions == (Provision(True, RESEARCH),)
    assert state.reference == form.on_chain
    ((_, kept),) = world.vault.consents.history(world.vault.consents.owner("p0"))
    assert kept == form and kept.on_chain == Form(form.reference, form.digest, form.salt).on_chain
    stored = str(everything(world.vault.consents._consents.database))
    assert form.reference not in stored and NAME not in stored and form.salt.hex() not in stored


def test_the_same_wish_again_does_nothing_before_and_after_the_block(world: ConsentWorld) -> None:
    ids = world.admit(3)
    wishes = [grant(one) for one in ids]
    assert file_many(world.desk, wishes).filed == 3
    again = file_many(world.desk, wishes)
    assert (again.filed, again.same, again.waiting) == (0, 3, 3)
    world.block()
    after = file_many(world.desk, [grant(one) for one in ids])
    assert (after.filed, after.same, after.waiting) == (0, 3, 0)
    assert not world.region.exchange.submissions()


def test_wishes_of_one_patient_are_joined_also_while_they_wait(world: ConsentWorld) -> None:
    world.admit(1)
    file_many(world.desk, [grant("p0"), grant("p0", Provision(True, CARE))])
    file_many(world.desk, [deny("p0", Provision(False, RESEARCH, types=(14,)))])
    world.block()
    state = world.state("p0")
    assert state is not None and state.sequence == 3
    assert set(state.provisions) == {Provision(True, CARE | RESEARCH), Provision(False, RESEARCH, types=(14,))}


def test_withdrawing_takes_all_back_and_a_new_grant_begins_anew(world: ConsentWorld) -> None:
    world.admit(2)
    assert file_many(world.desk, [withdraw("p0")]).refused[0][0] == "p0"
    file_many(world.desk, [grant("p0"), withdraw("p0"), withdraw("p0")])
    world.block()
    state = world.state("p0")
    assert state is not None and state.withdrawn and state.sequence == 2
    file_many(world.desk, [grant("p0", Provision(True, CARE))])
    world.block()
    state = world.state("p0")
    assert state is not None and not state.withdrawn and state.provisions == (Provision(True, CARE),)


def test_who_is_not_known_here_is_refused_by_place_and_the_others_are_filed(world: ConsentWorld) -> None:
    ids = world.admit(2)
    found = file_many(world.desk, [grant(ids[0]), replace(grant("secret-id"), place="line 3"), grant(ids[1])])
    assert (found.wishes, found.filed) == (3, 2)
    assert [place for place, _ in found.refused] == ["line 3"] and "secret-id" not in str(found)
    with pytest.raises(Refused):
        file_one(world.desk, grant("nobody"))


def test_a_person_known_as_two_patients_has_a_statement_for_each(world: ConsentWorld) -> None:
    for number, id_ in enumerate(("a", "b")):
        found = patient(id_)
        found.body["identifier"] = [{"system": RESIDENT, "value": "11010519491231002X"}]
        seal_one(world.vault, number, found)
    world.vault.persons.examine()
    assert file_one(world.desk, grant("a")).filed == 2
    world.block()
    first, second = world.state("a"), world.state("b")
    assert first is not None and second is not None and first.provisions == second.provisions
    assert file_one(world.desk, grant("b")).same == 1


def test_the_patients_own_key_signs_and_then_only_it_or_a_form_does(world: ConsentWorld) -> None:
    world.admit(1)
    mine, other = PrivateKey.generate(), PrivateKey.generate()
    signed = Wish("p0", "grant", (Provision(True, RESEARCH),), key=mine)
    file_one(world.desk, signed)
    world.block()
    state = world.state("p0")
    assert state is not None and state.patient_key == mine.public.bytes
    with pytest.raises(Refused, match="another key"):
        file_one(world.desk, replace(signed, provisions=(Provision(True, CARE),), key=other))
    file_one(world.desk, deny("p0"))
    world.block()
    state = world.state("p0")
    assert state is not None and not any(one.permits for one in state.provisions)


def test_killed_between_noting_and_posting_the_same_statement_is_offered_again(
    world: ConsentWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.admit(1)
    desk = world.desk

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(desk), "post", killed)
        with pytest.raises(KeyboardInterrupt):
            file_many(desk, [grant("p0")])
    assert not world.region.exchange.submissions()
    found = file_many(world.desk, [grant("p0")])
    assert (found.filed, found.same, found.waiting) == (0, 1, 1)
    world.block()
    assert world.state("p0") is not None
    assert settle(world.desk) == []


def test_two_who_file_for_one_patient_at_the_same_time_do_not_take_each_others_number(
    world: ConsentWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.admit(1)
    desk, other = world.desk, world.desk
    signed = desk.node.sign
    form = paper("the other's")

    def meanwhile() -> None:
        monkeypatch.undo()
        file_one(other, replace(deny("p0"), form=form))

    monkeypatch.setattr(desk.node, "sign", lambda draft: (meanwhile(), signed(draft))[1])
    found = file_many(desk, [grant("p0")])
    assert found.filed == 0 and "somebody else" in found.refused[0][1]
    world.block()
    state = world.state("p0")
    assert state is not None and state.provisions == (Provision(False, RESEARCH),) and state.reference == form.on_chain
    ((_, kept),) = world.vault.consents.history(world.vault.consents.owner("p0"))
    assert kept == form


def test_a_statement_that_lapsed_is_forgotten_and_filed_anew_under_its_number(world: ConsentWorld) -> None:
    world.admit(1)
    file_one(world.desk, grant("p0"))
    ((tx, leaves),) = world.region.exchange.submissions()
    world.region.exchange.retire_submission(tx, leaves)  # lost on its way
    world.region.grow(3, count=1)
    assert file_one(world.desk, deny("p0")).filed == 1
    world.block()
    state = world.state("p0")
    assert state is not None and state.sequence == 1 and state.provisions == (Provision(False, RESEARCH),)


def test_only_so_many_wait_for_a_block_and_the_rest_is_taken_up_later(world: ConsentWorld) -> None:
    wishes = [grant(one) for one in world.admit(7)]
    first = file_many(world.desk, wishes, most=3)
    assert (first.filed, first.left, first.waiting) == (3, 4, 3)
    assert file_many(world.desk, wishes, most=3).left == 7
    world.block()
    second = file_many(world.desk, wishes, most=3, between=world.block)
    assert (second.filed, second.same, second.left) == (4, 3, 0)
    world.block()
    assert all(world.state(one.patient) for one in wishes)


def report(id_: str, of: str) -> Resource:
    body = {
        "resourceType": "DiagnosticReport", "id": id_, "status": "final", "code": {"text": "血常规"},
        "subject": {"reference": f"Patient/{of}"}, "effectiveDateTime": "2026-11-20",
    }  # fmt: skip
    return Resource(body, "OBR", of)


def test_who_denies_the_directory_is_kept_out_of_summaries_and_let_in_again(world: ConsentWorld) -> None:
    world.admit(1)
    seal_one(world.vault, 99, report("r", "p0"))
    owner, directory = world.vault.consents.owner("p0"), frozenset({"directory"})
    summarised = world.vault._layout["records"].count_documents
    assert summarised({"summary": {"$exists": True}}) == 1
    file_one(world.desk, deny("p0", Provision(False, directory)))
    assert summarised({"summary": {"$exists": True}}) == 0
    told = [open_transaction(tx) for tx, _ in world.region.exchange.submissions()]
    (erasure,) = [one for one in told if isinstance(one, Erase)]
    assert (erasure.reason, len(erasure.records)) == ("directory", 1)
    world.block()
    seal_one(world.vault, 100, report("later", "p0"))
    assert summarised({"summary": {"$exists": True}}) == 0
    file_one(world.desk, grant("p0", Provision(True, directory)))
    seal_one(world.vault, 101, report("again", "p0"))
    assert summarised({"summary": {"$exists": True}}) == 1
    file_one(world.desk, withdraw("p0"))
    assert world.vault.consents.withheld([owner]) == {owner} and summarised({"summary": {"$exists": True}}) == 0


def test_hundreds_a_second_are_filed(world: ConsentWorld) -> None:
    owners = [f"p{number}" for number in range(100)]
    patients = world.vault._layout["patients"]
    patients.insert_many([{"_id": world.vault.consents.owner(one), "salt": bytes(32)} for one in owners])
    began = time.perf_counter()
    found = file_many(world.desk, [grant(one) for one in owners])
    assert found.filed == 100
    assert 100 / (time.perf_counter() - began) > 20  # measured: some 450 a second; machines of tests are slow
