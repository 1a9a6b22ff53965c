"""Request files: one form of each, read strictly; whatever is none ends in Malformed, by the place."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from asking import REQUEST, VIEW, file
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.contracts.policy_request import PURPOSES, READERS
from ledger.exchange import MemoryExchange
from schemas.sharing import Code, Cohort, Demands, Ethics
from shangmi import PrivateKey, sm3
from sharing.errors import Malformed
from sharing.request import desk, read_request, request_digest, write_request
from sharing.request.canonical import MAX_DEPTH, MAX_FILE, encode
from sharing.request.reading import request_schema
from sharing.request.words import sentences
from sharing.views import library

DOCUMENT: dict[str, Any] = json.loads(file())


def spoiled(path: str, value: Any) -> bytes:
    """The canonical file with another value at one place."""
    document = json.loads(file())
    *above, last = path.split("/")
    place: Any = document
    for one in above:
        place = place[int(one) if isinstance(place, list) else one]
    if value is ...:
        del place[last]
    else:
        place[int(last) if isinstance(place, list) else last] = value
    return encode(document)


def test_a_request_reads_back_as_it_was_written_and_a_person_can_read_it() -> None:
    content = file()
    assert read_request(content) == REQUEST
    assert "血糖控制".encode() in content and content.count(b"\n") > 60


def test_the_digest_is_of_these_bytes_in_a_domain_of_its_own() -> None:
    content = file()
    assert request_digest(content) == sm3(b"XL/REQUEST-FILE/1\0" + content) != sm3(content)
    assert request_digest(content) != request_digest(file(nonce=bytes(15) + b"\1"))


codes = st.builds(Code, st.sampled_from(["http://loinc.org", "urn:oid:1.2.156"]), st.from_regex(r"\A[A-Z0-9.-]{1,9}\Z"))
days = st.dates(date(2000, 1, 1), date(2090, 1, 1))
bands = st.tuples(st.integers(0, 130), st.integers(0, 130)).map(lambda one: (min(one), max(one)))
cohorts = st.builds(
    Cohort,
    st.lists(st.lists(codes, min_size=1, max_size=3, unique=True).map(tuple), max_size=3).map(tuple),
    st.one_of(
        st.just((None, None)), days.map(lambda one: (one, one + timedelta(40))), days.map(lambda one: (None, one))
    ),
    st.none() | bands,
    st.sampled_from([(), ("female",), ("male", "unknown")]),
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    cohort=cohorts,
    demands=st.builds(Demands, st.integers(1, 99), st.integers(1, 9), st.integers(1, 1_000), st.integers(0, 1_000)),
    title=st.text(st.characters(categories=["L", "N", "P"]), min_size=8, max_size=40),
    purpose=st.sampled_from(["research", "claims", "public-health", "audit"]),
    reader=st.sampled_from(["", *READERS]),
    most=st.integers(1, 2**32 - 1),
    ndjson=st.booleans(),
    ethics=st.none() | st.just(Ethics("委员会", "No. 7", (date(2026, 1, 1), date(2026, 1, 1)), bytes(32))),
    nonce=st.binary(min_size=16, max_size=16),
)
def test_every_request_round_trips(**changes: Any) -> None:
    wanted = replace(REQUEST, **changes)
    content = write_request(wanted)
    assert read_request(content) == wanted
    assert list(sentences(wanted))


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("format", "xinglin-request/2", "format"),
        ("title", "short", "title"),
        ("title", "two\nlines of title", "title: holds characters that are not seen"),
        ("title", "turned \u202e around", "title: holds characters"),
        ("title", "zero\u200bwidth title", "title: holds characters"),
        ("requester", "Hospital West", "requester"),
        ("holders", [], "holders"),
        ("holders", ["lab-centre", "hospital-east"], "holders: not in alphabetical order"),
        ("holders", ["lab-centre", "lab-centre"], "holders: names something twice"),
        ("holders", ["hospital-west"], "holders: holds the requester itself"),
        ("purpose", "curiosity", "purpose: expected one of"),
        ("purpose", "directory", "purpose: expected one of"),
        ("reader", "somebody", "reader: expected one of"),
        ("recipient", "00" * 64, "recipient: is no point"),
        ("recipient", "00" * 63, "recipient"),
        ("cohort/period/from", "2025-13-01", "cohort/period/from: expected date, got"),
        ("cohort/period/from", "20250101", "cohort/period/from"),
        ("cohort/period/from", "2025-W01-1", "cohort/period/from"),
        ("cohort/period", {"from": "2026-01-02", "until": "2026-01-01"}, "cohort/period: ends before it begins"),
        ("cohort/ages", {"from": 18, "to": 17}, "cohort/ages: the least age is above"),
        ("cohort/ages", {"from": 18, "to": 131}, "cohort/ages/to: expected at most 130, got 131"),
        ("cohort/ages/from", 18.5, "cohort/ages/from: expected integer, got 18.5"),
        ("cohort/sexes", ["w"], "cohort/sexes/0"),
        ("cohort/criteria", [[]], "cohort/criteria/0"),
        ("cohort/criteria/0/0/system", "loinc", "cohort/criteria/0/0/system"),
        ("cohort/criteria/0/0/code", "a\n", "cohort/criteria/0/0/code"),
        ("cohort/more", 1, "cohort: "),
        ("views", {}, "views"),
        ("views/glucose/select/0/column/0/path", "getResourceKey(", "views/glucose: "),
        ("views/glucose/select/0/column/2/path", "value.nonsense()", "views/glucose: "),
        ("views/glucose/name", "other", "views/glucose: the definition calls itself other"),
        ("views/glucose", [], "views/glucose: expected object"),
        ("views", {"no name": VIEW}, "views"),
        ("profile", "../../etc/passwd", "profile"),
        ("demands/k", 0, "demands/k: expected at least 1, got 0"),
        ("demands/k", True, "demands/k: expected integer"),
        ("demands/t", 1_001, "demands/t"),
        ("most", 0, "most: expected at least 1, got 0"),
        ("ethics/until", "2025-01-01", "ethics: ends before it begins"),
        ("ethics/document", "aa", "ethics/document"),
        ("ethics", ..., "'ethics' is a required property"),
        ("keep_until", "2026-11-19", "keep_until: is before the request itself"),
        ("nonce", "00", "nonce"),
        ("chain_id", "G" * 64, "chain_id"),
        ("chain_id", "AA" * 32, "chain_id"),
        ("patients", ["some name"], "'patients' was unexpected"),
    ],
)
def test_what_cannot_be_asked_is_named_by_its_place(path: str, value: Any, said: str) -> None:
    with pytest.raises(Malformed) as caught:
        read_request(spoiled(path, value))
    assert said in str(caught.value)


def test_an_error_in_fhirpath_names_view_column_and_place() -> None:
    with pytest.raises(Malformed) as caught:
        read_request(spoiled("views/glucose/where/0/path", "code.coding.exists(code = )"))
    assert "views/glucose" in str(caught.value) and "where" in str(caught.value)


def test_the_same_content_in_another_form_is_another_file_and_refused() -> None:
    content = file()
    document = json.loads(content)
    turned = dict(reversed(document.items()))
    for other in (
        json.dumps(document).encode(),
        json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False).encode() + b"\n",
        json.dumps(turned, indent=1, ensure_ascii=False).encode() + b"\n",
        content[:-1],
        content + b"\n",
        content.replace(b"\n", b"\r\n"),
        b"\xef\xbb\xbf" + content,
        content.replace("血".encode(), b"\\u8840"),
        content.replace(b'"most": 5000', b'"most": 5000.0'),
        content.replace(b'"most": 5000', b'"most": 5e3'),
        content.replace(b' "most": 5000,\n', b' "most": 5000,\n "most": 5000,\n'),
    ):
        assert other != content
        with pytest.raises(Malformed):
            read_request(other)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.data())
def test_changed_bytes_are_malformed_or_another_request_with_another_digest(data: st.DataObject) -> None:
    good = file()
    at = data.draw(st.integers(0, len(good) - 1))
    changed = good[:at] + data.draw(st.binary(max_size=3)) + good[at + data.draw(st.integers(0, 3)) :]
    noise = data.draw(st.binary(max_size=60))
    for candidate in (changed, noise, good[:at]):
        try:
            found = read_request(candidate)
        except Malformed:
            continue
        assert write_request(found) == candidate
        assert candidate == good or request_digest(candidate) != request_digest(good)


def test_no_size_depth_or_number_does_more_than_end_in_malformed() -> None:
    deep: Any = 1
    for _ in range(MAX_DEPTH + 1):
        deep = [deep]
    for bad in (
        b"[" * 100_000, b"\xff\xfe", b"", b"null\n", b"[]\n", b'{"a": NaN}\n', b'{"a": Infinity}\n', b"9" * 5_000,
        b'"\\ud800"\n', b'{"a": 1e999}\n', b" " * (MAX_FILE + 1), spoiled("views/glucose/select/0/deep", deep),
    ):  # fmt: skip
        with pytest.raises(Malformed):
            read_request(bad)


def test_the_schema_knows_the_words_of_the_rules() -> None:
    properties = request_schema()["properties"]
    assert properties["reader"]["enum"] == ["", *READERS]
    assert set(properties["purpose"]["enum"]) == set(PURPOSES) - {"emergency", "directory"}
    assert set(properties) == set(DOCUMENT)


def test_a_person_reads_everything_that_the_digest_covers() -> None:
    wanted = replace(
        REQUEST, recipient=PrivateKey.generate().public.bytes, reader="doctor", ndjson=True,
        demands=Demands(7, 2, 300, 80), cohort=replace(REQUEST.cohort, sexes=("female",)),
    )  # fmt: skip
    told = "\n".join(sentences(wanted))
    for part in (
        REQUEST.title, "hospital-west", "hospital-east", "lab-centre", "for research", "2339-0", "4548-4", "2025-01-01",
        "2026-10-31", "18 to 89", "female", "glucose", "of the requester's own", "value = value.ofType(Quantity).value",
        "where code.coding.exists(code = '2339-0')", "as it declares: nothing", "gbt-37964",
        "7 persons", "2 sensitive", "30 %", "8 %",
        "5000", "区伦理委员会", "2026-117", "2027-12-31", REQUEST.ethics.digest.hex() if REQUEST.ethics else "",
        "2028-06-30", "2026-11-20", "doctor", wanted.recipient.hex(), "FHIR resources",
    ):  # fmt: skip
        assert part in told, part


def test_a_view_of_the_library_is_called_so_only_where_it_is_unchanged() -> None:
    name = "patients"
    changed = {**library()[name], "description": "another"}
    for definition, said in ((library()[name], "of the library"), (changed, "of the requester's own")):
        told = "\n".join(sentences(replace(REQUEST, views={name: definition})))
        assert f"Table {name}, {said}, from Patient" in told and "as it declares: nothing" not in told


# ---- Where it lies ----


def test_a_posted_file_is_found_by_its_digest_and_no_other_can_take_its_place() -> None:
    exchange, content = MemoryExchange(), file()
    digest = desk.post(exchange, content)
    assert digest == request_digest(content)
    exchange.topics[f"request/{digest.hex()}"] = {exchange.put(file(most=9)): None, exchange.put(b"junk"): None}
    assert desk.find(exchange, digest) is None
    desk.post(exchange, content)
    assert desk.find(exchange, digest) == content
    assert desk.find(exchange, bytes(32)) is None


def test_the_listing_passes_over_what_is_no_request() -> None:
    exchange, content = MemoryExchange(), file()
    exchange.post("requests", b"junk")
    desk.post(exchange, content)
    desk.post(exchange, content)
    assert list(desk.listing(exchange)) == [content]
    with pytest.raises(Malformed):
        desk.post(exchange, b"junk")
    assert len(exchange.topics["requests"]) == 2


def test_request_files_are_read_with_the_base_install() -> None:
    import subprocess
    import sys

    heavy = "airflow pymongo cedarpy fastapi"
    code = f"import sys, sharing.request; sys.exit(bool(set('{heavy}'.split()) & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2]).returncode == 0
