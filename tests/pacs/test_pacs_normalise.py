"""DICOM objects as FHIR: every name right, every structure valid, whatever the bytes; a study never loses a member."""

from __future__ import annotations

import zlib
from io import BytesIO
from typing import Any

import pydicom
import pytest
from dicom_made import PDF, SR, code, content, made, measured, written
from hypothesis import given, settings
from hypothesis import strategies as st
from pacs_world import DAY, contents, dimse, pulled
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from normalise import SetAside, convert
from quality.structure import check_structure
from schemas.reasons import REASONS
from schemas.records import Normalised, Resource, SourceContext
from simulators.imaging import studies
from simulators.pacs import Pacs

CONTEXT = SourceContext("east-pacs", "hospital-east", "Asia/Shanghai")


def converted(one: Dataset | bytes) -> Normalised:
    found = convert("dicom", one if isinstance(one, bytes) else written(one), CONTEXT)
    assert [fault for each in found.resources if (fault := check_structure(each.body))] == []
    return found


def only(found: Normalised, type_: str) -> Resource:
    (one,) = (each for each in found.resources if each.type == type_)
    return one


def refusal(one: Dataset | bytes) -> tuple[str, str]:
    with pytest.raises(SetAside) as caught:
        convert("dicom", one if isinstance(one, bytes) else written(one), CONTEXT)
    assert caught.value.refusal.code in REASONS
    return caught.value.refusal.code, caught.value.refusal.where


@pytest.mark.parametrize(
    ("terms", "encoded", "given_name"),
    [
        ("GB18030", "=欧阳^䶮".encode("gb18030"), "䶮"),
        ("GBK", "=欧阳^镕基".encode("gbk"), "镕基"),
        (["", "ISO 2022 IR 58"], b"=\x1b$)A\xc5\xb7\xd1\xf4^\x1b$)A\xe8\xf7\xba\xad", "梓涵"),
        (["", "ISO 2022 IR 58"], b"=\xc5\xb7\xd1\xf4^\xe8\xf7\xba\xad", "梓涵"),
        ("ISO_IR 192", "=欧阳^䶮".encode(), "䶮"),
        (None, "=欧阳^梓涵".encode("gbk"), "梓涵"),
        (None, "=欧阳^䶮".encode(), "䶮"),
        ("ISO_IR 100", "=欧阳^梓涵".encode("gbk"), "梓涵"),
        ("ISO_IR 100", "=欧阳^梓涵".encode(), "梓涵"),
        ("GB18030", "=欧阳^梓涵".encode(), "梓涵"),
        ("ISO_IR 192", "=欧阳^梓涵".encode("gb18030"), "梓涵"),
        ("NONSENSE", "=欧阳^梓涵".encode("gb18030"), "梓涵"),
    ],
)
def test_name_is_read_in_the_set_its_bytes_are_in(terms: Any, encoded: bytes, given_name: str) -> None:
    raw = written(made(SpecificCharacterSet=None, PatientName="=#####"))
    head = b"\x10\x00\x10\x00PN"
    at = raw.index(head)
    encoded = encoded.ljust(len(encoded) + len(encoded) % 2)
    raw = raw[:at] + head + len(encoded).to_bytes(2, "little") + encoded + raw[at + 8 + 6 :]
    if terms is not None:
        value = ("\\".join(terms) if isinstance(terms, list) else terms).encode()
        value = value.ljust(len(value) + len(value) % 2)
        first = raw.index(b"\x08\x00\x16\x00UI")
        raw = raw[:first] + b"\x08\x00\x05\x00CS" + len(value).to_bytes(2, "little") + value + raw[first:]
    (name,) = only(converted(raw), "Patient").body["name"]
    assert (name["family"], name["given"], name["text"]) == ("欧阳", [given_name], f"欧阳{given_name}")


@pytest.mark.parametrize("text", ["Buc^Jérôme", "Äneas^Rüdiger", "Müller^Jörg"])
def test_latin_names_stay_latin(text: str) -> None:
    (name,) = only(converted(made(SpecificCharacterSet="ISO_IR 100", PatientName=text)), "Patient").body["name"]
    assert [name["family"], *name["given"]] == text.split("^")


def test_name_groups_stand_apart_and_the_written_one_first() -> None:
    found = converted(made(SpecificCharacterSet="ISO_IR 192", PatientName="Wang^XiaoDong=王^小东"))
    names = only(found, "Patient").body["name"]
    assert [(one["text"], one["extension"][0]["valueCode"]) for one in names] == [
        ("王小东", "IDE"), ("XiaoDong Wang", "ABC"),
    ]  # fmt: skip


def test_object_without_patient_number_is_kept_apart_by_its_study() -> None:
    first = only(converted(made(PatientID="", StudyInstanceUID="1.2.3")), "Patient")
    again = only(converted(made(PatientID=None, StudyInstanceUID="1.2.3", SOPInstanceUID="1.2.3.1.2")), "Patient")
    other = only(converted(made(PatientID="", StudyInstanceUID="1.2.4")), "Patient")
    assert first.id == again.id != other.id


