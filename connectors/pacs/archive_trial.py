"""An archive under trial: read as it is; what must not be shown on the hospital's is shown on one of ours in memory.

The archive of the rehearsal holds three made-up studies without pixels; all but its session is the same code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

from connectors.conformance import Trial
from connectors.contract import Found
from connectors.pacs.archive import ArchiveConnector, Session
from connectors.pacs.elements import element
from connectors.pacs.instances import EXPLICIT, Taking, derived_uid, take
from connectors.pacs.settings import ArchiveSettings
from connectors.pacs.streams import Stream
from connectors.pacs.studies import CLASS, INSTANCE, MODALITY, SERIES, STUDY, STUDY_DATE, Answer, Object, Series, Study
from connectors.registry import open_connector
from schemas.source import Source

_WRONG: Final = "xinglin-trial"
_CAPTURE: Final = b"1.2.840.10008.5.1.4.1.1.7"


@contextmanager
def trial(source: Source, home: Path) -> Iterator[Trial]:
    """Yield the archive, the archive asked wrongly, and one of our own to which a late study comes."""
    memory = _Memory([_made(number) for number in range(3)])
    yield Trial(
        partial(open_connector, source, home),
        wrong=partial(_wrongly, source, home),
        late=partial(memory.late, _made(3)),
        rehearsal=partial(_Rehearsal, source, home, memory),
    )


def _wrongly(source: Source, home: Path) -> ArchiveConnector:
    """Return a connector that the archive must not answer: with a wrong secret, or where nothing is."""
    settings = {**source.settings, "attempts": 1}
    if settings.get("token_secret") or settings.get("password_secret"):
        connector = open_connector(replace(source, settings=settings), home)
        assert isinstance(connector, ArchiveConnector)
        connector.secret = _unknown  # type: ignore[method-assign]
        return connector
    if "url" in settings:
        settings["url"] = f"{str(settings['url']).rstrip('/')}/{_WRONG}"
    else:
        settings["port"] = 1  # TCPMUX, which no machine offers any more
    connector = open_connector(replace(source, settings=settings), home)
    assert isinstance(connector, ArchiveConnector)
    return connector


def _unknown(name: str) -> str:
    return f"{_WRONG}-{name}"


class _Memory:
    """An archive in memory."""

    def __init__(self, studies: list[Study]) -> None:
        self._studies = studies

    def late(self, study: Study) -> None:
        """A study comes that is dated before one that was read."""
        first = self._studies[0].answer.values[STUDY_DATE]
        self._studies.append(replace(study, answer=Answer({**study.answer.values, STUDY_DATE: first})))

    def studies(self, day: date) -> list[Study]:
        """Return the studies of a StudyDate."""
        return [replace(one, series=()) for one in self._studies if one.day == f"{day:%Y%m%d}"]

    def contents(self, study: Study) -> Study:
        """Return the study with its series and objects."""
        return next(one for one in self._studies if one.uid == study.uid)

    def fetch(self, study: Study, objects: Sequence[Object], take_: Callable[[Object], Taking]) -> Iterator[Found]:
        """Yield the objects."""
        for one in objects:
            uids = {
                STUDY: study.uid.encode(),
                SERIES: one.series.encode(),
                INSTANCE: one.uid.encode(),
                CLASS: _CAPTURE,
            }
            dataset = b"".join(element(tag, "UI", uids[tag]) for tag in sorted(uids))
            yield take(Stream(iter([dataset])), EXPLICIT, one.uid, take_(one))

    def close(self) -> None:
        """Nothing is connected anyway."""


class _Rehearsal(ArchiveConnector):
    """The connector on the archive in memory, two days before which are the window."""

    shape = ArchiveSettings

    def __init__(self, source: Source, home: Path, memory: _Memory) -> None:
        settings = {"since": "2026-01-01", "overlap_days": 2}
        super().__init__(replace(source, settings=settings), home, now=lambda: datetime.fromisoformat(_NOW))
        self._memory = memory

    def session(self) -> Session:
        """Return the archive in memory."""
        return self._memory


_NOW: Final = "2026-01-10T12:00:00+00:00"


def _made(number: int) -> Study:
    """A study of one object; the first three are of three days in a row."""
    study, series, uid = (derived_uid("trial", name, str(number)) for name in ("study", "series", "object"))
    day = date(2026, 1, 8) + timedelta(min(number, 2))
    listed = {STUDY_DATE: ("DA", f"{day:%Y%m%d}".encode()), STUDY: ("UI", study.encode())}
    one = Object(uid, series, Answer({CLASS: ("UI", _CAPTURE), INSTANCE: ("UI", uid.encode())}))
    of_series = Answer({MODALITY: ("CS", b"OT"), SERIES: ("UI", series.encode())})
    return Study(study, Answer(listed), (Series(series, of_series, (one,)),))
