"""Folders of documents: each once and whole, whatever is dropped, killed, late, doubled or dated wrongly."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cda_shell import PATIENT, SHELL

from connectors import Page, Retry, open_connector
from connectors.contract import HEAD_BYTES
from connectors.his.cda_documents import DocumentsConnector, native_id
from schemas.errors import ConfigurationError
from schemas.records import RawRecord, Unreadable
from schemas.source import Source, load_source

DOCUMENT = SHELL.format(PATIENT).encode()
OTHER = DOCUMENT.replace(b"D1", b"D2")
NAME = "欧阳娜娜_P0042.xml"  # a file's name may be a patient's

Open = Callable[..., DocumentsConnector]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "inbox"
    path.mkdir()
    return path


@pytest.fixture
def opened(tmp_path: Path, folder: Path) -> Open:
    path = tmp_path / "ward.yaml"
    path.write_text(
        "{id: ward, institution: hospital-east, kind: his.cda_documents, time_zone: Asia/Shanghai, "
        "settings: {folder: inbox}}",
        "utf-8",
    )

    def make(record_bytes: int = 1_000_000, now: datetime | None = None, **settings: Any) -> DocumentsConnector:
        source: Source = load_source(path)
        source = replace(source, record_bytes=record_bytes, settings={**source.settings, **settings})
        if now is not None:
            return DocumentsConnector(source, tmp_path, now=lambda: now)
        connector = open_connector(source, tmp_path)
        assert isinstance(connector, DocumentsConnector)
        return connector

    return make


def drop(path: Path, data: bytes, age: float = 60.0) -> Path:
    path.write_bytes(data)
    changed = time.time() - age
    os.utime(path, (changed, changed))
    return path


def records(pages: list[Page]) -> list[RawRecord | Unreadable]:
    return [one for page in pages for one in page.records]


def pull(connector: DocumentsConnector, cursor: dict[str, Any] | None = None) -> tuple[list[bytes], dict[str, Any]]:
    pages = list(connector.pull(cursor))
    cursor = json.loads(json.dumps(pages[-1].cursor))
    return [one.content for one in records(pages) if isinstance(one, RawRecord)], cursor


def test_one_file_is_one_record_as_it_stands(opened: Open, folder: Path) -> None:
    drop(folder / NAME, b"\xef\xbb\xbf" + DOCUMENT + b"\r\n")
    (record,) = records(list(opened().pull()))
    assert isinstance(record, RawRecord)
    assert record.content == b"\xef\xbb\xbf" + DOCUMENT + b"\r\n"
    assert (record.media, record.source) == ("cda", "ward")
    digest = hashlib.sha256(record.content[:HEAD_BYTES]).hexdigest()[:16]
    assert record.position == f"file {digest}"
    assert "欧阳" not in repr(replace(record, content=b""))


def test_new_documents_come_once_oldest_first_and_late_ones_after_them(opened: Open, folder: Path) -> None:
    drop(folder / "b.xml", DOCUMENT, age=60)
    drop(folder / "a.xml", OTHER, age=50)
    contents, cursor = pull(opened())
    assert contents == [DOCUMENT, OTHER]
    assert pull(opened(), cursor) == ([], cursor)
    drop(folder / "late.xml", DOCUMENT.replace(b"D1", b"D3"), age=86_400)  # older than all that was read
    assert len(pull(opened(), cursor)[0]) == 1


def test_two_full_reads_are_equal(opened: Open, folder: Path) -> None:
    for number in range(12):
        drop(folder / f"{number}.xml", DOCUMENT * (number != 3), age=100 - number)
    now = datetime(2027, 1, 1, tzinfo=UTC)
    assert list(opened(now=now).pull()) == list(opened(now=now).pull())


def test_killed_at_any_point_everything_comes_again_from_the_stored_cursor(opened: Open, folder: Path) -> None:
    for number in range(5):
        drop(folder / f"{number}.xml", DOCUMENT.replace(b"D1", b"D%d" % number), age=100 - number)
    whole = pull(opened())[0]
    for taken in range(5):
        connector = opened()
        connector.page_records = 1  # type: ignore[misc]
        pages = connector.pull()
        landed = [record.content for _ in range(taken) for record in next(pages).records]  # type: ignore[union-attr]
        pages.close()  # type: ignore[attr-defined]
        again, cursor = pull(opened())  # no cursor was stored: nothing was committed
        assert landed == whole[:taken]
        assert again == whole
        assert pull(opened(), cursor)[0] == []


def test_document_dropped_twice_is_the_same_record_twice(opened: Open, folder: Path) -> None:
    drop(folder / "a.xml", DOCUMENT, age=60)
    drop(folder / "again.xml", DOCUMENT, age=50)
    one, other = records(list(opened().pull()))
    assert isinstance(one, RawRecord)
    assert isinstance(other, RawRecord)
    assert (one.native_id, one.content, one.position) == (other.native_id, other.content, other.position)


def test_file_that_is_still_written_waits_and_a_grown_one_comes_whole(opened: Open, folder: Path) -> None:
    drop(folder / "a.xml", DOCUMENT[:100], age=0)
    (page,) = opened().pull()
    assert (page.records, page.waiting) == ((), 1)
    drop(folder / "a.xml", DOCUMENT, age=60)
    assert pull(opened(), page.cursor)[0] == [DOCUMENT]


def test_file_replaced_while_it_is_read_is_not_taken_half(opened: Open, folder: Path) -> None:
    path = drop(folder / "a.xml", DOCUMENT)
    connector = opened()
    contents = connector.contents

    def slow(stream: Any, name: str) -> Any:
        for found in contents(stream, name):
            with path.open("ab") as more:
                more.write(b"<!-- later -->")
            yield found

    connector.contents = slow  # type: ignore[method-assign]
    pages = list(connector.pull())
    assert (records(pages), pages[-1].waiting) == ([], 1)
    drop(path, DOCUMENT)
    assert pull(opened(), pages[-1].cursor)[0] == [DOCUMENT]


def test_file_dated_in_the_future_waits_for_our_own_clock(opened: Open, folder: Path) -> None:
    drop(folder / "a.xml", DOCUMENT, age=-7200)
    now, cursor, seen = datetime.now(UTC), {}, []
    for seconds in (0, 2, 6, 8):
        contents, cursor = pull(opened(now=now + timedelta(seconds=seconds)), cursor)
        seen.append(len(contents))
    assert seen == [0, 0, 1, 0]


def test_too_large_document_is_set_aside_in_bounded_memory(opened: Open, folder: Path) -> None:
    size = 64 << 20
    with drop(folder / "a.xml", DOCUMENT).open("ab") as stream:
        stream.truncate(size)
    os.utime(folder / "a.xml", (0, 0))
    drop(folder / "b.xml", OTHER)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    large, right = records(list(opened(record_bytes=100_000).pull()))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # kB
    assert isinstance(large, Unreadable)
    assert (large.refusal.code, large.refusal.where, large.size) == ("oversize", "file", size)
    assert large.head == (DOCUMENT + b"\0" * HEAD_BYTES)[:HEAD_BYTES]
    whole = hashlib.sha256(DOCUMENT)
    whole.update(b"\0" * (size - len(DOCUMENT)))
    assert large.digest == whole.hexdigest()
    assert isinstance(right, RawRecord)


@pytest.mark.parametrize("content", [b"", b" \r\n\t"])
def test_file_without_content_is_set_aside(opened: Open, folder: Path, content: bytes) -> None:
    drop(folder / "a.xml", content)
    (found,) = records(list(opened().pull()))
    assert isinstance(found, Unreadable)
    assert (found.refusal.code, found.size) == ("truncated", len(content))


def test_what_is_no_document_by_its_name_is_left_alone(opened: Open, folder: Path) -> None:
    for name in ("CDA.xsl", "a.xml.tmp", ".hidden.xml", "a.pdf", "a.xml~"):
        drop(folder / name, DOCUMENT)
    (folder / "link.xml").symlink_to(folder / "CDA.xsl")
    assert pull(opened())[0] == []
    assert len(pull(opened(pattern=["*.xsl"]))[0]) == 1


def test_file_without_the_right_to_read_it_waits(opened: Open, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drop(folder / "a.xml", DOCUMENT)
    closed = drop(folder / "b.xml", OTHER)
    whole = os.open

    def refused(path: Any, *rest: Any, **more: Any) -> int:
        if path == closed:
            raise PermissionError(13, "denied")
        return whole(path, *rest, **more)

    monkeypatch.setattr(os, "open", refused)  # root may read everything
    pages = list(opened().pull())
    assert (len(records(pages)), pages[-1].waiting) == (1, 1)
    monkeypatch.undo()
    assert pull(opened(), pages[-1].cursor)[0] == [OTHER]


def test_folder_that_is_not_there_is_tried_again(opened: Open, folder: Path) -> None:
    folder.rmdir()
    with pytest.raises(Retry, match=r"settings\.folder"):
        list(opened().pull())
    (finding,) = opened().check()
    assert (finding.aspect, finding.ok) == ("connection", False)


def test_check_says_what_the_folder_holds_without_taking_anything(opened: Open, folder: Path) -> None:
    drop(folder / NAME, DOCUMENT)
    drop(folder / "b.xml", b"<?xml version='1.0' encoding='gb18030'?>" + DOCUMENT)
    drop(folder / "c.xml", DOCUMENT.decode().encode("utf-16"))
    drop(folder / "d.xml", b"<html/>", age=-7200)
    found = {one.aspect: one for one in opened().check()}
    assert found["connection"].message == "the folder is there, with 4 files of the pattern"
    assert found["rights"].ok
    assert not found["clock"].ok
    assert "UTF-8 1" in found["charset"].message
    assert "GB18030 1" in found["charset"].message
    assert "UTF-16 1" in found["charset"].message
    assert found["content"].message.startswith("3 of the first 4 files")
    assert "欧阳" not in str(found)
    assert pull(opened())[0] != []


def test_empty_folder_is_well_but_has_nothing_to_look_at(opened: Open) -> None:
    assert [(one.aspect, one.ok) for one in opened().check()] == [
        ("connection", True),
        ("rights", True),
        ("clock", True),
    ]


@pytest.mark.parametrize("settings", [{"folder": ""}, {"quiet_seconds": -1}, {"colour": "red"}, {"pattern": 3}])
def test_settings_that_cannot_be_used_are_refused(opened: Open, settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        opened(**settings)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (b"<ClinicalDocument><id root='1.2' extension='A'/>", b'<x:id extension="A"\n root="1.2">', True),
        (b"<!-- <id root='9'/> --><id root='1.2'/>", b"<id root='1.2'/>", True),
        (b"<id root='1.2' extension='A'/>", b"<id root='1.2' extension='B'/>", False),
        ("<id root='1.2'/>".encode("utf-16"), b"<id root='1.2'/>", True),
    ],
)
def test_document_is_known_by_its_own_id(one: bytes, other: bytes, same: bool) -> None:
    assert len(native_id(one)) == 32
    assert (native_id(one) == native_id(other)) is same


@pytest.mark.parametrize(
    "content", [b"", b"<a/>", b"<id nullFlavor='UNK'/>", b"<id root=''/>", b"<id " + b"x" * 10_000]
)
def test_document_without_an_id_has_none(content: bytes) -> None:
    assert native_id(content) == ""
