"""Parts become a package: generalised, suppressed, written as Parquet and NDJSON, sealed as they are written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import orjson

from schemas.sharing import Demands
from sharing.deidentify import Report
from sharing.export.part import PERSON, RECORD, Part
from sharing.export.quality import Quality
from sharing.export.resources import Resources
from sharing.package.manifest import Table
from sharing.risk import Gate, Plan, Together
from sharing.risk.gate import QUASI_IDENTIFIER
from sharing.views import View, dictionary

if TYPE_CHECKING:
    import pyarrow as pa

    from sharing.package import Writer
    from sharing.risk import TogetherPlan

PARQUET: Final = "application/vnd.apache.parquet"
JSON: Final = "application/json"
Parts = Callable[[], Iterator[Part]]
Persons = tuple[set[bytes], Mapping[bytes, bytes]]


@dataclass(slots=True)
class Packed:
    """What went in.

    Attributes:
        tables: For the manifest.
        records: Source records that any row or resource comes from, by id and version.
        owners: Tokens of the patients whose records these are.
        persons: Tokens of the persons whose rows there are.
        excluded: What was left out, over all parts, by stage and reason.
        risk: What the gate did to each table.
        report: What de-identification dropped and changed.
        quality: How complete the tables are.
    """

    tables: list[Table] = field(default_factory=list)
    records: list[tuple[bytes, int]] = field(default_factory=list)
    owners: set[bytes] = field(default_factory=set)
    persons: set[bytes] = field(default_factory=set)
    excluded: Counter[tuple[str, str]] = field(default_factory=Counter)
    risk: dict[str, Any] = field(default_factory=dict)
    report: Report = field(default_factory=Report)
    quality: Quality = field(default_factory=Quality)


@dataclass(frozen=True, slots=True)
class Planned:
    """How every table leaves.

    Attributes:
        tables: By view.
        together: What goes over every table first, where several tables have quasi-identifiers of the same persons.
    """

    tables: Mapping[str, Plan]
    together: TogetherPlan | None

    def first(self, view: View, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, list[bytes]]:
        """Return a batch as its own table's gate takes it, and whose each row is."""
        persons = batch.column(PERSON).to_pylist()
        return (batch, persons) if self.together is None else self.together.apply(view.columns, batch, persons)

    def schema(self, view: View) -> pa.Schema:
        """Return the schema in which a view's table leaves."""
        before = view.schema if self.together is None else self.together.schema_of(view.columns, view.schema)
        return self.tables[view.name].schema_of(before)

    def complete(self) -> None:
        """Every row that was counted was applied, and none beside; RuntimeError otherwise."""
        for plan in self.tables.values():
            plan.complete()

    def report(self) -> dict[str, Any]:
        """Return what was done to each table, and to all of them for the sake of persons."""
        each = {name: plan.report() for name, plan in self.tables.items()}
        return each if self.together is None else {**each, "all tables together": self.together.report()}


def plans(views: Sequence[View], parts: Parts, demands: Demands) -> Planned:
    """Return how each view's rows are generalised and which are left out, so that the demands are met.

    Raises:
        RiskTooHigh: Nothing that is allowed meets them.
    """
    gates = {view.name: Gate(view.columns, demands) for view in views}
    planned = Planned({}, _together(views, parts, demands))
    for view, batch in _batches(views, parts):
        gates[view.name].add(*planned.first(view, batch))
    return replace(planned, tables={name: gate.plan() for name, gate in gates.items()})


def _together(views: Sequence[View], parts: Parts, demands: Demands) -> TogetherPlan | None:
    telling = [one for one in views if any(column.role == QUASI_IDENTIFIER for column in one.columns)]
    if len(telling) < 2:
        return None
    together = Together({one.name: one.columns for one in telling}, demands)
    for view, batch in _batches(telling, parts):
        together.add(view.name, batch, batch.column(PERSON).to_pylist())
    return together.plan()


def _batches(views: Sequence[View], parts: Parts) -> Iterator[tuple[View, pa.RecordBatch]]:
    for part in parts():
        for view in views:
            for batch in part.tables.get(view.name, ()):
                yield view, batch


def pack(
    writer: Writer, views: Sequence[View], parts: Parts, planned: Planned, resources: Persons | None = None
) -> Packed:
    """Every table, its dictionary and what was done to it are in the package; returns what went in.

    Args:
        writer: The package.
        views: Its tables.
        parts: Gives all parts, from the first on.
        planned: What ``plans`` returned.
        resources: Where FHIR resources go in, too: whose, and by patient the token of the person.
    """
    packed = Packed()
    with ExitStack() as stack:
        tables = {one.name: stack.enter_context(_table(writer, one, planned)) for one in views}
        types = {one.resource for one in views}
        beside = None if resources is None else Resources(writer, types, *resources, stack)
        for part in parts():
            _write(part, tables, beside, packed)
    planned.complete()
    packed.tables = [one.entry() for one in tables.values()]
    packed.risk = planned.report()
    if beside is not None and beside.left_out:
        packed.excluded["risk", "resources"] += beside.left_out
    with writer.sealed("quality.json", JSON) as stream:
        stream.write(as_json(packed.quality.as_dict(packed.excluded)))
    writer.plain("dictionary.json", JSON, as_json({one.name: dictionary(one) for one in views}))
    writer.plain("risk.json", JSON, as_json(packed.risk))
    return packed


def _write(part: Part, tables: Mapping[str, _Table], beside: Resources | None, packed: Packed) -> None:
    used = set() if beside is None else beside.write(part)
    for name, batches in part.tables.items():
        for batch in batches:
            kept = tables[name].write(batch)
            packed.quality.add(name, kept, tables[name].schema.names)
            used.update(kept.column(RECORD).to_pylist())
            packed.persons.update(kept.column(PERSON).to_pylist())
            if left := batch.num_rows - kept.num_rows:
                packed.excluded["risk", f"{name}-rows"] += left
    packed.excluded.update(part.excluded)
    packed.records += [part.records[one] for one in sorted(used)]
    packed.owners.update(part.owners[part.whose[one]] for one in used)
    packed.report.add(part.report)


@dataclass(slots=True)
class _Table:
    """One table's Parquet file, sealed as it grows."""

    view: View
    section: str
    planned: Planned
    schema: pa.Schema
    parquet: Any
    rows: int = 0

    def write(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The rows that may leave are in the file; returns them with their marks."""
        kept = self.planned.tables[self.view.name].apply(*self.planned.first(self.view, batch))
        if kept.num_rows:
            self.parquet.write_batch(kept.select(self.schema.names))
            self.rows += kept.num_rows
        return kept

    def entry(self) -> Table:
        """Return what the manifest says of it."""
        columns = tuple((one.name, str(one.type)) for one in self.schema)
        return Table(self.view.name, self.rows, columns, (self.section,))


@contextmanager
def _table(writer: Writer, view: View, planned: Planned) -> Iterator[_Table]:
    import pyarrow.parquet as pq

    section, schema = f"tables/{view.name}.parquet", planned.schema(view)
    with writer.sealed(section, PARQUET) as stream, pq.ParquetWriter(stream, schema, compression="zstd") as file:
        yield _Table(view, section, planned, schema, file)


def as_json(value: Any) -> bytes:
    """Return JSON for people and programs."""
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)
