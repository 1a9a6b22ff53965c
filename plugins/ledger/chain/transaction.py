"""What every transaction but SUBMIT_BATCH begins with, how it is signed and how it is read (sections 1 and 4)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from ledger.chain.rules import Ledger, Outcome
from ledger.encoding import DIGEST, SHORT_ID, SIGNATURE, Reader, u8, u64
from shangmi import sm3

DOMAIN = b"XL/TX/1\0"
#: Bytes of one transaction, at most.
MAX_TRANSACTION = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction(ABC):
    """A signed message to the chain.

    A type names its number, its own fields, their bytes both ways, and its rule.

    Attributes:
        chain_id: The chain it is meant for.
        sender: Institution that signs, 16 bytes.
        key_id: Key it signs with, 16 bytes.
        nonce: 16 bytes of chance, so that the same wish twice is two transactions.
        expiry_height: Last height at which it may enter a block.
        signature: SM2 over ``signed_bytes``, r||s.
    """

    TYPE: ClassVar[int]
    NAME: ClassVar[str]

    chain_id: bytes
    sender: bytes
    key_id: bytes
    nonce: bytes
    expiry_height: int
    signature: bytes = b""

    @abstractmethod
    def content(self) -> bytes:
        """Return the canonical bytes of the type's own fields."""

    @classmethod
    @abstractmethod
    def read(cls, reader: Reader) -> dict[str, Any]:
        """Return the type's own fields by name, or raise Malformed."""

    @abstractmethod
    def execute(self, ledger: Ledger) -> Outcome:
        """Return what the transaction did to the state.

        Sender, key, signature, expiry and that it is new are verified already.

        Raises:
            Refused: It may not enter the block; whatever it wrote is undone.
        """

    def signed_bytes(self) -> bytes:
        """Return what the sender signs."""
        return (
            DOMAIN + u8(self.TYPE) + self.chain_id + self.sender + self.key_id + self.nonce + u64(self.expiry_height)
            + self.content()
        )  # fmt: skip

    def encode(self) -> bytes:
        """Return the transaction: leaf of the block's ``tx_root``."""
        return self.signed_bytes() + self.signature

    @property
    def tx_id(self) -> bytes:
        """SM3 of the signed bytes: SM2 is randomised, so a signature names nothing."""
        return sm3(self.signed_bytes())

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a transaction of this type, or raise Malformed; nothing in it is verified here."""
        reader = Reader(data, cls.NAME)
        if len(data) > MAX_TRANSACTION:
            raise reader.wrong(f"{len(data)} bytes, at most {MAX_TRANSACTION}")
        reader.constant(DOMAIN + u8(cls.TYPE))
        common: dict[str, Any] = {
            "chain_id": reader.take(DIGEST),
            "sender": reader.take(SHORT_ID),
            "key_id": reader.take(SHORT_ID),
            "nonce": reader.take(SHORT_ID),
            "expiry_height": reader.u64(),
        }
        found = cls(**common, **cls.read(reader), signature=reader.take(SIGNATURE))
        reader.end()
        return found
