"""Whatever the bytes, what comes out is a valid bundle or a named refusal."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
from cda_shell import PATIENT, SHELL, in_section
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from normalise.cda import convert
from normalise.errors import SetAside
from quality.invariants import check_invariants
from quality.structure import check_structure
from schemas.reasons import REASONS
from schemas.records import Normalised, Refusal, SourceContext

CONTEXT = SourceContext("ward", "hospital-east", "Asia/Shanghai")
LIGHT = settings(
    max_examples=40,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
NAMES = st.sampled_from(
    ["observation", "act", "organizer", "procedure", "encounter", "substanceAdministration", "supply", "value", "code",
     "effectiveTime", "low", "high", "period", "entryRelationship", "component", "participant", "participantRole",
     "playingEntity", "consumable", "manufacturedProduct", "manufacturedMaterial", "doseQuantity", "id", "statusCode",
     "text", "reference", "originalText", "translation", "referenceRange", "observationRange", "author", "time",
     "assignedAuthor", "assignedPerson", "name", "templateId", "subject", "relatedSubject", "performer",
     "assignedEntity", "representedOrganization", "addr", "telecom", "quantity", "repeatNumber", "routeCode"]
)  # fmt: skip
VALUES = st.sampled_from(
    ["", "1", "-1", "0", "1e400", "NaN", "true", "UNK", "OTH", "NI", "CD", "PQ", "IVL_PQ", "PIVL_TS", "EIVL_TS", "TS",
     "ED", "INT", "BL", "RTO_PQ_PQ", "SLIST_PQ", "2013", "20130230", "20130102030405+0800", "99999999", "h", "mg",
     "毫克", "1.2.3", "2.16.840.1.113883.10.20.22.4.16", "2.16.840.1.113883.10.20.22.4.4", "GOL", "EVN", "INT", "RQO",
     "SUBJ", "COMP", "CSM", "MFST", "completed", "active", "B64", "\u2028", "a b", "DE04.10.174.00", "419199007",
     "2.16.840.1.113883.10.20.22.4.7", "2.16.840.1.113883.10.20.22.4.121", "2.16.840.1.113883.10.20.22.4.45",
     "2.16.840.1.113883.10.20.22.4.50", "2.16.840.1.113883.10.20.22.4.61", "#x", "http://x", "text/plain", "🀄"]
)  # fmt: skip
ATTRIBUTES = st.dictionaries(
    st.sampled_from(
        ["value", "code", "codeSystem", "unit", "root", "extension", "nullFlavor", "xsi:type", "typeCode", "moodCode",
         "negationInd", "displayName", "use", "mediaType", "representation", "inclusive", "ID"]
    ),
    VALUES,
    max_size=4,
)  # fmt: skip

WORDS = re.compile(r">([^<>]*\w[^<>]*)<")
EMPTY = re.compile(r"<\w+\b[^<>]*/>")
ATTRIBUTE = re.compile(
    r'\b(?:value|code|root|extension|unit|xsi:type|typeCode|moodCode|nullFlavor|negationInd)="([^"<>]*)"'
)


def element(inside: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    def written(name: str, attributes: dict[str, str], content: str) -> str:
        sent = "".join(f" {key}='{value}'" for key, value in attributes.items())
        return f"<{name}{sent}>{content}</{name}>"

    return st.builds(written, NAMES, ATTRIBUTES, inside)


TREES = st.recursive(
    st.one_of(element(st.just("")), VALUES),
    lambda inside: element(st.lists(inside, max_size=4).map("".join)),
    max_leaves=25,
)


def outcome(content: bytes) -> Normalised | Refusal:
    """What becomes of a document: valid resources, each once, with known notes; or a refusal."""
    try:
        found = convert(content, CONTEXT)
    except SetAside as error:
        return error.refusal
    faults = [check_structure(one.body) or check_invariants(one.body) for one in found.resources]
    assert [fault for fault in faults if fault] == []
    keys = [(one.type, one.id) for one in found.resources]
    assert len(keys) == len(set(keys))
    assert all(note.code in REASONS for note in found.notes)
    return found


def is_told(found: Normalised | Refusal) -> bool:
    """Whether there are resources, among them the patient, or a refusal that has a known reason and a sentence."""
    if isinstance(found, Refusal):
        return found.code in REASONS and bool(found.message)
    return "Patient" in {one.type for one in found.resources}


@cache
def document(corpora: Path, name: str) -> bytes:
    return (corpora / "cda" / name).read_bytes()


@LIGHT
@given(
    entry=TREES, section=st.sampled_from(["11450-4", "48765-2", "10160-0", "30954-2", "18776-5", "48768-6", "10157-6"])
)
def test_statements_of_any_shape_give_a_valid_bundle(entry: str, section: str) -> None:
    found = outcome(in_section(entry, code=section))
    assert isinstance(found, Normalised)
    assert {"Patient", "Composition"} <= {one.type for one in found.resources}


@LIGHT
@given(inside=st.lists(TREES, max_size=5).map("".join))
def test_headers_of_any_shape_give_a_valid_bundle_or_a_refusal(inside: str) -> None:
    role = f"<recordTarget><patientRole><id root='1.2' extension='P'/>{inside}</patientRole></recordTarget>"
    assert is_told(outcome(SHELL.format(role).encode()))
    people = (f"<{name}>{inside}</{name}>" for name in ("author", "custodian", "legalAuthenticator", "informant"))
    assert is_told(outcome(SHELL.format(PATIENT + "".join(people)).encode()))
    encounter = f"<componentOf><encompassingEncounter>{inside}</encompassingEncounter></componentOf>"
    assert is_told(outcome(SHELL.format(f"{PATIENT}{encounter}<component>{inside}</component>").encode()))


@pytest.mark.conformance
@LIGHT
@given(
    name=st.sampled_from(["ms/sample.ccda", "zh/01-C0002-utf-8.xml", "zh/06-C0007-gb18030.xml"]),
    flips=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=6),
    cut=st.one_of(st.none(), st.floats(0, 1)),
)
def test_documents_with_flipped_bytes_or_cut_off_are_valid_or_refused(
    corpora: Path, name: str, flips: list[tuple[float, int]], cut: float | None
) -> None:
    content = bytearray(document(corpora, name))
    for where, byte in flips:
        content[int(where * (len(content) - 1))] = byte
    assert is_told(outcome(bytes(content[: None if cut is None else int(cut * len(content))])))


@pytest.mark.conformance
@LIGHT
@given(
    name=st.sampled_from(["ms/CCD.ccda", "ms/History_and_Physical.ccda", "ms/C-CDA_R2-1_CCD.xml.ccda"]),
    changes=st.lists(st.tuples(st.floats(0, 1), VALUES), min_size=10, max_size=60),
    gone=st.lists(st.floats(0, 1), max_size=20),
)
def test_documents_with_other_attributes_and_lost_elements_are_valid_or_refused(
    corpora: Path, name: str, changes: list[tuple[float, str]], gone: list[float]
) -> None:
    text = document(corpora, name).decode("utf-8")
    empties = list(EMPTY.finditer(text))
    for where in sorted({int(one * (len(empties) - 1)) for one in gone}, reverse=True):
        text = text[: empties[where].start()] + text[empties[where].end() :]
    words = list(WORDS.finditer(text))
    for where in sorted({int(one * (len(words) - 1)) for one in gone}, reverse=True):
        text = text[: words[where].start(1)] + text[words[where].end(1) :]
    body = text.index("<recordTarget")
    found = list(ATTRIBUTE.finditer(text, body))
    for where, value in sorted({int(one * (len(found) - 1)): value for one, value in changes}.items(), reverse=True):
        text = f"{text[: found[where].start(1)]}{value}{text[found[where].end(1) :]}"
    assert is_told(outcome(text.encode()))


@LIGHT
@given(content=st.binary(max_size=200))
def test_any_bytes_are_refused_by_name(content: bytes) -> None:
    for whole in (content, b"<?xml version='1.0'?><ClinicalDocument xmlns='urn:hl7-org:v3'>" + content):
        found = outcome(whole)
        assert isinstance(found, Refusal)
        assert found.code in REASONS
