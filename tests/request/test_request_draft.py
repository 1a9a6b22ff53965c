"""Drafts: what a person writes becomes a request file, or is refused by line and place."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
import yaml
from asking import CHAIN, VIEW
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.sharing import Code, DatasetRequest, Demands
from shangmi import sm3
from sharing.errors import Malformed
from sharing.request import read_request
from sharing.request.canonical import encode
from sharing.request.draft import finish
from sharing.request.template import Wishes, draft
from sharing.views import library

TODAY = date(2026, 11, 20)
WISHES = Wishes(
    requester="research-institute", title="血糖控制的地区差异 glucose control",
    holders=("hospital-west", "hospital-east"),
    purpose="research", keep_until=date(2028, 6, 30), views=("laboratory_results", "patients"),
    codes=[["http://loinc.org|2339-0", "http://loinc.org|4548-4"], ["http://hl7.org/fhir/sid/icd-10|E11.900"]],
    period=("2025-01-01", ""), ages=(18, 89), sexes=("female",), known_views=tuple(library()),
)  # fmt: skip
PLAIN = draft(WISHES)


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "glucose.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def finished(folder: Path, text: str) -> DatasetRequest:
    return read_request(finish(written(folder, text), CHAIN, TODAY))


def refusal(folder: Path, text: str | bytes) -> str:
    path = written(folder, text)
    with pytest.raises(Malformed) as caught:
        finish(path, CHAIN, TODAY)
    assert [one.name for one in folder.iterdir()] == [path.name]
    return str(caught.value)


def test_a_draft_that_new_wrote_is_a_request_as_it_stands(tmp_path: Path) -> None:
    found = finished(tmp_path, PLAIN)
    assert (found.title, found.requester, found.purpose) == (WISHES.title, "research-institute", "research")
    assert found.holders == ("hospital-east", "hospital-west")  # in order, however they were written
    assert found.cohort.criteria[1] == (Code("http://hl7.org/fhir/sid/icd-10", "E11.900"),)
    assert (found.cohort.period, found.cohort.ages) == ((date(2025, 1, 1), None), (18, 89))
    assert (found.chain_id, found.made, found.ethics, found.demands) == (CHAIN, TODAY, None, Demands())
    assert found.views == {name: library()[name] for name in WISHES.views}


def test_the_same_draft_makes_another_request_each_time(tmp_path: Path) -> None:
    assert finished(tmp_path, PLAIN).nonce != finished(tmp_path, PLAIN).nonce


def test_the_approvals_document_and_views_of_ones_own_are_read_beside_the_draft(tmp_path: Path) -> None:
    (tmp_path / "approval.pdf").write_bytes(b"%PDF approval")
    (tmp_path / "mine.json").write_bytes(encode(VIEW))
    text = PLAIN.replace("ethics: none", "ethics: {committee: 区, number: 7, from: 2026-01-01, until: 2027-01-01, "
                         "document: approval.pdf}").replace('"patients"', "mine.json")  # fmt: skip
    found = finished(tmp_path, text)
    assert found.ethics is not None and found.ethics.digest == sm3(b"%PDF approval")
    assert (found.ethics.number, found.views["glucose"]) == ("7", VIEW)


@pytest.mark.parametrize("code", ["010", "1.10", "38341003", "1e5", "yes", "null", "2026-01-01", "0x1F", "12:30:45"])
def test_codes_stay_as_they_are_written(tmp_path: Path, code: str) -> None:
    found = finished(tmp_path, PLAIN.replace('"4548-4"', code))
    assert found.cohort.criteria[0][1].code == code


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("purpose: research", "purpose: curiosity", "purpose: expected one of"),
        ("  ages: {from: 18", "  ages: {from: eighteen", "cohort/ages/from: expected integer, got \"eighteen\""),
        ("  ages: {from: 18", "  ages: {from: 90", "cohort/ages: the least age is above"),
        ('from: "2025-01-01"', "from: 2025-02-30", "cohort/period/from: expected date"),
        ("k: 5", "k: five", "demands/k: expected integer"),
        ("ndjson: false", "ndjson: no", "ndjson: expected boolean"),
        ('"patients"', "pateints", "views/1: the library has no view 'pateints'; patients is meant?"),
        ('"patients"', "mine.json", "views/1: mine.json: No such file"),
        ('"patients"', '"laboratory_results"', "views/1: a second view"),
        ("ethics: none", "ethics: {committee: A, number: 1, from: 2026-01-01, until: 2027-01-01, document: x.pdf}",
         "ethics/document: x.pdf: No such file"),
        ("ethics: none", "ethics: {committee: A}", "ethics: 'number' is a required property"),
        ("requester: research-institute", "requester: research-institute\nnonce: 00", "nonce: is filled in by `sign`"),
        ("requester: research-institute", "requester: research-institute\nchain_id: 00", "chain_id: is filled in"),
        ("requester: research-institute", "requester: research-institute\nholder: me", "'holder' was unexpected"),
        ("requester: research-institute", "requester: research-institute\npurpose: claims", "purpose stands twice"),
        ("keep_until: 2028-06-30", "keep_until: 2026-11-19", "keep_until: is before the request itself"),
        ("keep_until: 2028-06-30", "", "'keep_until' is a required property"),
        ("most: 100000", "most: 0", "most: expected at least 1, got 0"),
        ("most: 100000", "most: 99999999999999999999", "most: expected integer"),
        ('title: "', 'title: "\\u202e', "title: holds characters"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_by_line_and_place_and_nothing_is_written(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    assert PLAIN.count(old) == 1, old
    text = PLAIN.replace(old, new)
    assert said in refusal(tmp_path, text)


def test_the_line_is_the_one_where_it_stands(tmp_path: Path) -> None:
    line = PLAIN[: PLAIN.index("demands:")].count("\n") + 1
    assert f"line {line}: demands/k: expected at least 1" in refusal(tmp_path, PLAIN.replace("k: 5", "k: 0"))


def test_several_faults_are_told_at_once(tmp_path: Path) -> None:
    said = refusal(
        tmp_path, PLAIN.replace("k: 5", "k: 0").replace("most: 100000", "most: x").replace('"patients"', "p")
    )
    assert len(said.splitlines()) == 4


@pytest.mark.parametrize(
    "text",
    [
        b"", b"\xff\xfe\x00", b"- a\n- list\n", b"just a word", b"a: [", b"a: &x 1\nb: *x\n", b"\x00", b"? [a]\n: b\n",
        b"a: " + b"[" * 5_000, b"a: " + b"{b: " * 60, b"%YAML 9.9\n---\na: b",
        b"a: !!python/object/apply:os.system [x]",
        b"x" * (600 << 10), b"---\na: 1\n---\nb: 2\n",
    ],
)  # fmt: skip
def test_what_is_no_draft_is_malformed(tmp_path: Path, text: bytes) -> None:
    assert refusal(tmp_path, text)


@settings(max_examples=120, deadline=None, derandomize=True)
@given(at=st.integers(0, len(PLAIN) - 1), cut=st.integers(0, 4), put=st.text("[]{}:#&*!|>'\"%@`-\n\t é0", max_size=4))
def test_any_change_of_a_draft_is_a_request_or_malformed(
    tmp_path_factory: pytest.TempPathFactory, at: int, cut: int, put: str
) -> None:
    path = written(tmp_path_factory.getbasetemp(), PLAIN[:at] + put + PLAIN[at + cut :])
    try:
        found = read_request(finish(path, CHAIN, TODAY))
    except Malformed:
        return
    assert found.chain_id == CHAIN


def test_every_field_of_the_template_is_yaml_of_the_shape_the_schema_has() -> None:
    assert set(yaml.safe_load(PLAIN)) == {
        "title", "requester", "holders", "purpose", "reader", "recipient", "cohort", "views", "profile", "demands",
        "ndjson", "most", "ethics", "keep_until",
    }  # fmt: skip
