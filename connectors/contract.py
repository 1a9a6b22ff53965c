"""The contract every source is read by: one small method to write, everything else here.

A connector that pulls derives from :class:`PullConnector` and writes :meth:`PullConnector.read`: it yields
what the source holds, in the source's order, as :class:`Found`, and a :class:`Mark` wherever reading may
begin next time. The base makes bounded pages of it, refuses what is over the source's limit, widens a
watermark by the overlap window, turns the system's errors into :class:`connectors.errors.Retry`, and closes
what was open.

The caller lands each page before it asks for the next, and stores the last page's cursor only after the batch
is committed and reconciled. Reading again from an older cursor is always safe: what was landed lands once.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from connectors.errors import Retry, Stop
from schemas.records import RawRecord, Refusal, Unreadable
from schemas.source import Source

#: Bytes of something unreadable that are kept for whoever repairs it.
HEAD_BYTES = 64 * 1024


class Digest(Protocol):
    """What ``hashlib`` and ``shangmi`` call a running digest."""

    def update(self, data: bytes, /) -> None:
        """Take more bytes in."""

    def hexdigest(self) -> str:
        """Return the digest of all bytes so far in lower-case hex."""


#: Starts a digest; the composition hands over SM3, because only ``shangmi`` holds cryptography.
DigestFactory = Callable[[], Digest]


@dataclass(frozen=True, slots=True)
class Found:
    """One thing the source holds.

    Attributes:
        content: Its bytes; of something refused, at most the first ``HEAD_BYTES``.
        position: Where it stands at the source, in words that hold no patient data.
        native_id: The sender's own id for it, or ``""``.
        refusal: Why it cannot become a record, or None.
        size: Bytes of something refused; None for ``len(content)``.
        digest: Digest in hex of all the bytes of something refused, ``""`` for that of ``content``.
        media: What the bytes are, where a source holds several kinds; ``""`` for the connector's own.
        bulk: Names of its large parts, already put into the bulk store.
    """

    content: bytes
    position: str
    native_id: str = ""
    refusal: Refusal | None = None
    size: int | None = None
    digest: str = ""
    media: str = ""
    bulk: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Mark:
    """Everything yielded before this point is complete, so reading may begin here next time.

    Attributes:
        cursor: JSON values only, bounded in size however much the source holds.
        waiting: Things at the source that could not be taken yet and will be tried again.
        expected: Records that the source itself counts from where this reading began up to here, or None where
            it cannot count.
    """

    cursor: Mapping[str, Any]
    waiting: int = 0
    expected: int | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A bounded piece of what a source holds.

    Attributes:
        records: In the source's order.
        cursor: Where reading may begin after this page; never beyond a record that a later page holds.
        waiting: Things at the source that could not be taken yet (a file still being written, one without the
            right to read it) and will be tried again; known on the last page.
        expected: Records that the source itself counts from where this reading began, or None where it cannot;
            final on the last page.
    """

    records: tuple[RawRecord | Unreadable, ...]
    cursor: dict[str, Any]
    waiting: int = 0
    expected: int | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """What looking at a source told about it.

    Attributes:
        aspect: What was looked at.
        ok: Whether it is as it must be.
        message: What was found and, where it is not well, what to do. No patient data, no secret.
    """

    aspect: Literal["connection", "rights", "clock", "charset", "content"]
    ok: bool
    message: str


class BulkStore(Protocol):
    """Takes what is too large to stand in memory (pixel data), encrypted, under a name."""

    def put(self, name: str, chunks: Iterable[bytes], /) -> None:
        """Return once it is durable; the same name and content again change nothing."""

    def open(self, name: str, /) -> Iterator[bytes]:
        """Yield the bytes under a name."""

    def delete(self, name: str, /) -> object:
        """Nothing is under the name any more."""


def utc_now() -> datetime:
    """Return the time, with its offset."""
    return datetime.now(UTC)


