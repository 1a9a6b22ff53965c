"""The history tree as immutable files that any web server or object store can hold (section 13).

The layout is C2SP tlog-tiles with SM3 in SHA-256's place: tile ``(level, index)`` holds up to 256 hashes over
``256 ** level`` blocks each. From tiles and a trusted root anybody computes any inclusion or consistency proof; who
holds the files can lie about nothing, since what they give is held to the root. Bytes: ``docs/formats/tiles.md``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ledger.chain.header import history_leaf
from ledger.chain.merkle import NodeReader, consistency_path, inclusion_path, node_hash, span_root
from ledger.encoding import DIGEST, u16
from ledger.errors import Refused

WIDTH = 256
_STEP = 8  # tree levels in a tile
MAX_LEVEL = 7  # 256 ** 8 blocks
ENTRIES = "entries"
ENTRY_BYTES = 2 + len(history_leaf(b"")) + DIGEST
_PATH = re.compile(r"((?:x\d{3}/){0,5}\d{3})(?:\.p/([1-9]\d{0,2}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Tile:
    """One tile of a tree: which hashes it holds.

    Attributes:
        level: 0 for leaf hashes; one more for each 256-fold.
        index: Its number among the tiles of its level.
        width: Hashes in it, 1 to 256; fewer than 256 only at the right edge of a tree.
    """

    level: int
    index: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        """Where it lies under the tiles' root, ``tile/<L>/<N>[.p/<W>]``."""
        return f"tile/{self.level}/{number(self.index, self.width)}"

    @property
    def entries_path(self) -> str:
        """Where the entries beneath a tile of level 0 lie."""
        return f"tile/{ENTRIES}/{number(self.index, self.width)}"

    def read(self, node: NodeReader) -> bytes:
        """Return its bytes from the complete subtrees of a tree that has them."""
        first = self.index * WIDTH
        return b"".join(node(self.level * _STEP, first + at) for at in range(self.width))


def number(index: int, width: int = WIDTH) -> str:
    """Return ``<N>[.p/<W>]``: 1234067 is ``x001/x234/067``."""
    digits = f"{index:03d}"
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    path = "/".join([*(f"x{one}" for one in groups[:-1]), groups[-1]])
    return path if width == WIDTH else f"{path}.p/{width}"


def parse(level: str, rest: str) -> Tile:
    """Return the tile that a path names.

    Args:
        level: ``<L>``.
        rest: ``<N>[.p/<W>]``.

    Raises:
        Refused: No tile has such a path.
    """
    found = _PATH.fullmatch(rest)
    if found is not None and re.fullmatch(r"[0-7]", level, re.ASCII):
        index = int(found[1].replace("x", "").replace("/", ""))
        tile = Tile(int(level), index, int(found[2] or WIDTH))
        if tile.width <= WIDTH and tile.path == f"tile/{level}/{rest}":
            return tile
    raise Refused("tile", "13", "expected tile/<level 0 to 7>/<number as x001/234>, then nothing or .p/<1 to 255>")


def tiles_of(size: int) -> Iterator[Tile]:
    """Yield every tile of a tree of ``size`` leaves, level by level from the leaves up, none of them empty."""
    for level in range(MAX_LEVEL + 1):
        count = size >> (level * _STEP)
        for index in range(-(-count // WIDTH)):
            yield Tile(level, index, min(WIDTH, count - index * WIDTH))


def exists(tile: Tile, size: int) -> bool:
    """Say whether a tree of ``size`` leaves has this tile: what was a partial tile once is one for ever."""
    return tile.index * WIDTH + tile.width <= size >> (tile.level * _STEP)


def bundle(tile: Tile, block_id: Callable[[int], bytes]) -> bytes:
    """Return the entries beneath a tile of level 0, each behind its length as u16; the n-th is block n's leaf data."""
    first = tile.index * WIDTH
    leaves = (history_leaf(block_id(first + at)) for at in range(tile.width))
    return b"".join(u16(len(one)) + one for one in leaves)


def block_ids(data: bytes, tile: Tile) -> list[bytes]:
    """Return the block ids in a bundle of entries; they are nobody's word until they are held to a root.

    Raises:
        Refused: It is not that bundle.
    """
    start = u16(ENTRY_BYTES - 2) + history_leaf(b"")
    pieces = [data[at : at + ENTRY_BYTES] for at in range(0, len(data), ENTRY_BYTES)]
    if len(data) != tile.width * ENTRY_BYTES or not all(one.startswith(start) for one in pieces):
        raise Refused("tile", "13", f"expected {tile.width} entries of {ENTRY_BYTES} bytes")
    return [one[len(start) :] for one in pieces]


class TileTree:
    """A tree known by its tiles alone.

    Args:
        fetch: Returns the bytes under a tile's path, from a folder, a web server, anywhere.
        size: Leaves in the tree, from a source that is trusted.
    """

    def __init__(self, fetch: Callable[[str], bytes], size: int) -> None:
        self._fetch = fetch
        self.size = size
        self._read: dict[tuple[int, int], bytes] = {}

    def _tile(self, level: int, index: int) -> bytes:
        if (level, index) not in self._read:
            count = self.size >> (level * _STEP)
            tile = Tile(level, index, min(WIDTH, count - index * WIDTH))
            data = self._fetch(tile.path)
            if len(data) != tile.width * DIGEST:
                raise Refused("tile", "13", f"{tile.path} has {len(data)} bytes, expected {tile.width * DIGEST}")
            self._read[level, index] = data
        return self._read[level, index]

    def node(self, level: int, index: int) -> bytes:
        """Return the hash of one complete subtree, computed from its tile."""
        tile_level, within = divmod(level, _STEP)
        first = index << within
        data = self._tile(tile_level, first // WIDTH)
        at = first % WIDTH * DIGEST
        hashes = [data[one : one + DIGEST] for one in range(at, at + (DIGEST << within), DIGEST)]
        while len(hashes) > 1:
            hashes = [node_hash(hashes[one], hashes[one + 1]) for one in range(0, len(hashes), 2)]
        return hashes[0]

    def root(self) -> bytes:
        """Return the Merkle root over all leaves."""
        return span_root(0, self.size, self.node)

    def inclusion(self, index: int) -> list[bytes]:
        """Return the inclusion proof of a block; IndexError where there is none."""
        return inclusion_path(index, self.size, self.node)

    def consistency(self, old: int) -> list[bytes]:
        """Return the proof that the tree of ``old`` leaves is this one's beginning; IndexError where it cannot be."""
        return consistency_path(old, self.size, self.node)
