"""A request file is signed: the ACCESS_REQ that names it and, by the key that shall open the dataset, its digest.

The signatures lie beside the file, `NAME.request.sig`. What the chain sees is the transaction alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol

from ledger.chain.roster import Registration
from ledger.chain.rules import Ledger
from ledger.chain.state import REQUEST, SEEN
from ledger.chain.transaction import MAX_TRANSACTION, Transaction
from ledger.chain.transactions import open_transaction
from ledger.chain.validators import institution_id
from ledger.encoding import ZERO_DIGEST
from ledger.errors import Malformed as MalformedTransaction
from ledger.messages.access import AccessRequest, request_of
from ledger.messages.asked import SelectionAsked
from schemas.sharing import DatasetRequest
from shangmi import PrivateKey, PublicKey
from sharing.errors import Malformed, Refused, Tampered
from sharing.request.canonical import decode, encode
from sharing.request.reading import read_request, request_digest

FORMAT: Final = "xinglin-request-signature/1"
_DOMAIN = b"XL/REQUEST-KEY/1\0"


class Signer(Protocol):
    """An institution's node, as far as it is needed here."""

    def heading(self) -> dict[str, Any]:
        """Return the fields that every transaction of the institution begins with."""
        ...

    def sign(self, draft: Transaction) -> bytes:
        """Return a transaction signed as the institution."""
        ...


@dataclass(frozen=True, slots=True)
class Signatures:
    """What lies beside a request file.

    Attributes:
        digest: ``request_digest`` of the file.
        transaction: The signed ACCESS_REQ.
        recipient: Signature by the key that the dataset shall be sealed to, where it is not the institution's; 64
            bytes r||s over ``possession``; else empty.
    """

    digest: bytes
    transaction: bytes
    recipient: bytes = b""

    def encode(self) -> bytes:
        """Return the file."""
        return encode(
            {
                "format": FORMAT,
                "digest": self.digest.hex(),
                "transaction": self.transaction.hex(),
                "recipient": self.recipient.hex(),
            }
        )

    @classmethod
    def decode(cls, content: bytes) -> Signatures:
        """Read what ``encode`` wrote; nothing in it is verified.

        Raises:
            Malformed: It is no such file.
        """
        found = decode(content, "signatures")
        names = {"format", "digest", "transaction", "recipient"}
        if not isinstance(found, dict) or found.keys() != names or found["format"] != FORMAT:
            raise Malformed(f"signatures: expected a file of the format {FORMAT}")
        return cls(*(_unhex(found[one], one) for one in ("digest", "transaction", "recipient")))


def _unhex(value: object, name: str) -> bytes:
    try:
        data = bytes.fromhex(value) if isinstance(value, str) and len(value) <= 2 * MAX_TRANSACTION else None
    except ValueError:
        data = None
    if data is None or data.hex() != value:
        raise Malformed(f"signatures: {name} is not lower-case hex")
    return data


def possession(digest: bytes) -> bytes:
    """Return what the key signs that a dataset shall be sealed to: whoever asks can open it."""
    return _DOMAIN + digest


def access_request(request: DatasetRequest, content: bytes, heading: dict[str, Any]) -> AccessRequest:
    """Return the transaction that asks for a dataset, unsigned.

    Args:
        request: What is asked.
        content: Its file.
        heading: Of the requester's node.
    """
    return AccessRequest(
        **heading,
        asked=SelectionAsked(request_digest(content), request.most),
        holders=tuple(sorted(map(institution_id, request.holders))),
        purpose=request.purpose,
        reader=request.reader,
        answer_key=heading["key_id"],
        ethics=request.ethics.digest if request.ethics else ZERO_DIGEST,
    )


def sign_request(content: bytes, node: Signer, key: PrivateKey | None = None) -> Signatures:
    """Return a request file's signatures: the institution's through its node, and by the key it names, if it names one.

    Args:
        content: The file.
        node: The requester's node.
        key: The key that the dataset shall be sealed to, where the file names one.

    Raises:
        Malformed: It is no request file.
        Refused: The node is another institution's, or the key another than the file's.
    """
    request, heading = read_request(content), node.heading()
    if heading["sender"] != institution_id(request.requester):
        raise Refused("requester", f"only the node of {request.requester} signs what {request.requester} asks")
    if request.recipient and (key is None or key.public.bytes != request.recipient):
        why = "the file names a key that the dataset is sealed to: give that very key, so that it is known to open"
        raise Refused("recipient", why)
    digest = request_digest(content)
    signature = key.sign(possession(digest)) if request.recipient and key is not None else b""
    return Signatures(digest, node.sign(access_request(request, content, heading)), signature)


