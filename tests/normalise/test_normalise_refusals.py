"""Every reason for which a message is set aside, and that it says where and never what."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from normalise.hl7v2 import convert, inspect
from schemas.reasons import REASONS
from schemas.records import Refusal, SourceContext

Refused = Callable[..., Refusal]
HEAD = r"MSH|^~\&|HIS|EAST|HUB|REGION|20261101083000||{event}|C1|P|{version}"
PID = "PID|1||7^^^EAST||张伟"


def message(*segments: str, event: str = "ADT^A08", version: str = "2.5.1") -> bytes:
    return "\r".join((HEAD.format(event=event, version=version), *segments)).encode()


@pytest.mark.parametrize(
    ("content", "code", "where"),
    [
        (b"", "not_hl7", "MSH"),
        (b"%PDF-1.7\r1 0 obj", "not_hl7", "MSH"),
        (message(), "truncated", "MSH"),
        (message(PID, "OB"), "truncated", "line 3"),
        (message(PID, version="3.0"), "version", "MSH-12"),
        (message(PID, version=""), "version", "MSH-12"),
        (message(PID, version="2.x"), "version", "MSH-12"),
        (message(PID, event="QBP^Q11"), "unknown_event", "MSH-9"),
        (message(PID, event=""), "unknown_event", "MSH-9"),
        (message("EVN|A08"), "required", "PID"),
        (message("PID|1||^^^EAST||张伟"), "required", "PID-3"),
        (message(PID, event="ADT^A01"), "required", "PV1"),
        (message(PID, PID), "structure", "PID[2]"),
        (message(PID, event="ADT^A40"), "required", "MRG"),
        (message("MRG|8", PID, event="ADT^A40"), "structure", "MRG"),
        (message(PID, "MRG|^^^EAST", event="ADT^A40"), "required", "MRG-1"),
        (message(PID, PID, "MRG|8", event="ADT^A40"), "required", "MRG"),
        (message(PID, event="ORU^R01"), "required", "OBR"),
        (message(PID, "OBR|1|P|F", event="ORU^R01"), "required", "OBR[1]-4"),
        (message(PID, "OBR|1|P|F|A", "OBX|1|ST|B||x", "OBX|2|NM|^^L||5", event="ORU^R01"), "required", "OBX[2]-3"),
        (message("OBR|1|P|F|A", PID, event="ORU^R01"), "structure", "OBR[1]"),
        (message(PID) + b"\xff\xff", "charset", "MSH-18"),
    ],
)
def test_refusal_names_its_reason_and_place(refusal: Refused, content: bytes, code: str, where: str) -> None:
    found = refusal(content)
    assert (found.code, found.where) == (code, where)
    assert found.code in REASONS
    assert "张伟" not in found.message
    assert found.message.endswith(".")


@pytest.mark.parametrize(
    "version", ["2.1", "2.2", "2.3", "2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7", "2.8", "2.8.2", "2.5.1^CHN"]
)
def test_every_version_2_is_accepted(version: str) -> None:
    context = SourceContext("s", "i", "Asia/Shanghai")
    assert inspect(message(PID, version=version), context) is None


@pytest.mark.parametrize(("event", "evn"), [("ADT", "EVN|A08"), ("ADT^", "EVN|A08")])
def test_event_of_old_versions_is_found_in_evn(event: str, evn: str) -> None:
    assert convert(message(evn, PID, event=event), SourceContext("s", "i", "Asia/Shanghai")).facts["MSH-9.2"] == "A08"


def test_time_of_the_message_may_stand_in_evn() -> None:
    content = message("EVN|A08|20261101090000", PID).replace(b"|20261101083000|", b"||")
    assert convert(content, SourceContext("s", "i", "Asia/Shanghai")).facts["MSH-7"] == "2026-11-01T09:00:00+08:00"


@pytest.mark.parametrize(("sent", "code"), [("", "required"), ("20261101", "bad_value"), ("soon", "bad_value")])
def test_message_without_an_exact_time_is_kept_and_its_time_is_unknown(sent: str, code: str) -> None:
    content = message(PID).replace(b"|20261101083000|", f"|{sent}|".encode())
    found = convert(content, SourceContext("s", "i", "Asia/Shanghai"))
    assert [(one.code, one.where) for one in found.notes] == [(code, "MSH-7")]
    provenance = found.resources[-1].body
    assert "recorded" not in provenance
    assert provenance["_recorded"]["extension"][0]["valueCode"] == "unknown"
    assert found.facts["MSH-7"] == ""


def test_message_without_control_id_is_known_by_its_bytes_but_cannot_be_acknowledged() -> None:
    context = SourceContext("s", "i", "Asia/Shanghai")
    content, other = (message(PID, more).replace(b"|C1|", b"||") for more in ("PD1", "PD1|1"))
    told = inspect(content, context)
    assert told is not None
    assert (told.code, told.where) == ("control_id", "MSH-10")
    found = convert(content, context)
    assert [(one.code, one.where) for one in found.notes] == [("control_id", "MSH-10")]
    assert found.facts["MSH-10"] == ""
    assert found == convert(b"\x0b" + content + b"\x1c\r", context)
    assert found.resources[-1].id != convert(other, context).resources[-1].id


def test_version_of_a_senders_own_is_read_with_a_note() -> None:
    found = convert(message(PID, version="2.3.z"), SourceContext("s", "i", "Asia/Shanghai"))
    assert [(one.code, one.where) for one in found.notes] == [("version", "MSH-12")]


def test_notes_never_show_what_was_sent() -> None:
    content = message("PID|1||7||张伟||31.12.1999|Herr|||||||||Maybe", "NK1|1|李娜|??||||||soon", "ZZ1|secret")
    found = convert(content, SourceContext("s", "i", "Asia/Shanghai"))
    assert len(found.notes) >= 4
    written = " ".join(one.where + one.message for one in found.notes)
    assert not any(sent in written for sent in ("张伟", "李娜", "1999", "Herr", "Maybe", "secret", "soon"))
