"""Messages on the socket: ``u32 length || bytes``, one each way, bounded in size and in time.

Nothing is believed of a peer: a length that is not allowed is refused before a byte is kept for it, memory grows with
what came and not with what was announced, and who sends slowly is cut off.
"""

from __future__ import annotations

import socket
import struct
import time
from typing import Final

from ledger.errors import LedgerError, Malformed

#: The largest message: a proposal of a full block, or all submissions a reader takes with one earlier proposal.
MAX_MESSAGE: Final = 320 << 20
_LENGTH: Final = struct.Struct(">I")
_PIECE: Final = 1 << 20
#: A peer may take this long, and a second more for each of these bytes.
GRACE_SECONDS: Final = 10.0
_BYTES_A_SECOND: Final = 8 << 20


class Broken(LedgerError):
    """The peer went away, or was too slow; nothing more can be said to it."""


class Deadline:
    """A moment after which a peer has had its time.

    Args:
        seconds: How long it has from now on.
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def extend(self, seconds: float) -> None:
        """Give it more."""
        self._end += seconds

    def left(self) -> float:
        """Return the seconds left, or raise Broken."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise Broken("the peer took too long")
        return left


def receive(connection: socket.socket, limit: int, deadline: Deadline) -> bytes:
    """Return the next message.

    Args:
        connection: A stream socket.
        limit: Bytes it may have at most.
        deadline: For its first bytes; a long message gets time by its length.

    Raises:
        Malformed: Its length is not allowed.
        Broken: It did not come whole in time.
    """
    length = receive_length(connection, limit, deadline)
    return receive_body(connection, length, deadline)


def receive_length(connection: socket.socket, limit: int, deadline: Deadline) -> int:
    """Return the length that the next message announces; Malformed above ``limit``."""
    (length,) = _LENGTH.unpack(_take(connection, _LENGTH.size, deadline))
    if length > limit:
        raise Malformed(f"frame: {length} bytes announced, at most {limit} allowed")
    deadline.extend(length / _BYTES_A_SECOND)
    return int(length)


def receive_body(connection: socket.socket, length: int, deadline: Deadline) -> bytes:
    """Return the message whose length was read."""
    return bytes(_take(connection, length, deadline))


def _take(connection: socket.socket, length: int, deadline: Deadline) -> bytearray:
    found = bytearray()
    while len(found) < length:
        connection.settimeout(deadline.left())
        try:
            piece = connection.recv(min(_PIECE, length - len(found)))
        except OSError as error:
            raise Broken(f"the connection broke: {type(error).__name__}") from None
        if not piece:
            raise Broken("the peer hung up")
        found += piece
    return found


def send(connection: socket.socket, message: bytes) -> None:
    """Send one message, or raise Broken where the peer does not take it in time."""
    deadline = Deadline(GRACE_SECONDS + len(message) / _BYTES_A_SECOND)
    for part in (_LENGTH.pack(len(message)), message):
        rest = memoryview(part)
        while rest:
            connection.settimeout(deadline.left())
            try:
                rest = rest[connection.send(rest[:_PIECE]) :]
            except OSError as error:
                raise Broken(f"the connection broke: {type(error).__name__}") from None
