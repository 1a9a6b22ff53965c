"""JSON files from anybody, read strictly: one document, known members, whole numbers, lower-case hex (section 12)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from ledger.chain.merkle import verify_inclusion
from ledger.errors import ProofError
from schemas import json_text

MAX_FILE = 1 << 20
MAX_PATH = 64


def parse(data: bytes, what: str) -> object:
    """Return the JSON value in untrusted bytes: strict UTF-8, no doubled keys, no fractions, bounded."""
    if len(data) > MAX_FILE:
        raise ProofError(f"{what}: {len(data)} bytes, at most {MAX_FILE} allowed")
    try:
        return json_text.parse(data, fractions=False)
    except json_text.NotStrict as error:
        raise ProofError(f"{what}: {error}") from None


class Fields:
    """The members of a JSON object, each taken once; what is left at the end is unknown and refused."""

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, dict):
            raise ProofError(f"{where}: expected an object")
        self._left = dict(cast("dict[str, Any]", value))
        self._where = where

    def take(self, name: str) -> object:
        """Return a member, which must be there."""
        if name not in self._left:
            raise ProofError(f"{self._where}: {name} is missing")
        return self._left.pop(name)

    def end(self) -> None:
        """Raise ProofError where members are left over."""
        if self._left:
            raise ProofError(f"{self._where}: {len(self._left)} unknown members")

    def only(self, names: Iterable[str]) -> Fields:
        """Return these fields after checking that they are exactly ``names``."""
        if set(self._left) != set(names):
            raise ProofError(f"{self._where}: expected exactly {', '.join(names)}")
        return self

    def optional(self, name: str) -> object:
        """Return a member, or None where it is not there; null is another way to say so, and refused."""
        if name in self._left and self._left[name] is None:
            raise ProofError(f"{self._where}: {name} is null; it is left out where there is none")
        return self._left.pop(name, None)

    def part(self, name: str, names: Iterable[str]) -> Fields:
        """Return a member that is an object with exactly these names."""
        return Fields(self.take(name), name).only(names)

    def constant(self, name: str, expected: str) -> None:
        """Raise ProofError unless the member is this string."""
        if self.take(name) != expected:
            raise ProofError(f"{self._where}: {name} is not {expected}")

    def hex(self, name: str, length: int | None = None) -> bytes:
        """Return a member that is lower-case hex, of a given length in bytes."""
        value = self.take(name)
        if not isinstance(value, str):
            raise ProofError(f"{self._where}: {name} is no string")
        return _unhex(value, f"{self._where}: {name}", length)

    def whole(self, name: str) -> int:
        """Return a member that is a whole number, 0 or more."""
        value = self.take(name)
        if type(value) is not int or not 0 <= value < 1 << 63:
            raise ProofError(f"{self._where}: {name} is no whole number")
        return value

    def positive_or_null(self, name: str) -> int | None:
        """Return a member that is a whole number above 0, or null."""
        if self._left.get(name, 0) is None:
            self.take(name)
            return None
        if not (value := self.whole(name)):
            raise ProofError(f"{self._where}: {name} is neither null nor a positive whole number")
        return value

    def flag(self, name: str) -> bool:
        """Return a member that is true or false."""
        value = self.take(name)
        if not isinstance(value, bool):
            raise ProofError(f"{self._where}: {name} is neither true nor false")
        return value

    def check_path(self, leaf: bytes, size: int, root: bytes, index: int | None = None) -> None:
        """Raise ProofError unless index, size and path lead from the leaf hash to the root.

        Args:
            leaf: The leaf's hash.
            size: Size of the tree, from a source the caller verified; the file must name the same.
            root: Root of the tree, likewise.
            index: Place of the leaf, where the caller knows it.
        """
        given, given_size, path = self.whole("index"), self.whole("size"), self.take("path")
        if given_size != size or index not in (None, given):
            raise ProofError(f"{self._where}: index or size is not the one the chain gives")
        if not isinstance(path, list) or len(path) > MAX_PATH or not all(isinstance(one, str) for one in path):
            raise ProofError(f"{self._where}: path is no list of at most {MAX_PATH} digests")
        hashes = [_unhex(one, f"{self._where}: path", 32) for one in path]
        if not verify_inclusion(leaf, given, size, hashes, root):
            raise ProofError(f"{self._where}: the path does not lead to the root")


def _unhex(value: str, where: str, length: int | None) -> bytes:
    try:
        data = bytes.fromhex(value)
    except ValueError:
        raise ProofError(f"{where}: not hex") from None
    if data.hex() != value or length not in (None, len(data)):
        raise ProofError(f"{where}: not lower-case hex of the right length")
    return data
