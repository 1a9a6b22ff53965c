"""One conformance suite for all kinds: what the rest of the house relies on, shown on a source or refuted.

In the tests of a connector the suite is one statement::

    def test_conforms(source, home):
        assert_conforms(Trial(lambda: MyConnector(source, home), wrong=lambda: MyConnector(bad, home), late=add_row))

`xinglin source certify` runs the same checks on a hospital's own source, where nothing can be changed: a kind then
shows on a copy what cannot be shown there (``rehearsal``), or the check says that it was not shown.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Final, Literal

from connectors.contract import Page, PullConnector
from connectors.errors import ConnectorError
from schemas.errors import ConfigurationError
from schemas.reasons import REASONS
from schemas.records import RawRecord, Unreadable

Status = Literal["passed", "failed", "not_shown", "not_applicable"]
Open = Callable[[], PullConnector]

#: Records that a read of the suite takes at most.
RECORDS: Final = 2_000
#: Records of a page while reading is interrupted: small, so that there are pages.
_PAGE: Final = 25
#: Pages after which reading is interrupted.
_CUTS: Final = (1, 3)
_CENTURY: Final = timedelta(days=36_525)
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d")


@dataclass(frozen=True, slots=True)
class Check:
    """What one check showed.

    Attributes:
        name: Its name, the same for all kinds.
        status: ``not_shown`` where the source cannot show it now; ``not_applicable`` where its kind has no such thing.
        detail: What was seen, with numbers; no patient data, no secret.
    """

    name: str
    status: Status
    detail: str


@dataclass(frozen=True, slots=True)
class Trial:
    """A source that is pulled, and what may be done to it.

    Attributes:
        connector: Opens the connector anew.
        wrong: Opens it with credentials that are wrong or, where it has none, an address where nothing is.
        late: Adds a record that the source dates before what was read last; None where the source must not be changed.
        rehearsal: Opens the connector of a copy that ``late`` changes; None where that is the source itself.
        records: Records that one read takes at most.
    """

    connector: Open
    wrong: Open | None = None
    late: Callable[[], None] | None = None
    rehearsal: Open | None = None
    records: int = RECORDS


@dataclass(frozen=True, slots=True)
class _Read:
    """What a bounded read gave: each record's identity in order, and the cursor behind them."""

    keys: tuple[str, ...]
    cursor: dict[str, Any]
    whole: bool


def conformance(trial: Trial) -> tuple[Check, ...]:
    """Return what every check of the suite showed; nothing is raised for the source's faults."""
    checks = (
        ("wrong_credentials_fail", _wrong_credentials_fail),
        ("full_reads_are_equal", _full_reads_are_equal),
        ("future_cursor_gives_nothing", _future_cursor_gives_nothing),
        ("interrupted_read_resumes", _interrupted_read_resumes),
        ("own_count_agrees", _own_count_agrees),
        ("late_record_is_caught", _late_record_is_caught),
        ("unreadable_is_named", _unreadable_is_named),
    )
    return tuple(_shown(name, check, trial) for name, check in checks)


def assert_conforms(trial: Trial, unshown: Sequence[str] = ()) -> None:
    """Raise AssertionError where a check fails, or is not shown and not among ``unshown``.

    Args:
        trial: The source under trial.
        unshown: Names of checks that this source cannot show, each with its reason beside the call.
    """
    faults = [
        f"{one.name} {one.status}: {one.detail}"
        for one in conformance(trial)
        if one.status == "failed" or (one.status == "not_shown" and one.name not in unshown)
    ]
    if faults:
        raise AssertionError("; ".join(faults))


def _shown(name: str, check: Callable[[Trial], tuple[Status, str]], trial: Trial) -> Check:
    try:
        return Check(name, *check(trial))
    except (ConnectorError, ConfigurationError) as error:
        return Check(name, "failed", str(error))


def _wrong_credentials_fail(trial: Trial) -> tuple[Status, str]:
    if trial.wrong is None:
        return "not_applicable", "the kind has neither credentials nor an address"
    try:
        connector = trial.wrong()
        said = [one.message for one in connector.check() if not one.ok]
        came = sum(len(page.records) for page in islice(connector.pull(), 1))
    except ConfigurationError as error:
        return "passed", f"refused: {error}"
    except ConnectorError as error:
        if not said:
            return "failed", f"reading fails ({error}), and check() says that all is well"
        return "passed", f"refused: {error}"
    if came:
        return "failed", f"{came} records came although credentials or address were wrong"
    return "failed", "an empty read came, which looks like a source without news"


def _full_reads_are_equal(trial: Trial) -> tuple[Status, str]:
    first, second = (_read(trial.connector(), None, trial.records) for _ in range(2))
    if not first.keys:
        return "not_shown", "the source holds no record yet"
    lost = _missing(first.keys, second.keys)
    if lost or not _in_order(first.keys, second.keys):
        return "failed", f"of {len(first.keys)} records {lost} were missing or elsewhere the second time"
    return "passed", f"{len(first.keys)} records came twice, the same bytes in the same order"


def _future_cursor_gives_nothing(trial: Trial) -> tuple[Status, str]:
    read = _read(trial.connector(), None, trial.records)
    beyond = future(trial.connector(), read.cursor)
    moved = beyond != read.cursor
    if not moved and not read.whole:
        return "not_shown", f"the cursor holds no time, and its end lies beyond {len(read.keys)} records"
    met = _read(trial.connector(), beyond, trial.records)
    where = "a cursor a century ahead" if moved else "the end, which is as far ahead as a cursor of this kind can be"
    if met.keys:
        return "failed", f"{len(met.keys)} records came from {where}"
    return "passed", f"nothing came from {where}"


