"""What a node's HTTP interface says, as checked values; a node of another institution may say anything (section 13).

Unknown keys are passed over, so that an older page reads a newer node. What the page uses must be there, of its type
and within its bounds, or the answer is refused as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import orjson

from ledger.errors import Refused

MOST_MEMBERS: Final = 1_000
MOST_BLOCKS: Final = 200
MOST_EPOCHS: Final = 400
_NUMBER: Final = 1 << 63
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Status:
    """A node's own chain.

    Attributes:
        institution: Whose node it says it is.
        region: The region's name.
        chain_id: Hex.
        height: Of its last final block; 0 is genesis.
        block_id: Of that block, hex.
        timestamp_ms: Time in that block's header.
        epoch: Of that block.
        producer: Whose turn the next height is.
        halted: Why it stopped for good, or None.
    """

    institution: str
    region: str
    chain_id: str
    height: int
    block_id: str
    timestamp_ms: int
    epoch: int
    producer: str
    halted: str | None


@dataclass(frozen=True, slots=True)
class Member:
    """An institution of the present set; ``credit`` is None where it has none (a regulator)."""

    id: str
    name: str
    class_: str
    role: str
    weight: int
    standing: str
    credit: int | None


@dataclass(frozen=True, slots=True)
class BlockLine:
    """A final block in one line.

    Attributes:
        entries: Records in it.
        transactions: Of every kind.
        signers: Institutions in its certificate.
        absent: Voters that are not.
        weight: Votes of the signers.
        total: All votes.
    """

    height: int
    block_id: str
    timestamp_ms: int
    epoch: int
    builder: str
    build_round: int
    entries: int
    transactions: int
    evidence: int
    signers: tuple[str, ...]
    absent: tuple[str, ...]
    weight: int
    total: int


@dataclass(frozen=True, slots=True)
class CreditEpoch:
    """Everyone's credit after an epoch."""

    epoch: int
    scores: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class PendingBatch:
    """A batch that is signed and not yet in a final block; ``received_ms`` is None where the node does not say."""

    submitter: str
    seq: int
    entries: int
    received_ms: int | None


class Fields:
    """The fields of one JSON object of an answer; what is not as expected raises Refused."""

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, dict):
            raise Refused("answer", "13", f"{where}: expected an object, got {type(value).__name__}")
        self._fields: dict[str, Any] = value
        self._where = where

    def text(self, name: str, longest: int = 256) -> str:
        """Return a text of at most ``longest`` characters."""
        value = self._fields.get(name)
        if not isinstance(value, str) or len(value) > longest:
            raise self._wrong(name, f"a text of at most {longest} characters")
        return value

    def text_or_none(self, name: str) -> str | None:
        """Return a text, or None where it is null or missing."""
        return None if self._fields.get(name) is None else self.text(name, 1_024)

    def digest(self, name: str) -> str:
        """Return 32 bytes as 64 hex digits."""
        value = self.text(name, 64)
        if len(value) != 64 or not set(value) <= set("0123456789abcdef"):
            raise self._wrong(name, "64 hex digits")
        return value

    def number(self, name: str) -> int:
        """Return a whole number from 0 on."""
        value = self._fields.get(name)
        if type(value) is not int or not 0 <= value < _NUMBER:
            raise self._wrong(name, "a whole number from 0 to 2^63-1")
        return value

    def number_or_none(self, name: str) -> int | None:
        """Return a number, or None where it is null or missing."""
        return None if self._fields.get(name) is None else self.number(name)

    def texts(self, name: str, most: int = MOST_MEMBERS) -> tuple[str, ...]:
        """Return a list of texts."""
        values = self._fields.get(name)
        if not isinstance(values, list) or len(values) > most or not all(_is_name(one) for one in values):
            raise self._wrong(name, f"a list of at most {most} names")
        return tuple(values)

    def objects(self, name: str, most: int, read: Callable[[Fields], _T]) -> tuple[_T, ...]:
        """Return a list of objects, each as ``read`` makes it."""
        values = self._fields.get(name)
        if not isinstance(values, list) or len(values) > most:
            raise self._wrong(name, f"a list of at most {most}")
        return tuple(read(Fields(one, f"{self._where}.{name}")) for one in values)

    def scores(self, name: str) -> dict[str, int]:
        """Return a number for each of some names."""
        value = Fields(self._fields.get(name), f"{self._where}.{name}")
        if len(value._fields) > MOST_MEMBERS or not all(_is_name(one) for one in value._fields):
            raise self._wrong(name, f"at most {MOST_MEMBERS} names with a number each")
        return {one: value.number(one) for one in value._fields}

    def _wrong(self, name: str, expected: str) -> Refused:
        # What came is not repeated: it may be long, and it is somebody else's.
        return Refused("answer", "13", f"{self._where}: {name} is not {expected}")


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 64


def fields_of(data: bytes, where: str) -> Fields:
    """Return an answer's fields, or raise Refused where it is no JSON object."""
    try:
        return Fields(orjson.loads(data), where)
    except orjson.JSONDecodeError:
        raise Refused("answer", "13", f"{where}: is not JSON") from None
