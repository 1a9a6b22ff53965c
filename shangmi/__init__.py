"""SM2, SM3 and SM4: the only code of this project that touches a crypto library."""

from __future__ import annotations

from shangmi.der import ciphertext_from_der, ciphertext_to_der, signature_from_der, signature_to_der
from shangmi.digest import Sm3, hkdf_sm3, hmac_sm3, pbkdf2_sm3, sm3
from shangmi.errors import MalformedInput, ShangmiError, WrongKeyOrTampered
from shangmi.sm2 import PrivateKey, PublicKey
from shangmi.sm4 import GcmOpener, GcmSealer, sm4_ctr, sm4_gcm_open, sm4_gcm_seal

__all__ = [
    "GcmOpener",
    "GcmSealer",
    "MalformedInput",
    "PrivateKey",
    "PublicKey",
    "ShangmiError",
    "Sm3",
    "WrongKeyOrTampered",
    "ciphertext_from_der",
    "ciphertext_to_der",
    "hkdf_sm3",
    "hmac_sm3",
    "pbkdf2_sm3",
    "signature_from_der",
    "signature_to_der",
    "sm3",
    "sm4_ctr",
    "sm4_gcm_open",
    "sm4_gcm_seal",
]
