"""Summaries are sealed with their records, say only what they may, and go when they must (ledger.md section 18)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pymongo.database import Database
from vault_world import CHAIN, NAME, observation, patient, raw, seal_one

from schemas.records import Entry, Resource
from schemas.residents import RESIDENT
from schemas.summary import DOMAIN, LAYOUT
from shangmi import WrongKeyOrTampered, sm3, sm4_gcm_open
from vault.entries import NO_SUMMARY
from vault.keystore import FileKeystore
from vault.store import Vault
from vault.summaries import bound_to, commitment
from vault.summarising import Facts, facts_of

NUMBER = "11010519491231002X"
REGION_KEY = bytes(range(32))


@pytest.fixture
def sharing(database: Database[dict[str, Any]], keystore: FileKeystore) -> Vault:
    """A vault that has the region's key."""
    return Vault(database, keystore, "hospital-east", CHAIN, region_key=REGION_KEY)


def report(id_: str, of: str | None, **changes: Any) -> Resource:
    body = {
        "resourceType": "DiagnosticReport", "id": id_, "status": "final",
        "category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0074", "code": "LAB"}]}],
        "code": {"text": f"血常规 {NAME}"}, "effectiveDateTime": "2026-11-20T08:30:00+08:00",
        "conclusion": f"{NAME}：未见异常",
        "conclusionCode": [{"coding": [{"system": "http://hl7.org/fhir/sid/icd-10", "code": "J18.9"}]}],
    }  # fmt: skip
    return Resource(body | changes, "OBR", of)


def citizen(id_: str = "p") -> Resource:
    identifiers = [{"system": RESIDENT, "value": NUMBER}]
    found = patient(id_)
    return Resource(found.body | {"identifier": identifiers}, "PID", id_)


def entries(vault: Vault) -> list[Entry]:
    submission = vault.outbox.assign(10_000)
    assert submission is not None
    vault.outbox.sent(submission.id, "tx", 1, b"tx")
    return submission.entries


def opened(vault: Vault, sealed: bytes, institution: str = "hospital-east") -> tuple[Any, ...]:
    """As a member that was granted the key opens it, by the format alone."""
    (key,) = vault.summaries.keys([sealed[4:20]])
    header, nonce, rest = sealed[:40], sealed[40:52], sealed[52:]
    return LAYOUT.unpack(sm4_gcm_open(key.secret, nonce, rest, bound_to(CHAIN, institution, header)))


def test_a_report_has_a_summary_whose_digest_stands_in_its_entry_and_others_have_none(sharing: Vault) -> None:
    seal_one(sharing, 1, citizen(), observation("o", "p"), report("r", "p"))
    found = {one.resource_type: one for one in entries(sharing)}
    assert found[1].summary_digest == found[14].summary_digest == NO_SUMMARY
    (sealed,) = sharing.summaries.stored(list(found.values()))
    assert sm3(sealed) == found[13].summary_digest
    assert (sealed[:4], sealed[20:36], sealed[36:40]) == (b"XLS1", found[13].rid, (1).to_bytes(4, "big"))
    domain, person, of, type_, date, total, class_, conclusion = opened(sharing, sealed)
    assert (domain, type_, date, class_, conclusion) == (DOMAIN, 13, 20261120, b"LAB", b"J18.9")
    assert total == 2**64 - 1
    assert of == sharing.summaries.patient("p")
    assert person == sharing.summaries.person_of(NUMBER) != of


def test_without_the_regions_key_no_summary_is_made_and_entries_are_as_ever(vault: Vault) -> None:
    seal_one(vault, 1, citizen(), report("r", "p"))
    assert {one.summary_digest for one in entries(vault)} == {NO_SUMMARY}
    assert vault.summaries.rotate("1/a") is None
    with pytest.raises(RuntimeError):
        vault.summaries.person_of(NUMBER)


