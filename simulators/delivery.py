"""A sender's end of MLLP: one message at a time, and again until it is answered."""

from __future__ import annotations

import socket
import time
from types import TracebackType
from typing import Final, Self

_START: Final = b"\x0b"
_END: Final = b"\x1c\r"


class Undelivered(Exception):
    """A message was not answered although it was sent again for as long as the sender's patience lasted."""


class Delivery:
    """A connection that is made when it is needed and made again when it is lost.

    Args:
        host: The listener's address.
        port: Its port.
        patience_seconds: How long one message is tried.
        answer_seconds: How long one answer is waited for.

    Attributes:
        resent: Messages sent again so far.
    """

    def __init__(self, host: str, port: int, patience_seconds: float = 120.0, answer_seconds: float = 30.0) -> None:
        self._address = (host, port)
        self._patience = patience_seconds
        self._answer_seconds = answer_seconds
        self._socket: socket.socket | None = None
        self.resent = 0

    def __enter__(self) -> Self:
        """Use it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self.close()

    def close(self) -> None:
        """Close the connection; the next message opens another."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def send(self, message: bytes) -> bytes:
        """Return the acknowledgement, however often the same bytes had to be sent.

        Raises:
            Undelivered: None came within the sender's patience.
        """
        deadline, wait = time.monotonic() + self._patience, 0.05
        while True:
            try:
                return self._exchange(_START + message + _END)
            except OSError as error:
                self.close()
                if time.monotonic() + wait > deadline:
                    raise Undelivered(
                        f"no acknowledgement from {self._address[0]} port {self._address[1]} within "
                        f"{self._patience:g} s ({type(error).__name__}); see that the listener runs"
                    ) from None
            self.resent += 1
            time.sleep(wait)
            wait = min(2 * wait, 2.0)

    def send_part(self, message: bytes, size: int) -> None:
        """Send the first ``size`` bytes of a message, then lose the connection."""
        self._connected().sendall(_START + message[:size])
        self.close()

    def _connected(self) -> socket.socket:
        if self._socket is None:
            self._socket = socket.create_connection(self._address, timeout=self._answer_seconds)
        return self._socket

    def _exchange(self, block: bytes) -> bytes:
        connection = self._connected()
        connection.sendall(block)
        data = b""
        while not data.endswith(_END):
            chunk = connection.recv(65536)
            if not chunk:
                raise ConnectionResetError("closed before the acknowledgement")
            data += chunk
        return data[len(_START) : -len(_END)]
