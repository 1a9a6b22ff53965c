"""Sealed summaries as they travel: opened, checked against the record's leaf, and bundled by batch (section 18).

A sealed summary is ``"XLS1" || key id 16 || rid 16 || version u32 || nonce 12 || ciphertext || tag 16``. Its SM3 is
the record leaf's ``summary_digest``. Bytes: ``docs/formats/summary.md``; the vault writes them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from ledger.chain.leaves import DOMAIN as LEAF_DOMAIN
from ledger.chain.leaves import KEY_BYTES, MAX_LEAVES, Leaves
from ledger.encoding import DIGEST, SHORT_ID, Reader, listed, u32, var
from ledger.errors import Malformed, Refused
from schemas.summary import DOMAIN, LAYOUT, NO_DATE, NO_TOTAL, Summary
from shangmi import WrongKeyOrTampered, sm3, sm4_gcm_open

_MAGIC = b"XLS1"
_HEADER = struct.Struct(">4s16s16sI")
_NONCE: Final = 12
SEALED: Final = _HEADER.size + _NONCE + LAYOUT.size + 16
_BUNDLE = b"XL/SUMBUNDLE/1\0"
MAX_BUNDLE: Final = len(_BUNDLE) + DIGEST + 4 + MAX_LEAVES * (4 + SEALED)
_DIGEST_AT = len(LEAF_DOMAIN) + KEY_BYTES + 2 * DIGEST
_NONE = bytes(DIGEST)


@dataclass(frozen=True, slots=True)
class SealedSummary:
    """One sealed summary and what it says in the clear.

    Attributes:
        key_id: Which of the publisher's keys opens it.
        rid: The record's id.
        version: Its version.
        data: All of its bytes.
    """

    key_id: bytes
    rid: bytes
    version: int
    data: bytes

    @classmethod
    def read(cls, data: bytes) -> SealedSummary:
        """Return the summary in these bytes, still sealed, or raise Malformed."""
        if len(data) != SEALED or data[:4] != _MAGIC:
            raise Malformed(f"sealed summary: expected {SEALED} bytes from XLS1 on, got {len(data)}")
        _, key_id, rid, version = _HEADER.unpack_from(data)
        return cls(key_id, rid, version, data)

    @property
    def record(self) -> bytes:
        """Id and version of its record, as the keys of leaves have them."""
        return self.rid + u32(self.version)

    def open(self, secret: bytes, chain_id: bytes, publisher: str) -> Summary:
        """Return what it says.

        Args:
            secret: The publisher's summary key.
            chain_id: The region's chain.
            publisher: Its id in the region's files.

        Raises:
            Refused: Another key, publisher or chain, changed bytes, or no summary inside.
        """
        header, rest = self.data[: _HEADER.size], self.data[_HEADER.size :]
        aad = b"XL/SUMS/1\0" + chain_id + var(publisher.encode()) + header
        try:
            plain = sm4_gcm_open(secret, rest[:_NONCE], rest[_NONCE:], aad)
        except WrongKeyOrTampered:
            raise Refused("summary", "18", "it does not open: another key, publisher or chain, or changed") from None
        return read_summary(plain)


def read_summary(plain: bytes) -> Summary:
    """Return a summary from its plaintext, which another institution wrote; or raise Malformed."""
    reader = Reader(plain, "summary")
    reader.take(LAYOUT.size)
    reader.end()
    domain, person, patient, type_, date, total, class_, conclusion = LAYOUT.unpack(plain)
    try:
        found = Summary(
            person, patient, type_, date, class_.decode("ascii"), conclusion.decode("ascii"),
            None if total == NO_TOTAL else total,
        )  # fmt: skip
    except UnicodeDecodeError:
        raise reader.wrong("a code is not ASCII") from None
    if domain != DOMAIN or found.encode() != plain or not all(map(_is_code, (found.code_class, found.conclusion))):
        raise reader.wrong("not the one encoding of a summary")
    if date != NO_DATE and not (1 <= date // 10_000 <= 9_999 and date // 100 % 100 <= 12 and date % 100 <= 31):
        raise reader.wrong("its date is none")
    return found


def _is_code(text: str) -> bool:
    return not text or (text.isascii() and text.isprintable() and " " not in text)


@dataclass(frozen=True, slots=True)
class Bundle:
    """The sealed summaries of one batch, as far as whoever made the bundle has them.

    Attributes:
        tx_id: Id of the batch's transaction.
        sealed: Sealed summaries in order of record.
    """

    tx_id: bytes
    sealed: tuple[bytes, ...]

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return _BUNDLE + self.tx_id + listed(self.sealed)

    @classmethod
    def decode(cls, data: bytes) -> Bundle:
        """Read what ``encode`` wrote, or raise Malformed; nothing in it is verified."""
        reader = Reader(data, "summaries")
        reader.constant(_BUNDLE)
        found = cls(reader.take(DIGEST), reader.listed(MAX_LEAVES, SEALED))
        reader.end()
        return found

    @classmethod
    def of(cls, tx_id: bytes, sealed: Iterable[bytes]) -> Bundle:
        """Return the bundle of a batch's sealed summaries, in whatever order they come."""
        return cls(tx_id, tuple(sorted(sealed, key=lambda one: one[4 + SHORT_ID :][:KEY_BYTES])))

    def fitting(self, wanted: dict[bytes, bytes]) -> Iterator[SealedSummary]:
        """Yield those that are wanted and are what the chain says; the others are passed over.

        Args:
            wanted: Summary digest by id and version of the record.
        """
        for data in self.sealed:
            try:
                found = SealedSummary.read(data)
            except Malformed:
                continue
            if wanted.get(found.record) == sm3(data):
                yield found


def announced(leaves: Leaves) -> dict[bytes, bytes]:
    """Return the summary digest of each record of a batch that has one, by id and version."""
    found = {}
    for index, key in enumerate(leaves.keys):
        digest = leaves.record(index)[_DIGEST_AT : _DIGEST_AT + DIGEST]
        if digest != _NONE:
            found[key] = digest
    return found
