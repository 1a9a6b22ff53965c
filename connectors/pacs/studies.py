"""What an archive's index says of its studies, series and objects, and the manifest made of it.

An answer is kept as it came: tags with VR and undecoded bytes, and the character set they are in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from connectors.contract import Found
from connectors.pacs.elements import element, sequence
from connectors.pacs.instances import derived_uid, file_of

CHARSET: Final = 0x00080005
CLASS: Final = 0x00080016
INSTANCE: Final = 0x00080018
STUDY_DATE: Final = 0x00080020
STUDY_TIME: Final = 0x00080030
MODALITY: Final = 0x00080060
STUDY: Final = 0x0020000D
SERIES: Final = 0x0020000E
NUMBER: Final = 0x00200013
STUDY_COUNT: Final = 0x00201208

#: What is asked for of a study, a series, an object (PS3.4 C.6.2.1), and kept of the answer.
STUDY_KEYS: Final = (
    STUDY_DATE, STUDY_TIME, 0x00080050, 0x00080061, 0x00080090, 0x00081030,
    0x00100010, 0x00100020, 0x00100021, 0x00100030, 0x00100040, STUDY, 0x00200010, 0x00201206, STUDY_COUNT,
)  # fmt: skip
SERIES_KEYS: Final = (
    0x00080021, 0x00080031, MODALITY, 0x0008103E, 0x00081050, 0x00180015, STUDY, SERIES, 0x00200011,
    0x00200060, 0x00201209,
)  # fmt: skip
OBJECT_KEYS: Final = (CLASS, INSTANCE, STUDY, SERIES, NUMBER)

#: Key Object Selection Document Storage, the class of manifests (IHE RAD TF-3 4.68).
_KEY_OBJECTS: Final = b"1.2.840.10008.5.1.4.1.1.88.59"

_UID: Final = re.compile(r"[0-9.]{1,64}", re.ASCII)

Value = tuple[str, bytes]


def is_uid(text: str) -> bool:
    """Whether something may be asked for by this UID (PS3.5 section 9.1, leading zeros forgiven)."""
    return _UID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of the archive's index.

    Attributes:
        values: VR and undecoded bytes by tag.
    """

    values: Mapping[int, Value]

    def text(self, tag: int) -> str:
        """Return a value of ASCII characters (a UID, a date, a code), or ``""``."""
        _, value = self.values.get(tag, ("", b""))
        return value.rstrip(b"\0 ").decode("ascii", "replace").strip()

    def number(self, tag: int) -> int | None:
        """Return a count, or None where there is none."""
        text = self.text(tag)
        return int(text) if text.isdecimal() and len(text) < 10 else None

    def encoded(self, tags: Sequence[int]) -> dict[int, bytes]:
        """Return those of these elements that have a value, encoded."""
        wanted = ((tag, self.values[tag]) for tag in (CHARSET, *tags) if tag in self.values)
        return {tag: element(tag, vr, value) for tag, (vr, value) in wanted if value}


@dataclass(frozen=True, slots=True)
class Object:
    """One object that the archive lists."""

    uid: str
    series: str
    answer: Answer

    @property
    def order(self) -> tuple[int, str]:
        """What objects are sorted by."""
        return self.answer.number(NUMBER) or 0, self.uid

    @property
    def sop_class(self) -> str:
        """Its SOP class, or ``""`` where the archive does not say."""
        return self.answer.text(CLASS)


@dataclass(frozen=True, slots=True)
class Series:
    """One series that the archive lists."""

    uid: str
    answer: Answer
    objects: tuple[Object, ...] = ()

    @property
    def modality(self) -> str:
        """Its modality, or ``""``."""
        return self.answer.text(MODALITY)

    @property
    def order(self) -> tuple[int, str]:
        """What series are sorted by."""
        return self.answer.number(0x00200011) or 0, self.uid


@dataclass(frozen=True, slots=True)
class Study:
    """One study that the archive lists; with its series where they were asked for."""

    uid: str
    answer: Answer
    series: tuple[Series, ...] = field(default=())

    @property
    def day(self) -> str:
        """Its StudyDate, 8 digits."""
        return self.answer.text(STUDY_DATE)

    @property
    def time(self) -> str:
        """Its StudyTime to the second, 6 digits, or ``""``."""
        digits = self.answer.text(STUDY_TIME).partition(".")[0]
        return digits.ljust(6, "0") if digits.isdecimal() else ""

    @property
    def count(self) -> int | None:
        """How many objects the archive counts in it, or None."""
        return self.answer.number(STUDY_COUNT)

    @property
    def order(self) -> tuple[str, str, str]:
        """What studies are sorted by."""
        return self.day, self.answer.text(STUDY_TIME), self.uid

    @property
    def objects(self) -> tuple[Object, ...]:
        """All of its objects."""
        return tuple(one for series in self.series for one in series.objects)


def manifest(study: Study, position: str) -> Found:
    """Return the record that says what the archive holds of a study: its series and objects.

    It is a Key Object Selection titled Manifest (113030, DCM) as of IHE XDS-I.b, without content items, that carries
    what the index said of each series and object. Its UID is derived from what it lists: the same list is the same
    record, and lands once.
    """
    listed = [one.uid for one in study.objects]
    uid = derived_uid("manifest", study.uid, *listed)
    elements = study.answer.encoded(STUDY_KEYS) | {
        CLASS: element(CLASS, "UI", _KEY_OBJECTS),
        INSTANCE: element(INSTANCE, "UI", uid.encode()),
        MODALITY: element(MODALITY, "CS", b"KO"),
        SERIES: element(SERIES, "UI", derived_uid("manifests", study.uid).encode()),
        0x0040A040: element(0x0040A040, "CS", b"CONTAINER"),
        0x0040A043: sequence(0x0040A043, [_title()]),
        0x0040A375: sequence(0x0040A375, [_evidence(study)]),
    }
    return Found(file_of(_KEY_OBJECTS, uid.encode(), _joined(elements)), position, uid, media="dicom")


def _title() -> bytes:
    return b"".join(
        (
            element(0x00080100, "SH", b"113030"),
            element(0x00080102, "SH", b"DCM"),
            element(0x00080104, "LO", b"Manifest"),
        )
    )


def _evidence(study: Study) -> bytes:
    items = [_joined(one.answer.encoded(SERIES_KEYS) | {0x00081199: _objects(one)}, STUDY) for one in study.series]
    return sequence(0x00081115, items) + element(STUDY, "UI", study.uid.encode())


def _objects(series: Series) -> bytes:
    items = []
    for one in series.objects:
        number = one.answer.encoded((NUMBER,))
        number.pop(CHARSET, None)
        references = {
            0x00081150: element(0x00081150, "UI", one.sop_class.encode()),
            0x00081155: element(0x00081155, "UI", one.uid.encode()),
        }
        items.append(_joined(number | references))
    return sequence(0x00081199, items)


def _joined(elements: dict[int, bytes], *without: int) -> bytes:
    return b"".join(elements[tag] for tag in sorted(elements) if tag not in without)
