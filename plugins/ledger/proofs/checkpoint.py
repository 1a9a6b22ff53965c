"""An auditor's word that a chain stands where a certified header says, as a text people can read (section 12).

The text is a C2SP checkpoint: origin, height, history root, and two lines more that name the block and its state. An
auditor signs it with the time of signing, so that a reader can tell a fresh one from an old one. Only the one text of
a checkpoint is ever accepted, so what people read is what was signed. Bytes: ``docs/formats/checkpoint.md``.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ledger.chain.header import Header
from ledger.chain.validators import Member, ValidatorSet, institution_id, key_id
from ledger.encoding import DIGEST, SIGNATURE, Reader, u64, var
from ledger.errors import Malformed, Refused
from shangmi import sm3

MAX_NOTE = 8_192
MAX_COSIGNATURES = 16
#: How far in the future a cosignature may lie, milliseconds: clocks differ, and later ones would stay fresh for ever.
MAX_AHEAD_MS = 600_000
_DOMAIN = b"XL/CKPT/1\0"
_ORIGIN = "xinglin/"
_TYPE = b"\xffxinglin/checkpoint-sm2/v1"  # the escape for types without a number, and our own name behind it
_HINT = 4
_NAME = re.compile(r"[!-*,-~]{1,100}", re.ASCII)
_LINE = "— "


class CheckpointKey(Protocol):
    """The key an auditor signs with."""

    def sign(self, message: bytes) -> bytes:
        """Return SM2 over the message, r||s."""
        ...


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a chain stands.

    Attributes:
        chain_id: The chain.
        height: Height of the block; as many blocks lie below it.
        history_root: Merkle root over the ids of those, as the block's header has it.
        block_id: The block.
        state_root: The state after it.
    """

    chain_id: bytes
    height: int
    history_root: bytes
    block_id: bytes
    state_root: bytes

    @classmethod
    def of(cls, header: Header) -> Checkpoint:
        """Return the checkpoint that a block's header is."""
        return cls(header.chain_id, header.height, header.history_root, header.block_id, header.state_root)

    def text(self) -> str:
        """Return the five lines that are signed."""
        return (
            f"{_ORIGIN}{self.chain_id.hex()}\n{self.height}\n{_base64(self.history_root)}\n"
            f"block {_base64(self.block_id)}\nstate {_base64(self.state_root)}\n"
        )

    @classmethod
    def read(cls, text: str) -> Checkpoint:
        """Read what ``text`` wrote, or raise Malformed."""
        lines = text.split("\n")
        if len(lines) != 6 or not re.fullmatch(r"[1-9][0-9]{0,18}", lines[1], re.ASCII):
            raise Malformed("checkpoint: expected origin, height, history root, block and state, a line each")
        chain_id = lines[0].removeprefix(_ORIGIN)
        found = cls(
            bytes.fromhex(chain_id) if re.fullmatch(r"[0-9a-f]{64}", chain_id, re.ASCII) else b"",
            int(lines[1]),
            *(_digest(line) for line in (lines[2], lines[3].removeprefix("block "), lines[4].removeprefix("state "))),
        )
        if found.text() != text:
            raise Malformed("checkpoint: not in its canonical form")
        return found

    def signed_bytes(self, auditor: bytes, key: bytes, time_ms: int) -> bytes:
        """Return what an auditor signs: its id, its key's id and the time in milliseconds before the text."""
        return _DOMAIN + self.chain_id + auditor + key + u64(time_ms) + var(self.text().encode())


@dataclass(frozen=True, slots=True)
class Cosignature:
    """One auditor's signature on a checkpoint.

    Attributes:
        auditor: Its id in the region's file.
        hint: First bytes of a digest over name and key, to find the key by.
        time_ms: When it signed, milliseconds since 1970 UTC, by its own clock.
        signature: SM2, r||s.
    """

    auditor: str
    hint: bytes
    time_ms: int
    signature: bytes

    def line(self) -> str:
        """Return its line in a note."""
        return f"{_LINE}{self.auditor} {_base64(self.hint + u64(self.time_ms) + self.signature)}\n"

    @classmethod
    def read(cls, line: str) -> Cosignature:
        """Read one line without its end, or raise Malformed."""
        name, _, value = line.removeprefix(_LINE).partition(" ")
        if not line.startswith(_LINE) or not _NAME.fullmatch(name):
            raise Malformed("checkpoint: expected a line of dash, auditor and signature")
        reader = Reader(_from_base64(value), "checkpoint signature")
        found = cls(name, reader.take(_HINT), reader.u64(), reader.take(SIGNATURE))
        reader.end()
        return found


