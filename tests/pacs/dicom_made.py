"""DICOM objects made for one test each."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian

CT = "1.2.840.10008.5.1.4.1.1.2"
SR = "1.2.840.10008.5.1.4.1.1.88.22"
PDF = "1.2.840.10008.5.1.4.1.1.104.1"


def made(sop_class: str = CT, uid: str = "1.2.3.1.1", **values: Any) -> Dataset:
    """An object with what every object has; None leaves an attribute out."""
    known: dict[str, Any] = {
        "SpecificCharacterSet": "GB18030", "SOPClassUID": sop_class, "SOPInstanceUID": uid,
        "StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.1", "PatientID": "P1", "PatientName": "=王^伟",
        "PatientBirthDate": "19800229", "PatientSex": "M", "StudyDate": "20260315", "StudyTime": "101530",
        "Modality": "CT", "AccessionNumber": "A1", **values,
    }  # fmt: skip
    one = Dataset()
    for name, value in known.items():
        if value is not None:
            setattr(one, name, value)
    one.file_meta = FileMetaDataset()
    one.file_meta.MediaStorageSOPClassUID = UID(sop_class)
    one.file_meta.MediaStorageSOPInstanceUID = UID(uid)
    one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return one


def written(one: Dataset) -> bytes:
    stream = BytesIO()
    one.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def code(value: str, scheme: str, meaning: str) -> Sequence:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return Sequence([item])


def content(kind: str, name: tuple[str, str, str] | None, *children: Dataset, **values: Any) -> Dataset:
    """A content item of a structured report."""
    item = Dataset()
    item.RelationshipType = values.pop("relation", "CONTAINS")
    item.ValueType = kind
    if name:
        item.ConceptNameCodeSequence = code(*name)
    for key, value in values.items():
        setattr(item, key, value)
    if children:
        item.ContentSequence = Sequence(list(children))
    return item


def measured(value: str | None, unit: tuple[str, str, str] = ("mm", "UCUM", "millimeter")) -> Sequence:
    item = Dataset()
    item.NumericValue = value
    item.MeasurementUnitsCodeSequence = code(*unit)
    return Sequence([item])
