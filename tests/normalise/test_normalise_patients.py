"""Who a patient is, and what one record becomes, whatever kind it is of."""

from __future__ import annotations

import pytest

from normalise import MEDIA, SetAside, convert
from normalise.collecting import Collector
from normalise.patients import patient_id
from quality.structure import check_structure
from schemas.records import SourceContext
from schemas.residents import RESIDENT, birth_date, gender, is_resident_number

CONTEXT = SourceContext("east", "hospital-east", "Asia/Shanghai")
GOOD = "11010519491231002X"  # the example of GB 11643 itself


@pytest.mark.parametrize("wrong", ["110105194912310021", "110105194902310024", "11010519491231002x", GOOD[:17], ""])
def test_a_number_with_a_wrong_check_or_no_real_birth_date_is_no_resident_number(wrong: str) -> None:
    assert is_resident_number(GOOD)
    assert not is_resident_number(wrong)


def test_a_record_number_names_the_patient_wherever_it_comes_with_or_without_a_resident_number() -> None:
    resident, number = {"system": RESIDENT, "value": GOOD}, {"system": "urn:east", "value": "7"}
    assert patient_id([resident, number], "hospital-east") == patient_id([number], "hospital-east")


def test_the_resident_number_alone_names_the_same_patient_in_every_institution() -> None:
    resident, number = {"system": RESIDENT, "value": GOOD}, {"value": "7"}
    assert patient_id([resident], "hospital-east") == patient_id([resident], "hospital-west")
    assert patient_id([number], "hospital-east") != patient_id([number], "hospital-west")
    assert patient_id([{"system": "urn:x"}], "hospital-east") is None


def test_a_resident_number_tells_birth_date_and_gender() -> None:
    assert (birth_date(GOOD), gender(GOOD)) == ("1949-12-31", "female")
    assert birth_date("110105194902310024") is None


def test_a_record_of_an_unknown_kind_is_set_aside() -> None:
    with pytest.raises(SetAside) as refused:
        convert("papyrus", b"", CONTEXT)
    assert refused.value.refusal.code == "unknown_media"
    assert "papyrus" not in MEDIA


def test_every_patient_of_a_record_gets_one_valid_provenance_that_names_record_place_and_mapping() -> None:
    made = Collector(CONTEXT, "row 7", "rows-1")
    made.add({"resourceType": "Patient", "id": "p"}, "patient", "p", "ensure")
    made.add({"resourceType": "Patient", "id": "p", "gender": "female"}, "patient", "p")
    made.add({"resourceType": "Organization", "id": "o", "name": "x"}, "ward")
    done = made.finish("2026-11-23T08:00:00+08:00", "insert")
    assert [one.type for one in done.resources] == ["Patient", "Organization", "Provenance"]
    assert done.resources[0].mode == "update"
    assert done.resources[0].body["gender"] == "female"
    provenance = done.resources[2].body
    assert check_structure(provenance) is None
    assert provenance["entity"][0]["what"]["identifier"]["value"] == "row 7"
    assert [one["reference"] for one in provenance["target"]] == ["Patient/p", "Organization/o"]
    assert done.mapping == "rows-1"


def test_a_record_that_is_about_no_patient_has_a_provenance_of_the_institutions_own() -> None:
    made = Collector(CONTEXT, "row 7", "rows-1")
    made.add({"resourceType": "Organization", "id": "o", "name": "x"}, "ward")
    provenance = made.finish().resources[1]
    assert provenance.type == "Provenance"
    assert provenance.patient is None
    assert check_structure(provenance.body) is None


def test_a_record_without_a_time_says_that_its_time_is_unknown() -> None:
    made = Collector(CONTEXT, "row 7", "rows-1")
    made.add({"resourceType": "Patient", "id": "p"}, "patient", "p")
    assert check_structure(made.finish().resources[1].body) is None
