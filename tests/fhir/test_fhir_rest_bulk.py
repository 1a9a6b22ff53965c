"""A FHIR server read by Bulk Data exports: taken up anywhere, expired anywhere, deleted at the end."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.conformance import Trial, assert_conforms
from connectors.contract import Found, Page, PullConnector
from connectors.errors import Retry, Stop
from connectors.his.fhir_lines import Lines
from connectors.his.fhir_rest import FhirConnector
from schemas.records import RawRecord, Unreadable
from simulators.fhir_records import BEGAN
from simulators.fhir_server import FhirServer, Moods

Connect = Callable[..., FhirConnector]
Cursor = dict[str, Any]


def bulk(connect: Connect, server: FhirServer, **settings: Any) -> FhirConnector:
    return connect(server.base, mode="bulk", **settings)


def read(connector: PullConnector, cursor: Cursor | None = None) -> tuple[list[str], Page]:
    ids: list[str] = []
    page = Page((), {})
    for page in connector.pull(cursor):
        ids += [one.native_id for one in page.records if isinstance(one, RawRecord)]
    return ids, page


def test_export_gives_every_resource_once_and_the_job_is_deleted(connect: Connect) -> None:
    with FhirServer(patients=10, moods=Moods(polls=3)) as server:
        ids, last = read(bulk(connect, server))
        assert server.asked["export"] == 1 and server.asked["forgotten"] == 1 and server.asked["poll"] == 4
        assert not server._jobs
    assert len(ids) == len(set(ids)) == len(server.current([])) == last.expected
    assert set(last.cursor["bulk"]) == {"since"} and last.waiting == 0


def test_export_conforms_to_the_suite_of_all_kinds(connect: Connect) -> None:
    with FhirServer(patients=6) as server:
        assert_conforms(
            Trial(
                lambda: bulk(connect, server),
                wrong=lambda: connect("http://127.0.0.1:9/fhir", mode="bulk", attempts=1),
                late=server.late,
            )
        )


def test_export_that_is_not_ready_is_waited_for_by_the_next_run(connect: Connect) -> None:
    with FhirServer(patients=3, moods=Moods(polls=2, retry_after="30")) as server:
        ids, last = read(bulk(connect, server, poll_seconds=1.0))
        assert (ids, last.waiting) == ([], 1)
        assert server.asked["export"] == 1
        server.moods.retry_after = "0"
        ids, last = read(bulk(connect, server), last.cursor)
        assert server.asked["export"] == 1
    assert len(ids) == len(server.current([])) and last.waiting == 0


def test_wait_between_looks_is_what_the_server_asks_for(connect: Connect) -> None:
    with FhirServer(patients=1, moods=Moods(polls=3, retry_after="11")) as server:
        connector = bulk(connect, server)
        waits: list[float] = []
        connector.sleep = waits.append
        read(connector)
    assert waits == [11.0, 11.0, 11.0]


@pytest.mark.parametrize("cut", [1, 2, 5, 9])
def test_killed_in_the_middle_of_a_file_reading_goes_on_at_the_next_line_of_the_same_export(
    connect: Connect, cut: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.his.fhir_bulk._LINES_PER_MARK", 4)
    with FhirServer(patients=8) as server:
        connector = bulk(connect, server)
        connector.page_records = 3  # type: ignore[misc]
        before: list[str] = []
        pages = connector.pull()
        for _ in range(cut):
            page = next(pages)
            before += [one.native_id for one in page.records if isinstance(one, RawRecord)]
        pages.close()  # type: ignore[attr-defined]
        after, last = read(bulk(connect, server), page.cursor)
        assert server.asked["export"] == 1
        assert set(before) | set(after) == {f"{one['resourceType']}/{one['id']}/1" for one in server.current([])}
        # What was read before the last mark is not read again.
        assert len(before) + len(after) <= len(server.current([])) + 4 + 3
    assert last.expected is None, "the server's count is of the whole export, of which this was a part"


def test_connection_cut_in_the_middle_of_a_file_is_taken_up_without_a_repeat(connect: Connect) -> None:
    with FhirServer(patients=10, moods=Moods(cut_after=3_000)) as server:
        ids, last = read(bulk(connect, server))
    assert len(ids) == len(set(ids)) == last.expected == len(server.current([]))


def test_files_that_expired_are_a_reason_for_a_new_export(connect: Connect) -> None:
    with FhirServer(patients=6, moods=Moods(file_life=2)) as server:
        made: list[int] = []
        forgotten = server.manifest

        def manifest(name: str, job: Any) -> dict[str, Any]:
            made.append(1)
            server.moods.file_life = 2 if len(made) == 1 else 0
            return forgotten(name, job)

        server.manifest = manifest  # type: ignore[method-assign]
        ids, last = read(bulk(connect, server))
        assert server.asked["export"] == 2
    assert set(ids) == {f"{one['resourceType']}/{one['id']}/1" for one in server.current([])}
    assert last.expected == len(server.current([])) <= len(ids)


def test_files_that_expire_every_time_are_a_reason_to_try_again_later(connect: Connect) -> None:
    with FhirServer(patients=6, moods=Moods(file_life=1)) as server:
        with pytest.raises(Retry, match="expire before their files are read"):
            read(bulk(connect, server))
        assert server.asked["export"] == 3


def test_export_that_the_server_forgot_between_two_runs_is_asked_for_anew(connect: Connect) -> None:
    with FhirServer(patients=3, moods=Moods(polls=5, retry_after="60")) as server:
        _, last = read(bulk(connect, server, poll_seconds=0.0))
        server._jobs.clear()
        server.moods.polls = 0
        ids, _ = read(bulk(connect, server), last.cursor)
        assert server.asked["export"] == 2
    assert len(ids) == len(server.current([]))


def test_next_export_asks_for_what_changed_and_what_was_deleted(connect: Connect) -> None:
    with FhirServer(patients=3) as server:
        _, last = read(bulk(connect, server))
        server.put({"resourceType": "Patient", "id": "p-new"}, BEGAN + timedelta(days=2))
        server.delete("Observation", "o-1-0")
        pages = list(bulk(connect, server, overlap_minutes=0.0).pull(last.cursor))
    found = [one for page in pages for one in page.records if isinstance(one, RawRecord)]
    told = [json.loads(one.content) for one in found]
    assert {one["id"] for one in told if one["resourceType"] == "Patient"} >= {"p-new"}
    gone = [one for one in told if one["resourceType"] == "Bundle"]
    assert [one["entry"][0]["request"] for one in gone] == [{"method": "DELETE", "url": "Observation/o-1-0"}]
    assert pages[-1].expected == len(found)


def test_errors_that_the_export_reports_are_set_aside_and_counted(connect: Connect) -> None:
    with FhirServer(patients=1) as server:
        held = server.manifest

        def manifest(name: str, job: Any) -> dict[str, Any]:
            issues = [{"severity": "error"}, {"severity": "information"}]
            job.files["e.ndjson"] = b"".join(
                json.dumps({"resourceType": "OperationOutcome", "issue": [one]}).encode() + b"\n" for one in issues
            )
            said = held(name, job)
            said["output"] = [one for one in said["output"] if "e.ndjson" not in one["url"]]
            said["error"] = [{"type": "OperationOutcome", "url": f"{server.origin}/bulk/file/{name}/e.ndjson"}]
            return said

        server.manifest = manifest  # type: ignore[method-assign]
        pages = list(bulk(connect, server).pull())
    bad = [one for page in pages for one in page.records if isinstance(one, Unreadable)]
    assert [one.refusal.code for one in bad] == ["source_error"]
    assert sum(len(page.records) for page in pages) == len(server.current([])) + 1


def test_line_over_the_limit_is_unreadable_with_its_head_and_size_and_the_others_go_on(connect: Connect) -> None:
    with FhirServer(patients=2) as server:
        server.put({"resourceType": "Patient", "id": "big", "name": [{"text": "x" * 400_000}]})
        pages = list(bulk(connect, server, record_bytes=20_000).pull())
    records = [one for page in pages for one in page.records]
    bad = [one for one in records if isinstance(one, Unreadable)]
    assert [(one.refusal.code, one.size > 400_000) for one in bad] == [("oversize", True)]
    assert len(records) == len(server.current([])) == pages[-1].expected


def test_files_at_another_origin_are_only_fetched_where_the_settings_list_it(connect: Connect) -> None:
    with FhirServer(patients=2) as files, FhirServer(patients=2) as server:
        server.moods.file_origin = files.origin
        with pytest.raises(Stop, match="file_origins"):
            read(bulk(connect, server))
        assert not files.asked["all"]
        files._jobs = server._jobs
        ids, _ = read(bulk(connect, server, file_origins=[files.origin]))
    assert len(ids) == len(server.current([]))


def test_server_without_exports_stops_and_says_what_it_does_not_take(connect: Connect) -> None:
    with FhirServer(patients=1) as server:
        _refusing(server)
        with pytest.raises(Stop, match=r"does not take Group/7/\$export"):
            read(bulk(connect, server, export="Group/7/$export"))


def _refusing(server: FhirServer) -> None:
    """The server answers every export with 404."""
    handler = server._http.RequestHandlerClass

    def kick_off(self: Any, _query: Any) -> None:
        self._json(404, {"resourceType": "OperationOutcome"})

    handler._kick_off = kick_off  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "manifest",
    [
        {},
        [],
        {"transactionTime": "yesterday", "output": []},
        {"transactionTime": "2026-01-01T00:00:00Z", "output": [{}]},
        {"transactionTime": "2026-01-01T00:00:00Z", "output": [{"url": 1}]},
    ],
)
def test_manifest_that_is_none_is_a_reason_to_try_again_later(connect: Connect, manifest: Any) -> None:
    with FhirServer(patients=1) as server:
        server.manifest = lambda name, job: manifest  # type: ignore[method-assign]
        with pytest.raises(Retry, match="manifest"):
            read(bulk(connect, server))


LINE = st.binary(max_size=40).map(lambda line: line.replace(b"\n", b"").replace(b"\r", b""))


@given(st.lists(LINE, max_size=12), st.integers(1, 9), st.booleans())
def test_lines_are_those_of_the_stream_however_it_is_cut(lines: list[bytes], size: int, ended: bool) -> None:
    whole = b"\n".join(lines) + (b"\n" if ended else b"")
    chunks = [whole[at : at + size] for at in range(0, len(whole), size)]
    found = list(Lines(iter(chunks), 16, hashlib.sha256))
    wanted = whole.split(b"\n")
    wanted = wanted[:-1] if not wanted[-1] else wanted
    assert len(found) == len(wanted)
    for got, line in zip(found, wanted, strict=True):
        if isinstance(got, Found):
            assert len(line) > 16
            assert (got.size, got.digest) == (len(line), hashlib.sha256(line).hexdigest())
        else:
            assert got == line


def test_memory_holds_one_line_however_long_the_file(connect: Connect) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(2_000):
            yield b"x" * 65_536
        yield b"\nend\n"

    found = list(Lines(endless(), 1_000, hashlib.sha256))
    assert isinstance(found[0], Found) and found[0].size == 2_000 * 65_536 and len(found[0].content) <= 65_536
    assert found[1] == b"end"
