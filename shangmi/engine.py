"""Which library computes: compiled code where it installs, else the pure reference with one warning."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

SLOW = "no compiled library for {} could be loaded; pure Python computes it about 1,000 times slower. Install {}"


def reference() -> ModuleType:
    """Return the pure Python engine, imported only where it is needed."""
    from shangmi import reference_engine

    return reference_engine


def _gmssl() -> ModuleType | None:
    try:
        from shangmi import gmssl_engine
    except ImportError:
        return None
    return gmssl_engine


def _openssl() -> ModuleType | None:
    try:
        from shangmi import openssl_engine

        openssl_engine.Hasher()
        openssl_engine.ctr(bytes(16), bytes(16), b"")
    except Exception:  # noqa: BLE001  an OpenSSL built without SM3 or SM4 raises UnsupportedAlgorithm
        return None
    return openssl_engine


gmssl = _gmssl()
openssl = _openssl()
missing = [("SM2", "gmssl_pyx")] * (gmssl is None) + [("SM4", "cryptography")] * (openssl is None)
if missing:
    warnings.warn(
        SLOW.format(" and ".join(one for one, _ in missing), " and ".join(one for _, one in missing)),
        RuntimeWarning,
        stacklevel=2,
    )

sm2: ModuleType = gmssl or reference()
sm4: ModuleType = openssl or reference()
pieces: ModuleType = openssl or reference()
_hash: ModuleType = gmssl or openssl or reference()
sm3: Callable[[bytes], bytes] = _hash.sm3
hmac_sm3: Callable[[bytes, bytes], bytes] = _hash.hmac_sm3
#: SM4-GCM of small texts in one call, where a library is quick at it: setting OpenSSL up costs more than 256 bytes.
small_gcm: Callable[[bytes, bytes, bytes, bytes], bytes] | None = gmssl.gcm_seal if gmssl else None
pbkdf2: Callable[[bytes, bytes, int, int], bytes] = pieces.pbkdf2
