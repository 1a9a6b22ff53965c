"""Some patients' records on their way out: consent, de-identification, projection. One part fits in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import orjson

from schemas.sharing import DatasetRequest
from sharing.deidentify import Deidentifier, Profile, Report
from sharing.errors import Malformed
from sharing.export.cohort import within
from sharing.views.faults import Unfit

if TYPE_CHECKING:
    import pyarrow as pa

    from sharing.consent import Cutter
    from sharing.views import View
    from vault.extract import Opened
    from vault.store import Vault

#: Columns beside a view's own: whose the row is, and from which of the part's records it comes.
PERSON: Final = "\0person"
RECORD: Final = "\0record"
_WIDTH: Final = 8
#: What may leave of a resource, whose it is, and its place among the part's records.
Kept = tuple[dict[str, Any], bytes, int]


@dataclass(slots=True)
class Part:
    """What became of some patients' records.

    Attributes:
        owners: Tokens of the patients, in order.
        statements: Digest of the state that decided on consent, and of nothing else.
        records: Source records that went in, by id and version.
        whose: The owner of each, by place in ``owners``.
        excluded: Records left out, by stage and reason.
        tables: Batches of rows by name of view, with ``PERSON`` and ``RECORD``.
        lines: De-identified resources by FHIR type, each with the index of its record, where they are asked for.
        report: What de-identification dropped and changed, counted.
    """

    owners: tuple[bytes, ...]
    statements: bytes
    records: list[tuple[bytes, int]] = field(default_factory=list)
    whose: list[int] = field(default_factory=list)
    excluded: Counter[tuple[str, str]] = field(default_factory=Counter)
    tables: dict[str, list[pa.RecordBatch]] = field(default_factory=dict)
    lines: dict[str, list[tuple[int, bytes]]] = field(default_factory=dict)
    report: Report = field(default_factory=Report)


@dataclass(frozen=True, slots=True)
class Builder:
    """Makes parts.

    Attributes:
        vault: Whose records.
        request: What was approved.
        views: Its ViewDefinitions, compiled.
        cutter: What patients permit.
        said: Returns one digest of the statements of patients named by pseudonym.
        profile: How resources are de-identified.
        secret: Of this dataset and holder, 32 bytes.
        persons: By patient the token of the person.
    """

    vault: Vault
    request: DatasetRequest
    views: Sequence[View]
    cutter: Cutter
    said: Callable[[Iterable[bytes]], bytes]
    profile: Profile
    secret: bytes
    persons: Mapping[bytes, bytes]

    def build(self, owners: Sequence[bytes]) -> Part:
        """Return the part of these patients."""
        part, deidentifier = Part(tuple(owners), self.statements(owners)), self._deidentifier()
        types = sorted({view.resource for view in self.views})
        for opened in self.vault.extract.records(owners, types):
            if kept := list(self._kept(opened, deidentifier, part)):
                self._project(kept, part)
        part.report = deidentifier.report
        return part

    def _deidentifier(self) -> Deidentifier:
        # Ages are capped as on the day of the request: a dataset cut anew next year gives the same bytes.
        return Deidentifier(self.profile, self.secret, today=self.request.made)

    def statements(self, owners: Iterable[bytes]) -> bytes:
        """Return one digest of what these patients' statements say."""
        return self.said(map(self._pseudonym, owners))

    def _pseudonym(self, owner: bytes) -> bytes:
        return self.vault.summaries.pseudonym(owner)

    def _kept(self, opened: Iterable[Opened], deidentifier: Deidentifier, part: Part) -> Iterator[Kept]:
        """Yield what may leave, with its person and its place among the part's records."""
        places = {owner: place for place, owner in enumerate(part.owners)}
        for one in opened:
            if not within(one.body, self.request.cohort.period):
                part.excluded["cohort", "outside-period"] += 1
                continue
            if (refusal := self.cutter.refusal(self._pseudonym(one.owner), one.type, one.body)) is not None:
                part.excluded["consent", refusal] += 1
                continue
            person = self.persons[one.owner]
            if (body := deidentifier.resource(one.body, person)) is None:
                part.excluded["deidentify", "nothing-may-leave"] += 1
                continue
            part.records.append((one.rid, one.version))
            part.whose.append(places[one.owner])
            yield body, person, len(part.records) - 1

    def _project(self, kept: Sequence[Kept], part: Part) -> None:
        for view in self.views:
            batch, whose = _rows(view, kept, part)
            if batch.num_rows:
                part.tables.setdefault(view.name, []).append(_marked(batch, whose))
        if self.request.ndjson:
            for body, _, index in kept:
                part.lines.setdefault(body["resourceType"], []).append((index, orjson.dumps(body)))


def _rows(view: View, kept: Sequence[Kept], part: Part) -> tuple[pa.RecordBatch, list[Kept]]:
    """Return a view's rows, and what each comes from; a resource that does not fit the view gives none."""
    fitting = list(kept)
    while True:
        try:
            batch, sources = view.rows(body for body, _, _ in fitting)
        except Unfit as error:
            part.excluded["project", f"{view.name}-does-not-fit"] += 1
            del fitting[error.resource]
        else:
            return batch, [fitting[one] for one in sources]


def _marked(batch: pa.RecordBatch, whose: Sequence[Kept]) -> pa.RecordBatch:
    import pyarrow as pa

    persons, records = pa.array([one[1] for one in whose], pa.binary()), pa.array([one[2] for one in whose], pa.int32())
    fields = [*batch.schema, pa.field(PERSON, pa.binary()), pa.field(RECORD, pa.int32())]
    return pa.record_batch([*batch.columns, persons, records], schema=pa.schema(fields))


# --- as bytes, for the scratch folder --------------------------------------------------------------------------------


def encode(part: Part) -> bytes:
    """Return a part as bytes: a length, a header as JSON, then each table as an Arrow stream."""
    tables = {name: _stream(batches) for name, batches in part.tables.items()}
    header = orjson.dumps(
        {
            "owners": [one.hex() for one in part.owners],
            "statements": part.statements.hex(),
            "records": [[rid.hex(), version] for rid, version in part.records],
            "whose": part.whose,
            "excluded": [[stage, why, count] for (stage, why), count in part.excluded.items()],
            "lines": {name: [[at, line.decode()] for at, line in lines] for name, lines in part.lines.items()},
            "report": part.report.as_dict(),
            "tables": {name: len(data) for name, data in tables.items()},
        }
    )
    return b"".join((len(header).to_bytes(_WIDTH, "big"), header, *tables.values()))


def decode(data: bytes) -> Part:
    """Return the part that `encode` made these bytes from."""
    import pyarrow as pa

    size = int.from_bytes(data[:_WIDTH], "big")
    header, at = orjson.loads(data[_WIDTH : _WIDTH + size]), _WIDTH + size
    tables = {}
    for name, length in header["tables"].items():
        with pa.ipc.open_stream(pa.py_buffer(data[at : at + length])) as reader:
            tables[name] = list(reader)
        at += length
    if at != len(data):
        raise Malformed("part of an export: bytes are left over")
    return Part(
        tuple(bytes.fromhex(one) for one in header["owners"]),
        bytes.fromhex(header["statements"]),
        [(bytes.fromhex(rid), version) for rid, version in header["records"]],
        header["whose"],
        Counter({(stage, why): count for stage, why, count in header["excluded"]}),
        tables,
        {name: [(at, line.encode()) for at, line in lines] for name, lines in header["lines"].items()},
        Report.from_dict(header["report"]),
    )


def _stream(batches: Sequence[pa.RecordBatch]) -> bytes:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(sink, batches[0].schema, options=options) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return bytes(sink.getvalue())
