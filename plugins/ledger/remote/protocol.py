"""What is asked of a node: ``"XL/NODE/ASK/1" 0 || chain_id 32 || institution 16 || method u8 || arguments``.

One connection carries one question and one answer. Every question may be asked again: the node's vote store gives the
signatures of before, and all else only reads or applies what is final.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from ledger.agreement.following import Receipt
from ledger.encoding import DIGEST, SHORT_ID, Reader, listed, u8, u32, u64, var

_DOMAIN: Final = b"XL/NODE/ASK/1\0"
_MAX_NAME: Final = 256
#: Keys are wrapped, never records.
MAX_CIPHERTEXT: Final = 4_096
_MAX_TRANSACTIONS: Final = 1_024


class Method(IntEnum):
    """What a node can be asked; a number once given is never given again."""

    STATUS = 1
    PRODUCER = 2
    IS_PRODUCER = 3
    NEXT_SEQ = 4
    HEADING = 5
    SIGN = 6
    SUBMIT = 7
    FATE = 8
    OBSERVE = 9
    PROPOSE = 10
    PREPARE = 11
    COMMIT = 12
    TIMEOUT = 13
    GOOD_CERTIFICATE = 14
    ASSEMBLE = 15
    APPLY = 16
    PUBLIC_KEY = 17
    DECRYPT = 18
    COSIGN = 19
    OPEN_ROUND = 20
    SIGN_MANIFEST = 21
    SIGN_CATALOGUE = 22


@dataclass(frozen=True, slots=True)
class Question:
    """A question read: for which chain and institution, what, and a reader of its arguments."""

    chain_id: bytes
    institution: bytes
    method: Method
    arguments: Reader


def question(chain_id: bytes, institution: bytes, method: Method, arguments: bytes) -> bytes:
    """Return the bytes of a question."""
    return _DOMAIN + chain_id + institution + u8(method) + arguments


def read_question(data: bytes) -> Question:
    """Read a question up to its arguments, or raise Malformed."""
    reader = Reader(data, "question to a node")
    reader.constant(_DOMAIN)
    chain_id, institution, number = reader.take(DIGEST), reader.take(SHORT_ID), reader.u8()
    if number not in Method._value2member_map_:
        raise reader.wrong(f"method {number} is none that this version knows")
    return Question(chain_id, institution, Method(number), reader)


def flag(value: bool) -> bytes:
    """Return a truth value as one byte."""
    return u8(int(value))


def read_flag(reader: Reader) -> bool:
    """Read what ``flag`` wrote, or raise Malformed."""
    value = reader.u8()
    if value > 1:
        raise reader.wrong(f"a truth value of {value}")
    return bool(value)


def optional(value: bytes | None) -> bytes:
    """Return bytes that may be absent; empty ones are not absent."""
    return flag(value is not None) + (b"" if value is None else var(value))


def read_optional(reader: Reader, limit: int) -> bytes | None:
    """Read what ``optional`` wrote, or raise Malformed."""
    return reader.var(limit) if read_flag(reader) else None


def receipt(value: Receipt) -> bytes:
    """Return the bytes of a receipt."""
    return (
        u64(value.height) + bytes.fromhex(value.block_id) + u32(value.entries)
        + listed([bytes.fromhex(one) for one in value.transactions])
        + listed([one.encode() for one in value.signers]) + flag(value.repeated)
    )  # fmt: skip


def read_receipt(reader: Reader) -> Receipt:
    """Read what ``receipt`` wrote, or raise Malformed."""
    return Receipt(
        reader.u64(),
        reader.take(DIGEST).hex(),
        reader.u32(),
        tuple(one.hex() for one in reader.listed(_MAX_TRANSACTIONS, DIGEST)),
        tuple(reader.text(_MAX_NAME) for _ in range(reader.count(_MAX_TRANSACTIONS))),
        read_flag(reader),
    )