def test_two_institutions_name_a_person_alike_and_the_patient_each_in_its_own_way(
    sharing: Vault, database: Database[dict[str, Any]], tmp_path: Any
) -> None:
    name = f"{database.name}_west"
    try:
        other = FileKeystore.create(tmp_path, b"another password")
        west = Vault(database.client[name], other, "hospital-west", CHAIN, region_key=REGION_KEY)
        assert west.summaries.person_of(NUMBER) == sharing.summaries.person_of(NUMBER)
        assert west.summaries.patient("p") != sharing.summaries.patient("p")
        for vault in (sharing, west):
            seal_one(vault, 1, report("r", "p"))  # nothing is known of the patient yet
        unknown = [opened(one, one.summaries.stored(entries(one))[0], name_)[1]
                   for one, name_ in ((sharing, "hospital-east"), (west, "hospital-west"))]  # fmt: skip
        assert unknown[0] != unknown[1] and sharing.summaries.person_of(NUMBER) not in unknown
    finally:
        database.client.drop_database(name)


def test_the_order_of_resources_in_a_message_changes_nothing(sharing: Vault) -> None:
    seal_one(sharing, 1, report("r", "p"), citizen())
    (sealed,) = sharing.summaries.stored(entries(sharing))
    assert opened(sharing, sealed)[1] == sharing.summaries.person_of(NUMBER)
    seal_one(sharing, 2, report("s", "p"))  # the patient is known by now
    (later,) = sharing.summaries.stored(entries(sharing))
    assert opened(sharing, later)[1] == sharing.summaries.person_of(NUMBER)


def test_no_name_number_or_free_text_is_in_a_summary_nor_in_the_database(
    sharing: Vault, database: Database[dict[str, Any]]
) -> None:
    seal_one(sharing, 1, citizen(), report("r", "p", conclusionCode=[{"text": NAME}], category=[{"text": NAME}]))
    (sealed,) = sharing.summaries.stored(entries(sharing))
    plain = LAYOUT.pack(*opened(sharing, sealed))
    person = sharing.summaries.person_of(NUMBER)
    stored = b"".join(repr(one).encode() for name in database.list_collection_names() for one in database[name].find())
    for word in (NAME.encode(), NUMBER.encode(), "血常规".encode(), b"19491231"):
        assert word not in plain and word not in stored
    assert repr(person)[2:-1].encode() not in stored  # the same person at two hospitals is not seen in their databases


def test_a_tag_binds_a_summary_to_its_record_its_institution_and_its_chain(sharing: Vault) -> None:
    seal_one(sharing, 1, citizen(), report("r", "p"))
    (sealed,) = sharing.summaries.stored(entries(sharing))
    (key,) = sharing.summaries.keys([sealed[4:20]])
    assert commitment(key.secret, CHAIN, "hospital-east")[:16] == sealed[4:20]
    header, nonce, rest = sealed[:40], sealed[40:52], sealed[52:]
    for aad in (
        bound_to(CHAIN, "hospital-west", header), bound_to(bytes(32), "hospital-east", header),
        bound_to(CHAIN, "hospital-east", header[:-1] + b"\2"),
    ):  # fmt: skip
        with pytest.raises(WrongKeyOrTampered):
            sm4_gcm_open(key.secret, nonce, rest, aad)


def test_no_two_sealings_share_a_nonce_and_a_version_is_sealed_once(sharing: Vault) -> None:
    for number in range(20):
        seal_one(sharing, number, citizen(), report("r", "p", status=f"s{number}"))
    sealed = sharing.summaries.stored(entries(sharing))
    assert len(sealed) == len({one[40:52] for one in sealed}) == 20


def test_rotation_makes_a_new_key_for_new_members_and_the_same_label_none(sharing: Vault) -> None:
    first = sharing.summaries.rotate("0/a")
    assert first is not None and first == sharing.summaries.rotate("0/a")
    second = sharing.summaries.rotate("1/a")
    assert second is not None and (second.number, second.secret != first.secret) == (first.number + 1, True)
    with ThreadPoolExecutor(4) as pool:
        numbers = {one.number for one in pool.map(lambda _: sharing.summaries.rotate("2/a"), range(8)) if one}
    assert max(numbers) - second.number <= 8 and sharing.summaries.rotate("2/a") is not None
    assert str(first.secret.hex()) not in repr(first)


def test_erasing_a_patient_removes_the_summary_and_leaves_its_digest(sharing: Vault) -> None:
    seal_one(sharing, 1, citizen(), report("r", "p"))
    listed = entries(sharing)
    sharing.erase("p")
    assert sharing.summaries.stored(listed) == []
    assert sum(one.summary_digest != NO_SUMMARY for one in listed) == 1


