"""SM2 and SM3 by GmSSL's C code (``gmssl_pyx``): what `engine` prefers for them.

GmSSL prints a line on stderr for what it refuses, so callers check shapes first; only a well-formed forgery
still causes one (it holds names of C functions, no data).
"""

from __future__ import annotations

import gmssl_pyx

from shangmi.der import ciphertext_from_der, ciphertext_to_der, signature_from_der, signature_to_der

sm3 = gmssl_pyx.sm3_hash


def hmac_sm3(key: bytes, data: bytes) -> bytes:
    """Return HMAC-SM3; an empty key, which the library refuses, equals a zero byte by RFC 2104's padding."""
    return bytes(gmssl_pyx.sm3_hmac(key or b"\0", data))


def gcm_seal(key: bytes, nonce: bytes, plaintext: bytes, aad: bytes) -> bytes:
    """Return ciphertext||tag of SM4-GCM."""
    return b"".join(gmssl_pyx.sm4_gcm_encrypt(key, nonce, aad, plaintext))


def generate() -> tuple[bytes, bytes]:
    """Return a fresh private scalar of 32 bytes and its public point of 64."""
    public, private = gmssl_pyx.sm2_key_generate()
    return private, public


def sign(scalar: bytes, digest: bytes) -> bytes:
    """Return r||s over e = ``digest``."""
    return signature_from_der(gmssl_pyx.sm2_sign_sm3_digest(scalar, digest))


def verify(point: bytes, digest: bytes, signature: bytes) -> bool:
    """Whether a well-formed r||s signs e = ``digest``."""
    return bool(gmssl_pyx.sm2_verify_sm3_digest(point, digest, signature_to_der(signature)))


def encrypt(point: bytes, plaintext: bytes) -> bytes:
    """Return 0x04||x||y||C3||C2 of 1 to 255 bytes."""
    return ciphertext_from_der(gmssl_pyx.sm2_encrypt(point, plaintext))


def decrypt(scalar: bytes, ciphertext: bytes) -> bytes | None:
    """Return the plaintext, or None where C3 does not fit; C1 must be a point of the curve."""
    try:
        return bytes(gmssl_pyx.sm2_decrypt(scalar, ciphertext_to_der(ciphertext)))
    except gmssl_pyx.GmsslInnerError:
        return None
