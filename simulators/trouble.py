"""What goes wrong in real feeds, made from a message that is right, and what must become of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

#: Stand in the text for what no text holds, until it is bytes: two that are in no character set, and a document.
_NO_CHARACTER: Final = "\ue000"
_DOCUMENT: Final = "\ue001"


@dataclass(frozen=True, slots=True)
class Trouble:
    """One kind of bad message.

    Attributes:
        reason: Why it must be refused or set aside.
        at_the_door: Whether a listener sees it before it acknowledges; it then refuses it and keeps nothing.
        answer: MSA-1 that a listener must give.
        spoil: Makes the text of a right message bad.
    """

    reason: str
    at_the_door: bool
    answer: Literal["AA", "AE", "AR"]
    spoil: Callable[[str], str]


def _born_next_century(text: str) -> str:
    return _with_field(text, "PID", 7, "21260101")


def _staff(text: str) -> str:
    """Return it as news of the staff, which tells nothing of a patient and is not mapped."""
    return _with_field(text, "MSH", 8, "MFN^M02")


def _version_3(text: str) -> str:
    return _with_field(text, "MSH", 11, "3.0")


def _no_charset(text: str) -> str:
    return _with_field(text, "PID", 5, f"王{_NO_CHARACTER}")


def _no_patient(text: str) -> str:
    """Return it as a sender's buffer that ended behind the header."""
    return text.split("\r", 1)[0] + "\r"


def _large(text: str) -> str:
    """Return it with a scanned document in a remark."""
    return f"{text}NTE|9|L|{_DOCUMENT}\r"


def _no_hl7(text: str) -> str:
    """Return what monitoring sends that knocks at every port."""
    control_id = text.split("|", 10)[9]
    return f"GET /health?probe={control_id} HTTP/1.1\r\nHost: esb\r\n"


#: The kinds, in the order in which they occur.
TROUBLES: Final = (
    Trouble("quality:patient-birth-not-in-future", False, "AA", _born_next_century),
    Trouble("unknown_event", True, "AR", _staff),
    Trouble("charset", False, "AE", _no_charset),
    Trouble("version", True, "AR", _version_3),
    Trouble("truncated", True, "AE", _no_patient),
    Trouble("not_hl7", True, "AR", _no_hl7),
    Trouble("oversize", True, "AR", _large),
)


def spoilt(message: bytes, codec: str, control_id: str, trouble: Trouble, limit: int) -> bytes:
    """Return a copy of ``message`` under its own control id, with ``trouble``; ``limit`` is the largest right size."""
    text = trouble.spoil(_with_field(message.decode(codec), "MSH", 9, control_id))
    document = b"JVBERi0xLjQK" * (limit // 12 + 1)
    spoiled = text.encode(codec).replace(_NO_CHARACTER.encode(codec), b"\xff\xff")
    return spoiled.replace(_DOCUMENT.encode(codec), document)


def _with_field(text: str, segment: str, position: int, value: str) -> str:
    """Return the message with a field of its first such segment replaced; ``position`` counts its separators."""
    lines = text.split("\r")
    at = next(number for number, line in enumerate(lines) if line.startswith(segment))
    fields = lines[at].split("|")
    fields[position] = value
    lines[at] = "|".join(fields)
    return "\r".join(lines)
