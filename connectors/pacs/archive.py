"""Reading an archive day by day: what every kind of PACS connector shares.

Studies are listed by StudyDate; of each that is new or has changed its number of objects, series and objects are
listed, the list lands as a manifest, and the objects that have not come yet are fetched, a few at a time. Pixel data
go into the bulk store on the way. The cursor says which objects have come, so that a run that ends in the middle of a
study, by its limit, at the end of the permitted hours or with the archive, goes on where it was.
"""

from __future__ import annotations

import hashlib
import logging
import sys
import time
from abc import abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Any, ClassVar, Final, Protocol
from zoneinfo import ZoneInfo

from connectors.contract import Found, Mark, PullConnector
from connectors.errors import Retry
from connectors.pacs.instances import Taking, refused
from connectors.pacs.progress import Known, Progress, short
from connectors.pacs.settings import ArchiveSettings
from connectors.pacs.studies import INSTANCE, SERIES, STUDY, Object, Study, is_uid, manifest
from connectors.settings import read_settings, secret

log = logging.getLogger(__name__)

#: Seconds to wait before a lost connection is made anew, and before each further time.
_PAUSE: Final = 0.2


class Session(Protocol):
    """A connection to an archive, made when it is first used and anew after `close`.

    Every method raises Retry where the archive is not there and Stop where a person must act first.
    """

    def studies(self, day: date) -> list[Study]:
        """Return the studies of a StudyDate."""

    def contents(self, study: Study) -> Study:
        """Return the study with its series and objects."""

    def fetch(self, study: Study, objects: Sequence[Object], take: Callable[[Object], Taking]) -> Iterator[Found]:
        """Yield those of these objects, all of one series, that the archive hands over, in any order."""

    def close(self) -> None:
        """Nothing is connected."""


class Pace:
    """Lets at most so many objects pass in a second."""

    def __init__(self, per_second: float) -> None:
        self._gap = 1 / per_second if per_second else 0.0
        self._next = 0.0

    def wait(self) -> None:
        """Return when the next object may pass."""
        if self._gap:
            now = time.monotonic()
            time.sleep(max(0.0, self._next - now))
            self._next = max(now, self._next) + self._gap


