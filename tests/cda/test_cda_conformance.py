"""Every CDA file of the corpus is a valid bundle or a named refusal, to the file."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cda_shell import read, whole

from normalise.errors import SetAside
from quality.invariants import check_invariants
from quality.structure import check_structure
from schemas.reasons import REASONS
from schemas.records import Normalised

pytestmark = pytest.mark.conformance


@pytest.fixture(scope="module")
def documents(corpora: Path) -> list[Path]:
    return sorted(one for one in (corpora / "cda").rglob("*") if one.suffix in (".xml", ".ccda"))


def outcome(content: bytes) -> Normalised | str:
    try:
        return read(content)
    except SetAside as error:
        assert error.refusal.code in REASONS
        assert error.refusal.where
        return error.refusal.code


def wrapped(path: Path) -> bytes:
    content = path.read_bytes()
    return content if path.parent.name == "zh" else whole(content)


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("reference"), str):
            yield value["reference"]
        for one in value.values():
            yield from references(one)
    elif isinstance(value, list):
        for one in value:
            yield from references(one)


def test_files_as_they_stand_are_converted_or_refused_by_name(documents: list[Path]) -> None:
    outcomes = Counter(
        found if isinstance(found := outcome(path.read_bytes()), str) else "converted" for path in documents
    )
    # Most files are fragments, meant to be pasted into a document, and many use prefixes that only it declares.
    assert outcomes == {"converted": 38, "not_cda": 33, "not_xml": 62, "required": 1}


def test_fragments_in_a_document_are_converted_but_for_the_bad_ones(documents: list[Path]) -> None:
    outcomes = Counter(found if isinstance(found := outcome(wrapped(path)), str) else "converted" for path in documents)
    # Profiles and resources of FHIR; a patient without an id; documents with a prefix that nothing declares.
    assert outcomes == {"converted": 123, "not_cda": 7, "not_xml": 2, "required": 2}


def test_every_resource_is_valid_and_every_reference_has_its_target(documents: list[Path]) -> None:
    for path in documents:
        found = outcome(wrapped(path))
        if isinstance(found, str):
            continue
        faults = [
            (one.type, one.segment, fault)
            for one in found.resources
            if (fault := check_structure(one.body) or check_invariants(one.body))
        ]
        assert faults == [], path
        names = Counter(f"{one.type}/{one.id}" for one in found.resources)
        assert max(names.values()) == 1, path
        assert {one for each in found.resources for one in references(each.body)} <= names.keys(), path
        assert all(note.code in REASONS for note in found.notes), path


PARTS = re.compile(r"<[\w:]+\b[^<>]*/>|\s(?!xmlns)[\w:]+=\"[^\"<>]*\"|(?<=>)[^<>]*\w[^<>]*(?=<)")


def test_document_with_any_part_left_out_is_valid_or_refused(documents: list[Path]) -> None:
    tried = 0
    for path in documents:
        if path.parent.name in ("zh", "cda") or not 2_000 < path.stat().st_size < 15_000:
            continue
        text = wrapped(path).decode("utf-8")
        for part in list(PARTS.finditer(text))[len(path.name) % 25 :: 25]:
            found = outcome((text[: part.start()] + text[part.end() :]).encode())
            if not isinstance(found, str):
                tried += 1
                faults = [check_structure(one.body) or check_invariants(one.body) for one in found.resources]
                assert [fault for fault in faults if fault] == [], (path, part)
    assert tried > 200


def test_same_document_gives_the_same_resources(documents: list[Path]) -> None:
    for path in documents[::7]:
        assert outcome(wrapped(path)) == outcome(wrapped(path))
