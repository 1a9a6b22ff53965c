"""An archive over DICOMweb: the same studies, streamed, whatever its HTTP does."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from dicom_made import made, written
from hypothesis import given, settings
from hypothesis import strategies as st
from pacs_world import DAY, NOW, Kept, contents, dataset, dicomweb, dimse, is_manifest, pulled, source

from connectors.errors import Retry, Stop
from connectors.pacs import dicomweb as module
from connectors.pacs.dicomweb import DicomwebConnector
from connectors.pacs.multipart import Malformed, Parts, boundary
from schemas.errors import ConfigurationError
from schemas.records import Unreadable
from simulators.pacs import Pacs


def test_both_ways_to_the_same_archive_give_the_same_objects(pacs: Pacs, kept: Kept) -> None:
    sent = pacs.fill([DAY], 8)
    web, page = pulled(dicomweb(pacs, kept))
    assert len(web) == sent.received == page.expected
    pixels = dict(kept.contents)
    wire, _ = pulled(dimse(pacs, kept))
    # Manifests differ: QIDO-RS answers in UTF-8, C-FIND in the objects' own character sets.
    objects = [contents(one for one in records if not is_manifest(one)) for records in (web, wire)]
    assert objects[0] == objects[1] and kept.contents == pixels
    names = [
        [str(dataset(one).PatientName).replace("\x1b$)A", "") for one in records if is_manifest(one)]
        for records in (web, wire)
    ]
    assert names[0] == names[1]
    assert pulled(dicomweb(pacs, kept), page.cursor)[0] == []


def test_wrong_credentials_are_told_and_nothing_is_read(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    for name, text in (("right", "open sesame"), ("wrong", "guess")):
        path = tmp_path / "secrets" / name
        path.write_text(text)
        path.chmod(0o600)
    with Pacs(password="open sesame") as pacs:
        sent = pacs.fill([DAY], 1)
        right = dicomweb(pacs, home=tmp_path, user="pacs", password_secret="right")
        wrong = dicomweb(pacs, home=tmp_path, user="pacs", password_secret="wrong")
        nobody = dicomweb(pacs, home=tmp_path)
        for connector in (wrong, nobody):
            with pytest.raises(Stop, match="refuses us") as caught:
                pulled(connector)
            found = connector.check()[-1]
            assert (found.aspect, found.ok) == ("rights", False)
            assert "guess" not in found.message + str(caught.value)
        assert pacs.fetched == {}
        assert len(pulled(right)[0]) == sent.received
        now = dicomweb(pacs, home=tmp_path, now=datetime.now(UTC), user="pacs", password_secret="right")
        assert all(one.ok for one in now.check())
        assert [one.aspect for one in right.check() if not one.ok] == ["clock"]
        with pytest.raises(ConfigurationError, match="no secret 'absent'"):
            pulled(dicomweb(pacs, home=tmp_path, token_secret="absent"))
    with Pacs(token="open sesame") as pacs:
        pacs.fill([DAY], 1)
        assert len(pulled(dicomweb(pacs, home=tmp_path, token_secret="right"))[0]) == 7


def test_busy_archive_is_asked_again_and_one_that_stays_busy_later(pacs: Pacs) -> None:
    sent = pacs.fill([DAY], 1)
    pacs.busy[:] = [503, 429]
    assert len(pulled(dicomweb(pacs))[0]) == sent.received
    pacs.busy[:] = [503] * 50
    with pytest.raises(Retry, match="answered 503"):
        pulled(dicomweb(pacs, attempts=2))


def test_archive_that_hangs_up_or_restarts_in_a_study_is_gone_on_with(pacs: Pacs, kept: Kept) -> None:
    sent = pacs.fill([DAY], 1)
    pacs.drop_after = 3
    records, page = pulled(dicomweb(pacs, kept))
    assert len(records) == sent.received == page.expected
    assert set(pacs.fetched.values()) == {1}
    pacs.stop()
    with pytest.raises(Retry, match="fell silent"):
        pulled(dicomweb(pacs, kept, attempts=1))
    assert dicomweb(pacs).check()[0].ok is False
    pacs.start()
    assert pulled(dicomweb(pacs, kept), page.cursor)[0] == []


def test_object_that_is_listed_and_not_handed_over_is_set_aside(pacs: Pacs) -> None:
    pacs.fill([DAY], 1)
    pacs.damaged.add(str(pacs.holdings.all()[0].SOPInstanceUID))
    records, page = pulled(dicomweb(pacs))
    (refused,) = (one for one in records if isinstance(one, Unreadable))
    assert refused.refusal.code == "not_delivered" and len(records) == page.expected == 7 and page.waiting == 1


def test_listing_of_several_pages_is_read_to_its_end(pacs: Pacs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAGE", 3)
    sent = pacs.fill([DAY], 4)
    assert len(pulled(dicomweb(pacs))[0]) == sent.received


def test_no_uid_or_name_is_logged(pacs: Pacs, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    pacs.fill([DAY], 1)
    pulled(dicomweb(pacs))
    assert not [one for one in pacs.holdings.all() if str(one.StudyInstanceUID) in caplog.text]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"url": "ftp://x/"}, "must begin with http"),
        ({"url": "http://u:p@x/"}, "must hold neither credentials"),
        ({"user": "a"}, "belong together"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        DicomwebConnector(source("pacs.dicomweb", **{"url": "http://x/", "since": "2026-01-01", **values}), Path())
    assert ":p@" not in str(caught.value)


STUDIES = b'[{"0020000D":{"vr":"UI","Value":["1.2.3"]},"00080020":{"vr":"DA","Value":["20260315"]}}]'
Answer = Callable[[BaseHTTPRequestHandler], None]


@pytest.fixture
def hostile() -> Iterator[Callable[[Answer], Any]]:
    """Serves one object's listing rightly and answers its retrieval as it is told."""
    servers = []

    def serve(answer: Answer) -> Any:
        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None: ...

            def do_GET(self) -> None:
                listing = {
                    "studies": STUDIES,
                    "series": b'[{"0020000E":{"vr":"UI","Value":["1.2.3.1"]}}]',
                    "instances": b'[{"00080018":{"vr":"UI","Value":["1.2.3.1.1"]}}]',
                }.get(self.path.partition("?")[0].rsplit("/")[-1])
                if listing is None:
                    return answer(self)
                body = b"[]" if listing is STUDIES and "20260315" not in self.path else listing
                return reply(self, 200, "application/dicom+json", body)

        server = HTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        given = {"url": f"http://127.0.0.1:{server.server_port}", "since": "2026-03-15", "seconds": 2.0, "attempts": 1}
        return DicomwebConnector(source("pacs.dicomweb", **given), Path(), now=lambda: NOW, bulk=Kept())

    yield serve
    for one in servers:
        one.shutdown()
        one.server_close()


