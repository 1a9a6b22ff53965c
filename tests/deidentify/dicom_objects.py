"""DICOM objects of nobody, with names planted where devices put them."""

from __future__ import annotations

import struct
import warnings
from io import BytesIO
from typing import Any

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence

SECRET = bytes(range(32))
PERSON = b"somebody"
CT = "1.2.840.10008.5.1.4.1.1.2"
US = "1.2.840.10008.5.1.4.1.1.6.1"
SR = "1.2.840.10008.5.1.4.1.1.88.33"
NAME, NUMBER = "欧阳^梓涵", "P7654321"


def image(sop_class: str = CT, modality: str = "CT", **elements: Any) -> Dataset:
    """An image of 8 x 8 white pixels of one patient."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = "1.2.3.4.5"
    dataset.StudyInstanceUID = "1.2.3.4"
    dataset.SeriesInstanceUID = "1.2.3.4.1"
    dataset.Modality = modality
    dataset.PatientName = f"OuYang^ZiHan={NAME}"
    dataset.PatientID = NUMBER
    dataset.PatientBirthDate = "19900307"
    dataset.PatientSex = "F"
    dataset.StudyDate, dataset.StudyTime = "20240305", "235959"
    dataset.Manufacturer = "ACME"
    dataset.Rows = dataset.Columns = 8
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.PixelData = b"\xff" * 64
    for name, value in elements.items():
        setattr(dataset, name, value)
    return dataset


def written(dataset: Dataset, syntax: str = "1.2.840.10008.1.2.1") -> bytes:
    """The file of an object."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = syntax
    meta.SourceApplicationEntityTitle = "AE_OF_HOSPITAL"
    dataset.file_meta = meta
    out = BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pydicom.dcmwrite(out, dataset, enforce_file_format=True)
    return b"NAME OF A PERSON".ljust(128, b"\0") + out.getvalue()[128:]


def planted(data: bytes, tag: int, vr: str, value: bytes) -> bytes:
    """A file of Explicit VR Little Endian with one more element, as no library would write it."""
    value += b" " * (len(value) % 2)
    new = struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), len(value)) + value
    at = data.index(struct.pack("<HH2s", 0x0010, 0x0010, b"PN"))
    return data[:at] + new + data[at:]


def read_back(data: bytes) -> Dataset:
    """The object in a file, all of its values decoded."""
    dataset = pydicom.dcmread(BytesIO(data))
    str(dataset)
    return dataset


def nested(depth: int) -> Dataset:
    """An object with a name as deep as asked for."""
    inner = Dataset()
    inner.PatientName = NAME
    for _ in range(depth):
        outer = Dataset()
        outer.ReferencedImageSequence = Sequence([inner])
        inner = outer
    whole = image()
    whole.ReferencedImageSequence = Sequence([inner])
    return whole