def test_one_accession_number_of_two_patients_gives_two_orders() -> None:
    mine, yours = (only(converted(made(PatientID=one, AccessionNumber="A1")), "ServiceRequest") for one in ("P1", "P2"))
    assert mine.id != yours.id and mine.patient != yours.patient


def test_one_accession_number_of_two_studies_gives_two_studies() -> None:
    found = [only(converted(made(StudyInstanceUID=one)), "ImagingStudy").id for one in ("1.2.3", "1.2.4")]
    assert len(set(found)) == 2


def test_times_have_the_offset_of_the_object_or_the_source() -> None:
    assert only(converted(made()), "ImagingStudy").body["started"] == "2026-03-15T10:15:30+08:00"
    with_offset = made(TimezoneOffsetFromUTC="-0330")
    assert only(converted(with_offset), "ImagingStudy").body["started"] == "2026-03-15T10:15:30-03:30"
    assert only(converted(made(StudyTime="")), "ImagingStudy").body["started"] == "2026-03-15"
    found = converted(made(StudyDate="20260231"))
    assert "started" not in only(found, "ImagingStudy").body
    assert [(one.code, one.where) for one in found.notes] == [("bad_value", "(0008,0020)")]


def test_measurement_report_becomes_report_and_results_with_units_and_sites() -> None:
    site = content("CODE", ("363698007", "SCT", "Finding Site"), ConceptCodeSequence=code("10200004", "SCT", "肝"))
    mean = content(
        "CODE", ("121401", "DCM", "Derivation"), relation="HAS CONCEPT MOD",
        ConceptCodeSequence=code("373098007", "SCT", "Mean"),
    )  # fmt: skip
    tracking = content("TEXT", ("112039", "DCM", "Tracking Identifier"), TextValue="病灶1", relation="HAS OBS CONTEXT")
    length = content("NUM", ("410668003", "SCT", "Length"), mean, MeasuredValueSequence=measured("12.5"))
    lost = content("NUM", ("42798000", "SCT", "Area"), MeasuredValueSequence=measured(None))
    group = content("CONTAINER", ("125007", "DCM", "Measurement Group"), tracking, site, length, lost)
    said = content("TEXT", ("121077", "DCM", "Conclusion"), TextValue="未见异常")
    found = converted(
        made(
            SR, ValueType="CONTAINER", CompletionFlag="COMPLETE", VerificationFlag="VERIFIED", Modality="SR",
            ConceptNameCodeSequence=code("126000", "DCM", "Imaging Measurement Report"),
            ContentSequence=Sequence(
                [content("CONTAINER", ("126010", "DCM", "Imaging Measurements"), group), said]
            ),
        )
    )  # fmt: skip
    report = only(found, "DiagnosticReport").body
    results = {one.body["code"]["text"]: one for one in found.resources if one.type == "Observation"}
    assert set(results) == {"Length", "Area", "Measurement Group", "Conclusion"}
    quantity = results["Length"].body
    assert quantity["valueQuantity"] == {
        "value": 12.5, "unit": "mm", "system": "http://unitsofmeasure.org", "code": "mm",
    }  # fmt: skip
    assert quantity["bodySite"]["coding"][0]["code"] == "10200004"
    assert quantity["component"][0]["valueCodeableConcept"]["text"] == "Mean"
    assert results["Length"].segment == "(0040,A730)[1]/(0040,A730)[1]/(0040,A730)[3]"
    assert "dataAbsentReason" in results["Area"].body
    assert len(results["Measurement Group"].body["hasMember"]) == 2
    assert results["Measurement Group"].body["identifier"] == [{"value": "病灶1"}]
    assert report["conclusion"] == "未见异常" and report["status"] == "final"
    assert [one["reference"] for one in report["result"]] == [
        f"Observation/{results[name].id}" for name in ("Measurement Group", "Conclusion")
    ]


def test_encapsulated_document_becomes_a_document_reference() -> None:
    document = made(
        PDF, EncapsulatedDocument=b"%PDF-1.4 ", MIMETypeOfEncapsulatedDocument="application/pdf", DocumentTitle="报告",
        EncapsulatedDocumentLength=9,
    )  # fmt: skip
    attachment = only(converted(document), "DocumentReference").body["content"][0]["attachment"]
    assert attachment == {"contentType": "application/pdf", "size": 9, "data": "JVBERi0xLjQg", "title": "报告"}


def test_recording_says_how_each_lead_was_sampled() -> None:
    (ecg,) = next(one for one in studies(7, "东城医院", DAY, 8) if one[0].Modality == "ECG")
    components = only(converted(ecg), "Observation").body["component"]
    assert [one["code"]["text"] for one in components] == ["Lead I", "Lead II"]
    assert components[0]["valueSampledData"] == {
        "origin": {"value": 0, "unit": "uV", "system": "http://unitsofmeasure.org", "code": "uV"},
        "period": 2, "factor": 5, "dimensions": 1,
    }  # fmt: skip


