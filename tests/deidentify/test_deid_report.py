"""The report says what was dropped and changed, where and by which rule, in counts."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sharing.deidentify import Deidentifier, Report, load_profile

PATIENT: dict[str, Any] = {
    "resourceType": "Patient", "id": "1", "name": [{"text": "欧阳静"}], "birthDate": "1962-03-17",
    "text": {"status": "generated", "div": "<div>欧阳静</div>"}, "gender": "female", "strange": {"欧阳": 1},
    "address": [{"district": "欧阳路", "line": ["欧阳路1号"]}], "deceasedDateTime": "2026-06-01",
}  # fmt: skip
counts = st.dictionaries(st.tuples(st.text(max_size=5), st.text(max_size=5)), st.integers(1, 9), max_size=5)
reports = st.builds(
    lambda found, taken, left: _report(found, taken, left), counts, st.integers(0, 9), st.integers(0, 9)
)


def _report(found: dict[tuple[str, str], int], taken: int, left: int) -> Report:
    report = Report(taken=taken, left=left)
    for (place, rule), count in found.items():
        report.note(place, rule, count)
    return report


def test_every_place_and_rule_is_counted_and_no_value_is_said() -> None:
    one = Deidentifier(load_profile("gbt-37964"), bytes(32))
    for _ in range(3):
        one.resource(PATIENT, b"p")
    found = one.report.as_dict()
    assert (found["taken"], found["left"]) == (3, 3)
    assert found["applied"] == {
        "Patient.(not FHIR)": {"unlisted": 3},
        "Patient.address.district": {"district:listed": 3},
        "Patient.address.line": {"unlisted": 3},
        "Patient.birthDate": {"birth:year": 3},
        "Patient.deceasedDateTime": {"date:shift": 3},
        "Patient.id": {"id:pseudonym": 3},
        "Patient.name": {"unlisted": 3},
        "Patient.text": {"unlisted": 3},
    }
    assert "欧阳" not in repr(found)


def test_sentences_say_what_each_rule_did_and_why() -> None:
    profile = load_profile("gbt-37964")
    one = Deidentifier(profile, bytes(32))
    one.resource(PATIENT, b"p")
    one.resource({"resourceType": "Endpoint"}, b"p")
    said = list(one.report.sentences(profile.sentences()))
    assert said[0] == "2 came, 1 left, 1 stayed behind."
    assert any(text.startswith("1 × Patient.birthDate: cut to the year. A birth date") for text in said)
    assert "1 × Patient.name: dropped: no rule lists it" in said
    assert "1 × Endpoint: dropped whole: no rule lists the type" in said


@settings(derandomize=True, deadline=None, max_examples=50)
@given(reports, reports)
def test_reports_add_up_in_any_order_and_come_back_from_their_dictionary(one: Report, other: Report) -> None:
    first, second = Report(), Report()
    for report in (one, other):
        first.add(report)
    for report in (other, one):
        second.add(report)
    assert first.as_dict() == second.as_dict()
    assert Report.from_dict(first.as_dict()) == first
    assert first.taken == one.taken + other.taken