class ArchiveConnector(PullConnector):
    """Pulls studies of an archive. Cursor: see `connectors.pacs.progress`."""

    media: ClassVar[str] = "dicom"
    shape: ClassVar[type[ArchiveSettings]]
    page_records: ClassVar[int] = 200

    def prepare(self) -> None:
        """The settings are read."""
        self.options = read_settings(self.source, self.shape)
        self.zone = ZoneInfo(self.source.time_zone)
        self.pace = Pace(self.options.objects_per_second)
        self._left = 0

    def secret(self, name: str) -> str:
        """Return a secret that the settings name."""
        return secret(self.home, self.source, name)

    @abstractmethod
    def session(self) -> Session:
        """Return a session; nothing is connected before it is used."""

    def read(self, cursor: Mapping[str, Any]) -> Iterator[Found | Mark]:
        """Yield the manifest and the objects of each study that is new or has grown, in order of StudyDate."""
        progress = Progress.of(cursor)
        self._left = self.options.objects_per_run
        yield progress.mark()
        with closing(self.session()) as session:
            for day in self._days(progress):
                if not self._may():
                    return
                progress.reached(day, self.options.overlap_days)
                for study in self._studies(session, day):
                    yield from self._study(session, study, day, progress)
                    yield progress.mark()
                    if not self._may():
                        return
                yield progress.mark()

    def past(self, begin: datetime, end: datetime) -> Iterator[Found | Mark]:
        """Yield the studies whose date and time lie from ``begin`` to before ``end``; without a time, of these days.

        Raises:
            Retry: The permitted hours are over.
        """
        progress = Progress(None, {})
        self._left = sys.maxsize
        first, last = begin.astimezone(self.zone), (end - timedelta(microseconds=1)).astimezone(self.zone)
        with closing(self.session()) as session:
            for offset in range((last.date() - first.date()).days + 1):
                day = first.date() + timedelta(offset)
                for study in self._studies(session, day):
                    if not self._may():
                        raise Retry(f"{self.source.id}: the permitted hours are over; run the backfill again in them")
                    if f"{first:%H%M%S}" * (day == first.date()) <= (study.time or "~") and (
                        day < last.date() or study.time <= f"{last:%H%M%S}"
                    ):
                        yield from self._study(session, study, day, progress)
                progress.studies.clear()
        yield progress.mark()

    def _studies(self, session: Session, day: date) -> list[Study]:
        found: list[Study] = self._again(session, lambda: session.studies(day))
        return found

    def _days(self, progress: Progress) -> Iterator[date]:
        """Yield the days to look at: from the overlap window on, up to today by our clock."""
        day = date.fromisoformat(self.options.since)
        if progress.day is not None:
            day = max(day, progress.day - timedelta(self.options.overlap_days))
        while day <= self.now().astimezone(self.zone).date():
            yield day
            day += timedelta(1)

    def _may(self) -> bool:
        """Whether this run may fetch another object."""
        return self._left > 0 and self.options.open_at(self.now().astimezone(self.zone))

    def _again(self, session: Session, ask: Callable[[], Any]) -> Any:
        """Return the answer, after asking anew where the connection was lost."""
        for attempt in range(1, self.options.attempts):
            try:
                return ask()
            except Retry as lost:
                log.info("%s: attempt %d: %s", self.source.id, attempt, lost)
                session.close()
                time.sleep(_PAUSE * 2**attempt)
        return ask()

    def _study(self, session: Session, study: Study, day: date, progress: Progress) -> Iterator[Found | Mark]:
        known = progress.known(day, study.uid)
        if not is_uid(study.uid):
            progress.expected += 1
            yield self._nameless(STUDY, self._position(study))
            return
        if study.count is not None and study.count == known.count:
            return
        study = self._again(session, lambda: session.contents(study))
        complete = True
        for chunk in self._chunks(study, known):
            if not self._may():
                progress.waiting += sum(short(one.uid) not in known.objects for one in study.objects)
                complete = False
                break
            complete &= yield from self._chunk(session, study, chunk, known, progress)
            yield progress.mark()
        yield from self._list(study, known, progress)
        if complete and study.count is not None:
            known.count, known.written = study.count, None

    def _list(self, study: Study, known: Known, progress: Progress) -> Iterator[Found]:
        """Yield the study's manifest unless it has come; after objects, which know the patient's name at first hand."""
        listed = manifest(study, self._position(study))
        if study.objects and short(listed.native_id) not in known.objects:
            progress.expected += 1
            known.add(listed.native_id)
            yield listed

    def _chunks(self, study: Study, known: Known) -> Iterator[Sequence[Object]]:
        """Yield the objects that have not come yet, a request's worth of one series at a time."""
        size = self.options.objects_per_request
        new = [one for one in study.objects if short(one.uid) not in known.objects]
        for _, series in groupby(new, key=lambda one: one.series):
            objects = list(series)
            yield from (objects[at : at + size] for at in range(0, len(objects), size))

    def _chunk(
        self, session: Session, study: Study, chunk: Sequence[Object], known: Known, progress: Progress
    ) -> Generator[Found, None, bool]:
        """Yield these objects in the order they are listed; returns whether every one came."""
        named = [one for one in chunk if is_uid(one.uid) and is_uid(one.series)]
        came = self._fetch(session, study, named)
        for one in named:
            if one.uid not in came:  # one that fails may have taken the rest of its list along
                came |= self._fetch(session, study, [one])
        complete = True
        for one in chunk:
            progress.expected += 1
            self._left -= 1
            if one not in named:
                yield self._nameless(INSTANCE if is_uid(one.series) else SERIES, self._position(study, one))
            elif one.uid in came:
                known.add(one.uid)
                yield came[one.uid]
            else:
                complete = False
                progress.waiting += 1
                why = "The archive lists this object and does not hand it over; see whether its file is damaged."
                yield refused("not_delivered", INSTANCE, why, b"", one.uid, self._taking(self._position(study, one)))
        return complete

    def _fetch(self, session: Session, study: Study, objects: Sequence[Object]) -> dict[str, Found]:
        """Return what came of these objects by UID; a lost connection is made anew for those that did not come."""
        came: dict[str, Found] = {}

        def ask() -> None:
            left = [one for one in objects if one.uid not in came]
            for found in session.fetch(study, left, self._take(study)) if left else ():
                came[found.native_id] = found

        self._again(session, ask)
        return came

    def _take(self, study: Study) -> Callable[[Object], Taking]:
        return lambda one: self._taking(self._position(study, one))

    def _taking(self, position: str = "") -> Taking:
        return Taking(self.source.id, self.source.record_bytes, self.digest, self.bulk, position, self.pace.wait)

    def _nameless(self, tag: int, position: str) -> Found:
        """Return the refusal of something whose UID cannot be asked for."""
        why = "Expected a UID of digits and full stops, at most 64; the archive lists something else."
        return refused("bad_value", tag, why, b"", "", self._taking(position))

    def _position(self, study: Study, one: Object | None = None) -> str:
        """Return where something stands: ``printf %s UID | sha256sum`` of the study's UID finds it."""
        words = f"study {hashlib.sha256(study.uid.encode()).hexdigest()[:16]}"
        return words if one is None else f"{words} object {hashlib.sha256(one.uid.encode()).hexdigest()[:16]}"
