"""The SM2 curve of GB/T 32918.5: its numbers, and which byte strings are points or scalars of it."""

from __future__ import annotations

from typing import Final

P: Final = 0xFFFFFFFE_FFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFF_00000000_FFFFFFFF_FFFFFFFF
N: Final = 0xFFFFFFFE_FFFFFFFF_FFFFFFFF_FFFFFFFF_7203DF6B_21C6052B_53BBF409_39D54123
A: Final = P - 3
B: Final = 0x28E9FA9E_9D9F5E34_4D5A9E4B_CF6509A7_F39789F5_15AB8F92_DDBCBD41_4D940E93
G: Final = bytes.fromhex(
    "32c4ae2c1f1981195f9904466a39c9948fe30bbff2660be1715a4589334c74c7"
    "bc3736a2f4f6779c59bdcee36b692153d0a9877cc62a474002df32e52139f0a0"
)

#: a || b || G, the part of ZA that is the same for every signer (GB/T 32918.2 5.5).
ZA_CURVE: Final = A.to_bytes(32, "big") + B.to_bytes(32, "big") + G


def is_point(point: bytes) -> bool:
    """Whether 64 bytes x||y, both below P, are a point of the curve (its cofactor is 1)."""
    if len(point) != 64:
        return False
    x, y = int.from_bytes(point[:32], "big"), int.from_bytes(point[32:], "big")
    return x < P and y < P and (y * y - (x * x * x + A * x + B)) % P == 0


def is_private_scalar(scalar: bytes) -> bool:
    """Whether 32 bytes are a private key: 1 to N-2 (GB/T 32918.1 6.1; N-1 has no inverse of 1+d)."""
    return len(scalar) == 32 and 1 <= int.from_bytes(scalar, "big") <= N - 2


def is_signature(signature: bytes) -> bool:
    """Whether 64 bytes r||s have 1 <= r, s < N and r+s != N (GB/T 32918.2 7.1 B1 to B5)."""
    if len(signature) != 64:
        return False
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    return 1 <= r < N and 1 <= s < N and r + s != N