def check_signed(ledger: Ledger, content: bytes, signatures: bytes) -> AccessRequest:
    """Return the transaction of a request that is signed, meant for this chain, and not asked before.

    Args:
        ledger: The chain, as the next block would find it.
        content: The request file.
        signatures: What lies beside it.

    Raises:
        Malformed: One of the files is not what its format says.
        Tampered: The file was changed after it was signed, or the two do not belong together.
        Refused: It is meant for another chain, lapsed, signed by another key, or stands on the chain already.
    """
    request, found = read_request(content), Signatures.decode(signatures)
    if request.chain_id != ledger.chain_id:
        raise Refused("chain", "the request was written for another region's chain; write it anew for this one")
    if found.digest != request_digest(content):
        raise Tampered("the request was changed after it was signed; sign it again, or take the file that was signed")
    tx = _transaction(found.transaction)
    require_same(tx, content)
    _check_signatures(ledger, request, tx, found)
    _check_new(ledger, tx)
    return tx


def _transaction(data: bytes) -> AccessRequest:
    try:
        tx = open_transaction(data)
    except MalformedTransaction as error:
        raise Malformed(f"signatures: {error}") from None
    if not isinstance(tx, AccessRequest):
        raise Malformed("signatures: the transaction is no ACCESS_REQ")
    return tx


def _heading(tx: AccessRequest) -> dict[str, Any]:
    return {name: getattr(tx, name) for name in ("chain_id", "sender", "key_id", "nonce", "expiry_height")}


def require_same(tx: AccessRequest, content: bytes) -> None:
    """Return where a transaction asks for what a request file says, all of it.

    Raises:
        Malformed: The file is none.
        Tampered: The chain would judge something else than people read.
    """
    request = read_request(content)
    expected = access_request(request, content, _heading(tx))
    same = tx.signed_bytes() == expected.signed_bytes() and tx.sender == institution_id(request.requester)
    if not same or tx.chain_id != request.chain_id:
        raise Tampered("the signed transaction says something else than the request file; sign the file again")


def _check_signatures(ledger: Ledger, request: DatasetRequest, tx: AccessRequest, found: Signatures) -> None:
    registration = ledger.roster.registration(tx.sender)
    if registration is None:
        raise Refused("requester", f"{request.requester} is not registered in this region")
    if registration.key_id != tx.key_id:
        raise Refused("signature", f"signed by a key that is not {request.requester}'s present one; sign it again")
    if not _signed(registration, tx):
        raise Tampered("the signature is not that of the requester over this request")
    if bool(request.recipient) != bool(found.recipient):
        raise Refused("recipient", "the key that the dataset is sealed to did not sign; sign with `--key`")
    key = PublicKey.from_bytes(request.recipient) if request.recipient else None
    if key is not None and not key.verify(found.recipient, possession(found.digest)):
        raise Tampered("the signature of the key that the dataset is sealed to does not fit this request")


def _signed(registration: Registration, tx: AccessRequest) -> bool:
    return PublicKey.from_bytes(registration.public_key).verify(tx.signature, tx.signed_bytes())


def _check_new(ledger: Ledger, tx: AccessRequest) -> None:
    seen = ledger.get(SEEN, tx.tx_id)
    if seen is not None:
        height = int.from_bytes(seen, "big")
        raise Refused("repeated", f"it was submitted: block {height} holds it. `xinglin request show` tells its state")
    assert isinstance(tx.asked, SelectionAsked)
    before = request_of(ledger, tx.sender, tx.asked.digest)
    if before is not None and ledger.get(REQUEST, before) is not None:
        why = f"this very file was asked with before, as {before.hex()}; for another dataset write another request"
        raise Refused("repeated", why)
    if tx.expiry_height < ledger.height:
        why = f"the signature held until block {tx.expiry_height}, the chain is at {ledger.height - 1}; sign it again"
        raise Refused("expiry", why)
