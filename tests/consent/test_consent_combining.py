"""A later wish counts for what it speaks of, and changes nothing else; or it is refused and says why."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sharing_world import DISTRICT, EAST, INSURER, LAB, WEST

from ledger.messages.consent import ConsentState
from ledger.messages.provisions import EVERY_PURPOSE, FOREVER, Provision, Question
from sharing.consent.combining import Provisions, covers, denied, granted, tidied
from sharing.consent.cutting import permitted
from sharing.errors import Refused

CLASSES = {EAST: "A", WEST: "A", LAB: "A", DISTRICT: "B", INSURER: "P"}
RESEARCH, CARE = frozenset({"research"}), frozenset({"care"})
NOW = 50


def goes(provisions: Provisions, question: Question, date: int) -> bool:
    answer = permitted(ConsentState(1, 1, False, bytes(32), b"", provisions), question)
    return not isinstance(answer, str) and any(start <= date < end for start, end in answer)


def test_granting_what_was_denied_lifts_the_denial_there_and_nowhere_else() -> None:
    stands = denied((), [Provision(False, RESEARCH | CARE)], NOW)
    after = granted(stands, [Provision(True, RESEARCH)], CLASSES, NOW)
    assert after == (Provision(True, RESEARCH), Provision(False, CARE))


def test_denying_what_was_granted_keeps_the_rest() -> None:
    stands = granted((), [Provision(True)], CLASSES, NOW)
    after = denied(stands, [Provision(False, RESEARCH, institutions=(WEST,))], NOW)
    assert not goes(after, Question("research", WEST, "A", 14, NOW), 1)
    assert goes(after, Question("research", LAB, "A", 14, NOW), 1)
    assert goes(after, Question("care", WEST, "A", 14, NOW), 1)


def test_one_institution_is_let_in_again_although_everybody_was_denied() -> None:
    stands = denied(granted((), [Provision(True)], CLASSES, NOW), [Provision(False, RESEARCH)], NOW)
    after = granted(stands, [Provision(True, RESEARCH, institutions=(WEST,))], CLASSES, NOW)
    assert goes(after, Question("research", WEST, "A", 14, NOW), 1)
    assert not goes(after, Question("research", LAB, "A", 14, NOW), 1)
    assert goes(after, Question("care", LAB, "A", 14, NOW), 1)


def test_one_institution_of_a_denied_class_is_known_to_be_of_it() -> None:
    stands = denied((), [Provision(False, RESEARCH, classes=("A",))], NOW)
    after = granted(stands, [Provision(True, RESEARCH, institutions=(WEST,))], CLASSES, NOW)
    assert goes(after, Question("research", WEST, "A", 14, NOW), 1)
    assert not goes(after, Question("research", LAB, "A", 14, NOW), 1)


def test_a_denial_where_no_permit_is_needed_is_not_lifted_for_one_alone() -> None:
    stands = denied((), [Provision(False, frozenset({"public-health"}))], NOW)
    with pytest.raises(Refused, match="public-health"):
        granted(stands, [Provision(True, frozenset({"public-health"}), institutions=(WEST,))], CLASSES, NOW)
    everyone = granted(stands, [Provision(True, frozenset({"public-health"}))], CLASSES, NOW)
    assert not any(not one.permits for one in everyone)


def test_alike_ones_are_merged_and_what_is_over_is_gone() -> None:
    year = [Provision(True, RESEARCH, data=(at, at + 10)) for at in range(0, 100, 10)]
    assert tidied(year, NOW) == (Provision(True, RESEARCH, data=(0, 100)),)
    assert tidied([Provision(True, valid=(0, NOW)), Provision(True, CARE), Provision(True)], NOW) == (Provision(True),)
    parties = [Provision(True, CARE, classes=("A",)), Provision(True, CARE, institutions=(WEST,))]
    assert tidied(parties, NOW) == (Provision(True, CARE, ("A",), (WEST,)),)


def test_too_many_provisions_are_refused() -> None:
    many = [Provision(True, RESEARCH, types=(n,), data=(2 * n, 2 * n + 1)) for n in range(1, 65)]
    assert len(granted((), many, CLASSES, NOW)) == 64
    with pytest.raises(Refused, match="65 provisions"):
        granted(many, [Provision(True, RESEARCH, types=(65,), data=(300, 301))], CLASSES, NOW)


PURPOSES = st.sets(st.sampled_from(["care", "research", "public-health"]), min_size=1).map(frozenset)
SPANS = st.sampled_from([(0, FOREVER), (0, 60), (40, 80), (60, FOREVER), (45, 55)])
PARTIES = st.sampled_from(
    [((), ()), (("A",), ()), ((), (WEST,)), (("B",), (WEST,)), ((), (LAB, WEST)), (("A", "B"), ())]
)
WISHES = st.builds(
    lambda permits, purposes, parties, types, valid, data: Provision(
        permits, purposes, parties[0], tuple(sorted(parties[1])), types, valid, data
    ),
    st.booleans(), PURPOSES, PARTIES, st.sampled_from([(), (13,), (13, 14)]), SPANS, SPANS,
)  # fmt: skip
POINTS = [
    (Question(purpose, who, CLASSES[who], type_, time), date)
    for purpose, who, type_, time, date in product(
        ("care", "research", "public-health"), (WEST, LAB, DISTRICT, INSURER), (13, 14, 15), (NOW, 70, 90), (5, 50, 70)
    )
]


@settings(derandomize=True, max_examples=150, deadline=None)
@given(st.lists(WISHES, min_size=1, max_size=6))
def test_after_any_wishes_each_record_goes_as_the_last_one_that_spoke_of_it_says(wishes: list[Provision]) -> None:
    """Against the reference: point by point, the newest wish that covers it decides."""
    stands: Provisions = ()
    said: list[Provision] = []
    for one in wishes:
        try:
            stands = granted(stands, [one], CLASSES, NOW) if one.permits else denied(stands, [one], NOW)
        except Refused:
            continue
        said.append(one)
    for question, date in POINTS:
        spoken = [one for one in said if one.covers(question) and one.data[0] <= date < one.data[1]]
        expected = spoken[-1].permits if spoken else question.purpose == "public-health"
        assert goes(stands, question, date) == expected


@settings(derandomize=True, max_examples=150, deadline=None)
@given(st.lists(WISHES, max_size=8))
def test_fewer_words_say_the_same(wishes: list[Provision]) -> None:
    plain = tuple(one for one in wishes if one.valid[1] > NOW)
    few = tidied(wishes, NOW)
    assert len(few) <= len(plain) and tidied(few, NOW) == few
    for question, date in POINTS:
        assert goes(few, question, date) == goes(plain, question, date)
    for one in few:
        assert Provision.read(one.encode()) == replace(one, institutions=tuple(sorted(one.institutions)))


def test_covering_is_by_what_is_said() -> None:
    assert covers(Provision(True), Provision(False, CARE))
    assert not covers(Provision(True, CARE), Provision(True))
    assert not covers(Provision(True, classes=("A",)), Provision(True, institutions=(WEST,)))
    assert Provision(True).purposes == EVERY_PURPOSE
