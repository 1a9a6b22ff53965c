"""Drop folders as hospitals fill them."""

from __future__ import annotations

import json
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from needed import needs

from connectors import Page, Retry, mode, open_connector
from connectors.contract import Found, Mark, PullConnector, since
from connectors.his.hl7v2_files import FilesConnector
from schemas.errors import ConfigurationError
from schemas.records import RawRecord, Unreadable
from schemas.source import Source

NAME = "欧阳娜娜_P0042.hl7"  # a file's name may be a patient's
A01 = b"MSH|^~\\&|HIS|EAST|ESB|DC|20260101||ADT^A01|CTL1|P|2.5\rPID|1||7\rPV1|1|I\r"
A08 = b"MSH|^~\\&|HIS|EAST|ESB|DC|20260102||ADT^A08|CTL2|P|2.5\rPID|1||7\rPV1|1|I\r"

Make = Callable[..., Source]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "inbox"
    path.mkdir()
    return path


@pytest.fixture
def connector(source_of: Make, tmp_path: Path, folder: Path) -> FilesConnector:
    opened = open_connector(source_of("his.hl7v2_files", folder="inbox"), tmp_path)
    assert isinstance(opened, FilesConnector)
    return opened


def drop(path: Path, data: bytes, age: float = 60.0) -> Path:
    """Write a file that was last changed ``age`` seconds ago."""
    path.write_bytes(data)
    changed = time.time() - age
    os.utime(path, (changed, changed))
    return path


def records(pages: list[Page]) -> list[RawRecord | Unreadable]:
    return [one for page in pages for one in page.records]


def pull(connector: PullConnector, cursor: dict[str, Any] | None = None) -> tuple[list[bytes], dict[str, Any]]:
    pages = list(connector.pull(cursor))
    return [one.content for one in records(pages) if isinstance(one, RawRecord)], pages[-1].cursor


def test_new_messages_come_once_and_later_ones_after_them(connector: FilesConnector, folder: Path) -> None:
    drop(folder / "b.hl7", A01, age=60)
    drop(folder / "a.hl7", A08, age=50)
    contents, cursor = pull(connector)
    assert contents == [A01.strip(), A08.strip()]  # by age, not by name
    assert pull(connector, cursor) == ([], cursor)
    drop(folder / "c.hl7", A01 + A08, age=40)
    assert pull(connector, cursor)[0] == [A01.strip(), A08.strip()]


def test_two_full_reads_are_equal(source_of: Make, tmp_path: Path, folder: Path) -> None:
    for number in range(20):
        drop(folder / f"{number}.hl7", A01 * (number % 3 + 1) + b"junk" * (number == 7), age=100 - number)
    clock = lambda: datetime(2027, 1, 1, tzinfo=UTC)  # noqa: E731
    source = source_of("his.hl7v2_files", folder="inbox")
    first, second = (list(FilesConnector(source, tmp_path, now=clock).pull()) for _ in range(2))
    assert first == second


def test_cursor_survives_json_and_the_old_one_reads_again(connector: FilesConnector, folder: Path) -> None:
    drop(folder / "a.hl7", A01)
    start = list(connector.pull())[-1].cursor
    drop(folder / "b.hl7", A08)
    contents, after = pull(connector, json.loads(json.dumps(start)))
    assert contents == [A08.strip()]
    assert pull(connector, start)[0] == [A08.strip()]
    assert pull(connector, json.loads(json.dumps(after)))[0] == []


def test_record_says_where_it_stood_and_whose_it_is_without_the_files_name(
    connector: FilesConnector, folder: Path
) -> None:
    drop(folder / NAME, A01 + A08 + b"\r\rjunk\r")
    one, two, junk = records(list(connector.pull()))
    assert isinstance(one, RawRecord)
    assert isinstance(two, RawRecord)
    assert isinstance(junk, Unreadable)
    assert (one.source, one.media) == ("east-lis", "hl7v2")
    assert one.received_at.utcoffset() is not None
    assert one.position.startswith("message 1 of file ")
    assert len(one.native_id) == 32
    assert one.native_id != two.native_id
    assert junk.position.startswith(f"byte {len(A01 + A08) + 2} of file ")
    assert (junk.head, junk.size, junk.refusal.code) == (b"junk", 4, "not_hl7")
    for record in (one, two, junk):
        assert "欧阳" not in repr(replace(record, **{"content" if record is not junk else "head": b""}))


def test_same_control_id_of_another_sender_is_another_native_id(connector: FilesConnector, folder: Path) -> None:
    drop(folder / "a.hl7", A01 + A01.replace(b"|EAST|", b"|WEST|") + A01.replace(b"CTL1", b""))
    one, other, none = (r.native_id for r in records(list(connector.pull())) if isinstance(r, RawRecord))
    assert one != other
    assert none == ""


