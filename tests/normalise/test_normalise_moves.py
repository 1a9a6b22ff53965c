"""Merges, moves and links: what was stays under its own id and says where it goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from normalise.hl7v2 import convert
from normalise.hl7v2.moves import MOVES
from normalise.hl7v2.tables import EVENTS
from quality.structure import check_structure
from schemas.records import Normalised, SourceContext
from vault.identity import UNLINKED

CONTEXT = SourceContext("hospital-east-his", "hospital-east", "Asia/Shanghai")
PID = "PID|1||7^^^EAST^MR||张伟||19800101|M||||||||||A2^^^EAST"
PV1 = "PV1|1|I|W1^1^1||||||||||||||||V2^^^EAST|||||||||||||||||||||||||20261101080000+0800"


def by_number(found: Normalised, type_: str) -> dict[str, dict[str, Any]]:
    return {one.body["identifier"][0]["value"]: one.body for one in found.resources if one.type == type_}


@pytest.mark.parametrize("event", ["A18", "A30", "A34", "A36", "A39", "A40", "A46", "A47", "A48"])
def test_every_merge_of_patients_links_both_ways(event: str, adt: Callable[..., bytes]) -> None:
    patients = by_number(convert(adt(event, PID, "MRG|8^^^EAST^MR"), CONTEXT), "Patient")
    assert patients["8"]["active"] is False
    assert patients["8"]["link"] == [{"other": {"reference": f"Patient/{patients['7']['id']}"}, "type": "replaced-by"}]
    assert patients["7"]["link"] == [{"other": {"reference": f"Patient/{patients['8']['id']}"}, "type": "replaces"}]


@pytest.mark.parametrize("event", ["A35", "A36", "A41", "A49"])
def test_a_merged_account_is_inactive_and_names_its_heir(event: str, adt: Callable[..., bytes]) -> None:
    found = convert(adt(event, PID, "MRG|8^^^EAST^MR||A1^^^EAST"), CONTEXT)
    accounts, patients = by_number(found, "Account"), {one.id for one in found.resources if one.type == "Patient"}
    assert accounts["A1"]["status"] == "inactive"
    assert accounts["A1"]["extension"][0]["valueReference"] == {"reference": f"Account/{accounts['A2']['id']}"}
    assert accounts["A2"]["status"] == "active"
    sealed = {one.body["identifier"][0]["value"]: one.patient for one in found.resources if one.type == "Account"}
    assert sealed["A1"] != sealed["A2"] in patients


def test_a_moved_account_is_the_other_patients(adt: Callable[..., bytes]) -> None:
    found = convert(adt("A44", "PID|1||7^^^EAST^MR||张伟", "MRG|8^^^EAST^MR||A1^^^EAST"), CONTEXT)
    (patient,) = by_number(found, "Patient").values()
    account = by_number(found, "Account")["A1"]
    assert (account["status"], account["subject"]) == ("active", [{"reference": f"Patient/{patient['id']}"}])


@pytest.mark.parametrize("event", ["A42", "A50"])
def test_a_merged_visit_names_the_visit_that_goes_on(event: str, adt: Callable[..., bytes]) -> None:
    found = convert(adt(event, PID, "MRG|7^^^EAST^MR||||V1^^^EAST", PV1), CONTEXT)
    visits = by_number(found, "Encounter")
    assert visits["V1"]["status"] == "entered-in-error"
    assert visits["V1"]["extension"][0]["valueReference"] == {"reference": f"Encounter/{visits['V2']['id']}"}
    assert visits["V2"]["status"] == "in-progress"


def test_a_moved_visit_keeps_its_id_and_gets_the_new_patient(adt: Callable[..., bytes]) -> None:
    before = convert(adt("A01", PID.replace("|7^", "|8^"), PV1), CONTEXT)
    after = convert(adt("A45", PID, "MRG|8^^^EAST^MR||||V2^^^EAST", PV1), CONTEXT)
    first, second = by_number(before, "Encounter")["V2"], by_number(after, "Encounter")["V2"]
    assert first["id"] == second["id"]
    assert second["subject"]["reference"] == f"Patient/{by_number(after, 'Patient')['7']['id']}" != first["subject"]
    assert len(by_number(after, "Encounter")) == 1


def test_linked_patients_see_each_other_and_neither_ends(adt: Callable[..., bytes]) -> None:
    patients = by_number(convert(adt("A24", PID, PID.replace("|7^", "|9^")), CONTEXT), "Patient")
    assert patients["7"]["link"] == [{"other": {"reference": f"Patient/{patients['9']['id']}"}, "type": "seealso"}]
    assert patients["9"]["link"] == [{"other": {"reference": f"Patient/{patients['7']['id']}"}, "type": "seealso"}]
    assert "active" not in patients["7"] and "active" not in patients["9"]
    patients = by_number(convert(adt("A37", PID, PID.replace("|7^", "|9^")), CONTEXT), "Patient")
    for one, other in (("7", "9"), ("9", "7")):
        assert "link" not in patients[one]
        told = {"url": UNLINKED, "valueReference": {"reference": f"Patient/{patients[other]['id']}"}}
        assert patients[one]["extension"] == [told]


def test_a_deleted_person_is_inactive_and_stays(adt: Callable[..., bytes]) -> None:
    assert by_number(convert(adt("A29", PID), CONTEXT), "Patient")["7"]["active"] is False


def test_swapped_patients_each_have_their_own_visit(adt: Callable[..., bytes]) -> None:
    found = convert(adt("A17", PID, PV1, PID.replace("|7^", "|9^"), PV1.replace("V2", "V3")), CONTEXT)
    patients, visits = by_number(found, "Patient"), by_number(found, "Encounter")
    assert visits["V2"]["subject"]["reference"] == f"Patient/{patients['7']['id']}"
    assert visits["V3"]["subject"]["reference"] == f"Patient/{patients['9']['id']}"


def test_a_move_that_names_nothing_is_noted_and_changes_nothing_else(adt: Callable[..., bytes]) -> None:
    found = convert(adt("A41", PID, "MRG|8^^^EAST^MR"), CONTEXT)
    assert set(by_number(found, "Account")) == {"A2"}
    assert ("required", "MRG-3") in {(one.code, one.where) for one in found.notes}
    found = convert(adt("A42", PID, "MRG|8^^^EAST^MR||||V1^^^EAST"), CONTEXT)
    assert by_number(found, "Encounter") == {}
    assert ("required", "MRG-5") in {(one.code, one.where) for one in found.notes}


@pytest.mark.parametrize("event", sorted(code for message, code in EVENTS if message == "ADT"))
def test_every_event_of_adt_is_read_with_all_it_may_hold(event: str, adt: Callable[..., bytes]) -> None:
    found = convert(adt(event, PID, "MRG|8^^^EAST^MR||A1^^^EAST||V1^^^EAST", PV1), CONTEXT)
    assert [fault for one in found.resources if (fault := check_structure(one.body))] == []
    unread = [one.message for one in found.notes if "not mapped" in one.message]
    assert bool(unread) == (event not in MOVES), unread
