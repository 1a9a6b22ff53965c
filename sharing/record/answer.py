"""One record for one institution: the sealed envelope with its key, encrypted to the requester's SM2 key.

Bytes: ``docs/formats/record-answer.md``. The envelope is the very one whose digest stands on the chain, and the data
key opens this version alone; so who opens the answer holds a proof of the content, and a key to nothing else. Both lie
under a key drawn for this answer, which is wrapped to the requester. Terms, key and content are bound to one another:
the terms are committed to under the fresh key, and everything before the ciphertext is its additional data.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import orjson

from ledger.chain.validators import key_id
from ledger.encoding import DIGEST, SHORT_ID, Reader, u32, var
from ledger.errors import Malformed as NotCanonical
from ledger.errors import Refused as NodeRefused
from shangmi import PublicKey, ShangmiError, hmac_sm3, sm3, sm4_gcm_open, sm4_gcm_seal
from sharing.errors import Malformed, NotForThisKey, Tampered
from vault import envelope as sealed_record
from vault.envelope import Context
from vault.errors import Tampered as EnvelopeTampered
from vault.store import DEFAULT_POLICY

_DOMAIN: Final = b"XL/ANSWER/1\0"
_COMMITMENT: Final = b"XL/ANSWERKC/1\0"
_KEY: Final = 16
_NONCE: Final = 12
_TAG: Final = 16
#: An SM2 ciphertext of a key: 0x04, a point, C3 and 16 bytes.
_WRAPPED: Final = 97 + _KEY
#: Bytes of an answer, at most: an envelope lies in one document of the vault's database.
MAX_ANSWER: Final = 17 << 20


@dataclass(frozen=True, slots=True)
class Terms:
    """What is answered, by whom, for whom.

    Attributes:
        chain_id: The region's chain, 32 bytes.
        request: Id of the ACCESS_REQ, 32 bytes.
        holder: Who answers, 16 bytes.
        requester: Who asked, 16 bytes.
        answer_key: Id of the key that it is sealed to, 16 bytes.
        rid: The record's id, 16 bytes.
        version: Its version.
        ct_digest: SM3 of its envelope, as its leaf on the chain has it.
    """

    chain_id: bytes
    request: bytes
    holder: bytes
    requester: bytes
    answer_key: bytes
    rid: bytes
    version: int
    ct_digest: bytes

    def encode(self) -> bytes:
        """Return the canonical bytes, readable without a key."""
        return (
            _DOMAIN + self.chain_id + self.request + self.holder + self.requester + self.answer_key + self.rid
            + u32(self.version) + self.ct_digest
        )  # fmt: skip

    @property
    def digest(self) -> bytes:
        """SM3 of them: the ``manifest`` of DELIVERED."""
        return sm3(self.encode())

    @classmethod
    def read(cls, reader: Reader) -> Terms:
        """Read what ``encode`` wrote."""
        reader.constant(_DOMAIN)
        chain_id, request = reader.take(DIGEST), reader.take(DIGEST)
        holder, requester, key, rid = (reader.take(SHORT_ID) for _ in range(4))
        return cls(chain_id, request, holder, requester, key, rid, reader.u32(), reader.take(DIGEST))


@dataclass(frozen=True, slots=True)
class Opened:
    """A record that arrived.

    Attributes:
        body: The FHIR resource.
        envelope: Its sealed bytes, for whoever wants to check them against a proof.
        data_key: What opens them.
    """

    body: dict[str, Any]
    envelope: bytes
    data_key: bytes

    def __repr__(self) -> str:
        return "Opened(…)"


def seal(terms: Terms, recipient: PublicKey, data_key: bytes, envelope: bytes) -> bytes:
    """Return the answer: envelope and data key under a fresh key that only ``recipient`` can unwrap."""
    key, nonce = os.urandom(_KEY), os.urandom(_NONCE)
    said = terms.encode()
    head = said + _commitment(key, said) + recipient.encrypt(key) + nonce
    return head + sm4_gcm_seal(key, nonce, data_key + envelope, head)


def read_terms(answer: bytes) -> Terms:
    """Return what an answer says of itself; nothing of it is verified.

    Raises:
        Malformed: It is none.
    """
    return _split(answer)[0]


def open_answer(
    answer: bytes, expected: Terms, holder: str, public: PublicKey, unwrap: Callable[[bytes], bytes]
) -> Opened:
    """Return the record in an answer that is exactly the one expected.

    Args:
        answer: Its bytes.
        expected: What the chain says was asked, of whom, by whom, and under which digest it is published.
        holder: The holder's id in the region's files.
        public: The recipient's key.
        unwrap: Decrypts with its private half; a ``PrivateKey``'s ``decrypt``, or a node's.

    Raises:
        Malformed: It is no answer.
        NotForThisKey: It is sealed to another key.
        Tampered: It is another request's, or a byte of it was changed, or the content is not what was published.
    """
    terms, commitment, wrapped, nonce, sealed = _split(answer)
    if terms.answer_key != key_id(public.bytes):
        raise NotForThisKey("the answer is sealed to another key; open it with the key the request named")
    if terms != expected:
        raise Tampered("the answer is another request's: its terms are not what the chain says was asked")
    key = _unwrapped(wrapped, unwrap)
    if len(key) != _KEY or _commitment(key, terms.encode()) != commitment:
        raise Tampered("the answer's key is not the one that its terms were bound to")
    try:
        content = sm4_gcm_open(key, nonce, sealed, answer[: len(answer) - len(sealed)])
    except ShangmiError:
        raise Tampered("the answer's content was changed after it was sealed") from None
    return _checked(content, terms, holder)


def _unwrapped(wrapped: bytes, unwrap: Callable[[bytes], bytes]) -> bytes:
    try:
        return unwrap(wrapped)
    except (ShangmiError, NodeRefused):
        raise Tampered("the answer's key does not open with the key that the answer names: it was changed") from None


def _checked(content: bytes, terms: Terms, holder: str) -> Opened:
    """Return the record, whose envelope is the one on the chain and opens under the key that came with it."""
    data_key, envelope = content[:_KEY], content[_KEY:]
    if sm3(envelope) != terms.ct_digest:
        raise Tampered("the holder sent another record than the one it published under this reference")
    context = Context(terms.chain_id, holder, DEFAULT_POLICY)
    try:
        plain = sealed_record.open_(envelope, data_key, terms.rid, terms.version, context)
        body: dict[str, Any] = orjson.loads(plain)
    except (EnvelopeTampered, orjson.JSONDecodeError):
        raise Tampered("the record does not open with the key that the holder sent for it") from None
    return Opened(body, envelope, data_key)


def _split(answer: bytes) -> tuple[Terms, bytes, bytes, bytes, bytes]:
    if len(answer) > MAX_ANSWER:
        raise Malformed(f"answer: {len(answer)} bytes, expected at most {MAX_ANSWER}")
    reader = Reader(answer, "answer")
    try:
        terms = Terms.read(reader)
        commitment, wrapped, nonce = reader.take(DIGEST), reader.take(_WRAPPED), reader.take(_NONCE)
        at = len(terms.encode()) + DIGEST + _WRAPPED + _NONCE
        sealed = reader.take(len(answer) - at)
    except NotCanonical as error:
        raise Malformed(str(error)) from None
    if len(sealed) < _KEY + _TAG:
        raise Malformed("answer: it ends before its content does")
    return terms, commitment, wrapped, nonce, sealed


def _commitment(key: bytes, terms: bytes) -> bytes:
    """Return what binds key and terms: GCM alone lets one text open under two keys."""
    return hmac_sm3(key, _COMMITMENT + var(terms))
