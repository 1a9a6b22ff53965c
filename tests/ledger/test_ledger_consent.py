"""CONSENT: permits minus denials, later statements replace, withdrawing holds at once (section 14)."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sharing_world import DISTRICT, EAST, LAB, PATIENT, START_MS, WEST, MemoryLedger

from ledger.chain.state import CONSENT
from ledger.chain.transactions import open_transaction
from ledger.encoding import ZERO_DIGEST
from ledger.errors import Malformed
from ledger.messages.consent import Consent, ConsentState, standing
from ledger.messages.provisions import FOREVER, PURPOSES, Interval, Provision, Question, minus
from shangmi import PrivateKey, sm3

FORM = sm3(b"a signed form and a secret salt")
CARE = Question("care", WEST, "A", 13, START_MS)


@pytest.fixture
def ledger() -> MemoryLedger:
    return MemoryLedger()


def statement(ledger: MemoryLedger, *provisions: Provision, sequence: int = 1, **changes: Any) -> Consent:
    standard = {"patient": PATIENT, "sequence": sequence, "provisions": provisions, "reference": FORM}
    return Consent(**ledger.heading(EAST), **(standard | changes))


def says(ledger: MemoryLedger, question: Question = CARE, holder: bytes = EAST) -> str:
    return standing(ledger, holder, PATIENT, question)


def state(ledger: MemoryLedger) -> ConsentState:
    return ConsentState.decode(ledger.get(CONSENT, EAST + PATIENT) or b"")


def test_silence_is_neither_a_permit_nor_a_denial(ledger: MemoryLedger) -> None:
    assert says(ledger) == "none"
    ledger.run(statement(ledger, Provision(True, frozenset({"research"}))))
    assert says(ledger) == "none"


def test_a_permit_holds_for_the_attesting_institutions_records_only(ledger: MemoryLedger) -> None:
    ledger.run(statement(ledger, Provision(True)))
    assert says(ledger) == "permit"
    assert says(ledger, holder=LAB) == says(ledger, holder=WEST) == "none"


def test_a_denial_takes_precedence_whatever_the_order(ledger: MemoryLedger) -> None:
    no = Provision(False, institutions=(WEST,))
    for sequence, order in enumerate(((Provision(True), no), (no, Provision(True))), 1):
        ledger.run(statement(ledger, *order, sequence=sequence))
        assert says(ledger) == "deny"
        assert says(ledger, replace(CARE, party=DISTRICT, class_="B")) == "permit"


def test_permit_minus_deny_intervals_is_what_is_permitted_by_date(ledger: MemoryLedger) -> None:
    ledger.run(
        statement(
            ledger, Provision(True, data=(100, 200)), Provision(True, data=(150, 300)),
            Provision(False, data=(120, 160)), Provision(False, frozenset({"research"}), data=(0, FOREVER)),
        )
    )  # fmt: skip
    assert state(ledger).permitted(CARE) == ((100, 120), (160, 300))
    assert state(ledger).permitted(replace(CARE, purpose="research")) == ()
    assert says(ledger, replace(CARE, purpose="research")) == "deny"


def test_a_later_statement_replaces_all_of_the_earlier_one(ledger: MemoryLedger) -> None:
    ledger.run(statement(ledger, Provision(True)))
    ledger.run(statement(ledger, Provision(True, frozenset({"research"})), sequence=5))
    assert (says(ledger), state(ledger).sequence) == ("none", 5)


def test_withdrawing_says_no_at_once_until_a_new_statement(ledger: MemoryLedger) -> None:
    ledger.run(statement(ledger, Provision(True)))
    ledger.run(statement(ledger, sequence=2, withdraw=True))
    assert says(ledger) == says(ledger, replace(CARE, purpose="research")) == "deny"
    assert state(ledger).permitted(CARE) == ()
    ledger.run(statement(ledger, Provision(True), sequence=3))
    assert says(ledger) == "permit"


def test_a_statement_holds_from_its_beginning_until_its_end_in_the_chains_time(ledger: MemoryLedger) -> None:
    ledger.run(statement(ledger, Provision(True, valid=(START_MS, START_MS + 10))))
    times = {at: says(ledger, replace(CARE, time_ms=START_MS + at)) for at in (-1, 0, 9, 10)}
    assert times == {-1: "none", 0: "permit", 9: "permit", 10: "none"}


def test_a_denial_of_one_type_counts_where_the_type_is_open(ledger: MemoryLedger) -> None:
    ledger.run(statement(ledger, Provision(True), Provision(False, types=(14,))))
    assert says(ledger) == "permit"
    assert says(ledger, replace(CARE, type=14)) == says(ledger, replace(CARE, type=None)) == "deny"


@pytest.mark.parametrize("sequence", [0, 1, 2])
def test_an_older_or_equal_statement_is_refused_and_the_newer_stays(ledger: MemoryLedger, sequence: int) -> None:
    ledger.run(statement(ledger, Provision(True), sequence=2))
    assert ledger.refuse(statement(ledger, Provision(False), sequence=sequence)) == "consent sequence"
    assert says(ledger) == "permit"


def test_a_statement_that_says_nothing_and_a_withdrawal_of_nothing_are_refused(ledger: MemoryLedger) -> None:
    assert ledger.refuse(statement(ledger)) == "consent"
    assert ledger.refuse(statement(ledger, Provision(True), withdraw=True)) == "consent"
    assert ledger.refuse(statement(ledger, withdraw=True)) == "consent"
    ledger.run(statement(ledger, Provision(True)))
    ledger.run(statement(ledger, sequence=2, withdraw=True))
    assert ledger.refuse(statement(ledger, sequence=3, withdraw=True)) == "consent"


def test_somebody_attests_every_statement(ledger: MemoryLedger) -> None:
    rule = "consent attestation"
    mine, other = PrivateKey.generate(), PrivateKey.generate()
    assert ledger.refuse(statement(ledger, Provision(True), reference=ZERO_DIGEST)) == rule
    assert ledger.refuse(statement(ledger, Provision(True), patient_signature=bytes(64))) == rule
    unsigned = statement(ledger, Provision(True), reference=ZERO_DIGEST, patient_key=mine.public.bytes)
    assert ledger.refuse(unsigned) == rule
    assert ledger.refuse(replace(unsigned, patient_key=bytes(64))) == rule
    signature = mine.sign(unsigned.statement())
    signed = replace(unsigned, patient_signature=signature)
    assert ledger.refuse(replace(signed, reference=FORM)) == rule
    assert ledger.refuse(replace(signed, patient_signature=other.sign(unsigned.statement()))) == rule
    assert ledger.refuse(replace(signed, sequence=2)) == rule  # the patient signed another number
    assert ledger.refuse(replace(signed, **ledger.heading(LAB))) == rule  # and for another institution
    assert ledger.refuse(replace(signed, provisions=(Provision(False),))) == rule
    ledger.run(signed)
    assert state(ledger).patient_key == mine.public.bytes
    stolen = replace(unsigned, sequence=2, patient_key=other.public.bytes)
    assert ledger.refuse(replace(stolen, patient_signature=other.sign(stolen.statement()))) == rule
    ledger.run(statement(ledger, Provision(False), sequence=3))  # a form may change everything, the key included
    assert says(ledger) == "deny"


def test_what_is_no_statement_is_malformed(ledger: MemoryLedger) -> None:
    good = Provision(True, classes=("A", "B"), institutions=tuple(sorted((EAST, LAB))), types=(1, 2))
    for wrong in (
        replace(good, purposes=frozenset()), replace(good, classes=("A", "A")),
        replace(good, institutions=(EAST, EAST)),
        replace(good, types=(1, 1)), replace(good, valid=(2, 2)), replace(good, data=(3, 2)),
    ):  # fmt: skip
        with pytest.raises(Malformed):
            open_transaction(statement(ledger, wrong).encode() + bytes(64))
    with pytest.raises(Malformed):
        open_transaction(statement(ledger, *[good] * 65).encode() + bytes(64))
    with pytest.raises(Malformed):
        ConsentState.decode(b"")
    assert Provision.read(replace(good, types=(2, 1)).encode()) == good  # one encoding of each


INTERVALS = st.tuples(st.integers(0, 30), st.integers(1, 30)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.booleans(), INTERVALS, st.booleans()), max_size=8))
def test_permitted_dates_are_those_that_a_permit_covers_and_no_denial(
    found: list[tuple[bool, Interval, bool]],
) -> None:
    """Against the reference: each day asked one by one."""
    provisions = tuple(
        Provision(permits, frozenset({"care"} if here else {"research"}), data=data) for permits, data, here in found
    )
    consent = ConsentState(1, 1, False, FORM, b"", provisions)
    assert ConsentState.decode(consent.encode()) == consent
    permitted = consent.permitted(CARE)
    days = {day for start, end in permitted for day in range(start, end)}
    expected = {
        day
        for day in range(70)
        if any(p and h and s <= day < e for p, (s, e), h in found)
        and not any(not p and h and s <= day < e for p, (s, e), h in found)
    }
    assert days == expected
    assert all(before[1] <= after[0] for before, after in pairwise(permitted))
    spoken = [one for one in found if one[2]]
    if consent.standing(CARE) == "none":
        assert not any(one[0] for one in spoken)
    assert (consent.standing(CARE) == "permit") == bool(expected)


def test_cutting_everything_leaves_nothing() -> None:
    assert minus([(0, FOREVER)], [(0, FOREVER)]) == ()
    assert minus([(0, 10)], [(3, 5), (4, 6)]) == ((0, 3), (6, 10))
    assert len(PURPOSES) == 7
