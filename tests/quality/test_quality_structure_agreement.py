"""The fast structure check held to its authority, fhir.resources, over the corpora and over mutations of them.

It may accept nothing that the authority refuses. It may refuse what the authority accepts only for the reasons of
docs/decisions/0010-structure-checker.md, listed here as STRICTER.
"""

from __future__ import annotations

import copy
import functools
import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quality.structure import check_structure

pytestmark = pytest.mark.conformance

STRICTER = (
    "an array with content",  # []
    "a text with content",  # ""
    "an object with content",  # {}
    "was expected; put the value in brackets",  # null for an array
    "an object was expected",  # null for an object
    "a text was expected",  # a number for a date, null for a text
    "at most 64 bits",
    "a number was expected",  # "12.5", null
    "a whole number was expected",  # true, "1", null
    "true or false was expected",  # "true", null
    "a code of the value set",  # required bindings, which the authority leaves to its user
    "does not have the form",  # base64 with foreign characters, white space in a URI
    "longer than its FHIR type allows",  # ids over 64 characters
    "a null in",  # a gap in an array without an extension
    "the resourceType of",  # {} or null for a resource
    "a URL",  # null for a url
    "this element is required",
    "is required",  # null for a required primitive
)
# Named after what the sender would have done; each gets the old value.
MUTATIONS: dict[str, Any] = {
    "a number": lambda _: 12345,
    "a fraction": lambda _: 1.5,
    "a negative number": lambda _: -1,
    "a huge number": lambda _: 2**40,
    "not a number": lambda _: float("nan"),
    "a number as text": lambda _: "12.5",
    "text": lambda _: "zzz",
    "empty text": lambda _: "",
    "white space": lambda _: " ",
    "a control character": lambda _: "a\x01b",
    "true": lambda _: True,
    "true as text": lambda _: "true",
    "null": lambda _: None,
    "an empty object": lambda _: {},
    "an unknown object": lambda _: {"zzz": 1},
    "an empty array": lambda _: [],
    "an array of it": lambda old: [old],
    "month 13": lambda _: "2020-13-45",
    "30 February": lambda _: "2021-02-30",
    "29 February": lambda _: "2024-02-29",
    "no offset": lambda _: "2020-01-01T10:00:00",
    "no seconds": lambda _: "2020-01-01T10:00+08:00",
    "a good time": lambda _: "2020-01-01T10:00:00+08:00",
    "an unknown element": lambda old: {**old, "zzz": "a"} if isinstance(old, dict) else old,
    "twice": lambda old: old * 2 if isinstance(old, list) else old,
}
Where = tuple[str | int, ...]


def refused_by_authority(body: dict[str, Any]) -> bool:
    from fhir.resources.R4B import get_fhir_model_class

    try:
        get_fhir_model_class(body["resourceType"]).model_validate(body)
    except Exception:  # noqa: BLE001 - it refuses with many types
        return True
    return False


def resources(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in sorted(folder.rglob("*.json")):
        if not path.name.endswith(".outcome.json"):
            try:
                body = json.loads(path.read_bytes())
            except ValueError:
                continue
            if isinstance(body, dict) and "resourceType" in body:
                yield path, body


@functools.cache
def examples(corpora: Path) -> tuple[tuple[dict[str, Any], tuple[Where, ...]], ...]:
    """Official examples of moderate size with the places in them that may be changed."""
    found = [
        (body, tuple(places(body)))
        for path, body in resources(corpora / "fhir" / "r4b-examples")
        if path.stat().st_size < 30_000
    ]
    assert len(found) > 300
    return tuple(found)


def places(node: Any, at: Where = ()) -> Iterator[Where]:
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in items:
        # Narrative is XHTML: its inside is checked by neither.
        if (at or key != "resourceType") and key != "div":
            yield (*at, key)
            yield from places(child, (*at, key))


def changed(body: dict[str, Any], at: Where, mutation: str | None) -> dict[str, Any]:
    copied = copy.deepcopy(body)
    node: Any = copied
    for key in at[:-1]:
        node = node[key]
    if mutation is None:
        del node[at[-1]]
    else:
        node[at[-1]] = MUTATIONS[mutation](node[at[-1]])
    return copied


def assert_agreement(body: dict[str, Any]) -> str:
    refusal, authority = check_structure(body), refused_by_authority(body)
    if refusal is None:
        assert not authority, "the fast check accepts what fhir.resources refuses"
        return "both accept"
    if authority:
        return "both refuse"
    assert any(reason in refusal.message for reason in STRICTER), refusal
    return "stricter"


def test_every_official_example_is_accepted(corpora: Path) -> None:
    bodies = list(resources(corpora / "fhir" / "r4b-examples"))
    refused = {path.name: refusal for path, body in bodies if (refusal := check_structure(body))}
    assert not refused
    assert len(bodies) == 408


def test_every_resource_of_the_corpora_is_judged_as_the_authority_judges_it(corpora: Path) -> None:
    verdicts = Counter(assert_agreement(body) for _, body in resources(corpora / "fhir"))
    assert verdicts["both accept"] > 550
    assert verdicts["both refuse"] >= 36
    assert verdicts["stricter"] <= 2


def test_what_the_official_validator_passes_is_accepted(corpora: Path) -> None:
    """Outcomes without an error come from HL7's own validator, which knows more than structure."""
    accepted = 0
    for path, body in resources(corpora / "fhir" / "validator"):
        outcome = path.with_name(path.name.removesuffix(".json") + ".outcome.json")
        if outcome.exists() and not json.loads(outcome.read_text())["errors"] and not refused_by_authority(body):
            assert check_structure(body) is None, path.name
            accepted += 1
    assert accepted >= 15


def test_mutations_of_every_kind_are_judged_as_the_authority_judges_them(corpora: Path) -> None:
    chance = random.Random(20261123)
    verdicts: Counter[str] = Counter()
    for body, spots in chance.sample(examples(corpora), 60):
        for at in chance.sample(spots, min(3, len(spots))):
            for mutation in (*MUTATIONS, None):
                verdicts[assert_agreement(changed(body, at, mutation))] += 1
    assert verdicts.total() > 3000
    assert min(verdicts.values()) > 100


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_several_faults_at_once_are_judged_as_the_authority_judges_them(corpora: Path, data: st.DataObject) -> None:
    body, spots = data.draw(st.sampled_from(examples(corpora)))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.sampled_from(spots))
        try:
            body = changed(body, at, data.draw(st.sampled_from([*MUTATIONS, None])))
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took this place away
    assert_agreement(body)


def test_two_values_of_one_choice_are_refused_wherever_the_choice_is_of_one(corpora: Path) -> None:
    seen = 0
    for body, _ in examples(corpora):
        if body["resourceType"] == "Observation" and "valueQuantity" in body:
            both = {**body, "valueString": "x"}
            assert refused_by_authority(both)
            assert check_structure(both) is not None
            seen += 1
    assert seen > 10
