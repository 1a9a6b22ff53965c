"""SM2 private keys in encrypted PEM: PKCS#8 (RFC 5958) under PBES2 (RFC 8018), as GmSSL writes it.

PBKDF2 with HMAC-SM3 (1.2.156.10197.1.401.2) and SM4-CBC (1.2.156.10197.1.104.2). Read besides: OpenSSL's and
Tongsuo's names for the PRF. Byte layout and an example: ``docs/formats/keys.md``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from typing import Final

from shangmi import der, engine
from shangmi.digest import pbkdf2_sm3
from shangmi.errors import MalformedInput, WrongKeyOrTampered

ITERATIONS: Final = 65_536
MAX_ITERATIONS: Final = 10_000_000
_LABEL: Final = "ENCRYPTED PRIVATE KEY"
_EC_KEY: Final = der.oid("1.2.840.10045.2.1")
_SM2: Final = der.oid("1.2.156.10197.1.301")
_PBES2: Final = der.oid("1.2.840.113549.1.5.13")
_PBKDF2: Final = der.oid("1.2.840.113549.1.5.12")
_SM4_CBC: Final = der.oid("1.2.156.10197.1.104.2")
_HMAC_SM3: Final = der.oid("1.2.156.10197.1.401.2")
_HMAC_SM3_OPENSSL: Final = der.oid("1.2.156.10197.1.401.3.1")
_HMAC_SHA256: Final = der.oid("1.2.840.113549.2.9")
_PRIVATE: Final = 0xA0
_PUBLIC: Final = 0xA1


def to_pem(scalar: bytes, point: bytes, password: bytes) -> bytes:
    """Return the encrypted PEM of a private scalar (32 bytes) and its public point (64 bytes)."""
    sealed = base64.encodebytes(encrypt(_key_info(scalar, point), password)).replace(b"\n", b"")
    lines = [sealed[at : at + 64].decode() for at in range(0, len(sealed), 64)]
    return "\n".join((f"-----BEGIN {_LABEL}-----", *lines, f"-----END {_LABEL}-----", "")).encode()


def from_pem(pem: bytes, password: bytes) -> tuple[bytes, bytes | None]:
    """Return the private scalar (32 bytes) and, where the file holds it, the public point (64 bytes).

    Raises:
        MalformedInput: Not one PEM ``ENCRYPTED PRIVATE KEY``, or algorithms this code does not know.
        WrongKeyOrTampered: The password does not open it.
    """
    lines = [line.strip() for line in pem.split(b"\n") if line.strip()]
    if len(lines) < 3 or (lines[0], lines[-1]) != (
        f"-----BEGIN {_LABEL}-----".encode(),
        f"-----END {_LABEL}-----".encode(),
    ):
        raise MalformedInput(f"PEM: expected one block BEGIN {_LABEL} … END {_LABEL}")
    try:
        sealed = base64.b64decode(b"".join(lines[1:-1]), validate=True)
    except binascii.Error:
        raise MalformedInput("PEM: what stands between BEGIN and END is not Base64") from None
    return open_key(sealed, password)


def open_key(encoded: bytes, password: bytes) -> tuple[bytes, bytes | None]:
    """Return scalar and public point of an EncryptedPrivateKeyInfo; raises as `from_pem`."""
    plain = decrypt(encoded, password)
    try:
        return _read_key_info(plain)
    except MalformedInput as fault:
        # One wrong password in 256 gives padding that looks right; DER then fails.
        raise WrongKeyOrTampered(f"PEM: the password does not open it, or it was changed ({fault})") from None


def encrypt(plain: bytes, password: bytes, iterations: int = ITERATIONS) -> bytes:
    """Return EncryptedPrivateKeyInfo of ``plain`` as DER."""
    if not password:
        raise MalformedInput("PEM: expected a password, got an empty one")
    salt, iv = secrets.token_bytes(16), secrets.token_bytes(16)
    key = pbkdf2_sm3(password, salt, iterations, 16)
    pad = 16 - len(plain) % 16
    sealed = engine.sm4.cbc_encrypt(key, iv, plain + bytes((pad,)) * pad)
    kdf = der.sequence(
        der.wrap(der.OCTET_STRING, salt), der.integer(iterations), der.integer(16), der.sequence(_HMAC_SM3)
    )
    scheme = der.sequence(der.sequence(_PBKDF2, kdf), der.sequence(_SM4_CBC, der.wrap(der.OCTET_STRING, iv)))
    return der.sequence(der.sequence(_PBES2, scheme), der.wrap(der.OCTET_STRING, sealed))


def decrypt(encoded: bytes, password: bytes) -> bytes:
    """Return what EncryptedPrivateKeyInfo holds.

    Raises:
        MalformedInput: Not strict DER, or other algorithms than PBES2, PBKDF2 and SM4-CBC.
        WrongKeyOrTampered: The padding shows that the password is not the right one.
    """
    outer = der.Reader(encoded)
    info = outer.inside()
    outer.finish()
    algorithm, sealed = info.inside(), info.take(der.OCTET_STRING)
    info.finish()
    key, iv = _scheme(algorithm, password)
    if not sealed or len(sealed) % 16:
        raise MalformedInput(f"PEM: expected whole SM4 blocks, got {len(sealed)} bytes")
    padded = bytes(engine.sm4.cbc_decrypt(key, iv, sealed))
    pad = padded[-1]
    if not 1 <= pad <= 16 or padded[-pad:] != bytes((pad,)) * pad:
        raise WrongKeyOrTampered("PEM: the password does not open it, or it was changed")
    return padded[:-pad]


def _scheme(algorithm: der.Reader, password: bytes) -> tuple[bytes, bytes]:
    _expect(algorithm, _PBES2, "PBES2")
    scheme = algorithm.inside()
    kdf, cipher = scheme.inside(), scheme.inside()
    _expect(kdf, _PBKDF2, "PBKDF2")
    _expect(cipher, _SM4_CBC, "SM4-CBC")
    iv = cipher.take(der.OCTET_STRING)
    if len(iv) != 16:
        raise MalformedInput(f"PEM: expected an IV of 16 bytes, got {len(iv)}")
    return _derive(kdf.inside(), password), iv


def _derive(parameters: der.Reader, password: bytes) -> bytes:
    salt, iterations = parameters.take(der.OCTET_STRING), parameters.take_integer()
    if parameters.peek() == der.INTEGER and parameters.take_integer() != 16:
        raise MalformedInput("PEM: expected a derived key of 16 bytes")
    if not 1 <= iterations <= MAX_ITERATIONS:
        raise MalformedInput(f"PEM: expected 1 to {MAX_ITERATIONS} iterations, got {iterations}")
    prf = parameters.inside()
    named = der.wrap(der.OID, prf.take(der.OID))
    if named in (_HMAC_SM3, _HMAC_SM3_OPENSSL):
        return pbkdf2_sm3(password, salt, iterations, 16)
    if named == _HMAC_SHA256:
        return hashlib.pbkdf2_hmac("sha256", password, salt, iterations, 16)
    raise MalformedInput("PEM: expected PBKDF2 with HMAC-SM3 or HMAC-SHA256")


def _expect(reader: der.Reader, identifier: bytes, name: str) -> None:
    if der.wrap(der.OID, reader.take(der.OID)) != identifier:
        raise MalformedInput(f"PEM: expected {name}")


def _key_info(scalar: bytes, point: bytes) -> bytes:
    key = der.sequence(
        der.integer(1),
        der.wrap(der.OCTET_STRING, scalar),
        der.wrap(_PRIVATE, _SM2),
        der.wrap(_PUBLIC, der.wrap(der.BIT_STRING, b"\x00\x04" + point)),
    )
    return der.sequence(der.integer(0), der.sequence(_EC_KEY, _SM2), der.wrap(der.OCTET_STRING, key))


def _read_key_info(plain: bytes) -> tuple[bytes, bytes | None]:
    outer = der.Reader(plain)
    info = outer.inside()
    outer.finish()
    version, algorithm = info.take_integer(), info.inside()
    if version not in (0, 1):
        raise MalformedInput("PKCS#8: expected version 0 or 1")
    _expect(algorithm, _EC_KEY, "an elliptic curve key")
    _expect(algorithm, _SM2, "the SM2 curve")
    key = der.Reader(info.take(der.OCTET_STRING)).inside()
    key.take_integer()
    scalar = key.take(der.OCTET_STRING)
    if key.peek() == _PRIVATE:
        key.take(_PRIVATE)
    return scalar, _read_point(key)


def _read_point(key: der.Reader) -> bytes | None:
    if key.peek() != _PUBLIC:
        return None
    bits = key.inside(_PUBLIC).take(der.BIT_STRING)
    if len(bits) != 66 or bits[:2] != b"\x00\x04":
        raise MalformedInput("PKCS#8: expected an uncompressed public point of 65 bytes")
    return bits[2:]
