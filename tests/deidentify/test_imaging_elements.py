"""What leaves of the elements of a DICOM object, and that nothing else does."""

from __future__ import annotations

import dataclasses
import struct
from datetime import date

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from sharing.deidentify import Deidentifier, Profile, Pseudonyms, load_profile
from sharing.deidentify.imaging import deidentify_dicom
from sharing.deidentify.imaging_text import decode
from sharing.errors import Malformed, Refused
from tests.deidentify.dicom_objects import (
    CT,
    NAME,
    NUMBER,
    PERSON,
    SECRET,
    SR,
    image,
    nested,
    planted,
    read_back,
    written,
)

GBT = load_profile("gbt-37964")
HIPAA = load_profile("hipaa-safe-harbor")


def scrubbing(profile: Profile = GBT) -> Profile:
    return dataclasses.replace(profile, classes={**profile.classes, "text": {"do": "scrub", "why": "a test"}})


def clean(dataset: Dataset, profile: Profile = GBT, person: bytes = PERSON) -> Dataset:
    return read_back(deidentify_dicom(written(dataset), SECRET, person, profile)[0])


def test_the_patient_has_a_pseudonym_and_the_object_says_what_was_done() -> None:
    left = clean(image())
    assert str(left.PatientName) == left.PatientID and len(left.PatientID) == 32
    assert left.PatientBirthDate == "" and left.PatientSex == "F"
    assert left.PatientIdentityRemoved == "YES" and "PS3.15" in left.DeidentificationMethod
    codes = {one.CodeValue for one in left.DeidentificationMethodCodeSequence}
    assert codes == {"113100", "113104", "113107", "113108"}
    assert left.LongitudinalTemporalInformationModified == "MODIFIED"


def test_preamble_and_meta_information_say_nothing_of_the_sender() -> None:
    data, _ = deidentify_dicom(written(image()), SECRET, PERSON, GBT)
    assert data[:128] == b"\0" * 128
    assert b"AE_OF_HOSPITAL" not in data and b"1.2.3.4" not in data
    left = read_back(data)
    assert left.file_meta.MediaStorageSOPInstanceUID == left.SOPInstanceUID
    assert set(left.file_meta.keys()) == {0x00020000 + n for n in (0, 1, 2, 3, 0x10, 0x12, 0x13)}


def test_uids_are_those_of_the_fhir_resources_and_of_no_other_dataset() -> None:
    left = clean(image())
    assert left.StudyInstanceUID == Pseudonyms(SECRET).uid("1.2.3.4") and left.StudyInstanceUID.startswith("2.25.")
    study = {
        "resourceType": "ImagingStudy", "id": "a", "status": "available", "subject": {"reference": "Patient/p"},
        "identifier": [{"system": "urn:dicom:uid", "value": "urn:oid:1.2.3.4"}],
    }  # fmt: skip
    found = Deidentifier(GBT, SECRET).resource(study, PERSON)
    assert found is not None and left.StudyInstanceUID in found["identifier"][0]["value"]
    other = read_back(deidentify_dicom(written(image()), bytes(32), PERSON, GBT)[0])
    assert other.StudyInstanceUID != left.StudyInstanceUID and other.PatientID != left.PatientID


def test_uids_of_the_standard_stay() -> None:
    left = clean(image())
    assert left.SOPClassUID == CT and left.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"


def test_dates_move_as_the_persons_in_fhir_do_and_time_with_them() -> None:
    left = clean(image(SeriesDate="20240306", AcquisitionDateTime="20240305235959.123+0800", SeriesTime="000000"))
    resource = {
        "resourceType": "Observation", "status": "final", "code": {"text": "x"},
        "effectiveDateTime": "2024-03-05T23:59:59+08:00",
    }  # fmt: skip
    found = Deidentifier(GBT, SECRET).resource(resource, PERSON)
    assert found is not None
    written_as = found["effectiveDateTime"].replace("-", "").replace(":", "")
    assert left.StudyDate + left.StudyTime == written_as[:8] + written_as[9:15] == left.AcquisitionDateTime
    assert left.StudyDate != "20240305"
    assert clean(image(), person=b"another").StudyDate != left.StudyDate


def test_a_date_alone_moves_by_whole_days_and_a_time_alone_goes() -> None:
    left = clean(image(SeriesDate="20240305", ContentDate="20240315", ContrastBolusStartTime="101500"))
    assert (date.fromisoformat(left.ContentDate) - date.fromisoformat(left.SeriesDate)).days == 10
    assert "ContrastBolusStartTime" not in left