def _interrupted_read_resumes(trial: Trial) -> tuple[Status, str]:
    whole = _read(trial.connector(), None, trial.records)
    if not whole.keys:
        return "not_shown", "the source holds no record yet"
    for pages in _CUTS:
        before = _read(_paged(trial.connector()), None, trial.records, pages)
        after = _read(trial.connector(), before.cursor, trial.records * 2)
        if lost := _missing(whole.keys, before.keys + after.keys):
            return "failed", f"stopped after {pages} pages, {lost} of {len(whole.keys)} records never came"
    return "passed", f"stopped after {' and '.join(map(str, _CUTS))} pages and taken up: all {len(whole.keys)} came"


def _late_record_is_caught(trial: Trial) -> tuple[Status, str]:
    if trial.late is None:
        return _overlap(trial)
    opened = trial.rehearsal or trial.connector
    before = _read(opened(), None, trial.records)
    trial.late()
    after = _read(opened(), before.cursor, trial.records)
    where = "on a copy" if trial.rehearsal else "at the source"
    new = len(set(after.keys) - set(before.keys))
    if not new:
        return "failed", f"a record added behind the cursor {where} was never met"
    return "passed", f"a record added behind the cursor {where} was met by the next read"


def _overlap(trial: Trial) -> tuple[Status, str]:
    """Whether reading from the end meets the last records again, which is how a watermark catches late ones."""
    read = _read(trial.connector(), None, trial.records)
    again = _read(trial.connector(), read.cursor, trial.records)
    met = len(set(again.keys) & set(read.keys))
    if not met:
        return "not_shown", "the source must not be changed, and its kind offers no copy to show it on"
    return "passed", f"the next read meets the last {met} records again, so one that is committed late is met too"


def _own_count_agrees(trial: Trial) -> tuple[Status, str]:
    came, expected = 0, None
    with closing(_pull(trial.connector(), None)) as pages:
        for page in pages:
            came, expected = came + len(page.records), page.expected
            if came >= trial.records:
                return (
                    "not_shown",
                    f"the source holds more than {trial.records} records; every pull compares the counts",
                )
    if expected is None:
        return "not_applicable", "a source of this kind does not count what it holds"
    if came < expected:
        return "failed", f"the source counts {expected} records and {came} came"
    return "passed", f"the source counts {expected} records and {came} came"


def _unreadable_is_named(trial: Trial) -> tuple[Status, str]:
    with closing(_pull(trial.connector(), None)) as pages:
        found = list(islice((one for page in pages for one in page.records), trial.records))
    bad = [one for one in found if isinstance(one, Unreadable)]
    for one in bad:
        if one.refusal.code.partition(":")[0] not in REASONS or not one.refusal.message:
            return "failed", f"refused as {one.refusal.code!r} without a reason that a person can read"
        if not one.position and not one.refusal.where:
            return "failed", f"refused as {one.refusal.code!r} without saying where it stands at the source"
    return "passed", f"{len(bad)} of {len(found)} pieces are no records; each has its reason and its place"


def future(connector: PullConnector, cursor: Mapping[str, Any]) -> dict[str, Any]:
    """Return a cursor beyond all that the source will hold for a century.

    A connector whose cursor holds other than ISO 8601 times offers ``future(cursor)``; else every time in it is moved,
    and one without a time is as far ahead as it can be.
    """
    own = getattr(connector, "future", None)
    moved = own(cursor) if callable(own) else _moved(dict(cursor))
    assert isinstance(moved, dict)
    return moved


def _moved(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _moved(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_moved(one) for one in value]
    if isinstance(value, str) and _DATE.match(value):
        try:
            return (datetime.fromisoformat(value) + _CENTURY).isoformat()
        except ValueError:
            return value
    return value


def _read(connector: PullConnector, cursor: Mapping[str, Any] | None, records: int, pages: int = 0) -> _Read:
    """Return a read that ends after so many records or, where given, pages; ``whole`` where the source ended first."""
    keys: list[str] = []
    last, count, whole = dict(cursor or {}), 0, True
    with closing(_pull(connector, cursor)) as found:
        for count, page in enumerate(found, 1):
            if not whole:
                break
            keys += map(identity, page.records)
            last = page.cursor
            whole = len(keys) < records and (not pages or count < pages)
        else:
            whole = True
    return _Read(tuple(keys), last, whole)


def _pull(connector: PullConnector, cursor: Mapping[str, Any] | None) -> Generator[Page, None, None]:
    yield from connector.pull(dict(cursor) if cursor else None)


def _paged(connector: PullConnector) -> PullConnector:
    """Return the connector with small pages, so that there are some to stop between."""
    vars(connector)["page_records"] = _PAGE
    return connector


def identity(record: RawRecord | Unreadable) -> str:
    """Return what makes a record the same one however often it comes; of a patient it shows nothing."""
    if isinstance(record, Unreadable):
        return f"{record.refusal.code} {record.position} {record.digest}"
    parts = (record.media.encode(), record.native_id.encode(), record.content)
    return hashlib.sha256(b"".join(len(part).to_bytes(8, "big") + part for part in parts)).hexdigest()


def _missing(wanted: Sequence[str], came: Sequence[str]) -> int:
    return len(set(wanted) - set(came))


def _in_order(wanted: Sequence[str], came: Sequence[str]) -> bool:
    """Whether what came twice came in the same order; others between are news."""
    known = set(wanted)
    again = [one for one in came if one in known]
    return again[: len(wanted)] == list(wanted)[: len(again)]
