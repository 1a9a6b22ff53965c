"""What is no CDA document that can be read is refused by name, and quickly."""

from __future__ import annotations

import time

import pytest
from cda_shell import PATIENT, SHELL, in_section, only, read, refused

from normalise.cda.tree import MAX_DEPTH

BOMB = (
    '<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "lol">'
    + "".join(f'<!ENTITY a{n} "{"&a" + str(n - 1) + ";" if n > 1 else "&a;"}{"&a;" * 9}">' for n in range(1, 10))
    + "]><ClinicalDocument>&a9;</ClinicalDocument>"
).encode()


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "not_xml"),
        (b"%PDF-1.4 \x00\xff", "not_xml"),
        (b"MSH|^~\\&|HIS|", "not_xml"),
        (b"{}", "not_xml"),
        (b"<a>&nbsp;</a>", "not_xml"),
        (b"<a></b>", "not_xml"),
        (b"<a>\x00</a>", "not_xml"),
        (b"<a b='1' b='2'/>", "not_xml"),
        (b"<x:a/>", "not_xml"),
        (b"<a><b>", "truncated"),
        (b"<ClinicalDocument xmlns='urn:hl7-org:v3'><id ro", "truncated"),
        (b"<?xml version='1.0'?>", "truncated"),
        (b"<html/>", "not_cda"),
        (b"<ClinicalDocument xmlns='urn:other'/>", "not_cda"),
        (b"<Bundle xmlns='http://hl7.org/fhir'/>", "not_cda"),
        (b"<ClinicalDocument xmlns='urn:hl7-org:v3'/>", "required"),
        (b"\xff\xfe<\x00", "truncated"),
        (b"<?xml version='1.0' encoding='UTF-8'?><a>" + b"\x81\xff\xfe</a>", "charset"),
        ("<a>中".encode()[:-1], "truncated"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(content: bytes, code: str) -> None:
    assert refused(content).code == code


@pytest.mark.parametrize(
    "content",
    [
        BOMB,
        b"<!DOCTYPE ClinicalDocument><ClinicalDocument/>",
        b"<?xml version='1.0'?>\n<!-- x --><?pi?> <!DOCTYPE a SYSTEM 'http://127.0.0.1:9/evil.dtd'><a/>",
        b"<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><a>&x;</a>",
        "\ufeff<!DOCTYPE a [<!ENTITY % x SYSTEM 'http://127.0.0.1:9/'> %x;]><a/>".encode(),
        "<!DOCTYPE a><a/>".encode("utf-16"),
    ],
)
def test_document_type_declaration_is_refused_before_anything_of_it_is_read(content: bytes) -> None:
    begun = time.monotonic()
    found = refused(content)
    assert found.code == "unsafe_xml"
    assert "passwd" not in found.message
    assert time.monotonic() - begun < 0.5


def test_doctype_that_stands_in_text_is_no_declaration() -> None:
    composition = only(read(in_section("", text="&lt;!DOCTYPE a&gt; and <![CDATA[<!DOCTYPE b>]]>")), "Composition")
    assert "&lt;!DOCTYPE b&gt;" in composition["section"][0]["text"]["div"]


def test_elements_in_each_other_without_end_are_refused() -> None:
    found = refused(b"<a>" * (MAX_DEPTH + 1))
    assert (found.code, str(MAX_DEPTH) in found.message) == ("structure", True)


def test_narrative_as_deep_as_allowed_is_converted() -> None:
    deep = MAX_DEPTH - 10
    text = "<list><item>" * (deep // 2) + "x" + "</item></list>" * (deep // 2)
    assert "x" in only(read(in_section("", text=text)), "Composition")["section"][0]["text"]["div"]


@pytest.mark.parametrize("section", ["", "8716-3", "11450-4"])
@pytest.mark.parametrize(
    ("begin", "end"),
    [
        ('<observation moodCode="EVN"><code code="1"/><entryRelationship typeCode="COMP">', "observation"),
        ('<organizer moodCode="EVN"><code code="1"/><component>', "organizer"),
        ('<act moodCode="EVN"><entryRelationship>', "act"),
    ],
)
def test_statements_in_each_other_as_deep_as_allowed_are_converted(begin: str, end: str, section: str) -> None:
    middle = "component" if end == "organizer" else "entryRelationship"
    times = MAX_DEPTH // 2 - 5
    inside = '<observation moodCode="EVN"><code code="9"/></observation>'
    found = read(in_section(begin * times + inside + f"</{middle}></{end}>" * times, section))
    assert any(one.type == "Observation" for one in found.resources)


def test_two_patients_are_refused_for_one_would_get_the_others_data() -> None:
    found = refused(SHELL.format(PATIENT + PATIENT).encode())
    assert (found.code, found.where) == ("structure", "ClinicalDocument/recordTarget[2]")


@pytest.mark.parametrize("identity", ["", '<id nullFlavor="UNK"/>', '<id root="1.2.3"/>', '<id extension=""/>'])
def test_patient_whom_no_identifier_names_is_refused(identity: str) -> None:
    # A root without an extension is the institution's: all of its patients would become one.
    target = f"<recordTarget><patientRole>{identity}<patient><name>陈立新</name></patient></patientRole></recordTarget>"
    found = refused(SHELL.format(target).encode())
    assert (found.code, found.where) == ("required", "ClinicalDocument/recordTarget/patientRole/id")
    assert "陈" not in found.message


def test_document_without_code_keeps_its_title_and_one_with_neither_is_refused() -> None:
    coded = '<code code="34133-9" codeSystem="2.16.840.1.113883.6.1" displayName="Summary"/>'
    whole = SHELL.format(PATIENT)
    found = read(whole.replace(coded, "").encode())
    assert only(found, "Composition")["type"] == {"text": "Summary"}
    assert refused(whole.replace(coded, "").replace("<title>Summary</title>", "").encode()).code == "required"


def test_document_without_id_is_known_by_its_bytes() -> None:
    content = SHELL.format(PATIENT).replace('<id root="1.2.3.4" extension="D1"/>', "").encode()
    one, again, other = read(content), read(content), read(content.replace(b"Ada", b"Eve"))
    assert only(one, "Composition")["id"] == only(again, "Composition")["id"] != only(other, "Composition")["id"]
    assert "required" in [note.code for note in one.notes]