def reply(handler: BaseHTTPRequestHandler, status: int, kind: str, body: bytes, **headers: str) -> None:
    handler.send_response(status)
    handler.send_header("Content-Type", kind)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


RIGHT = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + written(made()) + b"\r\n--b--"
RELATED = 'multipart/related; type="application/dicom"; boundary=b'


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (RELATED, RIGHT),
        ('multipart/related; boundary="b"', b"preamble\r\n" + RIGHT + b"\r\nepilogue"),
        ("application/dicom", written(made())),
        (RELATED, RIGHT[:-2] + b"\r\n\r\nmore\r\n--b--"),
    ],
)
def test_object_comes_as_one_part_or_as_the_whole_body(hostile: Any, kind: str, body: bytes) -> None:
    records, _ = pulled(hostile(lambda one: reply(one, 200, kind, body)))
    assert [one for one, _ in contents(records)][:1] == ["1.2.3.1.1"]


@pytest.mark.parametrize(
    ("kind", "body", "code"),
    [
        (RELATED, b"", "not_delivered"),
        (RELATED, b"no boundary at all", "not_delivered"),
        (RELATED, RIGHT[: len(RIGHT) // 2], "not_delivered"),
        (RELATED, b"--b--", "not_delivered"),
        (RELATED, b"--b\r\n" + b"X: y\r\n" * 9000 + b"\r\n", "not_delivered"),
        (RELATED, b"--bX\r\n\r\n", "not_delivered"),
        ("multipart/related", RIGHT, "not_delivered"),
        ("text/html", b"<html>please log in</html>" * 20, "structure"),
        (RELATED, b"--b\r\n\r\n" + bytes(132) + b"\r\n--b--", "structure"),
        (RELATED, RIGHT.replace(b"1.2.3.1.1", b"1.2.3.1.7"), "bad_value"),
    ],
)
def test_hostile_bodies_are_set_aside_and_leave_nothing(hostile: Any, kind: str, body: bytes, code: str) -> None:
    connector = hostile(lambda one: reply(one, 200, kind, body))
    records, page = pulled(connector)
    (refused,) = (one for one in records if isinstance(one, Unreadable))
    assert refused.refusal.code == code and connector.bulk.contents == {} and page.expected == 2


def test_compressed_answers_and_redirects_are_refused(hostile: Any) -> None:
    connector = hostile(lambda one: reply(one, 200, RELATED, RIGHT, Content_Encoding="gzip"))
    with pytest.raises(Stop, match="compresses its answers"):
        pulled(connector)
    with pytest.raises(Stop, match="answered 302"):
        pulled(hostile(lambda one: reply(one, 302, "text/html", b"", Location="http://127.0.0.1:1/")))


@settings(max_examples=150, deadline=None)
@given(
    bodies=st.lists(st.binary(max_size=80).filter(lambda one: b"\r\n--mark" not in one), min_size=1, max_size=4),
    size=st.integers(1, 30),
)
def test_parts_come_back_however_the_body_is_cut(bodies: list[bytes], size: int) -> None:
    whole = b"".join(b"--mark\r\nA: b\r\n\r\n" + one + b"\r\n" for one in bodies) + b"--mark--\r\n"
    pieces = (whole[at : at + size] for at in range(0, len(whole), size))
    assert [b"".join(part) for part in Parts(pieces, b"mark")] == bodies


NOISE = st.lists(
    st.one_of(st.binary(max_size=40), st.sampled_from([b"--mark", b"\r\n--mark", b"--", b"\r\n", b"A: b\r\n\r\n"])),
    max_size=8,
).map(b"".join)


@settings(max_examples=300, deadline=None)
@given(NOISE, st.integers(1, 20))
def test_parts_of_any_body_stand_in_it_and_only_malformed_ends_them(noise: bytes, size: int) -> None:
    for whole in (noise, b"--mark\r\n" + noise, b"--mark\r\n\r\n" + noise + b"\r\n--mark"):
        pieces = (whole[at : at + size] for at in range(0, len(whole), size))
        parts: list[bytes] = []
        closed = True
        try:
            for part in Parts(pieces, b"mark"):
                parts.append(b"")
                for piece in part:
                    parts[-1] += piece
        except Malformed:
            closed = False
        assert all(part in whole for part in parts)
        assert sum(map(len, parts)) <= len(whole)
        assert not closed or b"\r\n--mark--" in b"\r\n" + whole


@pytest.mark.parametrize(
    ("header", "mark"),
    [
        ("multipart/related; boundary=abc", b"abc"),
        ('Multipart/Related; type="application/dicom"; boundary="a;b c"', b"a;b c"),
        ("application/dicom", None),
        ("", None),
    ],
)
def test_boundary_is_read_from_the_content_type(header: str, mark: bytes | None) -> None:
    assert boundary(header) == mark
    with pytest.raises(Malformed):
        boundary("multipart/related; boundary=" + "x" * 71)
