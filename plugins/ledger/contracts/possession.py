"""Proof that whoever is to be known by a key holds it (section 14): a signature by that very key.

It names chain, institution and the key that is replaced, so that no proof serves twice: not elsewhere, not for
another institution, not after the next change of key.
"""

from __future__ import annotations

from ledger.encoding import SHORT_ID
from shangmi import MalformedInput, PrivateKey, PublicKey

#: The key that is replaced, for an institution that had none.
NO_KEY = bytes(SHORT_ID)


def possession_bytes(chain_id: bytes, institution: bytes, replaced: bytes, public_key: bytes) -> bytes:
    """Return what the new key signs.

    Args:
        chain_id: The chain.
        institution: Who will be known by the key, by id.
        replaced: Id of its present key; ``NO_KEY`` where there is none.
        public_key: The new key, x||y.
    """
    return b"XL/POSSESS/1\0" + chain_id + institution + replaced + public_key


def prove_possession(key: PrivateKey, chain_id: bytes, institution: bytes, replaced: bytes = NO_KEY) -> bytes:
    """Return the proof, 64 bytes r||s; the arguments are those of ``possession_bytes``."""
    return key.sign(possession_bytes(chain_id, institution, replaced, key.public.bytes))


def possesses(proof: bytes, chain_id: bytes, institution: bytes, replaced: bytes, public_key: bytes) -> bool:
    """Say whether the key itself signed that it belongs to the institution."""
    try:
        key = PublicKey.from_bytes(public_key)
        return key.verify(proof, possession_bytes(chain_id, institution, replaced, public_key))
    except MalformedInput:
        return False
