"""Documents: MDM as DocumentReference."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest

from normalise.hl7v2 import convert
from quality.structure import check_structure
from schemas.records import Refusal, SourceContext

Build = Callable[..., bytes]
Bodies = Callable[..., list[dict[str, Any]]]
PID = "PID|1||7^^^EAST^MR||张伟||19900307|M"
PV1 = "PV1|1|O|||||||||||||||||V1^^^EAST^VN"
TXA = "TXA|1|DS^出院小结^HL70270|TX|20261101080000|D1^王^医|20261101090000|||D2^李^医|D3^赵^审||U1^HIS|||||LA||AV"


def text_of(attachment: dict[str, Any]) -> str:
    return base64.b64decode(attachment["data"]).decode()


def test_words_of_a_document_are_one_text_in_order(event: Build, bodies: Bodies) -> None:
    segments = (
        "OBX|1|TX|A^正文^L||第一行~第二行||||||F",
        "OBX|2|TX|A^正文^L||||||||F",
        r"OBX|3|FT|A^正文^L||第三行\.br\第四行||||||F",
    )
    (document,) = bodies(event("MDM^T02", PID, PV1, TXA, *segments), "DocumentReference")
    (content,) = document["content"]
    assert text_of(content["attachment"]) == "第一行\n第二行\n\n第三行\n第四行"
    assert content["attachment"]["contentType"] == "text/plain; charset=utf-8"


def test_parts_of_a_document_stand_apart_with_their_titles(event: Build, bodies: Bodies) -> None:
    segments = (
        "OBX|1|TX|A^主诉^L||腹痛||||||F",
        "OBX|2|TX|B^诊断^L||阑尾炎||||||F",
        "OBX|3|ED|C^附件^L||^application^pdf^Base64^JVBERg==||||||F",
        "OBX|4|RP|D^影像^L||http://pacs/1^^image^jpeg||||||F",
    )
    (document,) = bodies(event("MDM^T02", PID, PV1, TXA, *segments), "DocumentReference")
    found = [one["attachment"] for one in document["content"]]
    assert [one["title"] for one in found] == ["主诉", "诊断", "附件", "影像"]
    assert (text_of(found[0]), text_of(found[1]), base64.b64decode(found[2]["data"])) == ("腹痛", "阑尾炎", b"%PDF")
    assert (found[2]["contentType"], found[3]["url"]) == ("application/pdf", "http://pacs/1")


def test_a_damaged_file_is_kept_as_text_with_a_note(event: Build, context: SourceContext) -> None:
    found = convert(event("MDM^T02", PID, PV1, TXA, "OBX|1|ED|C^附件^L||^application^pdf^Base64^***||||||F"), context)
    (document,) = [one.body for one in found.resources if one.type == "DocumentReference"]
    assert "***" in text_of(document["content"][0]["attachment"])
    assert [(one.code, one.where) for one in found.notes] == [("bad_value", "OBX[1]-5")]


def test_a_document_without_content_says_so_and_is_valid(event: Build, bodies: Bodies) -> None:
    (document,) = bodies(event("MDM^T01", PID, PV1, "TXA|1|DS|||||||||||U1"), "DocumentReference")
    assert check_structure(document) is None
    assert "extension" in document["content"][0]["attachment"]


def test_a_number_among_the_words_is_a_result_of_the_patient(event: Build, bodies: Bodies) -> None:
    content = event("MDM^T02", PID, PV1, TXA, "OBX|1|NM|8310-5^体温^LN||36.5|Cel|||||F", "OBX|2|TX|A||好||||||F")
    (observation,), (document,) = bodies(content, "Observation"), bodies(content, "DocumentReference")
    assert observation["valueQuantity"]["value"] == 36.5
    assert [text_of(one["attachment"]) for one in document["content"]] == ["好"]


def test_people_times_and_states_of_a_document(event: Build, bodies: Bodies) -> None:
    content = event("MDM^T02", PID, PV1, TXA, "OBX|1|TX|A||好||||||F")
    (document,), (visit,) = bodies(content, "DocumentReference"), bodies(content, "Encounter")
    assert document["type"]["text"] == "出院小结"
    assert document["masterIdentifier"]["value"] == "U1"
    assert (document["status"], document["docStatus"]) == ("current", "final")
    assert (document["date"], document["context"]["period"]["start"]) == (
        "2026-11-01T09:00:00+08:00",
        "2026-11-01T08:00:00+08:00",
    )
    assert (document["author"][0]["display"], document["authenticator"]["display"]) == ("李医", "赵审")
    assert document["context"]["encounter"] == [{"reference": f"Encounter/{visit['id']}"}]


@pytest.mark.parametrize(
    ("code", "relation"), [("T05", "appends"), ("T06", "appends"), ("T09", "replaces"), ("T10", "replaces")]
)
def test_an_addendum_or_replacement_names_the_earlier_document(
    code: str, relation: str, event: Build, bodies: Bodies
) -> None:
    (earlier,) = bodies(event("MDM^T02", PID, PV1, TXA, "OBX|1|TX|A||旧||||||F"), "DocumentReference")
    later = "TXA|1|DS||||||||||U2^HIS|U1^HIS"
    (document,) = bodies(event(f"MDM^{code}", PID, PV1, later, "OBX|1|TX|A||新||||||F"), "DocumentReference")
    (related,) = document["relatesTo"]
    assert (related["code"], related["target"]["reference"]) == (relation, f"DocumentReference/{earlier['id']}")
    assert document["id"] != earlier["id"]


def test_a_cancelled_document_was_entered_in_error(event: Build, bodies: Bodies) -> None:
    (document,) = bodies(event("MDM^T11", PID, PV1, TXA), "DocumentReference")
    assert document["status"] == "entered-in-error"


def test_orders_before_a_document_are_what_it_is_about_and_have_no_report(event: Build, bodies: Bodies) -> None:
    content = event(
        "MDM^T02", PID, PV1, "ORC|RE|P1|F1", "OBR|1|P1|F1|18748-4^影像^LN", TXA, "OBX|1|TX|A||未见异常||||||F"
    )
    (order,), (document,) = bodies(content, "ServiceRequest"), bodies(content, "DocumentReference")
    assert document["context"]["related"] == [{"reference": f"ServiceRequest/{order['id']}"}]
    assert bodies(content, "DiagnosticReport") == []


def test_a_document_without_number_stands_for_its_message_with_a_note(event: Build, context: SourceContext) -> None:
    found = convert(event("MDM^T02", PID, PV1, "TXA|1|DS", "OBX|1|TX|A||好||||||F"), context)
    assert [(one.code, one.where) for one in found.notes] == [("required", "TXA[1]-12")]


@pytest.mark.parametrize(("segments", "where"), [((PID, PV1), "TXA"), ((PV1, TXA), "PID")])
def test_refused_by_name(segments: tuple[str, ...], where: str, event: Build, refusal: Callable[..., Refusal]) -> None:
    assert refusal(event("MDM^T02", *segments)).where == where
