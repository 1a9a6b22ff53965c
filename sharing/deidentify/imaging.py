"""DICOM objects by PS3.15 annex E: Basic Application Level Confidentiality Profile with options, and default no.

Table E.1-1 says what becomes of its elements. Beyond it nothing stays whose value could be a text that nobody listed:
private elements, comments, overlays, thumbnails, unknown bytes go. UIDs, dates and the patient's id agree with those of
the FHIR resources of the same dataset and person. docs/deidentification-imaging-text.md, docs/decisions/0511.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from pydicom.dataset import Dataset

from sharing.deidentify.imaging_elements import Cleaner
from sharing.deidentify.imaging_pixels import Pixels, clean
from sharing.deidentify.imaging_reading import read, text
from sharing.deidentify.imaging_rules import rules
from sharing.deidentify.imaging_writing import element, file, item
from sharing.deidentify.profile import Profile
from sharing.deidentify.pseudonyms import Pseudonyms
from sharing.deidentify.report import Report
from sharing.errors import Malformed, Refused

_CLASS, _INSTANCE = 0x00080016, 0x00080018
#: Codes of PS3.16 CID 7050 for what was done.
_BASIC: Final = ("113100", "Basic Application Confidentiality Profile")
_OPTIONS: Final = {
    "pixels": ("113101", "Clean Pixel Data Option"),
    "structured": ("113104", "Clean Structured Content Option"),
    "descriptors": ("113105", "Clean Descriptors Option"),
    "dates": ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    "characteristics": ("113108", "Retain Patient Characteristics Option"),
}
_METHOD: Final = "Xinglin {}; DICOM PS3.15 {} table E.1-1; unlisted texts, bytes and private elements removed"


def deidentify_dicom(
    data: bytes, secret: bytes, person: bytes, profile: Profile, known: Collection[str] = ()
) -> tuple[bytes, Report]:
    """Return a DICOM file that names nobody, and what was dropped and changed in it.

    Args:
        data: The object: a file (PS3.10), or a dataset alone. Compressed pixels stay compressed.
        secret: 32 random bytes, one for each dataset and holder, as for ``Deidentifier``.
        person: Whose it is, as for ``Deidentifier.resource``.
        profile: Its classes ``date``, ``age`` and ``text`` decide.
        known: Names and numbers of this person, beside those that the object tells itself; texts are searched for them.

    Returns:
        A file in UTF-8, Explicit VR Little Endian unless its pixels are compressed; equal input gives equal bytes.

    Raises:
        Malformed: The bytes are no DICOM object, or break off.
        Refused: The object is of a class that is never looked into, or its pixels may have names in them.
        ValueError: The secret has another length: a mistake of the caller.
    """
    pseudonyms, report = Pseudonyms(secret), Report(taken=1)
    dataset = read(data)
    meta = dataset.file_meta if hasattr(dataset, "file_meta") else Dataset()
    sop_class = text(dataset, _CLASS) or text(meta, 0x00020002)
    _check_class(sop_class)
    pixels = clean(dataset, text(meta, 0x00020010), report)
    cleaner = Cleaner(profile, pseudonyms, person, report)
    cleaner.look(dataset, known)
    done = cleaner.elements(dataset)
    instance = cleaner.uid(text(dataset, _INSTANCE) or text(meta, 0x00020003))
    done |= _said(profile, pixels) | {_CLASS: element(_CLASS, "UI", sop_class.encode())}
    done[_INSTANCE] = element(_INSTANCE, "UI", instance.encode())
    body = b"".join(done[tag] for tag in sorted(done)) + pixels.encoded
    report.left = 1
    return file(sop_class, instance, pixels.syntax, body), report


def _check_class(sop_class: str) -> None:
    why = rules().never_leave.get(sop_class)
    if why is not None:
        raise Refused("class", f"expected an object that can be looked into, got {why}; it does not leave")
    if not sop_class:
        raise Malformed("expected a SOP Class UID (0008,0016); there is none")
    if not sop_class.startswith("1.2.840.10008.") or not all(one in "0123456789." for one in sop_class):
        raise Refused("class", "expected a class of the standard, got a maker's own; nobody knows what is in it")


def _said(profile: Profile, pixels: Pixels) -> dict[int, bytes]:
    """What the object says of its own de-identification (PS3.15 E.1.1, PS3.3 C.7.1.1 and C.12.1)."""
    used = ["structured", "characteristics"]
    used += ["descriptors"] if profile.action("text") == "scrub" else []
    used += ["dates"] if profile.action("date") == "shift" else []
    used += ["pixels"] if pixels.cleaned else []
    codes = [_BASIC, *sorted(_OPTIONS[one] for one in used)]
    said = {
        0x00080005: element(0x00080005, "CS", b"ISO_IR 192"),
        0x00120062: element(0x00120062, "CS", b"YES"),
        0x00120063: element(0x00120063, "LO", _METHOD.format(profile.name, rules().edition).encode()[:64]),
        0x00120064: element(0x00120064, "SQ", b"".join(_code(*one) for one in codes)),
        0x00280303: element(0x00280303, "CS", b"MODIFIED" if profile.action("date") == "shift" else b"REMOVED"),
    }
    if pixels.cleaned:
        said[0x00280301] = element(0x00280301, "CS", b"NO")
    return said


def _code(value: str, meaning: str) -> bytes:
    return item(
        element(0x00080100, "SH", value.encode())
        + element(0x00080102, "SH", b"DCM")
        + element(0x00080104, "LO", meaning.encode()[:64])
    )
