"""SM2 keys, signatures and PEM files: what is accepted, what is refused, what other programs read."""

from __future__ import annotations

import copy
import pickle
import shutil
import subprocess
from pathlib import Path

import gmssl_pyx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from needed import needs

from shangmi import (
    MalformedInput,
    PrivateKey,
    PublicKey,
    ShangmiError,
    WrongKeyOrTampered,
    ciphertext_from_der,
    ciphertext_to_der,
    pkcs8,
    signature_from_der,
    signature_to_der,
)
from shangmi.curve import N, P

KEY = PrivateKey.generate()
MESSAGE = "知情同意书".encode()
SIGNATURE = KEY.sign(MESSAGE)
OTHER = PrivateKey.generate()


def test_signature_verifies_only_for_its_key_its_message_and_its_id() -> None:
    assert KEY.public.verify(SIGNATURE, MESSAGE)
    assert not OTHER.public.verify(SIGNATURE, MESSAGE)
    assert not KEY.public.verify(SIGNATURE, MESSAGE + b".")
    assert not KEY.public.verify(SIGNATURE, MESSAGE, b"another id")
    assert KEY.public.verify(KEY.sign(MESSAGE, b"another id"), MESSAGE, b"another id")


def numbers(r: int, s: int) -> bytes:
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


R, S = int.from_bytes(SIGNATURE[:32], "big"), int.from_bytes(SIGNATURE[32:], "big")


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        SIGNATURE[:-1],
        SIGNATURE + b"\0",
        signature_to_der(SIGNATURE),
        numbers(0, S),
        numbers(R, 0),
        numbers(N, S),
        numbers(R, N),
        numbers(R, N - R),
        numbers(R, N - S),
        numbers(S, R),
        numbers(min(R + N, 2**256 - 1), S),
    ],
    ids=["empty", "short", "long", "der", "r=0", "s=0", "r=n", "s=n", "r+s=n", "negated", "swapped", "r+n"],
)
def test_signature_in_any_other_form_is_refused(signature: bytes) -> None:
    assert not KEY.public.verify(signature, MESSAGE)


@pytest.mark.parametrize(
    "point",
    [
        b"",
        bytes(64),
        KEY.public.bytes[:-1],
        b"\x04" + KEY.public.bytes,
        numbers(P, 1),
        KEY.public.bytes[::-1],
    ],
    ids=["empty", "zero", "short", "with 04", "x=p", "off the curve"],
)
def test_public_key_that_is_no_point_is_refused(point: bytes) -> None:
    with pytest.raises(MalformedInput):
        PublicKey.from_bytes(point)


@pytest.mark.parametrize("scalar", [0, N - 1, N], ids=["0", "n-1", "n"])
def test_private_scalar_out_of_range_is_refused(scalar: int) -> None:
    with pytest.raises(MalformedInput):
        PrivateKey.from_scalar(scalar.to_bytes(32, "big"))


def test_private_key_is_not_shown_or_copied_by_accident() -> None:
    secret = KEY._scalar.hex()
    assert secret not in repr(KEY) and secret not in str(KEY) and secret not in f"{KEY}"
    for leak in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError):
            leak(KEY)


@given(st.binary(min_size=1, max_size=255))
def test_what_is_encrypted_comes_back(plaintext: bytes) -> None:
    sealed = KEY.public.encrypt(plaintext)
    assert len(sealed) == len(plaintext) + 97
    assert KEY.decrypt(sealed) == plaintext
    assert ciphertext_from_der(ciphertext_to_der(sealed)) == sealed


def test_any_changed_byte_of_a_ciphertext_is_refused() -> None:
    sealed = KEY.public.encrypt(b"data key 16 byte")
    for at in range(len(sealed)):
        changed = bytearray(sealed)
        changed[at] ^= 1
        with pytest.raises(ShangmiError):
            KEY.decrypt(bytes(changed))
    with pytest.raises(ShangmiError):
        OTHER.decrypt(sealed)


@pytest.mark.parametrize("size", [0, 256])
def test_sm2_refuses_to_carry_data_instead_of_keys(size: int) -> None:
    with pytest.raises(MalformedInput, match="SM4"):
        KEY.public.encrypt(bytes(size))


