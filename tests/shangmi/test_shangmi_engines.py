"""Compiled code and the pure reference give the same answers, and the reference takes over where it must."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shangmi import GcmOpener, GcmSealer, MalformedInput, Sm3, WrongKeyOrTampered, sm4_gcm_open, sm4_gcm_seal
from shangmi import engine as engines

C = engines.gmssl
OPENSSL = engines.openssl
PURE = engines.reference()
assert C is not None and OPENSSL is not None
SHORT = st.binary(max_size=150)
KEY = st.binary(min_size=16, max_size=16)
NONCE = st.binary(min_size=12, max_size=12)
few = settings(max_examples=25, deadline=None)


@few
@given(SHORT, SHORT)
def test_digests_agree_across_engines(key: bytes, data: bytes) -> None:
    assert C.sm3(data) == OPENSSL.sm3(data) == PURE.sm3(data)
    assert C.hmac_sm3(key, data) == OPENSSL.hmac_sm3(key, data) == PURE.hmac_sm3(key, data)


@few
@given(st.lists(SHORT, max_size=5))
def test_hashing_in_pieces_is_hashing_at_once(pieces: list[bytes]) -> None:
    fast, slow = Sm3(), PURE.Hasher()
    for piece in pieces:
        fast.update(piece)
        slow.update(piece)
        assert fast.copy().digest() == fast.digest() == slow.digest()
    assert fast.digest() == C.sm3(b"".join(pieces))
    assert fast.hexdigest() == fast.digest().hex()


@few
@given(SHORT.filter(bool), SHORT, st.integers(1, 3), st.integers(1, 70))
def test_pbkdf2_agrees_across_engines(password: bytes, salt: bytes, rounds: int, length: int) -> None:
    assert OPENSSL.pbkdf2(password, salt, rounds, length) == PURE.pbkdf2(password, salt, rounds, length)


@few
@given(st.data())
def test_signatures_of_one_engine_verify_in_the_other(data: st.DataObject) -> None:
    for maker in (C, PURE):
        scalar, point = maker.generate()
        digest = data.draw(st.binary(min_size=32, max_size=32))
        for signer in (C, PURE):
            signature = signer.sign(scalar, digest)
            assert C.verify(point, digest, signature) and PURE.verify(point, digest, signature)
            assert not PURE.verify(point, PURE.sm3(digest), signature)


@few
@given(SHORT.filter(bool))
def test_ciphertexts_of_one_engine_open_in_the_other(plaintext: bytes) -> None:
    scalar, point = C.generate()
    for sealer in (C, PURE):
        sealed = sealer.encrypt(point, plaintext)
        assert C.decrypt(scalar, sealed) == PURE.decrypt(scalar, sealed) == plaintext
    assert PURE.decrypt(scalar, sealed[:-1] + bytes((sealed[-1] ^ 1,))) is None


def test_reference_keeps_a_public_key_that_begins_with_04() -> None:
    """gmssl strips every leading 0 and 4 of a key that begins with 04."""
    scalar = next(s for s in (i.to_bytes(32, "big") for i in range(1, 3000)) if PURE.multiply(s).hex().startswith("04"))
    point = PURE.multiply(scalar)
    digest = PURE.sm3(b"x")
    assert PURE.verify(point, digest, C.sign(scalar, digest))


@few
@given(KEY, NONCE, SHORT, SHORT)
def test_gcm_agrees_across_engines(key: bytes, nonce: bytes, plaintext: bytes, aad: bytes) -> None:
    sealed = sm4_gcm_seal(key, nonce, plaintext, aad)
    slow = PURE.GcmEncryptor(key, nonce, aad)
    assert slow.update(plaintext) + slow.tag() == sealed
    assert sm4_gcm_open(key, nonce, sealed, aad) == plaintext


@few
@given(KEY, st.binary(min_size=16, max_size=16), SHORT)
def test_ctr_agrees_across_engines_also_where_the_counter_wraps(key: bytes, counter: bytes, data: bytes) -> None:
    for start in (counter, b"\xff" * 16):
        assert OPENSSL.ctr(key, start, data) == PURE.ctr(key, start, data)


@few
@given(KEY, NONCE, st.lists(SHORT, max_size=6), SHORT)
def test_streamed_sealing_is_one_shot_sealing(key: bytes, nonce: bytes, pieces: list[bytes], aad: bytes) -> None:
    sealer = GcmSealer(key, nonce, aad)
    sealed = b"".join([*map(sealer.update, pieces), sealer.finalise()])
    assert sealed == sm4_gcm_seal(key, nonce, b"".join(pieces), aad)
    for decryptor in (OPENSSL.GcmDecryptor, PURE.GcmDecryptor):
        state = decryptor(key, nonce, aad)
        assert state.update(sealed[:5]) + state.update(sealed[5:-16]) == b"".join(pieces) or len(sealed) < 21
        assert len(sealed) < 21 or state.check(sealed[-16:])


def test_streamed_opening_raises_at_the_end_where_a_byte_was_changed() -> None:
    sealed = bytearray(sm4_gcm_seal(bytes(16), bytes(12), b"x" * 100_000, b"aad"))
    sealed[50_000] ^= 1
    opener = GcmOpener(bytes(16), bytes(12), b"aad")
    released = b"".join(opener.update(bytes(sealed[at : at + 4096])) for at in range(0, 100_000, 4096))
    assert len(released) > 0
    with pytest.raises(WrongKeyOrTampered):
        opener.finalise(bytes(sealed[-16:]))


def test_every_changed_byte_of_a_sealed_text_its_nonce_its_aad_and_its_key_is_refused() -> None:
    parts = [bytes(range(16)), bytes(range(12)), b"", b"aad"]
    parts[2] = sm4_gcm_seal(parts[0], parts[1], b"plaintext", parts[3])
    assert sm4_gcm_open(*parts) == b"plaintext"
    for which, part in enumerate(parts):
        for at in range(len(part)):
            changed = list(parts)
            changed[which] = part[:at] + bytes((part[at] ^ 0x80,)) + part[at + 1 :]
            with pytest.raises(WrongKeyOrTampered):
                sm4_gcm_open(*changed)
    for short in (b"", parts[2][:15]):
        with pytest.raises(WrongKeyOrTampered):
            sm4_gcm_open(parts[0], parts[1], short, parts[3])


@pytest.mark.parametrize(("key", "nonce"), [(15, 12), (32, 12), (16, 0), (16, 16)])
def test_key_or_nonce_of_another_length_is_refused(key: int, nonce: int) -> None:
    for make in (GcmSealer, GcmOpener):
        with pytest.raises(MalformedInput):
            make(bytes(key), bytes(nonce), b"")


FALLBACK = """
import sys, warnings
for name in ("gmssl_pyx", "cryptography"):
    sys.modules[name] = None
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    import shangmi
ours = [str(w.message) for w in seen if "1,000 times" in str(w.message)]
assert len(ours) == 1 and "gmssl_pyx and cryptography" in ours[0], ours
key = bytes(16)
print(shangmi.sm3(b"abc").hex())
print(shangmi.hmac_sm3(b"", b"abc").hex())
print(shangmi.Sm3(b"abc").hexdigest())
print(shangmi.hkdf_sm3(b"key", b"", b"info", 40).hex())
print(shangmi.pbkdf2_sm3(b"pw", b"salt", 2, 16).hex())
print(shangmi.sm4_gcm_seal(key, bytes(12), b"x" * 40, b"aad").hex())
print(shangmi.sm4_ctr(key, b"\\xff" * 16, b"x" * 40).hex())
k = shangmi.PrivateKey.from_scalar((7).to_bytes(32, "big"))
print(k.public.bytes.hex())
assert k.public.verify(k.sign(b"m"), b"m") and k.decrypt(k.public.encrypt(b"m")) == b"m"
assert shangmi.PrivateKey.generate().public != k.public
print(k.public.verify(bytes.fromhex(sys.argv[1]), b"signed by compiled code"))
"""


def test_without_compiled_libraries_the_answers_are_the_same_after_one_warning() -> None:
    import shangmi

    key = shangmi.PrivateKey.from_scalar((7).to_bytes(32, "big"))
    signature = key.sign(b"signed by compiled code").hex()
    done = subprocess.run([sys.executable, "-c", FALLBACK, signature], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [
        shangmi.sm3(b"abc").hex(),
        shangmi.hmac_sm3(b"", b"abc").hex(),
        shangmi.sm3(b"abc").hex(),
        shangmi.hkdf_sm3(b"key", b"", b"info", 40).hex(),
        shangmi.pbkdf2_sm3(b"pw", b"salt", 2, 16).hex(),
        shangmi.sm4_gcm_seal(bytes(16), bytes(12), b"x" * 40, b"aad").hex(),
        shangmi.sm4_ctr(bytes(16), b"\xff" * 16, b"x" * 40).hex(),
        key.public.bytes.hex(),
        "True",
    ]
