"""Records of the source spoilt on purpose: each must be set aside by name, and none may bring anything down."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from ledger.discretion import account
from normalise import SetAside, convert
from schemas.reasons import REASONS
from schemas.records import RawRecord
from schemas.source import Source

_RECORDS: Final = 25


@dataclass(frozen=True, slots=True)
class Spoilt:
    """What became of spoilt records.

    Attributes:
        tried: How many there were.
        refused: Set aside, by reason code.
        unplaced: Set aside without saying where in the record.
        accepted: Converted all the same: what was spoilt made no difference.
        faults: Errors that are none of ours, each once.
    """

    tried: int
    refused: Counter[str] = field(default_factory=Counter)
    unplaced: int = 0
    accepted: int = 0
    faults: tuple[str, ...] = ()


def spoil(content: bytes) -> Iterator[bytes]:
    """Yield a record cut off, without its beginning, with bytes that are no text, doubled, and empty."""
    middle = len(content) // 2
    yield content[:middle]
    yield content[middle:]
    yield content[:middle] + b"\xff\xfe\x00" + content[middle:]
    yield content + content
    yield b""


def try_spoilt(records: Sequence[RawRecord], source: Source) -> Spoilt:
    """Return what spoilt copies of the first records become; nothing is stored."""
    tried = accepted = unplaced = 0
    refused, faults = Counter[str](), dict[str, None]()
    for record in islice(records, _RECORDS):
        for content in spoil(record.content):
            tried += 1
            try:
                convert(record.media, content, source.context)
            except SetAside as error:
                known = error.refusal.code.partition(":")[0] in REASONS and error.refusal.message
                refused[error.refusal.code if known else "without a reason"] += 1
                unplaced += not error.refusal.where
            except Exception as error:  # noqa: BLE001 - finding such errors is what this is for
                faults[account(error)] = None
            else:
                accepted += 1
    return Spoilt(tried, refused, unplaced, accepted, tuple(faults))