def test_manifest_lists_the_whole_study_and_replaces_while_an_object_only_ensures(pacs: Pacs) -> None:
    pacs.fill([DAY], 1)
    records, _ = pulled(dimse(pacs))
    found = [converted(body) for _, body in contents(records)]
    of_study = [only(one, "ImagingStudy") for one in found]
    assert [one.mode for one in of_study] == ["ensure"] * 6 + ["update"]
    assert len({one.id for one in of_study}) == 1
    assert of_study[-1].body["numberOfInstances"] == 6
    listed = [one["uid"] for series in of_study[-1].body["series"] for one in series["instance"]]
    assert listed == [native for native, _ in contents(records)[:-1]]


def test_record_says_where_its_pixels_lie_and_what_they_are(pacs: Pacs) -> None:
    pacs.fill([DAY], 1)
    records, _ = pulled(dimse(pacs))
    uid, body = contents(records)[0]
    attachment = only(converted(body), "Media").body["content"]
    assert attachment["url"] == f"urn:xinglin:bulk:east-pacs/{uid}/7FE00010" and attachment["size"] == 2048
    assert len(attachment["extension"][0]["valueString"]) == 64


@pytest.mark.parametrize("name", ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"])
def test_object_that_lacks_what_identifies_it_is_refused_by_tag(name: str) -> None:
    one = made()
    delattr(one, name)
    stream = BytesIO()
    one.save_as(stream)
    element = pydicom.datadict.tag_for_keyword(name)
    assert element is not None
    assert refusal(stream.getvalue()) == ("required", f"({element >> 16:04X},{element & 0xFFFF:04X})")


def test_other_files_and_nothing_are_refused() -> None:
    for other in (b"", b"MSH|^~\\&|", b"%PDF-1.7" * 40, b"\x89PNG" * 100, bytes(4000)):
        assert refusal(other) == ("not_dicom", "byte 128")


def test_deflated_object_that_would_fill_memory_is_refused() -> None:
    raw = written(made())
    start = raw.index(b"\x08\x00\x05\x00")
    head = raw[:start].replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99")
    # The UID is two bytes longer; its length and the group's are corrected.
    at = head.index(b"1.2.840.10008.1.2.1.99") - 2
    head = head[:at] + (22).to_bytes(2, "little") + head[at + 2 :]
    length = int.from_bytes(head[140:144], "little") + 2
    head = head[:140] + length.to_bytes(4, "little") + head[144:]
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    good = deflate.compress(raw[start:]) + deflate.flush()
    assert only(converted(head + good), "Patient").body["identifier"][0]["value"] == "P1"
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = b"".join([deflate.compress(bytes(1 << 20)) for _ in range(80)]) + deflate.flush()
    assert refusal(head + bomb) == ("oversize", "(0002,0010)")


def test_sequences_deeper_than_any_standard_knows_are_refused() -> None:
    inner = content("TEXT", ("121071", "DCM", "Finding"), TextValue="x")
    for _ in range(200):
        inner = content("CONTAINER", None, inner)
    code_, where = refusal(made(SR, ValueType="CONTAINER", ContentSequence=Sequence([inner])))
    assert code_ == "structure" and where.startswith("(0040,A730)")


@pytest.mark.parametrize("vr", [b"U\xff", b"\0\0", b"Ss"])
def test_value_representation_that_is_none_inside_an_item_is_refused_or_left_out(vr: bytes) -> None:
    empty = content("NUM", ("410668003", "SCT", "Length"), MeasuredValueSequence=measured(None))
    raw = written(made(SR, ValueType="CONTAINER", ContentSequence=Sequence([empty])))
    for element in (b"\x40\x00\x0a\xa3DS", b"\x40\x00\x00\xa3SQ", b"\x40\x00\x43\xa0SQ"):
        spoilt = raw.replace(element, element[:4] + vr)
        assert spoilt != raw
        try:
            assert "Patient" in {one.type for one in converted(spoilt).resources}
        except SetAside as refused:
            assert refused.refusal.code == "structure"


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_bytes_cause_anything_but_a_refusal(data: st.DataObject) -> None:
    raw = bytearray(
        written(made(SR, ValueType="CONTAINER", ContentSequence=Sequence([content("TEXT", None, TextValue="文")])))
    )
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(100, len(raw) - 1))
        raw[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(raw)))
    for one in (bytes(raw), bytes(raw[:cut])):
        try:
            found = convert("dicom", one, CONTEXT)
        except SetAside as error:
            assert error.refusal.code in REASONS
        else:
            assert [fault for each in found.resources if (fault := check_structure(each.body))] == []
