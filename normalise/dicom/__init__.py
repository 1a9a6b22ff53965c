"""DICOM objects as FHIR R4 resources. Pure functions: no I/O, no clock, the same input gives the same output.

docs/decisions/0210-imaging.md says why an object is a record and a study is listed by its manifest.
"""

from __future__ import annotations

import struct
import warnings
from zoneinfo import ZoneInfo

from normalise.collecting import Collector
from normalise.dicom.dataset import Item, read
from normalise.dicom.document import add_document
from normalise.dicom.image import add_image, is_image
from normalise.dicom.people import add_patient, patient
from normalise.dicom.reading import CLASS, INSTANCE, SERIES, STUDY, Large, Reading, required
from normalise.dicom.report import add_report
from normalise.dicom.study import MODALITY, add_study, is_manifest
from normalise.dicom.tables import MAPPING, kind_of
from normalise.dicom.waveform import add_waveform
from normalise.errors import set_aside
from schemas.records import Normalised, SourceContext

__all__ = ["MAPPING", "convert"]

_BULK = 0xFFFB0000
_CREATOR = "XINGLIN BULK 1"


def convert(content: bytes, context: SourceContext) -> Normalised:
    """Return the FHIR resources that one DICOM object becomes.

    Args:
        content: A DICOM file; with pixel data, or as the connectors land it (`connectors.pacs.instances`).
        context: The source.

    Raises:
        SetAside: The object is refused; the only exception that any bytes can cause.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library warns with the value in the warning
        try:
            return _convert(read(content, context.charset), context)
        except RecursionError:
            raise set_aside("structure", "", "Sequences stand inside each other too deeply.") from None


def _convert(item: Item, context: SourceContext) -> Normalised:
    sop_class, uid = required(item, CLASS, "SOPClassUID"), required(item, INSTANCE, "SOPInstanceUID")
    if kind_of(sop_class) == "directory":
        raise set_aside("unknown_media", item.at(CLASS), "A DICOMDIR is an index of files; send the files it lists.")
    study, series = required(item, STUDY, "StudyInstanceUID"), required(item, SERIES, "SeriesInstanceUID")
    owner, known = patient(item, study, context.institution)
    reading = Reading(
        item, Collector(context, uid, MAPPING), context.institution, context.source, ZoneInfo(context.time_zone),
        sop_class, uid, study, series, owner, _large(item),
    )  # fmt: skip
    if item.charset.note:
        reading.note("charset", "(0008,0005)", item.charset.note)
    add_patient(reading, known)
    of_study = add_study(reading)
    order = next((f"{one.type}/{one.id}" for one in reading.collector.resources if one.type == "ServiceRequest"), None)
    _add_content(reading, of_study, order)
    reading.collector.facts.update(_facts(reading))
    return reading.collector.finish(reading.recorded, "DICOM " + reading.kind.replace("_", " "))


def _add_content(reading: Reading, study: str, order: str | None) -> None:
    """What the object itself is stands beside its study."""
    if reading.kind == "report":
        add_report(reading, study, order)
    elif reading.kind == "document":
        add_document(reading, study)
    elif reading.kind == "waveform":
        add_waveform(reading, study)
    elif reading.kind == "key_objects":
        if not is_manifest(reading):
            reading.note("structure", INSTANCE, "A selection of key objects is not mapped; it stays in the object.")
    elif is_image(reading):
        add_image(reading, study, order)


def _large(item: Item) -> dict[int, Large]:
    """What the connector put into the bulk store, from its private block."""
    if item.text(_BULK | 0x10) != _CREATOR:
        return {}

    def at(number: int) -> int:
        return _BULK | 0x1000 | number

    tags = struct.iter_unpack("<HH", item.raw(at(1))[: len(item.raw(at(1))) // 4 * 4])
    sizes = struct.iter_unpack("<Q", item.raw(at(3))[: len(item.raw(at(3))) // 8 * 8])
    prefix, syntax = item.text(at(6)), item.text(at(5))
    digests = item.texts(at(4))
    found = {}
    for (group, number), (size,), digest in zip(tags, sizes, digests, strict=False):
        tag = group << 16 | number
        found[tag] = Large(tag, size, digest, f"{prefix}{tag:08X}", syntax)
    return found


def _facts(reading: Reading) -> dict[str, str]:
    """What quality rules read beside the resources."""
    return {
        "(0008,0005)": reading.item.charset.codec,
        "(0008,0016)": reading.sop_class,
        "(0008,0060)": reading.item.text(MODALITY),
        "(0010,0020)": reading.item.text(0x00100020),
        "(0020,000D)": reading.study,
        "kind": reading.kind,
    }