@given(st.binary(max_size=200))
def test_any_bytes_as_ciphertext_key_or_der_raise_only_our_error(data: bytes) -> None:
    for read in (
        KEY.decrypt,
        PublicKey.from_bytes,
        PrivateKey.from_scalar,
        signature_from_der,
        ciphertext_from_der,
    ):
        with pytest.raises(ShangmiError):
            read(data)
    assert not KEY.public.verify(data, MESSAGE)


@given(st.integers(1, N - 1), st.integers(1, N - 1))
def test_signature_has_one_der_form(r: int, s: int) -> None:
    encoded = signature_to_der(numbers(r, s))
    assert signature_from_der(encoded) == numbers(r, s)
    for changed in (encoded + b"\0", encoded[:-1], b"\x30\x81" + encoded[1:]):
        with pytest.raises(MalformedInput):
            signature_from_der(changed)


def test_pem_comes_back_with_its_password_only() -> None:
    pem = KEY.to_pem("杏林 春暖".encode())
    assert PrivateKey.from_pem(pem, "杏林 春暖".encode()).public == KEY.public
    assert KEY._scalar not in pem
    with pytest.raises(WrongKeyOrTampered):
        PrivateKey.from_pem(pem, b"guess")
    with pytest.raises(MalformedInput, match="password"):
        KEY.to_pem(b"")


def test_pem_with_a_foreign_public_key_is_refused() -> None:
    mixed = pkcs8.to_pem(KEY._scalar, OTHER.public.bytes, b"pw")
    with pytest.raises(MalformedInput, match="does not belong"):
        PrivateKey.from_pem(mixed, b"pw")


def test_every_wrong_password_raises_the_same_error() -> None:
    """One in 256 decrypts to padding that looks right: 600 tries meet it."""
    sealed = pkcs8.encrypt(pkcs8._key_info(KEY._scalar, KEY.public.bytes), b"right", iterations=1)
    for guess in range(600):
        with pytest.raises(WrongKeyOrTampered):
            pkcs8.open_key(sealed, str(guess).encode())


@given(st.binary(max_size=400))
def test_any_bytes_as_pem_raise_only_our_error(data: bytes) -> None:
    armoured = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n" + data + b"\n-----END ENCRYPTED PRIVATE KEY-----"
    for pem in (data, armoured):
        with pytest.raises(ShangmiError):
            PrivateKey.from_pem(pem, b"pw")
    with pytest.raises(ShangmiError):
        pkcs8.decrypt(data, b"pw")


def test_gmssl_reads_our_encryption_and_we_read_gmssls() -> None:
    """GmSSL's own PBES2 code guards an SM9 key; the envelope is the same for any key."""
    master = gmssl_pyx.SM9MasterKey.generate()
    inner = pkcs8.decrypt(master.encrypt_to_der("secret"), b"secret")
    ours = pkcs8.encrypt(inner, b"secret")
    again = gmssl_pyx.SM9MasterKey.decrypt_from_der("secret", ours)
    assert again.public_key().to_der() == master.public_key().to_der()


OPENSSL = shutil.which("openssl")


@needs(OPENSSL, "the openssl program reads the key")
def test_key_made_by_openssl_is_read(tmp_path: Path) -> None:
    plain, sealed = tmp_path / "plain.pem", tmp_path / "sealed.pem"
    for arguments in (
        ["genpkey", "-algorithm", "SM2", "-out", str(plain)],
        [
            "pkcs8",
            "-topk8",
            "-in",
            str(plain),
            "-v2",
            "sm4-cbc",
            "-passout",
            "pass:secret",
            "-out",
            str(sealed),
        ],
    ):
        subprocess.run([str(OPENSSL), *arguments], check=True, capture_output=True)
    shown = subprocess.run(
        [str(OPENSSL), "pkey", "-in", str(plain), "-pubout", "-outform", "DER"],
        check=True,
        capture_output=True,
    )
    assert PrivateKey.from_pem(sealed.read_bytes(), b"secret").public.bytes == shown.stdout[-64:]
    with pytest.raises(WrongKeyOrTampered):
        PrivateKey.from_pem(sealed.read_bytes(), b"guess")