class PullConnector(ABC):
    """Reads one source from a cursor onwards.

    Args:
        source: The source's checked file.
        home: Folder that relative paths in its settings start from.
        digest: Starts the digest of what is unreadable.
        now: The clock.
        bulk: Where large parts of records go; None where the kind has none.
    """

    #: What the records are, where ``Found.media`` does not say.
    media: ClassVar[str]
    #: Limits of a page.
    page_records: ClassVar[int] = 1_000
    page_bytes: ClassVar[int] = 16 * 1024 * 1024

    def __init__(
        self,
        source: Source,
        home: Path,
        digest: DigestFactory = hashlib.sha256,
        now: Callable[[], datetime] = utc_now,
        bulk: BulkStore | None = None,
    ) -> None:
        self.source = source
        self.home = home
        self.digest = digest
        self.now = now
        self.bulk = bulk
        self.prepare()

    def prepare(self) -> None:  # noqa: B027  (a kind without settings of its own needs none)
        """The kind's own settings are read and checked; nothing is opened before the first page is asked for.

        Raises:
            ConfigurationError: They cannot be used.
        """

    def check(self) -> tuple[Finding, ...]:
        """Return what can be told of the source without taking anything from it; nothing is raised for its faults."""
        return (Finding("connection", True, f"{self.source.kind} cannot look without reading; try a preview"),)

    @abstractmethod
    def read(self, cursor: Mapping[str, Any]) -> Iterator[Found | Mark]:
        """Yield what the source holds from ``cursor`` onwards; ``{}`` means from the beginning.

        The same source and cursor give the same things in the same order. OSError may be let through.
        """

    def pull(self, cursor: dict[str, Any] | None = None) -> Iterator[Page]:
        """Yield what is new since ``cursor`` in bounded pages; the last one holds the cursor to store.

        At least one page comes, with no records where nothing is new.

        Raises:
            Retry: The source is not there; pages already yielded stay good.
            Stop: A person must act first.
        """
        start = dict(cursor or {})
        yield from self._guarded(self._pages(self.read(start), start))

    def past(self, begin: datetime, end: datetime) -> Iterator[Found | Mark]:  # noqa: ARG002  (for kinds that can)
        """Yield what the source dates from ``begin`` to before ``end``, in its order; a kind that can offers it.

        Raises:
            Stop: Sources of this kind cannot be asked for a time.
        """
        raise Stop(f"{self.source.id}: a source of kind {self.source.kind} cannot be asked for a window of time")

    def pull_past(self, begin: datetime, end: datetime) -> Iterator[Page]:
        """Yield what the source dates from ``begin`` to before ``end`` in bounded pages; their cursors mean nothing.

        Raises:
            Retry: The source is not there; pages already yielded stay good.
            Stop: A person must act first, or sources of this kind cannot be asked for a time.
        """
        yield from self._guarded(self._pages(self.past(begin, end), {}))

    def _guarded(self, pages: Generator[Page, None, None]) -> Iterator[Page]:
        try:
            with closing(pages):
                yield from pages
        except OSError as error:
            # `from None`: the text of an OSError holds the file's name, and a file's name may be a patient's.
            raise Retry(
                f"{self.source.id}: reading stopped with {type(error).__name__} {error.errno}; "
                "see that the source is reachable and readable, then run again"
            ) from None

    def _pages(self, items: Iterator[Found | Mark], cursor: dict[str, Any]) -> Generator[Page, None, None]:
        records: list[RawRecord | Unreadable] = []
        held = waiting = 0
        expected: int | None = None
        for item in items:
            if isinstance(item, Mark):
                cursor, waiting, expected = dict(item.cursor), item.waiting, item.expected
                continue
            record = self._record(item)
            held += len(record.head if isinstance(record, Unreadable) else record.content)
            records.append(record)
            if len(records) >= self.page_records or held >= self.page_bytes:
                yield Page(tuple(records), cursor)
                records, held = [], 0
        yield Page(tuple(records), cursor, waiting, expected)

    def _record(self, found: Found) -> RawRecord | Unreadable:
        refusal = found.refusal
        if refusal is None and len(found.content) > self.source.record_bytes:
            refusal = oversize(self.source.record_bytes, found.position)
        if refusal is None:
            return RawRecord(
                self.source.id, found.native_id, found.content, found.media or self.media, self.now(),
                found.position, found.bulk,
            )  # fmt: skip
        digest = found.digest or self._digest_of(found.content)
        size = len(found.content) if found.size is None else found.size
        head = found.content[:HEAD_BYTES]
        return Unreadable(self.source.id, refusal, digest, size, head, self.now(), found.position)

    def _digest_of(self, content: bytes) -> str:
        digest = self.digest()
        digest.update(content)
        return digest.hexdigest()


def oversize(limit: int, where: str) -> Refusal:
    """Return the refusal of something larger than ``limit`` bytes."""
    return Refusal(
        "oversize",
        where,
        f"expected at most {limit} bytes (record_bytes of the source); split it or raise the limit",
    )


def since(watermark: str | None, overlap: timedelta) -> datetime | None:
    """Return the time to read from: ``watermark`` (ISO 8601 with an offset) less the overlap window.

    Rows that were committed late, behind a watermark already passed, are met again this way; what was landed
    before lands once. None means from the beginning.
    """
    return None if watermark is None else datetime.fromisoformat(watermark) - overlap
