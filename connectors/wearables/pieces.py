"""Elements of one kind and day gathered while a file streams by, in bounded memory, given back in order.

An export names its samples type by type or as they came; what belongs together is gathered whatever the order. What
is gathered is held compressed (some fifteen times smaller); once that is too much, finished kinds are given back
early, and only then the one that still grows.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

#: Bytes held as they came, and compressed, of all groups together.
LOOSE_BYTES: Final = 16 * 1024 * 1024
PACKED_BYTES: Final = 96 * 1024 * 1024

#: Kind and day.
Key = tuple[str, str]


@dataclass(slots=True)
class _Group:
    packed: list[bytes] = field(default_factory=list)
    loose: list[bytes] = field(default_factory=list)

    def pack(self) -> int:
        """Compress what is loose; return the bytes that it takes now."""
        if not self.loose:
            return 0
        self.packed.append(zlib.compress(b"\n".join(self.loose), 1))
        self.loose.clear()
        return len(self.packed[-1])

    def lines(self) -> list[bytes]:
        """Return all lines, in order of their bytes, each once: the same whatever order they came in."""
        lines = list(self.loose)
        for blob in self.packed:
            lines += zlib.decompress(blob).split(b"\n")
        return sorted(set(lines))


class Gathering:
    """Groups lines by key.

    Args:
        loose: Bytes held as they came, at most.
        packed: Bytes held compressed, at most.
    """

    def __init__(self, loose: int = LOOSE_BYTES, packed: int = PACKED_BYTES) -> None:
        self._limits = loose, packed
        self._groups: dict[Key, _Group] = {}
        self._loose = self._packed = 0

    def add(self, key: Key, line: bytes) -> Iterator[tuple[Key, list[bytes]]]:
        """The line belongs to its group; yields groups that had to make room. ``line`` holds no line end."""
        self._groups.setdefault(key, _Group()).loose.append(line)
        self._loose += len(line)
        if self._loose > self._limits[0]:
            self._packed += sum(group.pack() for group in self._groups.values())
            self._loose = 0
        if self._packed > self._limits[1]:
            yield from self._give([other for other in self._groups if other[0] != key[0]])
            if self._packed > self._limits[1] // 2:
                yield from self._give(list(self._groups))

    def rest(self) -> Iterator[tuple[Key, list[bytes]]]:
        """Yield every group that is still held."""
        yield from self._give(list(self._groups))

    def _give(self, keys: list[Key]) -> Iterator[tuple[Key, list[bytes]]]:
        for key in sorted(keys):
            group = self._groups.pop(key)
            self._packed -= sum(map(len, group.packed))
            self._loose -= sum(map(len, group.loose))
            yield key, group.lines()
