"""Made-up studies the way Chinese departments archive them: CT, DX, ultrasound with a structured report, ECG.

Names stand in the ideographic group, in GB18030, GBK, ISO 2022 IR 58 or UTF-8 as the device would have it.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Final

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian

from simulators.people import Patient, patient, staff

_CT: Final = "1.2.840.10008.5.1.4.1.1.2"
_DX: Final = "1.2.840.10008.5.1.4.1.1.1.1"
_US: Final = "1.2.840.10008.5.1.4.1.1.6.1"
_SR: Final = "1.2.840.10008.5.1.4.1.1.88.22"
_ECG: Final = "1.2.840.10008.5.1.4.1.1.9.1.1"
_CHARSETS: Final[tuple[str | list[str], ...]] = ("GB18030", "GBK", ["", "ISO 2022 IR 58"], "ISO_IR 192")
_COMPOUND: Final = ("欧阳", "司马", "诸葛", "上官")
#: Modality, description, body part, number of images; in turn.
_KINDS: Final = (
    ("CT", "胸部平扫", "CHEST", 6),
    ("DX", "胸部正位", "CHEST", 1),
    ("US", "腹部超声", "ABDOMEN", 2),
    ("ECG", "静息心电图", "", 1),
)
_CLASSES: Final = {"CT": _CT, "DX": _DX, "US": _US, "SR": _SR, "ECG": _ECG}
#: What IR 58 and GBK cannot write.
_RARE: Final = str.maketrans({"䶮": "岩", "𠮷": "吉", "媈": "辉", "龑": "岩", "·": " "})


def uid(*parts: object) -> UID:
    """Return the UID that these parts always give (PS3.5 annex B.2)."""
    digest = hashlib.sha256(" ".join(map(str, parts)).encode()).digest()
    return UID(f"2.25.{int.from_bytes(digest[:16], 'big')}")


def studies(seed: int, hospital: str, day: date, count: int, first: int = 0, size: int = 32) -> Iterator[list[Dataset]]:
    """Yield the studies of a day as lists of DICOM objects, the same every time.

    Args:
        seed: The region's seed; its patients are those of the other simulators.
        hospital: The institution's name.
        day: StudyDate.
        count: How many.
        first: Number of the first.
        size: Rows and columns of an image.
    """
    for number in range(first, first + count):
        yield _study(seed, hospital, day, number, size)


def _study(seed: int, hospital: str, day: date, number: int, size: int) -> list[Dataset]:
    modality, description, part, images = _KINDS[number % len(_KINDS)]
    chance = random.Random(f"study {seed} {hospital} {day} {number}")
    person = patient(seed, chance.randrange(40))
    charset = _CHARSETS[(number // len(_KINDS)) % len(_CHARSETS)]
    study = uid("study", seed, hospital, day, number)
    objects = [
        _object(study, 1, image + 1, modality, person, charset, day, number, seed, hospital, description, part)
        for image in range(images)
    ]
    for one in objects:
        if modality == "ECG":
            _wave(one, chance)
        else:
            _pixels(one, chance, size)
    if modality == "US":
        report = _object(study, 2, 1, "SR", person, charset, day, number, seed, hospital, description, part)
        _report(report, chance)
        objects.append(report)
    return objects


def _object(
    study: UID, series: int, image: int, modality: str, person: Patient, charset: str | list[str], day: date,
    number: int, seed: int, hospital: str, description: str, part: str,
) -> Dataset:  # fmt: skip
    one = Dataset()
    one.SpecificCharacterSet = charset
    one.SOPClassUID = UID(_CLASSES[modality])
    one.SOPInstanceUID = uid(study, series, image)
    one.StudyDate = one.SeriesDate = one.ContentDate = f"{day:%Y%m%d}"
    one.StudyTime = one.SeriesTime = one.ContentTime = f"{8 + number % 10:02d}{number % 60:02d}00"
    # Of every ten orders one number is given twice, as happens where two departments count for themselves.
    one.AccessionNumber = f"A{day:%y%m%d}{number - (number % 10 == 9):04d}"
    one.Modality = modality
    one.Manufacturer = "Xinglin Simulators"
    one.InstitutionName = hospital
    one.ReferringPhysicianName = _person_name(staff(seed, number % 7)[1], charset)
    one.StudyDescription = description
    one.SeriesDescription = description + ("报告" if modality == "SR" else "")
    one.PatientName = _person_name(person.name, charset)
    one.PatientID = f"MR{person.number:06d}"
    one.PatientBirthDate = f"{person.born:%Y%m%d}"
    one.PatientSex = person.sex
    one.StudyInstanceUID = study
    one.SeriesInstanceUID = uid(study, series)
    one.StudyID = f"{number}"
    one.SeriesNumber = series
    one.InstanceNumber = image
    if part:
        one.BodyPartExamined = part
    one.file_meta = FileMetaDataset()
    one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID
    one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
    one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return one


def _person_name(name: str, charset: str | list[str]) -> str:
    if charset not in ("GB18030", "ISO_IR 192"):
        name = name.translate(_RARE)
    if "·" in name or " " in name:
        return f"=^{name}"
    cut = 2 if name[:2] in _COMPOUND else 1
    return f"={name[:cut]}^{name[cut:]}"


def _pixels(one: Dataset, chance: random.Random, size: int) -> None:
    one.SamplesPerPixel = 1
    one.PhotometricInterpretation = "MONOCHROME2"
    one.Rows = one.Columns = size
    one.BitsAllocated = 16
    one.BitsStored = 12
    one.HighBit = 11
    one.PixelRepresentation = 0
    one.PixelData = bytes(chance.getrandbits(8) & (0x0F if at % 2 else 0xFF) for at in range(2 * size * size))
    one["PixelData"].VR = "OW"


def _code(value: str, scheme: str, meaning: str) -> Sequence:
    item = Dataset()
    item.CodeValue = value
    item.CodingSchemeDesignator = scheme
    item.CodeMeaning = meaning
    return Sequence([item])


def _item(relation: str, kind: str, concept: tuple[str, str, str]) -> Dataset:
    item = Dataset()
    item.RelationshipType = relation
    item.ValueType = kind
    item.ConceptNameCodeSequence = _code(*concept)
    return item


def _number(concept: tuple[str, str, str], value: str, unit: tuple[str, str, str]) -> Dataset:
    item = _item("CONTAINS", "NUM", concept)
    measured = Dataset()
    measured.MeasurementUnitsCodeSequence = _code(*unit)
    measured.NumericValue = value
    item.MeasuredValueSequence = Sequence([measured])
    return item


def _report(one: Dataset, chance: random.Random) -> None:
    """A report with a group of measurements (PS3.16 TID 1500, TID 1501)."""
    one.ValueType = "CONTAINER"
    one.ConceptNameCodeSequence = _code("126000", "DCM", "Imaging Measurement Report")
    one.ContinuityOfContent = "SEPARATE"
    one.CompletionFlag = "COMPLETE"
    one.VerificationFlag = "VERIFIED"
    length, text = chance.randrange(80, 160), "肝脏形态大小正常，包膜光整。"
    group = _item("CONTAINS", "CONTAINER", ("125007", "DCM", "Measurement Group"))
    site = _item("CONTAINS", "CODE", ("363698007", "SCT", "Finding Site"))
    site.ConceptCodeSequence = _code("10200004", "SCT", "肝")
    group.ContentSequence = Sequence(
        [site, _number(("410668003", "SCT", "Length"), str(length), ("mm", "UCUM", "millimeter"))]
    )
    groups = _item("CONTAINS", "CONTAINER", ("126010", "DCM", "Imaging Measurements"))
    groups.ContentSequence = Sequence([group])
    finding = _item("CONTAINS", "TEXT", ("121071", "DCM", "Finding"))
    finding.TextValue = text
    one.ContentSequence = Sequence([groups, finding])


def _wave(one: Dataset, chance: random.Random) -> None:
    """Two leads of half a second."""
    one.AcquisitionDateTime = one.StudyDate + one.StudyTime
    wave = Dataset()
    wave.WaveformOriginality = "ORIGINAL"
    wave.NumberOfWaveformChannels = 2
    wave.NumberOfWaveformSamples = 250
    wave.SamplingFrequency = "500"
    channels = []
    for lead, code in (("Lead I", "2:1"), ("Lead II", "2:2")):
        channel = Dataset()
        channel.ChannelSourceSequence = _code(code, "MDC", lead)
        channel.ChannelSensitivity = "5"
        channel.ChannelSensitivityUnitsSequence = _code("uV", "UCUM", "microvolt")
        channel.ChannelBaseline = "0"
        channel.WaveformBitsStored = 16
        channels.append(channel)
    wave.ChannelDefinitionSequence = Sequence(channels)
    wave.WaveformBitsAllocated = 16
    wave.WaveformSampleInterpretation = "SS"
    wave.WaveformData = bytes(chance.getrandbits(8) if at % 2 == 0 else 0 for at in range(1000))
    wave["WaveformData"].VR = "OW"
    one.WaveformSequence = Sequence([wave])


def days(last: date, count: int) -> list[date]:
    """Return the last ``count`` days up to ``last``, oldest first."""
    return [last - timedelta(back) for back in range(count - 1, -1, -1)]
