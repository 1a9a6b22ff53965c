"""Which patients are one person: by their evidence alone, never silently, and a merge taken back is taken back."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from pymongo.database import Database
from vault_world import everything, raw, run

from schemas.records import Resource
from schemas.residents import RESIDENT
from vault.errors import Unknown
from vault.identity import UNLINKED
from vault.keystore import FileKeystore
from vault.persons import MOST
from vault.store import Vault

Db = Database[dict[str, Any]]
ONE, TWO = "11010519491231002X", "330106198001010017"  # the second: male, 1980-01-01


def check(number: str) -> str:
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    return number[:17] + "10X98765432"[sum(w * int(d) for w, d in zip(weights, number, strict=False)) % 11]


TWO = check(TWO)


def someone(id_: str, resident: str = "", card: str = "", **more: Any) -> Resource:
    identifiers = [{"system": "urn:east:mr", "value": id_}]
    identifiers += [{"system": RESIDENT, "value": resident}] if resident else []
    identifiers += [{"system": "urn:region:card", "value": card}] if card else []
    return Resource({"resourceType": "Patient", "id": id_, "identifier": identifiers, **more}, "PID", id_)


def merged(id_: str, into: str) -> Resource:
    link = {"other": {"reference": f"Patient/{into}"}, "type": "replaced-by"}
    return someone(id_, link=[link], active=False)


def survives(id_: str, over: str, **more: Any) -> Resource:
    return someone(id_, link=[{"other": {"reference": f"Patient/{over}"}, "type": "replaces"}], **more)


def apart(id_: str, other: str) -> Resource:
    extension = {"url": UNLINKED, "valueReference": {"reference": f"Patient/{other}"}}
    return someone(id_, extension=[extension], active=True)


def tell(vault: Vault, *messages: tuple[Resource, ...]) -> int:
    """Each message is sealed after the one before; returns how many questions are open."""
    for message in messages:
        vault.landing.put(raw(vault.landing._layout.last_number("landing") + 1))
        run(vault, "east-his", lambda _, resources=message: resources)
    return vault.persons.examine()


def together(vault: Vault, *ids: str) -> bool:
    return len({vault.persons.of(one) for one in ids}) == 1 and len(vault.persons.of(ids[0]).members) == len(ids)


def test_patients_with_the_same_resident_number_are_one_person_whoever_sent_them(vault: Vault) -> None:
    assert tell(vault, (someone("a", ONE),), (someone("b", ONE),), (someone("c"),)) == 0
    assert together(vault, "a", "b")
    assert together(vault, "c")
    assert vault.persons.of("nobody").members == (vault.persons.of("nobody").survivor,)


def test_a_resident_number_with_a_wrong_check_joins_nobody(vault: Vault) -> None:
    wrong = "110105194912310021"
    tell(vault, (someone("a", wrong),), (someone("b", wrong),))
    assert not together(vault, "a", "b")


def test_a_number_of_the_same_assigner_joins_and_is_no_longer_shared_once_corrected(vault: Vault) -> None:
    tell(vault, (someone("a", card="7"),), (someone("b", card="7"),))
    assert together(vault, "a", "b")
    tell(vault, (someone("b", card="8"),))
    assert not together(vault, "a", "b")


@pytest.mark.parametrize("order", list(itertools.permutations(range(4)))[::4])
def test_the_order_of_arrival_decides_nothing(database: Db, keystore: FileKeystore, order: tuple[int, ...]) -> None:
    vault = Vault(database, keystore, "hospital-east", bytes(32))
    told = [(someone("a", ONE),), (someone("b", ONE, "7"),), (someone("c", card="7"),), (someone("d", TWO),)]
    assert tell(vault, *(told[at] for at in order)) == 0
    assert together(vault, "a", "b", "c")
    assert together(vault, "d")


def test_a_number_shared_by_two_people_joins_nobody_until_somebody_decides(vault: Vault) -> None:
    assert tell(vault, (someone("a", ONE, "7"),), (someone("b", TWO, "7"),)) == 1
    assert not together(vault, "a", "b")
    (question,) = vault.persons.questions()
    assert question.reason == "shared-number"
    vault.persons.decide(question.id, "different")
    assert not together(vault, "a", "b")
    assert tell(vault, (someone("a", ONE, "7", gender="female"),)) == 0
    vault.persons.decide(question.id, "same")
    assert together(vault, "a", "b")
    assert vault.persons.questions() == []
    assert [one.state for one in vault.persons.questions(decided=True)] == ["same"]


def test_a_resident_number_that_disagrees_with_birth_date_or_gender_joins_nobody(vault: Vault) -> None:
    assert tell(vault, (someone("a", ONE, birthDate="1949-12-31"),), (someone("b", ONE, gender="male"),)) == 1
    assert not together(vault, "a", "b")
    assert vault.persons.questions()[0].reason == "resident-number-disagrees"
    tell(vault, (someone("b", ONE, gender="female"),))
    assert together(vault, "a", "b")
    assert vault.persons.questions() == []


def test_a_merge_joins_and_its_survivor_stands_for_both_through_later_news(vault: Vault) -> None:
    tell(vault, (someone("a"),), (survives("b", "a"), merged("a", "b")), (someone("a", gender="male"),))
    assert together(vault, "a", "b")
    assert vault.persons.of("a").survivor == vault.persons.of("b").members[0]
    bodies = {vault.records.open_located(one.locator)["id"] for one in vault.records.find(person=vault.persons.of("b"))}
    assert bodies == {"a", "b"}


def test_a_merge_taken_back_is_taken_back_whichever_is_settled_first(vault: Vault) -> None:
    vault.landing.put_many([raw(1), raw(2)])
    said = {raw(1).native_id: (survives("b", "a"), merged("a", "b")), raw(2).native_id: (apart("a", "b"),)}
    batches = vault.batches.plan("east-his", 1, "a run")
    from vault.results import RecordResult

    for batch in reversed(batches):
        results = [RecordResult(one.id, "sealed", said[one.raw.native_id]) for one in vault.batches.records(batch)]
        vault.batches.settle(batch, results, "map/1")
    assert not together(vault, "a", "b")
    assert vault.persons.of("a").members == (vault.persons.of("a").survivor,)


def test_a_merge_of_two_resident_numbers_is_asked_before_it_joins(vault: Vault) -> None:
    assert tell(vault, (someone("a", ONE),), (someone("b", TWO),), (merged("a", "b"),), (someone("a", ONE),)) == 1
    assert not together(vault, "a", "b")
    assert vault.persons.questions()[0].reason == "two-resident-numbers"


def test_a_killed_examination_is_done_again(vault: Vault, database: Db) -> None:
    tell(vault, (someone("a", ONE, "7"),), (someone("b", TWO, "7"),))
    database["identity_questions"].delete_many({})
    database["identities"].update_many({}, {"$set": {"examined": False}})
    assert vault.persons.examine() == 1


def test_nothing_that_names_a_person_stands_readable_and_an_erased_patient_leaves_no_trace(
    vault: Vault, database: Db
) -> None:
    tell(vault, (someone("a", ONE, "7"),), (someone("b", TWO, "7"),), (merged("b", "a"),))
    kept = {name: rows for name, rows in everything(database).items() if name.startswith("identit")}
    assert set(kept) == {"identities", "identity_links", "identity_questions"}
    for secret in (ONE, TWO, "urn:region:card", "1949"):
        assert secret not in repr(kept)
    vault.erase("b")
    assert together(vault, "a")
    assert vault.persons.questions() == []
    left = {name: len(rows) for name, rows in everything(database).items() if name.startswith("identit")}
    assert left == {"identities": 1, "identity_links": 0, "identity_questions": 0}


def test_deciding_a_question_that_is_none_changes_nothing(vault: Vault, database: Db) -> None:
    tell(vault, (someone("a", ONE),))
    before = everything(database)
    with pytest.raises(Unknown):
        vault.persons.decide("00" * 16, "same")
    assert everything(database) == before


def test_a_number_that_everybody_has_joins_nobody_and_asks_nothing(vault: Vault) -> None:
    vault.landing.put(raw(1))
    run(vault, "east-his", lambda _: [someone(f"p{n}", card="0") for n in range(MOST + 1)])
    assert vault.persons.examine() == 0
    assert together(vault, "p1")
