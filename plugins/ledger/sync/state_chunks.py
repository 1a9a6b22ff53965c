"""The state in pieces, each provably whole: a complete subtree of the state tree by the first bits of its keys (13).

A chunk lists every entry whose key begins with a prefix, and the siblings on the way from the root to there. Whoever
gets it builds the subtree again from the entries alone: with one left out, added or changed it has another hash, and
does not lead to the certified root (``docs/decisions/0147``). All prefixes of one length together are the whole state.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

from ledger.chain.smt import LEAF, NODE, SparseTree, build_subtree, value_hash
from ledger.encoding import DIGEST, Reader, u8, u32, var
from ledger.errors import Diverged, Refused
from shangmi import sm3

MAX_ENTRIES: Final = 4_096
MAX_BYTES: Final = 8 << 20
MAX_VALUE: Final = 4 << 20
MAX_DEPTH: Final = 40
_DOMAIN = b"XL/CHUNK/1\0"
ValueReader = Callable[[Collection[bytes]], Mapping[bytes, bytes]]


class TooMuch(Refused):
    """The prefix has more entries than a chunk holds; ask for its two halves."""

    def __init__(self) -> None:
        limit = f"more than {MAX_ENTRIES} entries or {MAX_BYTES} bytes"
        super().__init__("chunk size", "13", f"{limit}; use longer prefixes")


@dataclass(frozen=True, slots=True)
class StateChunk:
    """All entries under a prefix.

    Attributes:
        siblings: From the root down; fewer than the prefix has bits where the way ends at a lone leaf or at nothing.
        other: Key and value hash of the lone leaf that ends the way and is of another prefix.
        entries: Key and value of each, in order of key.
    """

    siblings: tuple[bytes, ...]
    other: tuple[bytes, bytes] | None
    entries: tuple[tuple[bytes, bytes], ...]

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        other = u8(0) if self.other is None else u8(1) + b"".join(self.other)
        entries = b"".join(key + var(value) for key, value in self.entries)
        return _DOMAIN + u8(len(self.siblings)) + b"".join(self.siblings) + other + u32(len(self.entries)) + entries

    @classmethod
    def decode(cls, data: bytes) -> StateChunk:
        """Read what ``encode`` wrote, or raise Malformed; nothing in it is verified."""
        reader = Reader(data, "state chunk")
        reader.constant(_DOMAIN)
        depth = reader.u8()
        if depth > MAX_DEPTH:
            raise reader.wrong(f"{depth} levels, at most {MAX_DEPTH}")
        siblings = tuple(reader.take(DIGEST) for _ in range(depth))
        other = (reader.take(DIGEST), reader.take(DIGEST)) if reader.flag() else None
        entries = tuple((reader.take(DIGEST), reader.var(MAX_VALUE)) for _ in range(reader.count(MAX_ENTRIES)))
        reader.end()
        return cls(siblings, other, entries)

    def verify(self, root: bytes, prefix: str) -> dict[bytes, bytes]:
        """Return the state nodes of the chunk and of the way to it, by hash, once all of it is proved.

        Args:
            root: A state root from a certified header.
            prefix: The bits asked for.

        Raises:
            Refused: It is not all of the entries under the prefix, and nothing else.
        """
        keys, walked = [key for key, _ in self.entries], len(self.siblings)
        if walked > len(prefix) or keys != sorted(set(keys)) or not all(_begins(key, prefix) for key in keys):
            raise _wrong("entries are out of order, twice or of another prefix")
        made: dict[bytes, bytes] = {}
        if self.other is not None:
            key, hash_ = self.other
            if keys or walked == len(prefix) or not _begins(key, prefix[:walked]) or _begins(key, prefix):
                raise _wrong("a leaf of another prefix where none can end the way")
            here = sm3(LEAF + key + hash_)
            made[here] = LEAF + key + hash_
        elif walked < len(prefix) and len(keys) > 1:
            raise _wrong("several entries where the way ends early")
        else:
            here = build_subtree([(key, value_hash(value)) for key, value in self.entries], walked, made)
        for bit, beside in zip(prefix[:walked][::-1], self.siblings[::-1], strict=True):
            data = NODE + (beside + here if bit == "1" else here + beside)
            here = sm3(data)
            made[here] = data
        if here != root:
            raise _wrong("the entries are not all that stand under this prefix of the certified state")
        return made


def read_chunk(tree: SparseTree, values: ValueReader, prefix: str) -> StateChunk:
    """Return the chunk of a prefix.

    Raises:
        TooMuch: It has more entries than a chunk holds.
        Diverged: The store does not hold what the root commits to.
    """
    siblings, node, leaf = tree.descend(prefix)
    if leaf is not None and len(siblings) < len(prefix) and not _begins(leaf[0], prefix):
        return StateChunk(siblings, leaf, ())
    leaves = tree.leaves(node, MAX_ENTRIES)
    if leaves is None:
        raise TooMuch
    stored = values([hash_ for _, hash_ in leaves])
    entries = tuple((key, stored.get(hash_, b"")) for key, hash_ in leaves)
    if any(value_hash(value) != hash_ for (_, value), (_, hash_) in zip(entries, leaves, strict=True)):
        raise Diverged("a stored value is missing or is not the one the state root commits to")
    if sum(len(value) for _, value in entries) > MAX_BYTES and len(entries) > 1:
        raise TooMuch
    return StateChunk(siblings, None, entries)


def _begins(key: bytes, prefix: str) -> bool:
    return not prefix or f"{int.from_bytes(key, 'big'):0256b}".startswith(prefix)


def _wrong(message: str) -> Refused:
    return Refused("state chunk", "13", message)