def test_safe_harbor_leaves_the_year() -> None:
    left = clean(image(AcquisitionDateTime="20240305235959"), HIPAA)
    assert left.StudyDate == "20240101" and left.StudyTime == "" and left.AcquisitionDateTime == "2024"


def test_dates_of_the_person_go() -> None:
    left = clean(image(LastMenstrualDate="20240201", PatientBirthTime="0100"))
    assert "LastMenstrualDate" not in left and "PatientBirthTime" not in left and left.PatientBirthDate == ""


@pytest.mark.parametrize(("age", "expected"), [("034Y", "034Y"), ("094Y", "090Y"), ("090Y", "090Y"), ("006M", "006M")])
def test_ages_are_capped(age: str, expected: str) -> None:
    assert clean(image(PatientAge=age)).PatientAge == expected


def test_whatever_is_private_unlisted_unknown_or_an_overlay_goes() -> None:
    dataset = image(
        PatientComments=NAME, ImageComments=NAME, StationName=NAME, OtherPatientNames=NAME, InstitutionName="协和医院",
        PerformingPhysicianName="刘^医生", RetrieveURL="http://his/x", PatientPosition="HFS",
        AdmittingDiagnosesDescription=NAME, Occupation=NAME, LossyImageCompressionRatio="1.5",
    )  # fmt: skip
    block = dataset.private_block(0x0011, "ACME", create=True)
    block.add_new(1, "LO", NUMBER)
    dataset.add_new(0x60003000, "OW", NAME.encode() + b"\0")
    dataset.add_new(0x60000040, "CS", "G")
    dataset.add_new(0x50003000, "OW", NAME.encode() + b"\0")
    dataset.add_new(0x00092244, "UN", NAME.encode() + b"\0")
    dataset.add_new(0x00189999, "LO", NAME)
    dataset.add_new(0xFFFCFFFC, "OB", NAME.encode() + b"\0")
    dataset.IconImageSequence = Sequence([image()])
    data, report = deidentify_dicom(written(dataset), SECRET, PERSON, GBT)
    for name in (NAME, "欧阳", "梓涵", NUMBER, "刘", "协和", "ZiHan", "his"):
        assert name.encode() not in data, name
    left = read_back(data)
    assert not [tag for tag in left.keys() if tag.is_private or 0x5000 <= tag.group < 0x7000]  # noqa: SIM118
    assert "IconImageSequence" not in left and left.LossyImageCompressionRatio == 1.5
    assert left.PatientPosition == "HFS"
    assert report.counts["(private)", "private"] == 3 and (report.taken, report.left) == (1, 1)
    assert not any(NUMBER in place or NAME in place for place, _ in report.counts)


@pytest.mark.parametrize(
    ("tag", "vr", "value"),
    [
        (0x00080068, "LO", NAME.encode()),  # PresentationIntentType, a CS
        (0x00080068, "CS", NUMBER.encode()),  # looks like a code
        (0x00080068, "CS", b"WANG XIAODONG"),
        (0x00180050, "DS", b"13912345678 Li"),  # SliceThickness
        (0x00280106, "US", b"odd"),  # SmallestImagePixelValue
        (0x00200013, "IS", NUMBER.encode()),  # InstanceNumber
        (0x00101010, "AS", b"Tom!"),  # PatientAge
        (0x00081115, "LO", NAME.encode()),  # ReferencedSeriesSequence
        (0x00080100, "SH", b"110105491231002"),  # CodeValue
        (0x00181020, "LO", b"13912345678"),  # SoftwareVersions
        (0x0020000E, "UI", b"1.2." + NUMBER.encode()),  # SeriesInstanceUID
        (0x00189999, "LO", NAME.encode()),
    ],
)
def test_values_that_are_not_of_their_elements_form_go(tag: int, vr: str, value: bytes) -> None:
    data = planted(written(image()), tag, vr, value)
    left = deidentify_dicom(data, SECRET, PERSON, GBT)[0]
    assert value.strip() not in left and len(left) <= len(deidentify_dicom(written(image()), SECRET, PERSON, GBT)[0])


def test_a_picture_within_a_sequence_goes() -> None:
    inner = image(PixelData=b"NAME OF A PERSON" * 4)
    data, report = deidentify_dicom(written(image(ReferencedImageSequence=Sequence([inner]))), SECRET, PERSON, GBT)
    assert b"NAME OF A PERSON" not in data and b"\xff" * 64 in data
    assert report.counts["ReferencedImageSequence.PixelData", "nested-pixels"] == 1


def test_sequences_are_cleaned_to_any_depth_the_standard_has() -> None:
    data, _ = deidentify_dicom(written(nested(20)), SECRET, PERSON, GBT)
    assert NAME.encode() not in data and "梓涵".encode() not in data