@dataclass(frozen=True, slots=True)
class Note:
    """A checkpoint and who signed it."""

    checkpoint: Checkpoint
    cosignatures: tuple[Cosignature, ...]

    def encode(self) -> bytes:
        """Return the text with its signatures, UTF-8."""
        return f"{self.checkpoint.text()}\n{''.join(one.line() for one in self.cosignatures)}".encode()

    @classmethod
    def decode(cls, data: bytes) -> Note:
        """Read a note, or raise Malformed; no signature is verified here."""
        if len(data) > MAX_NOTE:
            raise Malformed(f"checkpoint: {len(data)} bytes, at most {MAX_NOTE}")
        try:
            text, _, signatures = data.decode("utf-8").partition("\n\n")
        except UnicodeDecodeError:
            raise Malformed("checkpoint: not UTF-8") from None
        lines = signatures.split("\n")
        if lines.pop() or not 0 < len(lines) <= MAX_COSIGNATURES:
            raise Malformed(f"checkpoint: expected 1 to {MAX_COSIGNATURES} signature lines, each ended")
        found = cls(Checkpoint.read(text + "\n"), tuple(map(Cosignature.read, lines)))
        if len({(one.auditor, one.hint) for one in found.cosignatures}) != len(lines) or found.encode() != data:
            raise Malformed("checkpoint: a key signs twice, or the note is not in its canonical form")
        return found

    def verify(self, members: ValidatorSet) -> tuple[Cosignature, ...]:
        """Return the good signatures of auditors among these members; those of others are passed over.

        Raises:
            Refused: No auditor signed, or a signature under an auditor's key is not good.
        """
        good = tuple(one for one in self.cosignatures if _is_auditors(self.checkpoint, one, members))
        if not good:
            raise Refused("checkpoint", "12", "no auditor that is trusted here signed it")
        return good


def cosign(checkpoint: Checkpoint, auditor: str, public_key: bytes, key: CheckpointKey, time_ms: int) -> Cosignature:
    """Return an auditor's signature on a checkpoint, of this time."""
    message = checkpoint.signed_bytes(institution_id(auditor), key_id(public_key), time_ms)
    return Cosignature(auditor, _hint(auditor, public_key), time_ms, key.sign(message))


def freshest(notes: Sequence[Note]) -> Note | None:
    """Return the note of the highest block, of the latest signing among those; None of none."""
    return max(
        notes,
        key=lambda one: (one.checkpoint.height, max(signed.time_ms for signed in one.cosignatures)),
        default=None,
    )


def _is_auditors(checkpoint: Checkpoint, one: Cosignature, members: ValidatorSet) -> bool:
    member: Member | None = members.member(institution_id(one.auditor))
    if member is None or member.role != "auditor" or one.hint != _hint(one.auditor, member.public_key):
        return False
    if not member.verify(one.signature, checkpoint.signed_bytes(member.id, key_id(member.public_key), one.time_ms)):
        raise Refused("checkpoint signature", "12", f"the signature under the key of {one.auditor} is not good")
    return True


def _hint(auditor: str, public_key: bytes) -> bytes:
    return sm3(auditor.encode() + b"\n" + _TYPE + public_key)[:_HINT]


def _base64(data: bytes) -> str:
    return b64encode(data).decode("ascii")


def _from_base64(text: str) -> bytes:
    try:
        data = b64decode(text, validate=True)
    except (NotBase64, ValueError):
        raise Malformed("checkpoint: not base64") from None
    if _base64(data) != text:
        raise Malformed("checkpoint: not the one base64 of its bytes")
    return data


def _digest(text: str) -> bytes:
    data = _from_base64(text)
    if len(data) != DIGEST:
        raise Malformed(f"checkpoint: {len(data)} bytes where a digest of {DIGEST} stands")
    return data
