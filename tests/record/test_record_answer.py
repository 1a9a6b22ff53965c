"""Bytes of an answer: what was sealed comes out for whom it was sealed, and any change is told from any other."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.chain.validators import key_id
from shangmi import PrivateKey, sm3
from sharing.errors import Malformed, NotForThisKey, SharingError, Tampered
from sharing.record.answer import MAX_ANSWER, Opened, Terms, open_answer, read_terms, seal
from vault import envelope
from vault.envelope import Context
from vault.store import DEFAULT_POLICY

KEY, OTHER = PrivateKey.generate(), PrivateKey.generate()
CHAIN, RID, HOLDER = bytes(range(32)), b"r" * 16, "lab-centre"
BODY = {"resourceType": "DiagnosticReport", "id": "r1", "status": "final"}


def sealed(body: object = BODY, holder: str = HOLDER, rid: bytes = RID, version: int = 3) -> envelope.Sealed:
    return envelope.seal(orjson.dumps(body), 13, rid, version, Context(CHAIN, holder, DEFAULT_POLICY))


RECORD = sealed()


def terms(**changes: object) -> Terms:
    standard = {
        "chain_id": CHAIN, "request": sm3(b"request"), "holder": b"h" * 16, "requester": b"q" * 16,
        "answer_key": key_id(KEY.public.bytes), "rid": RID, "version": 3, "ct_digest": sm3(RECORD.envelope),
    }  # fmt: skip
    return Terms(**(standard | changes))  # type: ignore[arg-type]


def answer(said: Terms | None = None, record: envelope.Sealed = RECORD) -> bytes:
    return seal(said or terms(), KEY.public, record.data_key, record.envelope)


def opened(data: bytes, expected: Terms | None = None, key: PrivateKey = KEY) -> Opened:
    return open_answer(data, expected or terms(), HOLDER, key.public, key.decrypt)


GOOD = answer()
#: First byte of each part: docs/formats/record-answer.md.
PARTS = {
    "domain": 0, "chain id": 12, "request": 44, "holder": 76, "requester": 92, "answer key": 108, "rid": 124,
    "version": 140, "ct_digest": 144, "commitment": 176, "wrapped key": 208, "nonce": 321, "data key": 333,
    "envelope": 349, "tag": len(GOOD) - 16,
}  # fmt: skip


def test_what_was_sealed_is_opened_with_its_proof_of_content() -> None:
    found = opened(GOOD)
    assert (found.body, found.envelope, found.data_key) == (BODY, RECORD.envelope, RECORD.data_key)
    assert read_terms(GOOD) == terms()
    assert len(GOOD) == 349 + len(RECORD.envelope) + 16
    assert GOOD[44:76] == terms().request and GOOD[124:140] == RID  # as the table of the format has it
    assert terms().digest == sm3(GOOD[:176])
    assert "13" not in repr(found) and BODY["id"] not in repr(found)


def test_the_same_record_sealed_twice_gives_other_bytes() -> None:
    assert answer() != GOOD and opened(answer()).body == BODY


@pytest.mark.parametrize("part", PARTS)
def test_a_changed_bit_in_any_part_is_refused(part: str) -> None:
    for bit in (0, 7):
        bad = bytearray(GOOD)
        bad[PARTS[part]] ^= 1 << bit
        expected = NotForThisKey if part == "answer key" else Malformed if part == "domain" else Tampered
        with pytest.raises(expected):
            opened(bytes(bad))


def test_every_byte_is_covered() -> None:
    for at in range(len(GOOD)):
        bad = bytearray(GOOD)
        bad[at] ^= 0x10
        with pytest.raises(SharingError):
            opened(bytes(bad))


def test_terms_that_were_changed_are_refused_even_where_they_are_expected() -> None:
    for name, value in {"request": sm3(b"another"), "requester": b"x" * 16, "version": 4, "rid": b"s" * 16}.items():
        changed = terms(**{name: value})
        bad = changed.encode() + GOOD[176:]
        with pytest.raises(Tampered, match="bound to"):
            opened(bad, changed)


def test_an_answer_is_no_other_requests() -> None:
    for name in ("request", "chain_id", "ct_digest"):
        with pytest.raises(Tampered, match="another request"):
            opened(GOOD, terms(**{name: sm3(b"another")}))


def test_another_key_opens_nothing() -> None:
    with pytest.raises(NotForThisKey):
        opened(GOOD, key=OTHER)
    claimed = terms(answer_key=key_id(OTHER.public.bytes))
    with pytest.raises(Tampered, match="does not open"):
        opened(answer(claimed), claimed, OTHER)


def test_a_holder_that_sends_another_record_is_found_out() -> None:
    for other in (sealed({"resourceType": "DiagnosticReport", "id": "r2"}), sealed(version=4)):
        with pytest.raises(Tampered, match="another record than the one it published"):
            opened(answer(record=other))
    wrong_key = seal(terms(), KEY.public, bytes(16), RECORD.envelope)
    with pytest.raises(Tampered, match="does not open with the key"):
        opened(wrong_key)
    foreign = sealed(holder="hospital-east")
    said = terms(ct_digest=sm3(foreign.envelope))
    with pytest.raises(Tampered, match="does not open with the key"):
        opened(answer(said, foreign), said)


def test_what_is_cut_off_longer_or_too_large_is_refused() -> None:
    for length in (0, 11, 12, 175, 208, 321, 333, 349, 364):
        with pytest.raises(Malformed):
            opened(GOOD[:length])
    for bad in (GOOD[:-1], GOOD + b"\0", GOOD[:400]):
        with pytest.raises(Tampered):
            opened(bad)
    with pytest.raises(Malformed, match="at most"):
        opened(GOOD + bytes(MAX_ANSWER))


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.binary(max_size=600))
def test_rubbish_raises_one_family_of_error(data: bytes) -> None:
    for bad in (data, GOOD[:200] + data, terms().encode() + data):
        with pytest.raises(SharingError):
            opened(bad)
