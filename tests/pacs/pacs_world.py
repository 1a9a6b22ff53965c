"""Sources, clocks and a bulk store for the tests of the archives."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset

from connectors.contract import Page, PullConnector
from connectors.pacs.dicomweb import DicomwebConnector
from connectors.pacs.dimse import DimseConnector
from schemas.records import RawRecord, Unreadable
from schemas.source import Source
from simulators.pacs import Pacs

DAY = date(2026, 3, 15)
NOW = datetime(2026, 3, 15, 4, 0, tzinfo=UTC)  # noon in Shanghai


class Kept:
    """A bulk store in memory; `largest` is the largest piece it was ever given."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self.largest = 0
        self.keep = True
        self._lock = threading.Lock()

    def put(self, name: str, chunks: Iterable[bytes], /) -> None:
        whole = bytearray()
        for chunk in chunks:
            self.largest = max(self.largest, len(chunk))
            if self.keep:
                whole += chunk
        with self._lock:
            self.contents[name] = bytes(whole)

    def open(self, name: str, /) -> Iterator[bytes]:
        yield self.contents[name]

    def delete(self, name: str, /) -> None:
        self.contents.pop(name, None)


def source(kind: str, **settings: Any) -> Source:
    return Source(
        id="east-pacs", title="PACS", institution="hospital-east", kind=kind, enabled=True, time_zone="Asia/Shanghai",
        charset="auto", schedule=None, batch_records=1_000, record_bytes=settings.pop("record_bytes", 4_194_304),
        suite="dicom", failure_threshold=0.2, failure_minimum=5, drift="evolve", silence_minutes=None, mapping=None,
        mapping_document={}, settings=settings,
    )  # fmt: skip


def dimse(
    pacs: Pacs, kept: Kept | None = None, now: datetime = NOW, home: Path = Path(), **settings: Any
) -> DimseConnector:
    given = {
        "host": "127.0.0.1", "port": pacs.port, "called_ae": pacs.ae_title, "since": "2026-03-13", "seconds": 5.0,
        **settings,
    }  # fmt: skip
    return DimseConnector(source("pacs.dimse", **given), home, now=lambda: now, bulk=kept)


def dicomweb(
    pacs: Pacs, kept: Kept | None = None, now: datetime = NOW, home: Path = Path(), **settings: Any
) -> DicomwebConnector:
    given = {"url": pacs.url, "since": "2026-03-13", "seconds": 5.0, **settings}
    return DicomwebConnector(source("pacs.dicomweb", **given), home, now=lambda: now, bulk=kept)


def pulled(connector: PullConnector, cursor: dict[str, Any] | None = None) -> tuple[list[RawRecord | Unreadable], Page]:
    """Return everything a pull gives and its last page."""
    pages = list(connector.pull(cursor))
    return [record for page in pages for record in page.records], pages[-1]


def contents(records: Iterable[RawRecord | Unreadable]) -> list[tuple[str, bytes]]:
    """Return native ids and bytes."""
    return [(one.native_id, one.content) for one in records if isinstance(one, RawRecord)]


def dataset(record: RawRecord | Unreadable) -> Dataset:
    assert isinstance(record, RawRecord), record
    return pydicom.dcmread(BytesIO(record.content))


def is_manifest(record: RawRecord | Unreadable) -> bool:
    return dataset(record).Modality == "KO"
