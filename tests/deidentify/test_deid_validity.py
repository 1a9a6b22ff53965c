"""What leaves is FHIR R4B where what came was: over the independent corpora, and over what our own sources become."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from normalise import SetAside, convert
from quality.invariants import check_invariants
from quality.structure import check_structure
from schemas.records import SourceContext
from sharing.deidentify import Deidentifier, load_profile, profile_names

Body = dict[str, Any]
CONTEXT = SourceContext("convert", "hospital-east", "Asia/Shanghai", "auto", {})


def sound(body: Any) -> bool:
    return isinstance(body, dict) and check_structure(body) is None


def of_the_specification(corpora: Path) -> Iterator[Body]:
    """Resources of the FHIR corpora, those of Bundles too."""
    for path in sorted((corpora / "fhir").rglob("*.json")):
        try:
            body = orjson.loads(path.read_bytes())
        except orjson.JSONDecodeError:
            continue
        yield from within(body)
    for path in sorted((corpora / "fhir").rglob("*.ndjson")):
        yield from map(orjson.loads, path.read_bytes().splitlines())


def within(body: Any) -> Iterator[Body]:
    if not isinstance(body, dict):
        return
    if body.get("resourceType") != "Bundle":
        yield body
        return
    for entry in body.get("entry", ()):
        yield from within(entry.get("resource"))


def of_our_sources(corpora: Path) -> Iterator[Body]:
    """Resources that Chinese messages, documents and images become in this house."""
    kinds = (
        ("hl7v2", "hl7v2/zh", "*.hl7"),
        ("hl7v2", "hl7v2/ms", "*.hl7"),
        ("cda", "cda/zh", "*.xml"),
        ("dicom", "dicom/zh", "*.dcm"),
    )
    for media, folder, names in kinds:
        for path in sorted((corpora / folder).rglob(names))[:60]:
            try:
                made = convert(media, path.read_bytes(), CONTEXT)
            except SetAside:
                continue
            for resource in made.resources:
                yield resource.body


@pytest.mark.conformance
@pytest.mark.parametrize("profile", profile_names())
@pytest.mark.parametrize(("source", "least"), [(of_the_specification, 1_500), (of_our_sources, 500)])
def test_what_leaves_is_valid_fhir_with_all_its_invariants(
    source: Any, least: int, profile: str, corpora: Path
) -> None:
    from fhir.resources.R4B import get_fhir_model_class

    one = Deidentifier(load_profile(profile), bytes(32))
    for body in filter(sound, source(corpora)):
        found = one.resource(body, b"person")
        if found is None:
            continue
        plain = orjson.loads(orjson.dumps(found))
        get_fhir_model_class(plain["resourceType"]).model_validate(plain)
        assert check_structure(plain) is None
        broken = check_invariants(plain)
        assert broken is None or check_invariants(body) is not None, (body["resourceType"], broken)
    assert one.report.left > least


@pytest.mark.conformance
def test_what_left_once_leaves_again_with_all_its_elements(corpora: Path) -> None:
    """What de-identification puts in is itself allowed: masks, pseudonyms, generalised values."""
    first, second = (Deidentifier(load_profile("gbt-37964"), bytes(32)) for _ in range(2))
    seen = 0
    for body in filter(sound, of_our_sources(corpora)):
        once = first.resource(body, b"person")
        if once is None:
            continue
        again = second.resource(once, b"person")
        assert again is not None
        lost = set(once) - set(again) - {"birthDate", "address"}  # a postal code is short once, a year stays a year
        assert lost == set(), (body["resourceType"], lost)
        seen += 1
    assert seen > 500
