"""Tables of plain columns, built from one batch: what the expectations of a suite are run on.

Only the columns that a suite names are read. A row knows its record and the sender's segment; the tables hold
patient values, live as long as one check, and leave it only as row numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from quality.paths import Finder, compile_path
from quality.readings import NUMERIC, READINGS, Reading
from quality.suite import RECORD, REFERENCE, Column, Suite
from schemas.records import Normalised, Resource


@dataclass(slots=True)
class Table:
    """One table, column by column.

    Attributes:
        cells: Column name to its cells, in order of rows.
        records: The record of each row, as its position in the batch.
        segments: The sender's segment of each row.
        numeric: Names of the columns that hold numbers or nothing.
    """

    cells: dict[str, list[Any]]
    numeric: frozenset[str]
    records: list[int] = field(default_factory=list)
    segments: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Record:
    """One record while its rows are read."""

    number: int
    content: Normalised
    sent: Sequence[tuple[Any, Any]]
    first: dict[str, dict[str, Any]]
    ids: Set[tuple[Any, Any]]
    memory: dict[Column, Any]


@dataclass(frozen=True, slots=True)
class _Reference:
    """One relative reference, as the table of references reads it."""

    type: str
    id: str


# What reads one cell: subject (a resource's body, a reference or None), its record, the cells of the row so
# far.
_Reader = Callable[[Any, _Record, dict[str, Any]], Any]


class TableBuilder:
    """Reads the tables of one suite out of batches."""

    def __init__(self, suite: Suite) -> None:
        self._suite = suite
        self._readers = {
            table: [(column.name, _reader(suite, column)) for column in columns]
            for table, columns in suite.tables.items()
        }

    def build(self, batch: Sequence[Normalised], sound: Sequence[Sequence[Resource]]) -> dict[str, Table]:
        """Return every table of the suite; ``sound`` are the resources of each record that may be read."""
        tables = {name: self._empty(name) for name in self._readers}
        for number, (content, resources) in enumerate(zip(batch, sound, strict=True)):
            record = _open_record(number, content, resources)
            for resource in resources:
                if resource.type in tables:
                    self._add(tables, resource.type, resource.body, resource.segment, record)
                if REFERENCE in tables:
                    for reference in _references(resource.body):
                        self._add(tables, REFERENCE, reference, resource.segment, record)
            if RECORD in tables:
                self._add(tables, RECORD, None, "MSH", record)
        return tables

    def _empty(self, name: str) -> Table:
        columns = self._suite.tables[name]
        numeric = frozenset(one.name for one in columns if one.reading in NUMERIC or one.lookup)
        return Table({one.name: [] for one in columns}, numeric)

    def _add(self, tables: dict[str, Table], name: str, subject: Any, segment: str, record: _Record) -> None:
        table, row = tables[name], dict[str, Any]()
        for column, read in self._readers[name]:
            row[column] = cell = read(subject, record, row)
            table.cells[column].append(cell)
        table.records.append(record.number)
        table.segments.append(segment)


def _open_record(number: int, content: Normalised, resources: Sequence[Resource]) -> _Record:
    first: dict[str, dict[str, Any]] = {}
    for one in resources:
        first.setdefault(one.type, one.body)
    # Counts and targets read every resource: one that is set aside for its structure was sent all the same.
    sent = [(one.body.get("resourceType"), one.body.get("id")) for one in content.resources]
    return _Record(number, content, sent, first, frozenset(sent), {})


def _reader(suite: Suite, column: Column) -> _Reader:
    """Return the function that reads one column."""
    if column.source:
        return _from_record(column)
    if column.path:
        find, reading = _finder(column), _reading(column)
        return lambda subject, _record, _row: reading(find(subject))
    if column.lookup:
        rows, part = suite.lookups[column.lookup], column.part
        return lambda _subject, _record, row: _looked_up(rows, [row[key] for key in column.key], part)
    if column.fact:
        return _from_facts(column)
    if column.count:
        return lambda _subject, record, _row: sum(kind == column.count for kind, _ in record.sent)
    if column.reference == "target":
        return lambda subject, _record, _row: subject.type
    if column.reference == "in_record":
        return lambda subject, record, _row: (subject.type, subject.id) in record.ids
    return lambda _subject, record, _row: len(record.sent) - len(record.ids)


def _finder(column: Column) -> Finder:
    find = compile_path(column.path)
    assert find is not None, "load_suite has checked every path"
    return find


def _reading(column: Column) -> Reading:
    reading, add = READINGS[column.reading], column.add
    if not add:
        return reading

    def shifted(found: list[Any]) -> Any:
        cell = reading(found)
        return None if cell is None else cell + add

    return shifted


def _from_record(column: Column) -> _Reader:
    """Read from another resource of the record, once for each record."""
    find, reading = _finder(column), _reading(column)

    def read(_subject: Any, record: _Record, _row: dict[str, Any]) -> Any:
        if column not in record.memory:
            body = record.first.get(column.source)
            record.memory[column] = reading([] if body is None else find(body))
        return record.memory[column]

    return read


def _from_facts(column: Column) -> _Reader:
    """Read a plain value of the sender's record."""
    reading = _reading(column)

    def read(_subject: Any, record: _Record, _row: dict[str, Any]) -> Any:
        fact = record.content.facts.get(column.fact)
        return reading([fact] if fact else [])

    return read


def _looked_up(rows: Mapping[str, tuple[float, ...]], key: list[Any], part: int) -> float | None:
    row = rows.get(" ".join(map(str, key)))
    return row[part] if row is not None and part < len(row) else None


def _references(body: dict[str, Any]) -> list[_Reference]:
    """Every relative literal reference (``Type/id``) in a resource (FHIR R4, 2.3.0.1)."""
    found: list[_Reference] = []
    waiting: list[Any] = [body]
    while waiting:
        node = waiting.pop()
        if type(node) is list:
            waiting += node
        elif type(node) is dict:
            waiting += [child for child in node.values() if type(child) in (dict, list)]
            target = node.get("reference")
            if type(target) is str:
                kind, slash, id_ = target.partition("/")
                if slash and kind.isalpha() and "/" not in id_:
                    found.append(_Reference(kind, id_))
    return found
