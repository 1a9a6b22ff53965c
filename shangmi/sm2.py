"""SM2 keys (GB/T 32918): signatures of 64 bytes r||s, ciphertexts 0x04||x||y||C3||C2.

The signer's id is GM/T 0009's default everywhere; it never comes out of a message.
"""

from __future__ import annotations

from typing import Final

from shangmi import engine, pkcs8
from shangmi.curve import ZA_CURVE, is_point, is_private_scalar, is_signature
from shangmi.digest import sm3
from shangmi.errors import MalformedInput, WrongKeyOrTampered, check_length

#: GM/T 0009 clause 10.
DEFAULT_ID: Final = b"1234567812345678"
MAX_PLAINTEXT: Final = 255
_OVERHEAD: Final = 97


class PublicKey:
    """A point of the SM2 curve that verifies signatures and encrypts small secrets.

    Attributes:
        bytes: The point, x||y, 64 bytes.
    """

    __slots__ = ("_za", "bytes")

    def __init__(self, point: bytes) -> None:
        check_length("SM2 public key", point, 64)
        if not is_point(point):
            raise MalformedInput("SM2 public key: the 64 bytes are not a point of the curve")
        self.bytes = point
        self._za = za(point)

    @classmethod
    def from_bytes(cls, point: bytes) -> PublicKey:
        """Return the key of 64 bytes x||y.

        Raises:
            MalformedInput: Not 64 bytes, or not a point of the curve.
        """
        return cls(point)

    def verify(self, signature: bytes, message: bytes, signer_id: bytes = DEFAULT_ID) -> bool:
        """Whether ``signature`` is r||s in the one strict form and signs ``message`` (GB/T 32918.2 7.1)."""
        if not is_signature(signature):
            return False
        prefix = self._za if signer_id == DEFAULT_ID else za(self.bytes, signer_id)
        return bool(engine.sm2.verify(self.bytes, sm3(prefix + message), signature))

    def encrypt(self, plaintext: bytes) -> bytes:
        """Return 0x04||x||y||C3||C2, 97 bytes longer than the plaintext (GB/T 32918.4 6.1).

        Raises:
            MalformedInput: The plaintext is not 1 to 255 bytes: SM2 carries keys, SM4 carries data.
        """
        if not 1 <= len(plaintext) <= MAX_PLAINTEXT:
            raise MalformedInput(
                f"SM2 encrypts 1 to {MAX_PLAINTEXT} bytes, got {len(plaintext)}; seal the data with SM4 and "
                "encrypt the key"
            )
        return bytes(engine.sm2.encrypt(self.bytes, plaintext))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and other.bytes == self.bytes

    def __hash__(self) -> int:
        return hash(self.bytes)

    def __repr__(self) -> str:
        return f"PublicKey({self.bytes.hex()})"


class PrivateKey:
    """An SM2 private key with its public one.

    Attributes:
        public: The public key.
    """

    __slots__ = ("_scalar", "public")

    def __init__(self, scalar: bytes, public: PublicKey) -> None:
        self._scalar = scalar
        self.public = public

    @classmethod
    def generate(cls) -> PrivateKey:
        """Return a fresh key."""
        scalar, point = engine.sm2.generate()
        return cls(scalar, PublicKey(point))

    @classmethod
    def from_scalar(cls, scalar: bytes) -> PrivateKey:
        """Return the key of a private scalar of 32 bytes.

        Raises:
            MalformedInput: Not 32 bytes, or not 1 to n-2.
        """
        if not is_private_scalar(scalar):
            raise MalformedInput("SM2 private key: expected 32 bytes, a number from 1 to n-2")
        return cls(scalar, PublicKey(engine.reference().multiply(scalar)))

    def sign(self, message: bytes, signer_id: bytes = DEFAULT_ID) -> bytes:
        """Return the 64 bytes r||s over ``message`` (GB/T 32918.2 6.1); two calls give two signatures."""
        prefix = self.public._za if signer_id == DEFAULT_ID else za(self.public.bytes, signer_id)
        return bytes(engine.sm2.sign(self._scalar, sm3(prefix + message)))

    def decrypt(self, ciphertext: bytes) -> bytes:
        """Return the plaintext of 0x04||x||y||C3||C2 (GB/T 32918.4 7.1).

        Raises:
            MalformedInput: Too short or too long, another first byte than 0x04, or C1 is not on the curve.
            WrongKeyOrTampered: C3 does not fit.
        """
        size = len(ciphertext) - _OVERHEAD
        if not 1 <= size <= MAX_PLAINTEXT or ciphertext[0] != 4 or not is_point(ciphertext[1:65]):
            raise MalformedInput(
                f"SM2 ciphertext: expected 0x04, a point of the curve, C3, 1 to {MAX_PLAINTEXT} bytes of C2; "
                f"got {len(ciphertext)} bytes"
            )
        plaintext = engine.sm2.decrypt(self._scalar, ciphertext)
        if plaintext is None:
            raise WrongKeyOrTampered("SM2: C3 does not fit; another key was meant, or the ciphertext was changed")
        return bytes(plaintext)

    def to_pem(self, password: bytes) -> bytes:
        """Return the key as PEM ``ENCRYPTED PRIVATE KEY`` (see ``docs/formats/keys.md``).

        Raises:
            MalformedInput: The password is empty.
        """
        return pkcs8.to_pem(self._scalar, self.public.bytes, password)

    @classmethod
    def from_pem(cls, pem: bytes, password: bytes) -> PrivateKey:
        """Return the key of a PEM file.

        Raises:
            MalformedInput: Not such a file, other algorithms, or its public key is not the private one's.
            WrongKeyOrTampered: The password does not open it, or it was changed.
        """
        scalar, point = pkcs8.from_pem(pem, password)
        if not is_private_scalar(scalar):
            raise MalformedInput("PEM: the private key is no number from 1 to n-2")
        key = cls.from_scalar(scalar) if point is None else cls(scalar, PublicKey(point))
        if not key.public.verify(key.sign(b"pairwise"), b"pairwise"):
            raise MalformedInput("PEM: the public key in the file does not belong to its private key")
        return key

    def __repr__(self) -> str:
        return f"PrivateKey(public={self.public.bytes.hex()})"

    def __reduce__(self) -> str:
        raise TypeError("a private key is not pickled; write it with to_pem")


def za(point: bytes, signer_id: bytes = DEFAULT_ID) -> bytes:
    """Return ZA = SM3(bits of id || id || a || b || G || point) (GB/T 32918.2 5.5)."""
    if len(signer_id) > 0x1FFF:
        raise MalformedInput(f"SM2 signer id: expected at most 8191 bytes, got {len(signer_id)}")
    return sm3((len(signer_id) * 8).to_bytes(2, "big") + signer_id + ZA_CURVE + point)
