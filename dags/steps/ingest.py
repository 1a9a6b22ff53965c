"""What the tasks of an ingest DAG do: pull, plan, process, reconcile, submit. Ids and counts in and out."""

from __future__ import annotations

import gc
import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from connectors import PullConnector, Retry, mode, open_connector
from dags.steps.drift import Drift
from dags.steps.errors import Stop
from dags.steps.site import Site, site
from ledger.discretion import account
from normalise import SetAside, convert
from quality.gate import Gate
from schemas.records import Normalised, RawRecord, Refusal, Unreadable
from schemas.source import Source
from shangmi import Sm3
from vault.batches import LandedRecord, RecordResult
from vault.landing import Landing

log = logging.getLogger(__name__)

#: Raw content that is worked on at a time, bytes; as FHIR in memory it is some twenty times that.
SLICE_BYTES: Final = 16 * 1024 * 1024


def pull(source_id: str, at: Site | None = None) -> dict[str, int]:
    """Everything the source holds beyond its cursor has landed.

    A pushed source has landed its records already; nothing is pulled.

    Returns:
        Counts: ``received``, ``landed``, ``duplicate``, ``unreadable``, ``waiting``.
    """
    at = at or site()
    source = at.source(source_id)
    counts = dict.fromkeys(("received", "landed", "duplicate", "unreadable", "waiting"), 0)
    if mode(source) == "listen":
        return counts
    vault = at.vault(source.institution)
    connector = open_connector(source, at.home.path, digest=Sm3, bulk=vault.bulk)
    assert isinstance(connector, PullConnector)
    log.info("pull %s: begins", source_id)
    cursor, expected = vault.cursors.get(source_id), None
    for page in connector.pull(cursor):
        _land(vault.landing, page.records, counts)
        cursor, counts["waiting"], expected = page.cursor, page.waiting, page.expected
    if expected is not None and counts["received"] < expected:
        raise Retry(
            f"{source_id}: the source counts {expected} records and {counts['received']} came; its cursor stays, "
            "and they are asked for again"
        )
    vault.cursors.propose(source_id, cursor or {})
    log.info("pull %s: %s", source_id, counts)
    return counts


def plan(source_id: str, run: str, at: Site | None = None, past: bool = False) -> list[str]:
    """Every landed record belongs to a batch; returns the ids of the open batches, oldest first.

    Args:
        source_id: The source.
        run: Who plans.
        at: This machine's site.
        past: Whether the batches of what was read again from the past are meant; they are apart from the others.
    """
    at = at or site()
    source = at.source(source_id)
    return at.vault(source.institution).batches.plan(source_id, source.batch_records, run, past)


def process(source_id: str, batch_id: str, at: Site | None = None) -> dict[str, int]:
    """Every record of the batch is sealed or set aside.

    A batch is taken whole, so that its suite runs once over all of it; one with unusually large records in slices
    of ``SLICE_BYTES``, so that memory stays bounded.

    Raises:
        Stop: More of the batch was set aside than the source allows; nothing of it is published, and the batch
            waits for `xinglin batches --reopen`.
    """
    at = at or site()
    source = at.source(source_id)
    vault = at.vault(source.institution)
    batches, drift = vault.batches, Drift(source, at, vault.shapes)
    total, failed = batches.get(batch_id).records, Counter[str]()
    log.info("process %s: %d records", batch_id, total)
    gate, started = Gate(source.suite), time.monotonic()
    for records in slices(batches.records(batch_id)):
        with uncollected():
            results, mapping = normalise_and_check(records, source, gate)
        try:
            results = drift.look_again(records, results)
        except Stop as error:
            batches.stop(batch_id, str(error))
            raise
        failed.update(result.refusal.code for result in results if result.refusal)
        if _too_many(failed.total(), total, source):
            reason = f"{failed.total()} of {total} records set aside: {_most(failed)}"
            batches.stop(batch_id, reason)
            raise Stop(f"batch {batch_id}: {reason}; mend the cause, then `xinglin batches --reopen {batch_id}`")
        batches.settle(batch_id, results, mapping, {"process": time.monotonic() - started})
    counts = batches.get(batch_id).counts.as_dict()
    log.info("process %s: %s", batch_id, counts)
    return counts


