"""Appointments: SIU as Appointment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from normalise.hl7v2 import convert
from quality.structure import check_structure
from schemas.records import Refusal, SourceContext

Build = Callable[..., bytes]
Bodies = Callable[..., list[dict[str, Any]]]
PID = "PID|1||7^^^EAST^MR||张伟||19900307|M"
START, END = "2026-11-01T09:00:00+08:00", "2026-11-01T09:30:00+08:00"
AIS = "AIS|1|A|S1^超声^L"


def sch(**fields: str) -> str:
    said = {"1": "A1", "2": "F1", **{name[1:]: value for name, value in fields.items()}}
    return "|".join(["SCH", *(said.get(str(at), "") for at in range(1, 28))])


@pytest.mark.parametrize(
    "segments",
    [
        (sch(_11="^^30^20261101090000^20261101093000"), PID, "RGS|1", AIS),
        (sch(), "TQ1|1||||||20261101090000|20261101093000", PID, "RGS|1", AIS),
        (sch(_9="30", _10="min", _11="^^^20261101090000"), PID, "RGS|1", AIS),
        (sch(_9="0.5", _10="h", _11="^^^20261101090000"), PID, "RGS|1", AIS),
        (sch(), PID, "RGS|1", "AIS|1|A|S1^超声^L|20261101090000|||30|min"),
        (
            sch(),
            PID,
            "RGS|1",
            AIS,
            "AIL|1|A|W3^R1|||20261101090000|||30|min",
            "AIP|1|A|D5^吴|||20261101091000|||20|min",
        ),
    ],
)
def test_start_and_end_wherever_they_are_said(segments: tuple[str, ...], event: Build, bodies: Bodies) -> None:
    (appointment,) = bodies(event("SIU^S12", *segments), "Appointment")
    assert (appointment["start"], appointment["end"]) == (START, END)


@pytest.mark.parametrize("code", ["S12", "S15", "S26"])
def test_an_appointment_without_a_time_is_valid_and_noted_unless_cancelled(
    code: str, event: Build, context: SourceContext
) -> None:
    found = convert(event(f"SIU^{code}", sch(), PID, "RGS|1", AIS), context)
    (appointment,) = [one.body for one in found.resources if one.type == "Appointment"]
    assert check_structure(appointment) is None
    assert "start" not in appointment
    assert [one.where for one in found.notes] == ([] if code == "S15" else ["SCH[1]-11"])


def test_a_start_alone_is_what_was_asked_for(event: Build, bodies: Bodies) -> None:
    (appointment,) = bodies(event("SIU^S12", sch(_11="^^^20261101090000"), PID, "RGS|1", AIS), "Appointment")
    assert appointment["requestedPeriod"] == [{"start": START}]


@pytest.mark.parametrize(
    ("code", "said", "status"),
    [
        ("S12", "", "booked"),
        ("S15", "", "cancelled"),
        ("S17", "", "entered-in-error"),
        ("S26", "", "noshow"),
        ("S12", "Complete", "fulfilled"),
        ("S14", "Cancelled", "cancelled"),
    ],
)
def test_status_is_what_sch_says_else_what_the_event_means(
    code: str, said: str, status: str, event: Build, bodies: Bodies
) -> None:
    segments = (sch(_25=said, _11="^^^20261101090000^20261101093000"), PID, "RGS|1", AIS)
    (appointment,) = bodies(event(f"SIU^{code}", *segments), "Appointment")
    assert appointment["status"] == status


def test_why_it_was_cancelled(event: Build, bodies: Bodies) -> None:
    (appointment,) = bodies(event("SIU^S15", sch(_6="SICK^医生病了^L"), PID), "Appointment")
    assert appointment["cancelationReason"]["text"] == "医生病了"
    assert [one["status"] for one in appointment["participant"]] == ["declined"]


def test_who_comes_who_sees_them_where_and_with_what(event: Build, bodies: Bodies) -> None:
    content = event(
        "SIU^S12",
        sch(_11="^^^20261101090000^20261101093000", _7="ROUTINE^常规^HL70276", _16="D2^办", _17="139"),
        "NTE|1||空腹",
        PID,
        "PID|2||8^^^EAST^MR||李四||19910307|F",
        "RGS|1",
        AIS,
        "AIG|1|A|DEV1^超声仪^L|EQ^设备^L",
        "AIL|1|A|W3^R1",
        "AIP|1|A|D5^吴^敏|DR^医生^L||20261101090000|5|min|10|min||Pending",
        "NTE|1||三楼",
    )
    (appointment,) = bodies(content, "Appointment")
    actors = [one["actor"]["reference"].partition("/")[0] for one in appointment["participant"]]
    assert actors == ["Patient", "Patient", "Device", "Location", "Practitioner", "PractitionerRole"]
    assert [one["status"] for one in appointment["participant"]][4] == "needs-action"
    assert (appointment["serviceType"][0]["text"], appointment["comment"]) == ("超声", "空腹\n三楼")
    (role,) = bodies(content, "PractitionerRole")
    assert role["telecom"][0]["value"] == "139"


def test_an_offset_counts_from_the_start_of_the_appointment(event: Build, bodies: Bodies) -> None:
    segments = (sch(_11="^^^20261101090000^20261101093000"), PID, "RGS|1", "AIP|1|A|D5^吴||||5|min|10|min")
    (appointment,) = bodies(event("SIU^S12", *segments), "Appointment")
    assert appointment["participant"][-1]["period"] == {
        "start": "2026-11-01T09:05:00+08:00",
        "end": "2026-11-01T09:15:00+08:00",
    }


def test_each_service_with_an_order_number_is_an_order(event: Build, bodies: Bodies) -> None:
    content = event("SIU^S12", sch(_26="P1", _27="F1"), PID, "RGS|1", AIS, "AIS|2|A|S2^心电^L")
    orders, (appointment,) = bodies(content, "ServiceRequest"), bodies(content, "Appointment")
    assert [one["code"]["text"] for one in orders] == ["超声", "心电"]
    assert [one["reference"] for one in appointment["basedOn"]] == [f"ServiceRequest/{one['id']}" for one in orders]


def test_the_same_number_is_the_same_appointment_in_every_event(event: Build, bodies: Bodies) -> None:
    ids = {bodies(event(f"SIU^{code}", sch(), PID), "Appointment")[0]["id"] for code in ("S12", "S13", "S14", "S15")}
    assert len(ids) == 1


def test_resources_before_sch_are_left_out_with_a_note(event: Build, context: SourceContext) -> None:
    found = convert(event("SIU^S15", PID, "RGS|1", AIS, "AIP|1|A|D5^吴", sch()), context)
    (appointment,) = [one.body for one in found.resources if one.type == "Appointment"]
    assert "serviceType" not in appointment
    assert [one.where for one in found.notes] == ["RGS[1]", "AIS[1]", "AIP[1]"]


@pytest.mark.parametrize("span", ["9999999|wk", "30|min"])
def test_a_span_beyond_the_calendar_is_left_out(span: str, event: Build, bodies: Bodies) -> None:
    segments = (sch(_11="^^^99991231235900"), PID, "RGS|1", f"AIP|1|A|D5^吴||||{span}|{span}")
    (appointment,) = bodies(event("SIU^S12", *segments), "Appointment")
    assert check_structure(appointment) is None
    assert "period" not in appointment["participant"][-1]


@pytest.mark.parametrize(("segments", "where"), [((PID, AIS), "SCH"), ((sch(), AIS), "PID")])
def test_refused_by_name(segments: tuple[str, ...], where: str, event: Build, refusal: Callable[..., Refusal]) -> None:
    assert refusal(event("SIU^S12", *segments)).where == where
