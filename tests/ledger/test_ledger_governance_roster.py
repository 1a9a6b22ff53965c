"""The roster: every registered institution, one encoding, no id or key twice (sections 11 and 14)."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.chain.roster import CLASS_WEIGHT, Registration, Roster
from ledger.chain.validators import institution_id, key_id
from ledger.errors import Malformed
from shangmi import PrivateKey

KEYS = [PrivateKey.from_scalar(bytes(31) + bytes([number])).public.bytes for number in range(1, 9)]
NAMES = ("clinic", "hospital-east", "insurer", "lab-centre", "nursing-home", "research", "region-audit", "x1")


def registration(number: int = 0, class_: str = "A", standing: str = "active", title: str = "东城医院") -> Registration:
    return Registration(institution_id(NAMES[number]), NAMES[number], title, class_, KEYS[number], standing)


@st.composite
def rosters(draw: st.DrawFn) -> Roster:
    numbers = draw(st.sets(st.integers(0, 7)))
    classes, standings = st.sampled_from(list(CLASS_WEIGHT)), st.sampled_from(["active", "frozen", "revoked"])
    return Roster(registration(one, draw(classes), draw(standings), draw(st.text(max_size=20))) for one in numbers)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(rosters())
def test_every_roster_reads_back_from_its_one_encoding(roster: Roster) -> None:
    assert Roster.decode(roster.encode()) == roster


@settings(max_examples=60, deadline=None, derandomize=True)
@given(rosters(), st.data())
def test_every_change_of_a_rosters_bytes_is_another_roster_or_malformed(roster: Roster, data: st.DataObject) -> None:
    encoded = bytearray(roster.encode())
    encoded[data.draw(st.integers(0, len(encoded) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with suppress(Malformed):
        assert Roster.decode(bytes(encoded)) != roster


def test_every_prefix_and_every_extension_of_a_roster_is_malformed() -> None:
    encoded = Roster([registration(), registration(1, "P")]).encode()
    for wrong in [*(encoded[:length] for length in range(len(encoded))), encoded + b"\0"]:
        with pytest.raises(Malformed):
            Roster.decode(wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        replace(registration(), id=bytes(16)),
        replace(registration(), weight=0),
        replace(registration(class_="P"), weight=1),
        replace(registration(), public_key=bytes(64)),
        replace(registration(), party="insurer"),
    ],
    ids=["another's id", "hospital without votes", "participant with votes", "no point of the curve", "wrong party"],
)
def test_a_registration_that_breaks_a_rule_is_malformed(wrong: Registration) -> None:
    with pytest.raises(Malformed):
        Registration.decode(wrong.encode())


def test_an_id_or_a_key_stands_once() -> None:
    with pytest.raises(Malformed):
        Roster([registration(), replace(registration(), title="another")])
    with pytest.raises(Malformed):
        Roster([registration(), replace(registration(1), public_key=KEYS[0])])


def test_institutions_out_of_order_are_malformed() -> None:
    two = Roster([registration(), registration(1)])
    swapped = Roster([registration()])
    swapped.registrations = two.registrations[::-1]
    with pytest.raises(Malformed):
        Roster.decode(swapped.encode())


def test_with_replaces_the_same_institution_and_leaves_the_first_roster_as_it_was() -> None:
    first = Roster([registration(), registration(1)])
    frozen = replace(registration(), standing="frozen")
    second = first.with_(frozen)
    assert second.registration(frozen.id) == frozen
    assert len(second) == 2
    assert first.registration(frozen.id) == registration()
    assert len(first.with_(registration(2))) == 3
    assert first.registration(institution_id("nobody")) is None


def test_ids_and_key_ids_are_those_of_the_validator_set() -> None:
    one = registration()
    assert one.key_id == key_id(one.public_key)
    assert Registration.decode(one.encode()) == one
