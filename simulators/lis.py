"""A laboratory system that drops result files into a folder, the way laboratory systems do."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from simulators.messages import DECLARED, Sender
from simulators.sent import Sent
from simulators.trouble import TROUBLES, spoilt
from simulators.visits import visits

_BOM: Final = b"\xef\xbb\xbf"
#: How the files of a day differ, in turn: codec, byte order mark, line end.
_STYLES: Final = (("utf-8", _BOM, "\r\n"), ("utf-8", b"", "\n"), ("gb18030", b"", "\r"))
_OID: Final = "1.2.156.112699.3"


@dataclass(frozen=True, slots=True)
class Laboratory:
    """One laboratory.

    Attributes:
        seed: The region's seed; its patients are those of the hospitals.
        name: The institution's name.
        record_bytes: The source's size limit, to go beyond.
    """

    seed: int
    name: str = "区域检验中心"
    record_bytes: int = 4_194_304

    def drop(self, folder: Path, files: int, messages_per_file: int, trouble: bool = True, day: int = 0) -> Sent:
        """Return what was dropped once every file stands in the folder under its name.

        Files are written under another name and renamed. A day's files are the same however often they are dropped.
        From the second day on yesterday's first file comes once more, under a new name. Trouble, if asked for, adds
        three files: bad messages between right ones, a batch cut off in mid-message, and one whose trailer counts
        wrong; names of files then hold a patient's name.

        Args:
            folder: Made where it is not there.
            files: Right files.
            messages_per_file: Right messages in each.
            trouble: Whether bad files are dropped as well.
            day: Which day, from 0.
        """
        folder.mkdir(parents=True, exist_ok=True)
        sent = Sent()
        for number in range(files):
            _write(folder / f"LIS{day:04d}{number:04d}.hl7", self.file(number, messages_per_file, day))
            sent += Sent(sealed=messages_per_file, files=1)
        if day and files:
            _write(folder / f"LIS{day:04d}again.hl7", self.file(0, messages_per_file, day - 1))
            sent += Sent(repeats=messages_per_file, files=1)
        if trouble:
            sent += self._trouble(folder, day)
        return sent

    def file(self, number: int, messages: int, day: int = 0) -> bytes:
        """Return one right file of a day."""
        codec, mark, line_end = _STYLES[number % len(_STYLES)]
        return mark + _batch(self._results(f"L{number:03d}", codec, messages, day), codec, line_end)

    def _results(self, code: str, codec: str, messages: int, day: int) -> list[str]:
        sender = Sender("LIS", self.name, _OID, codec, DECLARED[codec])
        return [message.decode(codec) for message in islice(_results(self.seed, sender, code, day), messages)]

    def _trouble(self, folder: Path, day: int) -> Sent:
        right = self._results("LT", "utf-8", 5, day)
        name = right[0].split("\rPID|")[1].split("|")[4].split("^")[0]
        _write(folder / f"{name}_{day:04d}_1.hl7", self._bad_messages(right, day))
        # Cut off in the middle of the last message: neither its rest nor the trailers ever came.
        cut = _batch(right[3:], "utf-8", "\r").partition(b"\rBTS")[0]
        _write(folder / f"{name}_{day:04d}_2.hl7", cut[:-40])
        miscounted = _batch(right[2:4], "utf-8", "\r").replace(b"\rBTS|2", b"\rBTS|3")
        _write(folder / f"{name}_{day:04d}_3.hl7", miscounted)
        # In order of the files: 3 right ones; the fourth and the cut fifth, two trailers missing; the third and the
        # fourth again, one promised that is not there.
        reasons = Counter({"truncated": 4}) + Counter(kind.reason for kind in TROUBLES)
        return Sent(sealed=4, repeats=2, set_aside=reasons, files=3)

    def _bad_messages(self, right: list[str], day: int) -> bytes:
        """Return three right messages and one of each kind of trouble, without a batch around them."""
        pieces = [one.encode() for one in right[:3]]
        for number, kind in enumerate(TROUBLES):
            bad = spoilt(pieces[number % 3], "utf-8", f"LT{day:04d}B{number}", kind, self.record_bytes)
            # What is no message is told from one only by what ends the message before it.
            pieces.append(b"\x1c\r" + bad if kind.reason == "not_hl7" else bad)
        return b"".join(pieces)


def _results(seed: int, sender: Sender, code: str, day: int) -> Iterator[bytes]:
    """Yield the results of a day's visits."""
    for visit in visits(seed, sender, code, day):
        yield from (message for message in visit if b"|ORU^R01|" in message)


def _batch(messages: list[str], codec: str, line_end: str) -> bytes:
    """Return the messages in a file of one batch (HL7 v2.5.1 section 2.10.3)."""
    head = ["FHS|^~\\&|LIS", "BHS|^~\\&|LIS"]
    tail = [f"BTS|{len(messages)}", "FTS|1"]
    lines = [*head, *(line for message in messages for line in message.rstrip("\r").split("\r")), *tail]
    return "".join(line + line_end for line in lines).encode(codec)


def _write(path: Path, content: bytes) -> None:
    unfinished = path.with_suffix(".tmp")
    unfinished.write_bytes(content)
    unfinished.replace(path)


@contextmanager
def onboarding(home: Path) -> Iterator[dict[str, str]]:
    """Yield what the pages of docs/onboarding call it: ``LIS_FOLDER``, where the laboratory dropped a day's files."""
    folder = home / "hospital" / "lis-drop"
    Laboratory(20261101).drop(folder, 2, 30)
    for number, path in enumerate(sorted(folder.iterdir())):  # as if since yesterday, whatever the machine's speed
        os.utime(path, (1_790_000_000 + number, 1_790_000_000 + number))
    yield {"LIS_FOLDER": str(folder)}