@pytest.mark.parametrize("depth", [30, 200])
def test_sequences_nested_without_end_are_malformed(depth: int) -> None:
    with pytest.raises(Malformed):
        deidentify_dicom(written(nested(depth)), SECRET, PERSON, GBT)


def test_undefined_lengths_nested_ten_thousand_deep_are_malformed() -> None:
    head = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    with pytest.raises(Malformed):
        deidentify_dicom(written(image()) + head * 10_000, SECRET, PERSON, GBT)


def report_object(text: str, charset: str | list[str] = "ISO_IR 192") -> Dataset:
    """A structured report of one observation, a verifying observer, and the subject's name."""

    def concept(value: str, meaning: str) -> Sequence:
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", meaning
        return Sequence([code])

    def content(kind: str, code: str, meaning: str) -> Dataset:
        one = Dataset()
        one.RelationshipType, one.ValueType = "CONTAINS", kind
        one.ConceptNameCodeSequence = concept(code, meaning)
        return one

    finding, subject, observer = (
        content("TEXT", "121071", "Finding"), content("PNAME", "121029", "Subject Name"),
        content("PNAME", "121008", "Person Observer Name"),
    )  # fmt: skip
    finding.TextValue, subject.PersonName, observer.PersonName = text, NAME, "王^医生"
    dataset = Dataset()
    dataset.SpecificCharacterSet = charset
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.Modality = SR, "1.2.3.9", "SR"
    dataset.PatientName, dataset.PatientID = NAME, NUMBER
    dataset.ValueType = "CONTAINER"
    dataset.ConceptNameCodeSequence = concept("121100", "Radiology Report")
    dataset.ContentSequence = Sequence([finding, subject, observer])
    person = Dataset()
    person.VerifyingObserverName, person.VerifyingOrganization = "王^医生", "协和医院"
    dataset.VerifyingObserverSequence = Sequence([person])
    return dataset


def test_a_reports_codes_stay_and_its_people_go() -> None:
    left = clean(report_object(f"{NAME} 右肺结节12mm"))
    assert [one.ConceptNameCodeSequence[0].CodeMeaning for one in left.ContentSequence] == ["Finding"]
    assert left.ContentSequence[0].TextValue == "REMOVED"
    assert "王" not in str(left) and "协和" not in str(left)


def test_a_reports_text_is_scrubbed_where_the_profile_wants_it() -> None:
    text = "患者欧阳梓涵，电话13912345678，2024年3月5日检查：右肺结节12mm。编号p765 4321"
    left = clean(report_object(text), scrubbing())
    value = left.ContentSequence[0].TextValue
    assert "右肺结节12mm" in value and not any(one in value for one in ("梓涵", "139", "2024年3月5日", "4321"))


def test_a_date_in_a_text_moves_as_the_element_does() -> None:
    left = clean(image(StudyTime="", StudyDescription="2024-03-05平扫"), scrubbing())
    assert left.StudyDescription == date.fromisoformat(left.StudyDate).isoformat() + "平扫"


def test_descriptors_go_where_text_is_dropped_and_stay_scrubbed_where_it_is_not() -> None:
    dataset = image(StudyDescription="胸部平扫 欧 阳 梓 涵", SeriesDescription="p7654321 axial", ProtocolName="头颅")
    assert clean(dataset).get("StudyDescription") is None and clean(dataset).ProtocolName == "REMOVED"
    left = clean(dataset, scrubbing())
    assert left.StudyDescription == "胸部平扫 [隐去]" and left.SeriesDescription == "[隐去] axial"
    assert left.ProtocolName == "头颅"


@pytest.mark.parametrize(
    ("declared", "codec"),
    [("GB18030", "gb18030"), ("GBK", "gbk"), ("ISO_IR 192", "utf-8"), ("", "gb18030"), ("ISO_IR 100", "gbk"),
     ("ISO_IR 192", "gb18030"), ("GBK", "utf-8"), ("nonsense", "gbk")],
)  # fmt: skip
def test_texts_are_read_whatever_set_they_are_in_and_leave_in_utf_8(declared: str, codec: str) -> None:
    plain = written(image()).replace(b"ISO_IR 192", declared.encode().ljust(10))
    data = planted(plain, 0x00081030, "LO", "平扫患者欧阳梓涵".encode(codec))
    left = read_back(deidentify_dicom(data, SECRET, PERSON, scrubbing())[0])
    assert left.SpecificCharacterSet == "ISO_IR 192"
    assert left.StudyDescription.startswith("平扫") and "梓涵" not in left.StudyDescription


