"""The envelope's bytes: as the format document shows them, bound to their context, never sealed twice alike."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import vault.compression as compression
from shangmi import hmac_sm3, sm3
from vault import envelope
from vault.entries import RECORD, locators, pack, unpack
from vault.envelope import HEADER, Context
from vault.errors import Tampered

CONTEXT = Context(bytes(range(32)), "hospital-east", "region/default")
RID = bytes(range(16))
PLAIN = b'{"id":"p1","resourceType":"Patient"}'
FORMAT = Path(__file__).parents[2] / "docs" / "formats" / "envelope.md"


def vector() -> dict[str, str]:
    """The example of the format document: a table of names and hex."""
    rows = re.findall(r"^\| `([a-z_ ]+)` \| `([^`]*)` \|$", FORMAT.read_text(encoding="utf-8"), re.MULTILINE)
    return dict(rows)


def test_example_of_the_format_document_is_what_the_code_writes_and_reads() -> None:
    given_ = vector()
    context = Context(bytes.fromhex(given_["chain_id"]), given_["owner"], given_["policy_id"])
    rid, version, number = bytes.fromhex(given_["rid"]), int(given_["version"]), int(given_["resource_type"])
    key, nonce, plain = (bytes.fromhex(given_[name]) for name in ("data_key", "nonce", "plaintext"))
    made = envelope._seal(plain, number, rid, version, context, key, nonce)
    assert made.envelope.hex() == given_["envelope"]
    assert made.key_commit.hex() == given_["key_commit"]
    assert sm3(made.envelope).hex() == given_["ct_digest"]
    assert (context.prefix(rid, version) + made.envelope[: HEADER.size]).hex() == given_["additional_data"]
    assert envelope.open_(made.envelope, key, rid, version, context) == plain


@given(
    st.binary(max_size=3_000), st.integers(1, 2**32 - 1), st.integers(0, 65_535), st.binary(min_size=16, max_size=16)
)
def test_what_is_sealed_comes_back(plain: bytes, version: int, number: int, rid: bytes) -> None:
    sealed = envelope.seal(plain, number, rid, version, CONTEXT)
    assert envelope.open_(sealed.envelope, sealed.data_key, rid, version, CONTEXT) == plain
    header = envelope.read_header(sealed.envelope)
    assert (header.resource_type, header.rid, header.version) == (number, rid, version)
    assert (
        header.key_commit
        == sealed.key_commit
        == hmac_sm3(sealed.data_key, b"XL/KC/1" + rid + version.to_bytes(4, "big"))
    )


def test_every_changed_byte_is_refused_and_named() -> None:
    sealed = envelope.seal(PLAIN, 1, RID, 1, CONTEXT)
    reasons = set()
    for at in range(len(sealed.envelope)):
        for bit in (1, 128):
            changed = bytearray(sealed.envelope)
            changed[at] ^= bit
            with pytest.raises(Tampered) as caught:
                envelope.open_(bytes(changed), sealed.data_key, RID, 1, CONTEXT)
            reasons.add(str(caught.value))
    assert len(reasons) == 4  # magic or algorithm, record, commitment, tag


@pytest.mark.parametrize("end", [0, 1, HEADER.size, HEADER.size + 27, -1])
def test_cut_envelope_is_refused(end: int) -> None:
    sealed = envelope.seal(PLAIN, 1, RID, 1, CONTEXT)
    with pytest.raises(Tampered):
        envelope.open_(sealed.envelope[:end], sealed.data_key, RID, 1, CONTEXT)


@pytest.mark.parametrize(
    "context",
    [
        Context(bytes(32), "hospital-east", "region/default"),
        Context(CONTEXT.chain_id, "hospital-west", "region/default"),
        Context(CONTEXT.chain_id, "hospital-east", "region/other"),
        Context(CONTEXT.chain_id, "hospital-eastregion", "/default"),
    ],
    ids=["chain", "owner", "policy", "boundary moved"],
)
def test_envelope_opens_in_its_own_context_only(context: Context) -> None:
    sealed = envelope.seal(PLAIN, 1, RID, 1, CONTEXT)
    with pytest.raises(Tampered):
        envelope.open_(sealed.envelope, sealed.data_key, RID, 1, context)
    for rid, version in ((bytes(16), 1), (RID, 2)):
        with pytest.raises(Tampered, match="another"):
            envelope.open_(sealed.envelope, sealed.data_key, rid, version, CONTEXT)


def test_another_data_key_is_refused_by_the_commitment() -> None:
    sealed = envelope.seal(PLAIN, 1, RID, 1, CONTEXT)
    with pytest.raises(Tampered, match="commitment"):
        envelope.open_(sealed.envelope, bytes(16), RID, 1, CONTEXT)


def test_no_two_encryptions_share_a_key_or_a_nonce() -> None:
    made = [envelope.seal(PLAIN, 1, RID, 1, CONTEXT) for _ in range(200)]
    assert len({one.data_key for one in made}) == 200
    assert len({one.envelope[HEADER.size : HEADER.size + 12] for one in made}) == 200
    assert len({one.key_commit for one in made}) == 200


def test_wrapped_key_opens_for_its_record_and_patient_only() -> None:
    wrapped = envelope.wrap(b"k" * 16, b"d" * 16, RID, 1)
    assert len(wrapped) == 44 and envelope.unwrap(b"k" * 16, wrapped, RID, 1) == b"d" * 16
    for kek, rid, version in ((b"K" * 16, RID, 1), (b"k" * 16, bytes(16), 1), (b"k" * 16, RID, 2)):
        with pytest.raises(Tampered):
            envelope.unwrap(kek, wrapped, rid, version)


@given(st.binary(max_size=2_000))
def test_compressed_bytes_come_back_and_never_grow(data: bytes) -> None:
    codec, small = compression.compress(data * 3)
    assert len(small) <= 3 * len(data)
    assert compression.decompress(codec, small) == data * 3


@given(st.integers(0, 255), st.binary(max_size=60))
def test_bytes_that_no_codec_wrote_raise_one_error(codec: int, data: bytes) -> None:
    with contextlib.suppress(Tampered):
        assert compression.decompress(codec, data) is not None


def test_without_zstandard_zlib_is_written_and_read(monkeypatch: pytest.MonkeyPatch) -> None:
    zstd = compression.compress(b"a" * 500)
    monkeypatch.setattr(compression, "zstandard", None)
    codec, small = compression.compress(b"a" * 500)
    assert codec == compression.ZLIB and compression.decompress(codec, small) == b"a" * 500
    with pytest.raises(Tampered, match="zstandard"):
        compression.decompress(*zstd)
    for damaged in (small[:-1], small + b"x"):
        with pytest.raises(Tampered):
            compression.decompress(codec, damaged)


@given(
    st.lists(
        st.tuples(
            st.binary(min_size=16, max_size=16), st.integers(1, 2**32 - 1),
            *[st.binary(min_size=32, max_size=32)] * 3, st.integers(0, 2**63), st.integers(0, 65_535),
        ),
        max_size=5,
    )
)  # fmt: skip
def test_packed_entries_come_back(rows: list[tuple[bytes, int, bytes, bytes, bytes, int, int]]) -> None:
    from schemas.records import Entry

    made = [Entry(*row, locator=f"{row[0].hex()}.{row[1]}") for row in rows]
    packed = pack(made)
    assert len(packed) == RECORD.size * len(made) and unpack(packed) == made
    assert locators(packed) == [one.locator for one in made]