def test_file_that_is_still_written_is_left_alone_and_counted_as_waiting(
    connector: FilesConnector, folder: Path
) -> None:
    drop(folder / "a.hl7", A01[:50], age=0)
    (page,) = connector.pull()
    assert (page.records, page.waiting) == ((), 1)
    drop(folder / "a.hl7", A01, age=60)
    assert pull(connector, page.cursor)[0] == [A01.strip()]


def test_file_dated_in_the_future_is_read_once_our_own_clock_saw_it_unchanged(
    source_of: Make, tmp_path: Path, folder: Path
) -> None:
    drop(folder / "a.hl7", A01, age=-7200)
    now = datetime.now(UTC)
    source = source_of("his.hl7v2_files", folder="inbox")
    cursor: dict[str, Any] = {}
    seen = []
    for seconds in (0, 2, 6, 8):
        clock = lambda later=seconds: now + timedelta(seconds=later)  # noqa: E731
        contents, cursor = pull(FilesConnector(source, tmp_path, now=clock), cursor)
        seen.append(len(contents))
    assert seen == [0, 0, 1, 0]


def test_file_that_grows_while_it_is_read_gives_no_half_message(connector: FilesConnector, folder: Path) -> None:
    connector.page_records = 1  # type: ignore[misc]
    path = drop(folder / "a.hl7", A01 + A08[:60])
    pages = connector.pull()
    first = next(pages)
    with path.open("ab") as stream:
        stream.write(A08[60:])
    rest = list(pages)
    assert [r.content for r in records([first, *rest]) if isinstance(r, RawRecord)] == [A01.strip()]
    assert rest[-1].waiting == 1
    changed = time.time() - 30
    os.utime(path, (changed, changed))
    assert pull(connector, rest[-1].cursor)[0] == [A01.strip(), A08.strip()]


def test_file_that_grew_or_was_replaced_is_read_again(connector: FilesConnector, folder: Path) -> None:
    path = drop(folder / "a.hl7", A01)
    _, cursor = pull(connector)
    drop(path, A01 + A08)
    contents, cursor = pull(connector, cursor)
    assert contents == [A01.strip(), A08.strip()]
    changed = path.stat().st_mtime
    path.write_bytes(A08 + A01)  # same size, and then the same time
    os.utime(path, (changed, changed))
    assert pull(connector, cursor)[0] == [A08.strip(), A01.strip()]


def test_unfinished_and_hidden_names_links_pipes_and_folders_are_left_alone(
    connector: FilesConnector, folder: Path, tmp_path: Path
) -> None:
    for name in ("a.hl7.tmp", "b.part", ".c.hl7", "d.filepart", "e.hl7~"):
        drop(folder / name, A01)
    (folder / "link.hl7").symlink_to(drop(tmp_path / "elsewhere.hl7", A01))
    os.mkfifo(folder / "pipe.hl7")
    (folder / "sub").mkdir()
    drop(folder / "sub" / "f.hl7", A01)
    assert pull(connector)[0] == []


def test_pattern_and_folders_within_are_followed_when_asked(source_of: Make, tmp_path: Path, folder: Path) -> None:
    (folder / "2026" / "11").mkdir(parents=True)
    drop(folder / "2026" / "11" / "a.oru", A01)
    drop(folder / "b.txt", A08)
    source = source_of("his.hl7v2_files", folder=str(folder), pattern=["*.hl7", "*.oru"], recursive=True)
    assert pull(open_connector(source, tmp_path / "other"))[0] == [A01.strip()]


def test_folder_that_is_not_there_is_an_error_and_not_an_empty_source(
    source_of: Make, tmp_path: Path, connector: FilesConnector, folder: Path
) -> None:
    drop(folder / "a.hl7", A01)
    _, cursor = pull(connector)
    folder.rename(tmp_path / "unmounted")
    with pytest.raises(Retry, match=r"settings\.folder"):
        list(connector.pull(cursor))
    (tmp_path / "unmounted").rename(folder)
    assert pull(connector, cursor)[0] == []


def test_error_of_the_system_is_retry_and_does_not_name_the_file(source_of: Make, tmp_path: Path, folder: Path) -> None:
    class Broken(FilesConnector):
        def read(self, cursor: Any) -> Iterator[Found | Mark]:
            yield from super().read(cursor)
            raise OSError(5, "Input/output error", str(folder / NAME))

    drop(folder / NAME, A01)
    pages = []
    with pytest.raises(Retry) as caught:
        pages.extend(Broken(source_of("his.hl7v2_files", folder="inbox"), tmp_path).pull())
    assert "欧阳" not in str(caught.value)
    assert caught.value.__suppress_context__


