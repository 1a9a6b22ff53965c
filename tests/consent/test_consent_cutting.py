"""Record by record: only what a statement permits goes, and every refusal has its reason."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sharing_world import EAST, INSURER, PATIENT, REGULATOR, START_MS, WEST, MemoryLedger

from ledger.chain.state import CONSENT
from ledger.messages.consent import ConsentState
from ledger.messages.provisions import FOREVER, PURPOSES, Provision
from sharing.consent import NEEDS_PERMIT, REASONS, Cutter, digest_of

OBSERVATION, ORGANIZATION = 14, 8
YEAR_2025, YEAR_2026, YEAR_2027 = 1_735_660_800_000, 1_767_196_800_000, 1_798_732_800_000
FORM = bytes(range(32))
OTHER = bytes(32)


def dated(text: str) -> dict[str, Any]:
    return {"resourceType": "Observation", "effectiveDateTime": text}


@pytest.fixture
def ledger() -> MemoryLedger:
    return MemoryLedger()


def stands(ledger: MemoryLedger, *provisions: Provision, withdrawn: bool = False, patient: bytes = PATIENT) -> None:
    ledger.put(CONSENT, EAST + patient, ConsentState(1, 3, withdrawn, FORM, b"", provisions).encode())


def cutter(ledger: MemoryLedger, purpose: str = "research", who: bytes = WEST, time_ms: int = START_MS) -> Cutter:
    registration = ledger.roster.registration(who)
    assert registration is not None
    return Cutter(ledger, EAST, registration, purpose, time_ms)


def test_without_a_statement_research_gets_nothing_and_public_health_all(ledger: MemoryLedger) -> None:
    body = dated("2026-11-10")
    for purpose in PURPOSES:
        said = cutter(ledger, purpose).refusal(PATIENT, OBSERVATION, body)
        assert said == ("no-statement" if purpose in NEEDS_PERMIT else None)


def test_a_permit_goes_by_purpose_party_type_and_time(ledger: MemoryLedger) -> None:
    stands(ledger, Provision(True, frozenset({"research"}), ("A",), (), (OBSERVATION,), (START_MS, START_MS + 10)))
    body = dated("2026-11-10")
    assert cutter(ledger).refusal(PATIENT, OBSERVATION, body) is None
    assert cutter(ledger).refusal(PATIENT, 13, body) == "no-statement"
    assert cutter(ledger, "claims").refusal(PATIENT, OBSERVATION, body) == "no-statement"
    assert cutter(ledger, who=INSURER).refusal(PATIENT, OBSERVATION, body) == "no-statement"
    assert cutter(ledger, time_ms=START_MS + 10).refusal(PATIENT, OBSERVATION, body) == "no-statement"
    assert cutter(ledger).refusal(OTHER, OBSERVATION, body) == "no-statement"


def test_a_denial_and_a_withdrawal_say_which_they_are_for_every_purpose(ledger: MemoryLedger) -> None:
    for purpose in PURPOSES:
        stands(ledger, Provision(True), Provision(False))
        assert cutter(ledger, purpose).refusal(PATIENT, OBSERVATION, dated("2026-11-10")) == "denied"
        stands(ledger, withdrawn=True)
        assert cutter(ledger, purpose).refusal(PATIENT, OBSERVATION, dated("2026-11-10")) == "withdrawn"


def test_the_whole_time_of_a_record_must_be_permitted(ledger: MemoryLedger) -> None:
    stands(ledger, Provision(True, data=(YEAR_2025, YEAR_2026)), Provision(True, data=(YEAR_2026, YEAR_2027)))
    say = cutter(ledger)
    assert say.refusal(PATIENT, OBSERVATION, dated("2025-12-31")) is None
    assert say.refusal(PATIENT, OBSERVATION, dated("2025")) is None
    assert say.refusal(PATIENT, OBSERVATION, dated("2024-12-31")) == "date-not-permitted"
    assert say.refusal(PATIENT, OBSERVATION, dated("2027-01-01")) == "date-not-permitted"
    period = {"resourceType": "Observation", "effectivePeriod": {"start": "2025-12-01", "end": "2026-01-31"}}
    assert say.refusal(PATIENT, OBSERVATION, period) is None  # two permits that touch are one
    period["effectivePeriod"] = {"start": "2026-12-01", "end": "2027-01-01"}
    assert say.refusal(PATIENT, OBSERVATION, period) == "date-not-permitted"
    period["effectivePeriod"] = {"start": "2026-12-01"}
    assert say.refusal(PATIENT, OBSERVATION, period) == "date-not-permitted"


def test_a_denial_of_some_dates_holds_where_no_permit_is_needed(ledger: MemoryLedger) -> None:
    stands(ledger, Provision(False, data=(YEAR_2025, YEAR_2026)))
    say = cutter(ledger, "public-health", REGULATOR)
    assert say.refusal(PATIENT, OBSERVATION, dated("2024-06-01")) is None
    assert say.refusal(PATIENT, OBSERVATION, dated("2025-06-01")) == "date-not-permitted"
    assert cutter(ledger).refusal(PATIENT, OBSERVATION, dated("2024-06-01")) == "no-statement"


def test_a_record_without_a_date_goes_only_where_no_date_is_asked(ledger: MemoryLedger) -> None:
    undated, organisation = {"resourceType": "Patient"}, {"resourceType": "Organization"}
    stands(ledger, Provision(True))
    assert cutter(ledger).refusal(PATIENT, 1, undated) is None
    stands(ledger, Provision(True, data=(YEAR_2026, FOREVER)))
    assert cutter(ledger).refusal(PATIENT, 1, undated) == "undated"
    assert cutter(ledger).refusal(PATIENT, ORGANIZATION, organisation) is None
    stands(ledger, Provision(True, data=(0, YEAR_2026)), Provision(True, data=(YEAR_2026, FOREVER)))
    assert cutter(ledger).refusal(PATIENT, 1, undated) is None  # together they leave no date out


def test_statements_are_read_once_and_the_digest_names_each_that_was_applied(ledger: MemoryLedger) -> None:
    stands(ledger, Provision(True))
    first, second = cutter(ledger), cutter(ledger)
    empty = first.digest()
    first.prepare([PATIENT, OTHER])
    second.refusal(OTHER, OBSERVATION, {})
    second.refusal(PATIENT, OBSERVATION, {})
    assert first.digest() == second.digest() != empty
    assert first.digest() == digest_of(EAST, {PATIENT: ledger.get(CONSENT, EAST + PATIENT) or b""})
    stands(ledger, Provision(False))
    assert first.refusal(PATIENT, OBSERVATION, {}) is None  # as of the decision
    assert first.changed(ledger) == {PATIENT}
    stands(ledger, Provision(True), patient=OTHER)
    assert first.changed(ledger) == {PATIENT, OTHER}


def test_an_unknown_purpose_is_our_own_fault() -> None:
    with pytest.raises(RuntimeError):
        cutter(MemoryLedger(), "curiosity")


DATES = st.integers(0, 40).map(lambda day: YEAR_2026 + day * 86_400_000)
INTERVALS = st.tuples(DATES, DATES).filter(lambda pair: pair[0] < pair[1])


@settings(derandomize=True, max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.booleans(), INTERVALS), max_size=6), st.integers(0, 39), st.sampled_from(PURPOSES))
def test_a_days_record_goes_by_the_reference_of_one_line(
    found: list[tuple[bool, tuple[int, int]]], day: int, purpose: str
) -> None:
    ledger = MemoryLedger()
    stands(ledger, *(Provision(permits, data=data) for permits, data in found))
    noon = YEAR_2026 + day * 86_400_000
    here = {permits for permits, (start, end) in found if start <= noon < end}
    expected = False not in here and (True in here or purpose not in NEEDS_PERMIT)
    body = dated(f"2026-0{1 + (day >= 31)}-{day % 31 + 1:02}")
    said = cutter(ledger, purpose).refusal(PATIENT, OBSERVATION, body)
    assert (said is None) == expected
    assert said is None or said in REASONS