def test_a_patient_who_says_no_gets_no_summaries_and_those_made_are_named_for_the_chain(sharing: Vault) -> None:
    seal_one(sharing, 1, citizen(), report("r", "p"), report("other", "q"))
    listed = entries(sharing)
    gone = sharing.summaries.withhold("p")
    assert gone == sharing.summaries.withhold("p")  # killed and called again, it names the same
    mine = next(one for one in listed if one.rid == sharing.records.rid("DiagnosticReport", "r"))
    assert gone == [(mine.rid, 1)]
    assert len(sharing.summaries.stored(listed)) == 1  # the other patient's
    seal_one(sharing, 2, citizen(), report("r", "p", status="amended"))
    assert {one.summary_digest for one in entries(sharing)} == {NO_SUMMARY}
    sharing.summaries.allow("p")
    seal_one(sharing, 3, citizen(), report("r", "p", status="corrected"))
    assert len(sharing.summaries.stored(entries(sharing))) == 1


def test_a_wish_that_comes_while_a_batch_is_sealed_leaves_no_summary_behind(sharing: Vault) -> None:
    sharing.landing.put(raw(1))
    results = [report(f"r{number}", "p") for number in range(40)]
    with ThreadPoolExecutor(2) as pool:
        sealing = pool.submit(seal_one, sharing, 2, citizen(), *results)
        wishing = pool.submit(sharing.summaries.withhold, "p")
        sealing.result()
        wishing.result()
    named = set(sharing.summaries.withhold("p"))
    listed = [one for one in entries(sharing) if one.summary_digest != NO_SUMMARY]
    assert {(one.rid, one.version) for one in listed} <= named
    assert sharing.summaries.stored(listed) == []


HL7 = "http://terminology.hl7.org/CodeSystem/"
ICD = "http://hl7.org/fhir/sid/icd-10"
DCM = "http://dicom.nema.org/resources/ontology/DCM"


def coded(system: str, code: str) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code}]}


def charge(**price: Any) -> dict[str, Any]:
    return {"resourceType": "ChargeItem", "priceOverride": price}


def condition(**elements: Any) -> dict[str, Any]:
    return {"resourceType": "Condition", **elements}


MODALITIES = [{"system": DCM, "code": "ZHANGSAN"}, {"system": DCM, "code": "CT"}]
STUDY = {"resourceType": "ImagingStudy", "started": "2026-11-20", "modality": MODALITIES}
INPATIENT = {"system": f"{HL7}v3-ActCode", "code": "IMP"}
VISIT = {"resourceType": "Encounter", "period": {"start": "2026-11"}, "class": INPATIENT}
LETTER = {"resourceType": "DocumentReference", "date": "２０２６-01-01", "type": coded("http://loinc.org", "18842-5")}


@pytest.mark.parametrize(
    ("body", "facts"),
    [
        ({"resourceType": "Observation"}, None),
        ({"resourceType": "Patient", "birthDate": "1949-12-31"}, None),
        ({}, None),
        ({"resourceType": "Encounter"}, Facts(0, "", "", None)),
        (VISIT, Facts(20261100, "IMP", "", None)),
        (charge(value="12.345", currency="CNY"), Facts(0, "", "", 1234)),
        (charge(value=99.9), Facts(0, "", "", 9990)),
        (charge(value=5, currency="USD"), Facts(0, "", "", None)),
        (charge(value=-5), Facts(0, "", "", None)),
        (charge(value="1e400"), Facts(0, "", "", None)),
        (charge(value="NaN"), Facts(0, "", "", None)),
        (condition(code=coded(ICD, "J18.9")), Facts(0, "", "J18.9", None)),
        (condition(code=coded(ICD, "张三")), Facts(0, "", "", None)),
        (condition(code=coded("urn:local", "J18.9")), Facts(0, "", "", None)),
        (condition(code={"coding": "J18.9"}, category="x", recordedDate=20261120), Facts(0, "", "", None)),
        (condition(category=[coded(f"{HL7}condition-category", "zhangsan")]), Facts(0, "", "", None)),
        (STUDY, Facts(20261120, "CT", "", None)),
        (LETTER, Facts(0, "18842-5", "", None)),
    ],
)
def test_facts_are_taken_from_standard_codes_dates_and_amounts_alone(body: dict[str, Any], facts: Facts | None) -> None:
    assert facts_of(body) == facts
