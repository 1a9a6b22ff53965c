"""An electronic record that drops CDA documents into a folder: WS/T 500 as Chinese hospitals write it, and C-CDA."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from simulators.cda_documents import admission, outpatient, report, summary
from simulators.people import Patient, patient
from simulators.sent import Sent
from simulators.visits import FIRST_DAY, POPULATION

#: Codec and what is declared, in turn: rightly, by an older name, and not at all.
_STYLES: Final = (("utf-8", "UTF-8"), ("gb18030", "GB18030"), ("gb18030", "GB2312"), ("utf-8", ""))


@dataclass(frozen=True, slots=True)
class Trouble:
    """One kind of bad document.

    Attributes:
        reason: Why it must be set aside.
        spoil: Makes the bytes of a right UTF-8 document bad.
    """

    reason: str
    spoil: Callable[[bytes], bytes]


def _identity(content: bytes) -> bytes:
    """Return it without any number of the patient's."""
    start, end = content.index(b"<patientRole"), content.index(b"<addr")
    content = content[:start] + b"<patientRole>" + content[end:]
    start = content.index(b'<id root="2.16.156.10011.1.3"')
    return content[:start] + content[content.index(b"/>", start) + 2 :]


def _born_next_century(content: bytes) -> bytes:
    start = content.index(b'<birthTime value="') + 18
    return content[:start] + b"21260101" + content[start + 8 :]


def _second_patient(content: bytes) -> bytes:
    start, end = content.index(b"<recordTarget"), content.index(b"</recordTarget>") + 15
    return content[:end] + content[start:end] + content[end:]


#: The kinds, in the order in which they occur.
TROUBLES: Final = (
    Trouble("truncated", lambda content: content[: len(content) * 2 // 3]),
    Trouble("unsafe_xml", lambda content: content.replace(b"<Clin", b'<!DOCTYPE x [<!ENTITY a "aaaa">]>\n<Clin', 1)),
    Trouble("not_xml", lambda content: b"\xff\xd8\xff\xe0 a scanned page of " + content[content.index(b"RN") :][:14]),
    Trouble("not_cda", lambda content: content.replace(b"ClinicalDocument", b"DischargeLetter")),
    Trouble("charset", lambda content: content.replace(b"<name>", b"<name>\xff\xff", 1)),
    Trouble("required", _identity),
    Trouble("structure", _second_patient),
    Trouble("quality:patient-birth-not-in-future", _born_next_century),
)


@dataclass(frozen=True, slots=True)
class Documents:
    """One hospital's electronic record.

    Attributes:
        seed: The region's seed; its patients are those of the other systems.
        name: The hospital's name.
    """

    seed: int
    name: str = "东城医院"

    def drop(self, folder: Path, documents: int, trouble: bool = True, day: int = 0) -> Sent:
        """Return what was dropped once every document stands in the folder under its name.

        Documents are written under another name and renamed. A day's documents are the same however often they are
        dropped. From the second day on yesterday's first document comes once more, under a new name. Trouble, if asked
        for, adds one bad document of each kind, under a patient's name.

        Args:
            folder: Made where it is not there.
            documents: Right documents.
            trouble: Whether bad documents are dropped as well.
            day: Which day, from 0.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(documents):
            _write(folder / f"EMR{day:04d}{number:04d}.xml", self.document(number, day))
        sent = Sent(sealed=documents, files=documents)
        if day and documents:
            _write(folder / f"EMR{day:04d}again.xml", self.document(0, day - 1))
            sent += Sent(repeats=1, files=1)
        for number, kind in enumerate(TROUBLES if trouble else ()):
            bad = kind.spoil(self.document(10_000 + number, day, "utf-8", "UTF-8"))
            _write(folder / f"{self._who(10_000 + number, day).name}_{day:04d}_{number}.xml", bad)
            sent += Sent(set_aside=Counter([kind.reason]), files=1)
        return sent

    def document(self, number: int, day: int = 0, codec: str = "", declared: str = "") -> bytes:
        """Return one right document of a day: every fourth in C-CDA, the others in WS/T 500."""
        if not codec:
            codec, declared = _STYLES[number % len(_STYLES)]
        chance = random.Random(f"cda {self.seed} {day} {number}")
        at = FIRST_DAY + timedelta(days=day, minutes=7 * (number % 100))
        who, key = self._who(number, day), f"{day:04d}{number:06d}"
        kind = (outpatient, report, admission, summary)[number % 4] if number < 10_000 else outpatient
        encoding = f' encoding="{declared}"' if declared else ""
        text = kind(self.name, who, key, at, chance)
        return f'<?xml version="1.0"{encoding}?>\n{text}'.encode(codec)

    def _who(self, number: int, day: int) -> Patient:
        return patient(self.seed, random.Random(f"cda who {self.seed} {day} {number}").randrange(POPULATION))


@contextmanager
def onboarding(home: Path) -> Iterator[dict[str, str]]:
    """Yield what the pages of docs/onboarding call it: ``EMR_FOLDER``, where the record dropped two days' documents."""
    folder = home / "hospital" / "emr"
    for day in (0, 1):
        Documents(20261101).drop(folder, 40, trouble=False, day=day)
    for number, path in enumerate(sorted(folder.iterdir())):  # as if since yesterday, whatever the machine's speed
        os.utime(path, (1_790_000_000 + number, 1_790_000_000 + number))
    yield {"EMR_FOLDER": str(folder)}


def _write(path: Path, content: bytes) -> None:
    unfinished = path.with_suffix(".tmp")
    unfinished.write_bytes(content)
    unfinished.replace(path)