@pytest.mark.parametrize("name", ["刘", "小", "刘小", "丁一", "欧阳梓涵", "䶮"])
@pytest.mark.parametrize("codec", ["gbk", "gb18030", "utf-8"])
@pytest.mark.parametrize("declared", [(), ("GBK",), ("GB18030",)])
def test_names_of_any_length_are_read_in_any_chinese_set(name: str, codec: str, declared: tuple[str, ...]) -> None:
    try:
        value = name.encode(codec)
    except UnicodeEncodeError:
        value = name.encode("gb18030")
    assert decode(value, declared) == name


@pytest.mark.parametrize("name", ["刘", "小", "刘小", "欧阳梓涵", "刘䶮"])
def test_chinese_that_is_declared_as_latin_1_is_read_all_the_same(name: str) -> None:
    for codec in ("gb18030", "utf-8"):
        assert decode(f"{name}医生".encode(codec), ("ISO_IR 100",)) == f"{name}医生"


@pytest.mark.parametrize("text", ["Müller^Jörg", "Àlvaro", "José"])
def test_letters_with_accents_are_no_ideographs(text: str) -> None:
    assert decode(text.encode("latin-1"), ("ISO_IR 100",)) == text


def test_a_last_character_that_was_cut_off_is_forgiven_and_nothing_else_is() -> None:
    assert decode("胸部平扫".encode("gbk")[:-1], ("GBK",)) == "胸部平"
    assert decode("胸部平扫".encode()[:-1], ("ISO_IR 192",)) == "胸部平"
    assert decode(b"\xff\xff\xff", ("GBK",)) is None and decode(b"\x1b%G\xe8", ()) is None


def test_escapes_of_iso_2022_ir_58_are_no_part_of_a_text() -> None:
    escaped = b"".join(b"\x1b$)A" + one.encode("gb2312") for one in ("平扫欧", "阳梓涵"))
    data = planted(written(image()), 0x00081030, "LO", escaped)
    left = read_back(deidentify_dicom(data, SECRET, PERSON, scrubbing())[0])
    assert left.StudyDescription == "平扫[隐去]"


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"])
def test_every_native_transfer_syntax_leaves_as_explicit_little_endian(syntax: str) -> None:
    dataset = image(BitsAllocated=16, BitsStored=16, HighBit=15, PixelData=struct.pack("<64H", *range(64)))
    if syntax.endswith(".2.2"):
        dataset.PixelData = struct.pack(">64H", *range(64))
    data = written(dataset, syntax)
    left = read_back(deidentify_dicom(data, SECRET, PERSON, GBT)[0])
    assert left.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert left.PixelData == struct.pack("<64H", *range(64)) and (left.Rows, left.BitsStored) == (8, 16)


@pytest.mark.parametrize("sop_class", ["1.2.840.10008.5.1.4.1.1.104.1", "1.2.840.10008.5.1.4.1.1.104.2",
                                       "1.2.840.10008.5.1.4.1.1.66", "1.2.826.0.1.3680043.9.1"])  # fmt: skip
def test_documents_raw_data_and_makers_own_classes_are_refused(sop_class: str) -> None:
    with pytest.raises(Refused, match="class"):
        deidentify_dicom(written(image(sop_class)), SECRET, PERSON, GBT)


def test_equal_objects_give_equal_bytes_and_a_cleaned_one_holds_nothing_more_to_find() -> None:
    once, report = deidentify_dicom(written(image()), SECRET, PERSON, GBT)
    assert once == deidentify_dicom(written(image()), SECRET, PERSON, GBT)[0]
    twice, again = deidentify_dicom(once, SECRET, PERSON, GBT)
    assert NUMBER.encode() not in twice
    assert not any(rule == "private" for _, rule in again.counts) and report.counts


def test_an_error_of_the_library_shows_no_value(caplog: pytest.LogCaptureFixture) -> None:
    odd = planted(written(image()), 0x00080050, "SH", NUMBER.encode() * 6).replace(b"1.2.3.4\0", b"1.2.bad\0")
    deidentify_dicom(odd, SECRET, PERSON, GBT)
    assert not caplog.records
    with pytest.raises(Malformed) as refused:
        deidentify_dicom(written(image())[:-70], SECRET, PERSON, GBT)
    assert NUMBER not in str(refused.value) and refused.value.__cause__ is None


def test_pydicom_reads_whatever_leaves() -> None:
    left = clean(image(PerformedProcedureStepStartDate="20240305", DeviceSerialNumber="1", ProtocolName="a"))
    assert isinstance(left, pydicom.Dataset) and left.DeviceSerialNumber == ""
