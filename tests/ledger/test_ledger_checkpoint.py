"""Checkpoints: one text each, signed by an auditor at a time, and nothing else."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.chain.validators import Member, ValidatorSet, institution_id
from ledger.errors import Malformed, Refused
from ledger.proofs.checkpoint import MAX_NOTE, Checkpoint, Cosignature, Note, cosign, freshest
from shangmi import PrivateKey

AUDITOR, HOSPITAL = "health-commission", "hospital-east"
KEYS = {name: PrivateKey.generate() for name in (AUDITOR, HOSPITAL)}
MEMBERS = ValidatorSet(
    [
        Member(institution_id(AUDITOR), "R", "auditor", 0, KEYS[AUDITOR].public.bytes),
        Member(institution_id(HOSPITAL), "A", "producer", 3, KEYS[HOSPITAL].public.bytes),
    ]
)
DIGESTS = st.binary(min_size=32, max_size=32)
CHECKPOINT = Checkpoint(bytes(range(32)), 7, b"\x01" * 32, b"\x02" * 32, b"\x03" * 32)


def signed(checkpoint: Checkpoint = CHECKPOINT, who: str = AUDITOR, time_ms: int = 1_793_000_000_000) -> Cosignature:
    return cosign(checkpoint, who, KEYS[who].public.bytes, KEYS[who], time_ms)


@pytest.fixture(scope="module")
def note() -> Note:
    return Note(CHECKPOINT, (signed(),))


def test_a_note_is_text_that_says_where_the_chain_stands(note: Note) -> None:
    lines = note.encode().decode().split("\n")
    assert lines[0] == "xinglin/" + bytes(range(32)).hex() and lines[1] == "7"
    assert lines[2] == "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="
    assert lines[3] == "block AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=" and lines[4].startswith("state AwMD")
    assert lines[5] == "" and lines[6].startswith("— health-commission ") and lines[7:] == [""]
    assert [one.auditor for one in note.verify(MEMBERS)] == [AUDITOR]


@settings(derandomize=True, max_examples=50)
@given(st.integers(1, 10**18), DIGESTS, DIGESTS, DIGESTS, st.integers(0, 2**63), st.binary(min_size=64, max_size=64))
def test_a_note_has_one_encoding(
    height: int, history: bytes, block: bytes, state: bytes, time_ms: int, signature: bytes
) -> None:
    one = Cosignature(AUDITOR, b"hint", time_ms, signature)
    made = Note(Checkpoint(bytes(32), height, history, block, state), (one, replace(one, auditor="other")))
    assert Note.decode(made.encode()) == made


def test_no_changed_byte_leaves_a_note_good(note: Note) -> None:
    data, rng = note.encode(), random.Random(7)
    for at in range(len(data)):
        changed = data[:at] + bytes([data[at] ^ rng.randrange(1, 256)]) + data[at + 1 :]
        with pytest.raises(Refused):
            Note.decode(changed).verify(MEMBERS)


def test_who_is_no_auditor_gives_no_checkpoint(note: Note) -> None:
    stranger = PrivateKey.generate()
    posing = cosign(CHECKPOINT, AUDITOR, stranger.public.bytes, stranger, 1)
    for lines in ((signed(who=HOSPITAL),), (posing,), (posing, signed(who=HOSPITAL))):
        with pytest.raises(Refused, match="no auditor"):
            Note(CHECKPOINT, lines).verify(MEMBERS)
    assert Note(CHECKPOINT, (posing, *note.cosignatures)).verify(MEMBERS) == note.cosignatures


def test_a_signature_counts_only_for_its_own_text_time_and_name(note: Note) -> None:
    mine = note.cosignatures[0]
    lies = [
        Note(replace(CHECKPOINT, height=8), note.cosignatures),
        Note(replace(CHECKPOINT, chain_id=bytes(32)), note.cosignatures),
        Note(replace(CHECKPOINT, block_id=CHECKPOINT.state_root, state_root=CHECKPOINT.block_id), note.cosignatures),
        Note(CHECKPOINT, (replace(mine, time_ms=mine.time_ms + 1),)),
        Note(CHECKPOINT, (replace(mine, signature=bytes(64)),)),
        Note(CHECKPOINT, (mine, replace(mine, signature=bytes(64)))),
    ]
    for lie in lies:
        with pytest.raises(Refused):
            Note.decode(lie.encode()).verify(MEMBERS)


BROKEN = {
    "nothing": lambda _: b"",
    "no signature": lambda text: text.split("\n\n")[0].encode() + b"\n\n",
    "no text": lambda text: b"\n\n" + text.split("\n\n")[1].encode(),
    "a line more": lambda text: text.replace("\n\n", "\nmore\n\n").encode(),
    "windows line ends": lambda text: text.replace("\n", "\r\n").encode(),
    "a leading zero": lambda text: text.replace("\n7\n", "\n07\n").encode(),
    "a plus": lambda text: text.replace("\n7\n", "\n+7\n").encode(),
    "another digit seven": lambda text: text.replace("\n7\n", "\n٧\n").encode(),
    "height 0": lambda text: text.replace("\n7\n", "\n0\n").encode(),
    "a huge height": lambda text: text.replace("\n7\n", f"\n{'9' * 30}\n").encode(),
    "upper-case origin": lambda text: text.upper().encode(),
    "loose base64": lambda text: text.replace("AQE=\n", "AQF=\n").encode(),
    "url-safe base64": lambda text: text.replace("+", "-").replace("/", "_").encode(),
    "a short digest": lambda text: text.replace("\nAQEB", "\n").encode(),
    "block and state swapped": lambda text: text.replace("block ", "x ").replace("state ", "block ").encode(),
    "a hyphen for the dash": lambda text: text.replace("—", "-").encode(),
    "no line end": lambda text: text[:-1].encode(),
    "the same line twice": lambda text: (text + text.split("\n\n")[1]).encode(),
    "seventeen lines": lambda text: (text + text.split("\n\n")[1] * 16).encode(),
    "a BOM": lambda text: b"\xef\xbb\xbf" + text.encode(),
    "not UTF-8": lambda text: text.encode() + b"\xff",
    "too large": lambda text: text.encode() + b" " * MAX_NOTE,
}


@pytest.mark.parametrize("what", BROKEN)
def test_another_form_of_the_note_is_refused(note: Note, what: str) -> None:
    fixed = Note(CHECKPOINT, (replace(note.cosignatures[0], signature=b"\xfb\xff" * 32),)).encode()
    broken = BROKEN[what](fixed.decode())
    assert broken != fixed and Note.decode(fixed)
    with pytest.raises(Malformed):
        Note.decode(broken)


@settings(derandomize=True, max_examples=200)
@given(st.one_of(st.binary(max_size=300), st.text(max_size=300).map(lambda one: one.encode("utf-8", "replace"))))
def test_no_bytes_raise_anything_but_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        Note.decode(data)


def test_the_freshest_note_is_of_the_highest_block_and_the_latest_signing() -> None:
    notes = [
        Note(replace(CHECKPOINT, height=height), (Cosignature(AUDITOR, b"hint", time_ms, bytes(64)),))
        for height, time_ms in ((3, 9), (5, 1), (5, 4), (4, 99))
    ]
    assert freshest(notes) == notes[2] and freshest([]) is None
