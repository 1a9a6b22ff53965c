"""A FHIR server read by search: everything once, whatever the server's day is like."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from connectors.conformance import Trial, assert_conforms
from connectors.contract import PullConnector
from connectors.errors import ConnectorError, Retry, Stop
from connectors.his.fhir_pages import Malformed, cut
from connectors.his.fhir_rest import FhirConnector
from schemas.errors import ConfigurationError
from schemas.records import RawRecord
from simulators.fhir_records import BEGAN
from simulators.fhir_server import Access, FhirServer, Moods

Connect = Callable[..., FhirConnector]
Records = list[RawRecord]


def records(
    connector: PullConnector, cursor: dict[str, Any] | None = None
) -> tuple[Records, dict[str, Any], int | None]:
    found: Records = []
    last: dict[str, Any] = {}
    expected: int | None = None
    for page in connector.pull(cursor):
        found += [one for one in page.records if isinstance(one, RawRecord)]
        last, expected = page.cursor, page.expected
    return found, last, expected


def ids(found: Records) -> list[str]:
    return [one.native_id for one in found]


def test_every_resource_is_one_record_of_the_servers_own_bytes_and_the_server_counts_as_many(connect: Connect) -> None:
    with FhirServer(patients=12) as server:
        found, cursor, expected = records(connect(server.base))
    held = server.current([])
    assert len(found) == expected == len(held) == server.holds().received
    assert len(set(ids(found))) == len(found)
    assert {one.media for one in found} == {"fhir"}
    by_id = {f"{one['resourceType']}/{one['id']}/1": one for one in held}
    for one in found:
        assert one.content == json.dumps(by_id[one.native_id], ensure_ascii=False).encode()
    assert set(cursor["types"]["Patient"]) == {"since"}


def test_fhir_server_conforms_to_the_suite_of_all_kinds(connect: Connect) -> None:
    server = FhirServer(patients=8, access=Access("bearer", password="right"))
    (Path(connect("http://127.0.0.1:1/f").home) / "secrets").mkdir()
    for name, value in (("good", "right"), ("bad", "wrong")):
        path = Path(connect("http://127.0.0.1:1/f").home) / "secrets" / name
        path.write_text(value, "utf-8")
        path.chmod(0o600)
    with server:
        assert_conforms(
            Trial(
                lambda: connect(server.base, auth="bearer", token_secret="good"),
                wrong=lambda: connect(server.base, auth="bearer", token_secret="bad"),
                late=server.late,
            )
        )


def test_second_read_meets_only_the_overlap_and_what_is_new(connect: Connect) -> None:
    with FhirServer(patients=5) as server:
        _, cursor, _ = records(connect(server.base))
        server.put({"resourceType": "Patient", "id": "p-new"}, BEGAN + timedelta(days=1))
        found, after, expected = records(connect(server.base, overlap_minutes=0.0), cursor)
    assert "Patient/p-new/1" in ids(found)
    assert expected == len(found) <= 6 + 1
    assert after["types"]["Patient"]["since"].startswith("2026-01-06")


@pytest.mark.parametrize("seed", range(3))
def test_killed_after_any_page_and_taken_up_nothing_is_missing(connect: Connect, seed: int) -> None:
    with FhirServer(seed=seed, patients=6) as server:
        whole = set(ids(records(connect(server.base))[0]))
        pages = 0
        while True:
            connector = connect(server.base)
            connector.page_records = 5  # type: ignore[misc]
            before: Records = []
            cursor: dict[str, Any] = {}
            for number, page in enumerate(connector.pull()):
                before += [one for one in page.records if isinstance(one, RawRecord)]
                cursor = page.cursor
                if number == pages:
                    break
            after, _, _ = records(connect(server.base), cursor)
            assert set(ids(before)) | set(ids(after)) == whole
            pages += 1
            if pages > 12:
                break


def test_late_resource_is_met_within_the_overlap(connect: Connect) -> None:
    with FhirServer(patients=4) as server:
        first, cursor, _ = records(connect(server.base))
        server.late()
        second, _, _ = records(connect(server.base), cursor)
    assert {one for one in ids(second) if "late" in one} and not {one for one in ids(first) if "late" in one}


def test_throttled_and_failing_server_gives_everything_in_the_end(connect: Connect) -> None:
    with FhirServer(patients=10, moods=Moods(throttle_every=3, fail_every=5)) as server:
        found, _, expected = records(connect(server.base))
        assert server.asked["throttled"] and server.asked["failed"]
    assert len(found) == expected == server.holds().received


def test_server_that_asks_for_more_patience_than_there_is_is_asked_again_later(connect: Connect) -> None:
    with FhirServer(moods=Moods(throttle_every=1, retry_after="3600")) as server:
        with pytest.raises(Retry, match="3600 s, longer than patience_seconds"):
            records(connect(server.base))
        assert server.asked["all"] == 1


def test_wait_is_what_the_server_asks_for_in_seconds_or_as_a_date(connect: Connect) -> None:
    with FhirServer(patients=1, moods=Moods(throttle_every=2, retry_after="7")) as server:
        connector = connect(server.base)
        waits: list[float] = []
        connector.sleep = waits.append
        records(connector)
    assert set(waits) == {7.0}


def test_expired_link_begins_the_type_anew_and_loses_nothing(connect: Connect) -> None:
    with FhirServer(patients=6) as server:
        connector = connect(server.base, types=["Observation"], count=4)
        connector.page_records = 4  # type: ignore[misc]
        pages = connector.pull()
        first = next(pages)
        cursor = next(pages).cursor
        assert "next" in cursor["types"]["Observation"]
        server._links.clear()
        found, _, _ = records(connect(server.base, types=["Observation"], count=4), cursor)
    assert {one.native_id for one in first.records if isinstance(one, RawRecord)} <= set(ids(found))
    assert len(found) == sum(one["resourceType"] == "Observation" for one in server.current([]))


def test_links_that_always_expire_are_a_reason_to_try_again_later(connect: Connect) -> None:
    with FhirServer(patients=30, moods=Moods(link_life=0)) as server:
        server.page = lambda token: None  # type: ignore[method-assign]
        with pytest.raises(Retry, match="expire too soon"):
            records(connect(server.base))


def test_server_that_does_not_count_in_its_pages_is_asked_for_the_count(connect: Connect) -> None:
    with FhirServer(patients=3, moods=Moods(no_total=True)) as server:
        found, _, expected = records(connect(server.base))
    assert found and expected is None


def test_what_was_deleted_comes_as_a_record_that_says_so(connect: Connect) -> None:
    with FhirServer(patients=3) as server:
        _, cursor, _ = records(connect(server.base, deletions=True))
        server.delete("Observation", "o-1-0")
        server.delete("Patient", "p-2")
        server.delete("Condition", "c-0")
        server.put({"resourceType": "Condition", "id": "c-0", "subject": {"reference": "Patient/p-0"}})
        found, _, _ = records(connect(server.base, deletions=True), cursor)
    gone = [json.loads(one.content) for one in found if one.native_id.endswith("deleted")]
    assert sorted(one["entry"][0]["request"]["url"] for one in gone) == ["Observation/o-1-0", "Patient/p-2"]
    assert all(one["type"] == "history" for one in gone)


def test_resource_dated_far_ahead_of_the_servers_clock_does_not_move_the_watermark(connect: Connect) -> None:
    with FhirServer(patients=2) as server:
        server.put({"resourceType": "Patient", "id": "future"}, datetime(2190, 1, 1, tzinfo=UTC))
        found, cursor, _ = records(connect(server.base))
        assert "Patient/future/1" in ids(found)
        assert cursor["types"]["Patient"]["since"] < "2027"
        server.put({"resourceType": "Patient", "id": "p-new"})
        assert "Patient/p-new/1" in ids(records(connect(server.base), cursor)[0])


def test_resource_above_the_limit_is_unreadable_and_the_others_go_on(connect: Connect) -> None:
    with FhirServer(patients=2) as server:
        server.put({"resourceType": "Patient", "id": "big", "name": [{"text": "x" * 5000}]})
        connector = connect(server.base, record_bytes=4_000)
        pages = list(connector.pull())
    bad = [one for page in pages for one in page.records if not isinstance(one, RawRecord)]
    assert [one.refusal.code for one in bad] == ["oversize"]
    assert sum(len(page.records) for page in pages) == len(server.current([]))


# A hostile server

HOSTILE = {
    "endless": (Stop, "never end"),
    "loop": (Stop, "never end"),
    "origin": (Stop, "another origin"),
    "redirect": (Stop, "another origin"),
    "huge": (Stop, "larger than answer_bytes"),
    "json": (Retry, "expected FHIR JSON"),
    "html": (Retry, "text/html"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_server_ends_the_run_with_a_reason_and_in_bounded_time(connect: Connect, kind: str) -> None:
    error, told = HOSTILE[kind]
    with FhirServer(patients=20, moods=Moods(hostile=kind)) as server:
        with pytest.raises(error, match=told) as caught:
            records(connect(server.base, answer_bytes=1_000_000, pages=200))
        assert server.asked["all"] < 200
    assert "127.0.0.2" not in str(caught.value) and "?_page" not in str(caught.value)


def test_answer_that_trickles_without_end_is_given_up(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectors.his.fhir_client._LONGEST_ANSWER", 0)
    with FhirServer(patients=1) as server, pytest.raises(Retry, match="goes on for too long"):
        records(connect(server.base))


def test_window_of_the_past_is_asked_for_and_nothing_else_comes(connect: Connect) -> None:
    with FhirServer(patients=6) as server:
        held = server.current([])
        begin, end = (datetime.fromisoformat(held[at]["meta"]["lastUpdated"]) for at in (10, 20))
        for mode in ("search", "bulk"):
            pages = list(connect(server.base, mode=mode).pull_past(begin, end))
            found = [one for page in pages for one in page.records if isinstance(one, RawRecord)]
            wanted = [f"{one['resourceType']}/{one['id']}/1" for one in held[10:20]]
            assert sorted(ids(found)) == sorted(wanted)


def test_server_that_is_not_there_is_tried_again_later(connect: Connect) -> None:
    with FhirServer() as server:
        base = server.base
    with pytest.raises(Retry, match="no answer"):
        records(connect(base, attempts=2))
    assert [one.ok for one in connect(base, attempts=1).check()] == [False]


# Signing in


@pytest.mark.parametrize("right", [True, False])
def test_basic_credentials_let_in_only_when_right(connect: Connect, secret_of: Any, right: bool) -> None:
    secret_of("his-pass", "口令:1" if right else "wrong")
    with FhirServer(patients=2, access=Access("basic", "reader", "口令:1")) as server:
        connector = connect(server.base, auth="basic", user="reader", password_secret="his-pass")
        if right:
            assert records(connector)[0]
            assert all(one.ok for one in connector.check())
            return
        with pytest.raises(Stop, match="refuses the credentials") as caught:
            records(connector)
        told = [one for one in connector.check() if not one.ok]
    assert [one.aspect for one in told] == ["rights"]
    assert "wrong" not in str(caught.value) + told[0].message


def test_secret_that_is_not_there_is_named_and_nothing_is_asked(connect: Connect) -> None:
    with FhirServer(access=Access("bearer", password="x")) as server:
        with pytest.raises(ConfigurationError, match="XINGLIN_SECRET_NOWHERE"):
            records(connect(server.base, auth="bearer", token_secret="nowhere"))
        assert not server.asked["all"]
        assert [one.ok for one in connect(server.base, auth="bearer", token_secret="nowhere").check()] == [False]


def test_type_without_the_right_to_read_it_stops_and_check_names_it(connect: Connect) -> None:
    with FhirServer(patients=1, access=Access(types=("Patient", "Organization", "Practitioner"))) as server:
        with pytest.raises(Stop, match="no right to read"):
            records(connect(server.base))
        told = [one.message for one in connect(server.base).check() if one.aspect == "rights"]
    assert told == ["no right to read Encounter, Condition, Observation; have it granted, or leave them out"]


def test_clock_that_is_wrong_is_told_and_reading_goes_on(connect: Connect) -> None:
    with FhirServer(patients=1, moods=Moods(skew_seconds=600)) as server:
        told = [one for one in connect(server.base).check() if one.aspect == "clock"]
        assert not told[0].ok and re.search(r"\+(?:599|600) s", told[0].message)
        assert records(connect(server.base))[0]


def test_check_tells_version_types_and_rights_and_takes_nothing(connect: Connect) -> None:
    with FhirServer(patients=1) as server:
        found = connect(server.base).check()
        assert {one.aspect for one in found} == {"connection", "clock", "charset", "rights", "content"}
        assert all(one.ok for one in found)
        other = connect(server.base, types=["Patient", "Immunization"]).check()
    assert [one.message for one in other if not one.ok] == [
        "the server does not offer Immunization; leave them out of types"
    ]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"base": "http://his.example.org/fhir"}, "without TLS"),
        ({"base": "https://user:pass@his.example.org/fhir"}, "holds a user"),
        ({"base": "his.example.org"}, "no address"),
        ({"base": "https://his.example.org/fhir?x=1"}, "no address"),
        ({"types": ["patient"]}, "names of FHIR resource types"),
        ({"mode": "push"}, "mode must be"),
        ({"export": "Patient/1/$everything"}, "export must be"),
        ({"auth": "basic"}, "user is missing"),
        ({"auth": "kerberos"}, "auth must be one of"),
        ({"algorithm": "HS256"}, "algorithm must be"),
        ({"count": 0}, "count must be from"),
        ({"file_origins": ["ftp://x"]}, "file_origins is no address"),
        ({"file_origins": ["https://user:pass@x.example.org"]}, "file_origins holds a user"),
        ({"ca_file": "nowhere.pem"}, "ca_file cannot be read"),
    ],
)
def test_settings_that_cannot_be_used_are_refused_by_name(
    connect: Connect, settings: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigurationError, match=told) as caught:
        connector = connect(**{"base": "https://his.example.org/fhir", **settings})
        connector.client()
    assert "pass@" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b'{"resourceType": "Patient"}',
        b'{"resourceType": "Bundle"',
        b'{"resourceType": "Bundle", "entry": {}}',
        b'{"resourceType": "Bundle", "entry": [1]}',
        b'{"resourceType": "Bundle", "entry": [{}',
    ],
)
def test_page_that_is_none_is_refused_whatever_its_bytes(content: bytes) -> None:
    with pytest.raises(Malformed):
        cut(content)


def test_bytes_of_a_resource_are_those_of_the_server_to_the_space() -> None:
    resource = b'{ "resourceType":"Observation" ,\n "valueQuantity":{"value": 1.50}, "x":"\\u4e2d]}" }'
    page = cut(
        b'{"total":3,"entry" : [ {"search":{"mode":"match"}, "resource": %s }, {} ] ,"resourceType":"Bundle"} '
        % resource
    )
    assert [one.content for one in page.pieces] == [resource, b"{}"]
    assert page.total == 3


def test_no_error_of_a_connector_is_another_than_those_named(connect: Connect) -> None:
    for kind in HOSTILE:
        server = FhirServer(patients=3, moods=Moods(hostile=kind, fail_every=2))
        with server, pytest.raises(ConnectorError):
            records(connect(server.base, attempts=2, answer_bytes=100_000, pages=50))
