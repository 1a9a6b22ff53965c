"""The contract, through the smallest connector one can write: rows with a watermark, some of them committed late."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest

from connectors import Retry, Stop
from connectors.contract import HEAD_BYTES, Found, Mark, PullConnector, since
from schemas.records import RawRecord, Refusal, Unreadable
from schemas.source import Source

START = datetime(2026, 11, 1, tzinfo=UTC)


class Rows(PullConnector):
    """Reads rows of (minute, bytes) in order of their minute, from the watermark less ten minutes."""

    media: ClassVar[str] = "rows"
    page_records: ClassVar[int] = 3
    rows: ClassVar[list[tuple[int, bytes]]] = []
    closed: ClassVar[list[bool]] = []

    def read(self, cursor: Mapping[str, Any]) -> Iterator[Found | Mark]:
        begin = since(cursor.get("watermark"), timedelta(minutes=10))
        try:
            for minute, content in sorted(self.rows):
                changed = START + timedelta(minutes=minute)
                if begin is None or changed >= begin:
                    yield Found(content, f"row {minute}", str(minute))
                    yield Mark({"watermark": changed.isoformat()})
        finally:
            self.closed.append(True)


@pytest.fixture
def rows(source_of: Callable[..., Source], tmp_path: Path) -> Rows:
    Rows.rows, Rows.closed = [(minute, b"row %d" % minute) for minute in range(0, 50, 5)], []
    return Rows(source_of("his.rows", record_bytes=1024), tmp_path)


def contents(rows: Rows, cursor: dict[str, Any] | None = None) -> list[str]:
    found = (one for page in rows.pull(cursor) for one in page.records)
    return [one.content.decode() for one in found if isinstance(one, RawRecord)]


def test_pages_are_full_in_order_and_each_cursor_stands_behind_its_page_only(rows: Rows) -> None:
    pages = list(rows.pull())
    assert [len(page.records) for page in pages] == [3, 3, 3, 1]
    every = [one for page in pages for one in page.records]
    for number, page in enumerate(pages):
        again = contents(rows, page.cursor)
        beyond = [one.content.decode() for one in every[3 * number + 3 :] if isinstance(one, RawRecord)]
        assert again[-len(beyond) :] == beyond or not beyond


def test_late_row_behind_the_watermark_is_met_within_the_overlap_window(rows: Rows) -> None:
    cursor = list(rows.pull())[-1].cursor
    rows.rows.append((38, b"late"))
    assert "late" in contents(rows, cursor)
    assert contents(rows, cursor)[-1] == "row 45"


def test_cursor_in_the_future_gives_nothing_and_stays_as_it_is(rows: Rows) -> None:
    cursor = {"watermark": "2030-01-01T00:00:00+00:00"}
    (page,) = rows.pull(cursor)
    assert (page.records, page.cursor) == ((), cursor)


def test_row_above_the_limit_is_unreadable_with_its_head_and_the_others_go_on(rows: Rows) -> None:
    large = b"x" * (HEAD_BYTES + 10)
    rows.rows.append((17, large))
    every = [one for page in rows.pull() for one in page.records]
    (refused,) = (one for one in every if isinstance(one, Unreadable))
    assert (refused.refusal.code, refused.size, len(refused.head)) == ("oversize", len(large), HEAD_BYTES)
    assert refused.digest == hashlib.sha256(large).hexdigest()
    assert len(every) == 11


def test_digest_of_what_is_unreadable_is_made_by_what_the_caller_gave(
    source_of: Callable[..., Source], tmp_path: Path, rows: Rows
) -> None:
    class Refusing(Rows):
        def read(self, cursor: Mapping[str, Any]) -> Iterator[Found | Mark]:
            yield Found(b"abc", "row 1", refusal=Refusal("not_hl7", "row 1", "a reason"))

    (page,) = Refusing(source_of("his.rows"), tmp_path, hashlib.sha1).pull()
    (one,) = page.records
    assert isinstance(one, Unreadable)
    assert one.digest == hashlib.sha1(b"abc").hexdigest()


def test_reader_is_closed_when_the_caller_stops_in_the_middle(rows: Rows) -> None:
    pages = rows.pull()
    next(pages)
    assert rows.closed == []
    pages.close()  # type: ignore[attr-defined]
    assert rows.closed == [True]


@pytest.mark.parametrize(
    "error", [ConnectionRefusedError("db 张三"), TimeoutError("张三"), OSError(5, "张三", "/张三.hl7")]
)
def test_fault_of_the_system_is_retry_and_repeats_nothing_of_its_text(
    source_of: Callable[..., Source], tmp_path: Path, error: OSError
) -> None:
    class Failing(PullConnector):
        media = "rows"

        def read(self, cursor: Mapping[str, Any]) -> Iterator[Found | Mark]:
            raise error
            yield Mark({})

    with pytest.raises(Retry) as caught:
        list(Failing(source_of("his.rows"), tmp_path).pull())
    assert "张三" not in str(caught.value)
    assert type(error).__name__ in str(caught.value)


def test_what_a_person_must_mend_passes_through_as_stop(source_of: Callable[..., Source], tmp_path: Path) -> None:
    class Denied(PullConnector):
        media = "rows"

        def read(self, cursor: Mapping[str, Any]) -> Iterator[Found | Mark]:
            raise Stop("hospital-east: the password is refused; set the connection's password")
            yield Mark({})

    with pytest.raises(Stop, match="password"):
        list(Denied(source_of("his.rows"), tmp_path).pull())