@contextmanager
def uncollected() -> Iterator[None]:
    """The cycle collector rests: resources are trees, and walking all of a slice again and again halves the speed."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def slices(records: Iterable[LandedRecord]) -> Iterator[list[LandedRecord]]:
    """Yield the records in order, in lists of at most ``SLICE_BYTES`` of raw content (or one record)."""
    held, size = list[LandedRecord](), 0
    for record in records:
        if held and size + len(record.raw.content) > SLICE_BYTES:
            yield held
            held, size = [], 0
        held.append(record)
        size += len(record.raw.content)
    if held:
        yield held


def _too_many(failed: int, total: int, source: Source) -> bool:
    return failed >= source.failure_minimum and failed > source.failure_threshold * total


def _most(codes: Counter[str]) -> str:
    return ", ".join(f"{code} {number}" for code, number in codes.most_common(3))


def normalise_and_check(records: Sequence[LandedRecord], source: Source, gate: Gate) -> tuple[list[RecordResult], str]:
    """Return what each landed record becomes, in order, and by which mapping; one that fails takes no other with it."""
    normalised: list[Normalised] = []
    refusals: dict[int, Refusal] = {}
    for position, record in enumerate(records):
        try:
            normalised.append(convert(record.raw.media, record.raw.content, source.context))
        except SetAside as error:
            refusals[position] = error.refusal
            normalised.append(Normalised(()))
        except (MemoryError, OSError):
            raise  # this machine's trouble, not the message's: try again
        except Exception as error:  # noqa: BLE001 - one message that meets a fault of ours must not hold up the others
            log.error("record %s meets a fault of ours: %s", record.id, account(error))
            refusals[position] = Refusal("internal", "", f"a fault of Xinglin itself ({account(error)}); report it")
            normalised.append(Normalised(()))
    good = [position for position in range(len(records)) if position not in refusals]
    report = gate.check([normalised[position] for position in good])
    for position, found in zip(good, report.refusals, strict=True):
        if found:
            refusals[position] = found[0]
    mapping = "+".join(sorted({one.mapping for one in normalised if one.mapping}))
    return [
        RecordResult(
            record.id,
            "quarantined" if position in refusals else "sealed",
            () if position in refusals else normalised[position].resources,
            refusals.get(position),
            normalised[position].notes,
            normalised[position].unmapped,
        )
        for position, record in enumerate(records)
    ], mapping


def reconcile(source_id: str, batch_ids: Iterable[str], at: Site | None = None, past: bool = False) -> dict[str, int]:
    """Every record of the batches is accounted for, and the source's cursor has moved; not by batches of the past.

    Raises:
        Stop: The counts do not agree; neither cursor nor publication advances.
    """
    at = at or site()
    vault = at.vault(at.source(source_id).institution)
    total: Counter[str] = Counter()
    for batch_id in batch_ids:
        total.update(vault.batches.reconcile(batch_id).as_dict())
    if not past:
        vault.cursors.advance(source_id)
    if questions := vault.persons.examine():
        log.warning("%s: %d questions of identity wait; see `xinglin identity list`", source_id, questions)
    log.info("reconcile %s: %s", source_id, dict(total))
    return dict(total)


def _land(landing: Landing, records: Sequence[RawRecord | Unreadable], counts: dict[str, int]) -> None:
    """Land a page in its order; ``counts`` grows."""
    raws = [record for record in records if isinstance(record, RawRecord)]
    landed = landing.put_many(raws) + [
        landing.put_unreadable(record) for record in records if isinstance(record, Unreadable)
    ]
    new = sum(one.new for one in landed)
    counts["received"] += len(records)
    counts["landed"] += new
    counts["duplicate"] += len(landed) - new
    counts["unreadable"] += len(records) - len(raws)
