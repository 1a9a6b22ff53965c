"""The packets of MQTT 3.1.1 and 5 that a small broker needs: read from a stream, written as bytes.

Sources: MQTT 5.0 (OASIS, 2019) chapters 2 and 3; MQTT 3.1.1 where it differs (no properties, no reason codes).
"""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass
from typing import Final

CONNECT, CONNACK, PUBLISH, PUBACK = 1, 2, 3, 4
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK = 8, 9, 10, 11
PINGREQ, PINGRESP, DISCONNECT = 12, 13, 14

#: Lengths of the properties that are numbers, by identifier; others are texts or pairs of texts (MQTT 5, 2.2.2.2).
_NUMBERS: Final = {
    1: 1, 2: 4, 17: 4, 19: 2, 23: 1, 24: 4, 25: 1, 33: 2, 34: 2, 35: 2, 36: 1, 37: 1, 39: 4, 40: 1, 41: 1, 42: 1,
}  # fmt: skip
_PAIR: Final = 38
_VARIABLE: Final = 11
SESSION_EXPIRY, RECEIVE_MAXIMUM = 17, 33


class Malformed(Exception):
    """A peer sent what is no packet."""


@dataclass(slots=True)
class Packet:
    """One packet.

    Attributes:
        kind: Its type.
        flags: The four bits beside it.
        body: What follows the fixed header.
        at: Where reading goes on in it.
    """

    kind: int
    flags: int
    body: bytes
    at: int = 0

    def take(self, count: int) -> bytes:
        """Return the next bytes."""
        found = self.body[self.at : self.at + count]
        if len(found) < count:
            raise Malformed
        self.at += count
        return found

    def number(self, count: int = 2) -> int:
        """Return the next bytes as a number."""
        return int.from_bytes(self.take(count), "big")

    def binary(self) -> bytes:
        """Return the next field of bytes with a length before it."""
        return self.take(self.number())

    def text(self) -> str:
        """Return the next text."""
        try:
            return self.binary().decode()
        except UnicodeDecodeError:
            raise Malformed from None

    def variable(self) -> int:
        """Return the next number of seven bits a byte."""
        value = shift = 0
        while True:
            byte = self.number(1)
            value |= (byte & 127) << shift
            shift += 7
            if not byte & 128:
                return value
            if shift > 21:
                raise Malformed

    def properties(self) -> dict[int, int]:
        """Return the properties that are numbers; the others are passed over."""
        end = self.variable() + self.at
        found: dict[int, int] = {}
        while self.at < end:
            name = self.variable()
            if name in _NUMBERS:
                found[name] = self.number(_NUMBERS[name])
            elif name == _VARIABLE:
                self.variable()
            else:
                self.binary()
                if name == _PAIR:
                    self.binary()
        return found

    @property
    def rest(self) -> bytes:
        """What has not been read."""
        return self.body[self.at :]


async def read(stream: asyncio.StreamReader) -> Packet:
    """Return the next packet.

    Raises:
        Malformed: The peer sent none.
        asyncio.IncompleteReadError: The peer is gone.
    """
    first = (await stream.readexactly(1))[0]
    length = shift = 0
    while True:
        byte = (await stream.readexactly(1))[0]
        length |= (byte & 127) << shift
        shift += 7
        if not byte & 128:
            break
        if shift > 21:
            raise Malformed
    return Packet(first >> 4, first & 15, await stream.readexactly(length))


def variable(value: int) -> bytes:
    """Return a number of seven bits a byte."""
    out = bytearray()
    while True:
        byte, value = value & 127, value >> 7
        out.append(byte | (128 if value else 0))
        if not value:
            return bytes(out)


def text(value: str) -> bytes:
    """Return a text with its length before it."""
    data = value.encode()
    return struct.pack(">H", len(data)) + data


def packet(kind: int, body: bytes, flags: int = 0) -> bytes:
    """Return a whole packet."""
    return bytes([kind << 4 | flags]) + variable(len(body)) + body
