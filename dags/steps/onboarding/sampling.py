"""A bounded piece of a source to look at: pulled without moving its cursor, or taken from what landed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from connectors import mode, open_connector
from normalise import SetAside, convert
from quality.gate import Gate, RuleResult
from schemas.records import Normalised, RawRecord, Refusal, Unreadable
from schemas.source import Source
from shangmi import Sm3

if TYPE_CHECKING:
    from collections.abc import Generator

    from connectors import Page
    from dags.steps.site import Site

#: Bytes of records that a sample holds at most.
_BYTES: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Sample:
    """Records as the source gives them; in memory only.

    Attributes:
        records: What can be converted, in the source's order (of what landed: newest first).
        unreadable: What cannot.
        origin: ``pulled`` now, or ``landed`` before.
        seconds: How long it took.
        whole: Whether the source holds no more.
    """

    records: tuple[RawRecord, ...]
    unreadable: tuple[Unreadable, ...]
    origin: Literal["pulled", "landed"]
    seconds: float
    whole: bool

    @property
    def size(self) -> int:
        """Bytes of all of it."""
        return sum(len(one.content) for one in self.records) + sum(one.size for one in self.unreadable)


@dataclass(frozen=True, slots=True)
class Judged:
    """What a sample becomes.

    Attributes:
        records: Each with its resources, or why it would be set aside.
        rules: What every quality rule found.
        mapping: Version of the mapping that made them.
    """

    records: tuple[tuple[RawRecord, Normalised, Refusal | None], ...]
    rules: tuple[RuleResult, ...]
    mapping: str


def take(source: Source, at: Site, records: int) -> Sample:
    """Return at most so many records of a source; nothing is stored, and its cursor stays.

    Raises:
        ConnectorError: The source cannot be read.
    """
    started = time.monotonic()
    if mode(source) == "listen":
        landed = tuple(one.raw for one in at.vault(source.institution).batches.newest(source.id, records))
        return Sample(landed, (), "landed", time.monotonic() - started, len(landed) < records)
    found, unreadable, whole = list[RawRecord](), list[Unreadable](), True
    held = 0
    with closing(_pages(source, at)) as pages:
        for page in pages:
            for one in page.records:
                if len(found) + len(unreadable) >= records or held >= _BYTES:
                    whole = False
                    break
                held += len(one.content) if isinstance(one, RawRecord) else len(one.head)
                found.append(one) if isinstance(one, RawRecord) else unreadable.append(one)
            if not whole:
                break
    return Sample(tuple(found), tuple(unreadable), "pulled", time.monotonic() - started, whole)


def _pages(source: Source, at: Site) -> Generator[Page, None, None]:
    yield from open_connector(source, at.home.path, digest=Sm3).pull()


def judge(records: Sequence[RawRecord], source: Source, gate: Gate | None = None) -> Judged:
    """Return what each record would become, in order; nothing is stored."""
    outcomes: list[tuple[Normalised, Refusal | None]] = [_convert(one, source) for one in records]
    good = [at for at, (_, refusal) in enumerate(outcomes) if refusal is None]
    report = (gate or Gate(source.suite)).check([outcomes[at][0] for at in good])
    for at, found in zip(good, report.refusals, strict=True):
        if found:
            outcomes[at] = (outcomes[at][0], found[0])
    mapping = "+".join(sorted({made.mapping for made, _ in outcomes if made.mapping}))
    judged = tuple((raw, made, refusal) for raw, (made, refusal) in zip(records, outcomes, strict=True))
    return Judged(judged, report.rules, mapping)


def _convert(record: RawRecord, source: Source) -> tuple[Normalised, Refusal | None]:
    try:
        return convert(record.media, record.content, source.context), None
    except SetAside as error:
        return Normalised(()), error.refusal