@needs(os.geteuid() == 0, "gives up root's rights to meet a file that may not be read")
def test_file_without_the_right_to_read_it_waits_and_the_others_go_on(source_of: Make, tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        drop(folder / "a.hl7", A01).chmod(0o644)
        drop(folder / "b.hl7", A08).chmod(0)
        connector = open_connector(source_of("his.hl7v2_files", folder=name), tmp_path)
        os.seteuid(65534)
        try:
            pages = list(connector.pull())
        finally:
            os.seteuid(0)
        again = pull(connector, pages[-1].cursor)
    assert [r.content for r in records(pages) if isinstance(r, RawRecord)] == [A01.strip()]
    assert pages[-1].waiting == 1
    assert again[0] == [A08.strip()]


def test_pages_are_bounded_in_records_and_bytes(connector: FilesConnector, folder: Path) -> None:
    for number in range(10):
        drop(folder / f"{number}.hl7", A01 * 10 + A08.replace(b"|7", b"|" + b"7" * 1000), age=100 - number)
    connector.page_records, connector.page_bytes = 25, 2000  # type: ignore[misc]
    pages = list(connector.pull())
    assert len(records(pages)) == 110
    assert max(len(page.records) for page in pages) <= 25
    sizes = [sum(len(r.content) for r in page.records if isinstance(r, RawRecord)) for page in pages]
    assert max(sizes) < 2000 + 1100
    assert all(page.cursor == pages[0].cursor for page in pages[:-1])


def test_cursor_holds_only_what_is_still_in_the_folder(connector: FilesConnector, folder: Path) -> None:
    for number in range(50):
        drop(folder / f"{number}.hl7", A01)
    _, cursor = pull(connector)
    assert len(json.dumps(cursor)) < 50 * 16 + 40
    for path in folder.iterdir():
        path.unlink()
    _, cursor = pull(connector, cursor)
    assert cursor == {"read": "", "seen": {}}


def test_oversize_message_of_a_file_is_unreadable_with_its_head(source_of: Make, tmp_path: Path, folder: Path) -> None:
    drop(folder / "a.hl7", A01 + A08[:-1] + b"x" * 200_000 + b"\r" + A01)
    opened = open_connector(source_of("his.hl7v2_files", folder="inbox", record_bytes=2000), tmp_path)
    one, large, other = records(list(opened.pull()))
    assert isinstance(large, Unreadable)
    assert (large.refusal.code, len(large.head)) == ("oversize", 65536)
    assert abs(large.size - len(A08) - 200_000) <= 1
    assert all(isinstance(record, RawRecord) for record in (one, other))


def test_large_file_is_read_in_bounded_memory(connector: FilesConnector, folder: Path) -> None:
    path = folder / "a.hl7"
    with path.open("wb") as stream:
        for _ in range(16):
            stream.write(A01 * 8000)
        stream.write(A08[:-1] + b"x" * 30_000_000)
    os.utime(path, (1, 1))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    count = sum(len(page.records) for page in connector.pull())
    assert count == 16 * 8000 + 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "folder is missing"),
        ({"folder": 7}, "folder: expected str, got int"),
        ({"folder": "a", "colour": "red"}, "colour is not known"),
        ({"folder": "a", "quiet_seconds": -1}, "quiet_seconds must be"),
        ({"folder": "a", "quiet_seconds": "5"}, "quiet_seconds: expected float, got str"),
        ({"folder": "a", "pattern": [1]}, "pattern: expected a text or a list of texts"),
        ({"folder": ""}, "folder is empty"),
        ({"folder": "a", "recursive": 1}, "recursive: expected bool, got int"),
    ],
)
def test_settings_that_cannot_be_used_are_named(
    source_of: Make, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        open_connector(source_of("his.hl7v2_files", **settings), tmp_path)
    assert "sources/east-lis.yaml" in str(caught.value)


def test_kind_that_nobody_speaks_or_that_sends_by_itself_is_refused(source_of: Make, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"his\.fax"):
        mode(source_of("his.fax"))
    with pytest.raises(ConfigurationError, match="listen"):
        open_connector(source_of("his.hl7v2_mllp", port=0), tmp_path)


def test_overlap_window_reaches_behind_the_watermark() -> None:
    assert since(None, timedelta(hours=1)) is None
    assert since("2026-11-01T08:00:00+08:00", timedelta(hours=1)) == datetime(2026, 10, 31, 23, tzinfo=UTC)
