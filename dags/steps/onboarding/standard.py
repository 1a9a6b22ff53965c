"""HL7 v2 messages held to the standard's own structures by hl7apy: said to the sender, never a reason to refuse."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice, zip_longest
from typing import Final

from normalise import SetAside
from schemas.records import RawRecord

#: hl7apy reads some fifty messages a second.
_MESSAGES: Final = 12
_NAMES: Final = re.compile(r"\b[A-Z][A-Z0-9]{2}(?:_[A-Z0-9]+)*\b")


@dataclass(frozen=True, slots=True)
class Standard:
    """What the standard says of a few messages.

    Attributes:
        checked: Messages looked at.
        valid: Those that follow their message structure strictly.
        deviations: What the others do otherwise, by number of messages; names of segments and fields, no values.
    """

    checked: int
    valid: int
    deviations: Counter[str] = field(default_factory=Counter)


def hold_to_standard(records: Sequence[RawRecord], charset: str) -> Standard | None:
    """Return what hl7apy finds in the HL7 v2 messages among the records; None where there are none."""
    messages = _various([one for one in records if one.media == "hl7v2"])
    if not messages:
        return None
    found: Counter[str] = Counter()
    for one in messages:
        found[_deviation(one.content, charset)] += 1
    valid = found.pop("", 0)
    return Standard(len(messages), valid, found)


def _various(messages: Sequence[RawRecord]) -> list[RawRecord]:
    """Return a few messages, of as many kinds as there are: those that differ most in what MSH says, first."""
    kinds: dict[bytes, list[RawRecord]] = {}
    for one in messages:
        kinds.setdefault(b"".join(one.content[:400].split(b"|")[8:9]), []).append(one)
    turns = zip_longest(*kinds.values())
    return list(islice((one for turn in turns for one in turn if one is not None), _MESSAGES))


def _deviation(content: bytes, charset: str) -> str:
    """Return the first thing in which a message leaves the standard, or an empty string."""
    from hl7apy import exceptions
    from hl7apy.parser import parse_message

    from normalise.hl7v2.charsets import decode

    try:
        text, _ = decode(content, charset)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parse_message(text.replace("\n", "\r").replace("\r\r", "\r"), find_groups=True).validate()
    except SetAside as error:
        return error.refusal.code
    except exceptions.HL7apyException as error:
        # Their texts may hold a value of the message; only names of segments, fields and structures are kept.
        names = " ".join(dict.fromkeys(_NAMES.findall(str(error))))
        return f"{type(error).__name__}: {names}" if names else type(error).__name__
    except Exception as error:  # noqa: BLE001 - hl7apy raises what its lookups happen to raise
        return type(error).__name__
    return ""
