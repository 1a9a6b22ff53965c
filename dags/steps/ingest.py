"""What the tasks of an ingest DAG do: pull, plan, process, reconcile, submit. Ids and counts in and out."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict

from connectors import PullConnector, mode, open_connector
from dags.steps.errors import Stop
from dags.steps.site import Site, site
from normalise.errors import SetAside
from normalise.hl7v2 import MAPPING, convert
from quality.gate import Gate
from schemas.records import Normalised, RawRecord, Refusal, Unreadable
from schemas.source import Source
from shangmi import Sm3
from vault.batches import LandedRecord, RecordResult
from vault.errors import Unreconciled

log = logging.getLogger(__name__)


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
    connector = open_connector(source, at.home.path, digest=Sm3)
    assert isinstance(connector, PullConnector)
    log.info("pull %s: begins", source_id)
    cursor = vault.cursors.get(source_id)
    for page in connector.pull(cursor):
        _land(vault.landing, page.records, counts)
        cursor, counts["waiting"] = page.cursor, page.waiting
    vault.cursors.propose(source_id, cursor or {})
    log.info("pull %s: %s", source_id, counts)
    return counts


def plan(source_id: str, run: str, at: Site | None = None) -> list[str]:
    """Every landed record belongs to a batch; returns the ids of the open batches, oldest first."""
    at = at or site()
    source = at.source(source_id)
    return at.vault(source.institution).batches.plan(source_id, source.batch_records, run)


def process(source_id: str, batch_id: str, at: Site | None = None) -> dict[str, int]:
    """Every record of the batch is sealed or set aside.

    Raises:
        Stop: More of the batch was set aside than the source's ``failure_threshold`` allows; nothing of it is
            published.
    """
    at = at or site()
    source = at.source(source_id)
    vault = at.vault(source.institution)
    log.info("process %s: begins", batch_id)
    started = time.monotonic()
    gate = Gate(source.suite)
    counts: dict[str, int] = {}
    failed = total = 0
    for chunk in vault.batches.chunks(batch_id):
        results = normalise_and_check(chunk, source, gate)
        failed += sum(result.outcome == "quarantined" for result in results)
        total += len(results)
        vault.batches.settle(batch_id, results, MAPPING)
    counts = vault.batches.counts(batch_id)
    log.info("process %s: %s in %.1f s", batch_id, counts, time.monotonic() - started)
    return counts


def normalise_and_check(records: Sequence[LandedRecord], source: Source, gate: Gate) -> list[RecordResult]:
    """Return what each landed record becomes, in order; a record that fails takes no other with it."""
    normalised: list[Normalised] = []
    refusals: dict[int, Refusal] = {}
    for position, record in enumerate(records):
        try:
            normalised.append(convert(record.raw.content, source.context))
        except SetAside as error:
            refusals[position] = error.refusal
            normalised.append(Normalised(()))
    good = [position for position in range(len(records)) if position not in refusals]
    report = gate.check([normalised[position] for position in good])
    for position, found in zip(good, report.refusals, strict=True):
        if found:
            refusals[position] = found[0]
    return [
        RecordResult(
            record.id,
            "quarantined" if position in refusals else "sealed",
            () if position in refusals else normalised[position].resources,
            refusals.get(position),
        )
        for position, record in enumerate(records)
    ]


def reconcile(source_id: str, batch_ids: Iterable[str], at: Site | None = None) -> dict[str, int]:
    """Every record of the batches is accounted for, and the source's cursor has moved.

    Raises:
        Stop: The counts do not agree; neither cursor nor publication advances.
    """
    at = at or site()
    vault = at.vault(at.source(source_id).institution)
    total: dict[str, int] = {}
    for batch_id in batch_ids:
        try:
            counts = asdict(vault.batches.reconcile(batch_id))
        except Unreconciled as error:
            raise Stop(str(error)) from None
        total = {key: total.get(key, 0) + value for key, value in counts.items()}
    vault.cursors.advance(source_id)
    log.info("reconcile %s: %s", source_id, total)
    return total


def _land(landing: object, records: Sequence[RawRecord | Unreadable], counts: dict[str, int]) -> None:
    raise NotImplementedError
