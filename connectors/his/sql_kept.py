"""What a table held when it was compared last, kept encrypted in the institution's vault, in pieces of bounded size."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final

from connectors.contract import BulkStore
from connectors.errors import Retry
from connectors.his.sql_values import dumps

#: Bytes of one piece before it is compressed.
PIECE: Final = 4 * 1024 * 1024


class Kept:
    """Writes lines in pieces; ``finish`` tells what a cursor needs to read them again."""

    def __init__(self, bulk: BulkStore, source: str, table: str) -> None:
        self._bulk = bulk
        # The name holds neither table nor key: names stand in the clear.
        self._scope = hashlib.sha256(f"{source}\x1f{table}".encode()).hexdigest()[:24]
        self._lines: list[str] = []
        self._size = 0
        self._pieces: list[str] = []

    def add(self, line: list[Any]) -> None:
        """The line is kept once the piece it is in is full, or at the end."""
        text = dumps(line)
        self._lines.append(text)
        self._size += len(text)
        if self._size >= PIECE:
            self._write()

    def finish(self) -> list[str]:
        """Return the names of the pieces, in order; all of them are durable."""
        if self._lines:
            self._write()
        return self._pieces

    def _write(self) -> None:
        plain = "\n".join(self._lines).encode("utf-8", "backslashreplace")
        # The name is the content's own, so that the same piece written twice is one.
        name = f"rows/{self._scope}/{hashlib.sha256(plain).hexdigest()[:32]}"
        self._bulk.put(name, [zlib.compress(plain, 6)])
        self._pieces.append(name)
        self._lines, self._size = [], 0


def kept_lines(bulk: BulkStore, pieces: list[str]) -> Iterator[list[Any]]:
    """Yield the lines that were kept, in order.

    Raises:
        Retry: A piece is not whole.
    """
    for name in pieces:
        try:
            plain = zlib.decompress(b"".join(bulk.open(name)))
        except zlib.error:
            raise Retry(
                "what was kept of a table cannot be read; see that the vault is whole, then run again"
            ) from None
        for line in plain.split(b"\n"):
            yield json.loads(line, parse_float=Decimal)


def drop(bulk: BulkStore, pieces: list[str]) -> None:
    """Pieces that nobody reads any more are gone."""
    for name in pieces:
        bulk.delete(name)
