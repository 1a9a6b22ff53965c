"""SM2, SM3 and SM4 by the pure Python ``gmssl``: the reference of the tests, and the fallback of `engine`.

Only the library's arithmetic is used (compression function, point multiplication, one SM4 block). What it
leaves out stands here: it draws nonces from ``random``, does not compare C3 when it decrypts, strips leading
digits of public keys, and knows neither GCM nor CTR. About 1,000 times slower than compiled code for SM3 and
SM4, 10 times for SM2, and not constant in time.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterator
from typing import Any

from gmssl import sm2 as pure_sm2
from gmssl import sm3 as pure_sm3
from gmssl import sm4 as pure_sm4

from shangmi.curve import G, N

_MASK64 = (1 << 64) - 1


class Hasher:
    """SM3 in pieces (GB/T 32905)."""

    block_size = 64
    digest_size = 32

    def __init__(self, data: bytes = b"") -> None:
        self._chain: list[int] = list(pure_sm3.IV)
        self._rest = b""
        self._length = 0
        self.update(data)

    def update(self, data: bytes) -> None:
        """Take more bytes in."""
        self._length += len(data)
        pending = self._rest + data
        whole = len(pending) // 64 * 64
        for at in range(0, whole, 64):
            self._chain = pure_sm3.sm3_cf(self._chain, list(pending[at : at + 64]))
        self._rest = pending[whole:]

    def digest(self) -> bytes:
        """Return the digest of what was taken in so far."""
        last = self.copy()
        zeros = (55 - self._length) % 64
        last.update(b"\x80" + bytes(zeros) + (self._length * 8 & _MASK64).to_bytes(8, "big"))
        return b"".join(word.to_bytes(4, "big") for word in last._chain)

    def copy(self) -> Hasher:
        """Return a second hasher that goes on from here."""
        other = Hasher()
        other._chain, other._rest, other._length = list(self._chain), self._rest, self._length
        return other


def sm3(data: bytes) -> bytes:
    """Return the SM3 digest."""
    return Hasher(data).digest()


def hmac_sm3(key: bytes, data: bytes) -> bytes:
    """Return HMAC-SM3 (RFC 2104)."""
    inner = sm3(key) if len(key) > 64 else key
    padded = inner.ljust(64, b"\0")
    return sm3(bytes(b ^ 0x5C for b in padded) + sm3(bytes(b ^ 0x36 for b in padded) + data))


def pbkdf2(password: bytes, salt: bytes, iterations: int, length: int) -> bytes:
    """Return PBKDF2-HMAC-SM3 (RFC 8018 5.2)."""
    blocks = []
    for index in range(1, -(-length // 32) + 1):
        last = hmac_sm3(password, salt + index.to_bytes(4, "big"))
        total = int.from_bytes(last, "big")
        for _ in range(iterations - 1):
            last = hmac_sm3(password, last)
            total ^= int.from_bytes(last, "big")
        blocks.append(total.to_bytes(32, "big"))
    return b"".join(blocks)[:length]


def _curve(public: bytes = G) -> Any:
    machine = pure_sm2.CryptSM2(private_key="", public_key="", mode=1)
    machine.public_key = public.hex()  # the constructor would strip leading 0s and 4s of the point itself
    return machine


def multiply(scalar: bytes, point: bytes = G) -> bytes:
    """Return scalar times point, 64 bytes; the scalar is 1 to N-1, the point on the curve."""
    return bytes.fromhex(_curve()._kg(int.from_bytes(scalar, "big"), point.hex()))


def generate() -> tuple[bytes, bytes]:
    """Return a fresh private scalar of 32 bytes and its public point of 64."""
    scalar = (1 + secrets.randbelow(N - 2)).to_bytes(32, "big")
    return scalar, multiply(scalar)


def sign(scalar: bytes, digest: bytes) -> bytes:
    """Return r||s over e = ``digest``."""
    machine = _curve()
    machine.private_key = scalar.hex()
    while True:
        signature = machine.sign(digest, f"{1 + secrets.randbelow(N - 1):064x}")
        if signature is not None:
            return bytes.fromhex(signature)


def verify(point: bytes, digest: bytes, signature: bytes) -> bool:
    """Whether a well-formed r||s signs e = ``digest``."""
    try:
        return bool(_curve(point).verify(signature.hex(), digest))
    except TypeError:  # the sum is the point at infinity, which the library holds as None
        return False


def encrypt(point: bytes, plaintext: bytes) -> bytes:
    """Return 0x04||x||y||C3||C2 (GB/T 32918.4 6.1)."""
    while True:
        k = (1 + secrets.randbelow(N - 1)).to_bytes(32, "big")
        shared = multiply(k, point)
        stream = _kdf(shared, len(plaintext))
        if any(stream):
            break
    c3 = sm3(shared[:32] + plaintext + shared[32:])
    return b"\x04" + multiply(k) + c3 + _xor(plaintext, stream)


def decrypt(scalar: bytes, ciphertext: bytes) -> bytes | None:
    """Return the plaintext, or None where C3 does not fit (GB/T 32918.4 7.1)."""
    shared = multiply(scalar, ciphertext[1:65])
    c3, c2 = ciphertext[65:97], ciphertext[97:]
    stream = _kdf(shared, len(c2))
    plaintext = _xor(c2, stream)
    fits = hmac.compare_digest(sm3(shared[:32] + plaintext + shared[32:]), c3)
    return plaintext if fits and any(stream) else None


def _kdf(shared: bytes, length: int) -> bytes:
    blocks = (sm3(shared + count.to_bytes(4, "big")) for count in range(1, -(-length // 32) + 1))
    return b"".join(blocks)[:length]


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=False))


class _Block:
    """SM4 of single blocks under one key."""

    def __init__(self, key: bytes, mode: int = pure_sm4.SM4_ENCRYPT) -> None:
        self._machine = pure_sm4.CryptSM4()
        self._machine.set_key(key, mode)

    def __call__(self, block: bytes) -> bytes:
        return bytes(self._machine.one_round(self._machine.sk, list(block)))


def _stream(block: _Block, counter: int, bits: int) -> Iterator[int]:
    fixed = counter >> bits << bits
    while True:
        yield from block((fixed | counter & (1 << bits) - 1).to_bytes(16, "big"))
        counter += 1


def ctr(key: bytes, counter: bytes, data: bytes) -> bytes:
    """Return ``data`` under the SM4-CTR key stream."""
    return bytes(a ^ b for a, b in zip(data, _stream(_Block(key), int.from_bytes(counter, "big"), 128), strict=False))


def cbc_encrypt(key: bytes, iv: bytes, data: bytes) -> bytes:
    """Return SM4-CBC of whole blocks."""
    block, out = _Block(key), [iv]
    for at in range(0, len(data), 16):
        out.append(block(_xor(data[at : at + 16], out[-1])))
    return b"".join(out[1:])


def cbc_decrypt(key: bytes, iv: bytes, data: bytes) -> bytes:
    """Return the whole blocks that SM4-CBC gave."""
    block, chain = _Block(key, pure_sm4.SM4_DECRYPT), iv + data
    return b"".join(_xor(block(data[at : at + 16]), chain[at : at + 16]) for at in range(0, len(data), 16))


class _Gcm:
    """GHASH and key stream of NIST SP 800-38D over SM4, nonce of 96 bits."""

    def __init__(self, key: bytes, nonce: bytes, aad: bytes) -> None:
        block = _Block(key)
        self._h = int.from_bytes(block(bytes(16)), "big")
        first = int.from_bytes(nonce, "big") << 32 | 1
        self._mask = block(first.to_bytes(16, "big"))
        self._key_stream = _stream(block, first + 1, 32)
        self._sum, self._pending, self._sizes = 0, b"", [len(aad), 0]
        self._take(aad + bytes(-len(aad) % 16))

    def _xored(self, data: bytes) -> bytes:
        self._sizes[1] += len(data)
        return bytes(a ^ b for a, b in zip(data, self._key_stream, strict=False))

    def _take(self, data: bytes) -> None:
        pending = self._pending + data
        whole = len(pending) // 16 * 16
        for at in range(0, whole, 16):
            self._sum = self._multiply(self._sum ^ int.from_bytes(pending[at : at + 16], "big"))
        self._pending = pending[whole:]

    def _multiply(self, value: int) -> int:
        product, h = 0, self._h
        for bit in range(127, -1, -1):
            if value >> bit & 1:
                product ^= h
            h = h >> 1 ^ (0xE1 << 120 if h & 1 else 0)
        return product

    def tag(self) -> bytes:
        """Return the tag over everything; nothing can follow."""
        self._take(bytes(-len(self._pending) % 16))
        self._take(b"".join((8 * size).to_bytes(8, "big") for size in self._sizes))
        return _xor(self._sum.to_bytes(16, "big"), self._mask)


class GcmEncryptor(_Gcm):
    """SM4-GCM in pieces; every plaintext byte gives a ciphertext byte at once."""

    def update(self, data: bytes) -> bytes:
        """Return the ciphertext of the next bytes."""
        out = self._xored(data)
        self._take(out)
        return out


class GcmDecryptor(_Gcm):
    """SM4-GCM in pieces, backwards."""

    def update(self, data: bytes) -> bytes:
        """Return the plaintext, not yet verified, of the next bytes."""
        self._take(data)
        return self._xored(data)

    def check(self, tag: bytes) -> bool:
        """Whether the tag fits everything."""
        return hmac.compare_digest(self.tag(), tag)
