"""Tables of plain columns, built from one batch: what the expectations of a suite are run on.

Only the columns that a suite names are read. A row knows its record and the sender's segment; the tables hold
patient values, live as long as one check, and leave it only as row numbers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from quality.paths import Finder, compile_path
from quality.readings import NUMERIC, READINGS, Reading
from quality.suite import RECORD, REFERENCE, Column, Suite
from schemas.records import Normalised, Resource

#: With an identifier behind it a reference says by itself what it means, in another record as well.
_REFERENCE: Final = re.compile(rb'"reference":"([A-Za-z]+)/([A-Za-z0-9.-]+)"(?!,"identifier":)')


@dataclass(frozen=True, slots=True)
class Table:
    """One table, column by column; every list is in order of rows.

    Attributes:
        cells: Column name to its cells.
        numeric: Names of the columns that hold numbers or nothing.
        records: The record of each row, as its position in the batch.
        segments: The sender's segment of each row.
    """

    cells: Mapping[str, list[Any]]
    numeric: Set[str]
    records: Sequence[int]
    segments: Sequence[str]


@dataclass(frozen=True, slots=True)
class _Record:
    """One record of the batch: its place, its facts, and the resources that may be read and that were sent."""

    number: int
    facts: Mapping[str, str]
    first: Mapping[str, dict[str, Any]]
    sent: Sequence[tuple[Any, Any]]
    ids: Set[tuple[Any, Any]]


@dataclass(slots=True)
class _Rows:
    """The rows of one table before their columns are read.

    A subject is what a row is about: a resource's body, a reference as (type, id), or None for a record.
    """

    subjects: list[Any] = field(default_factory=list)
    owners: list[_Record] = field(default_factory=list)
    segments: list[str] = field(default_factory=list)

    def add(self, subject: Any, owner: _Record, segment: str) -> None:
        self.subjects.append(subject)
        self.owners.append(owner)
        self.segments.append(segment)


#: Reads one column of all rows; columns above it are read already.
_Reader = Callable[[_Rows, Mapping[str, list[Any]]], list[Any]]


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
        rows = {table: _Rows() for table in self._readers}
        for number, (content, resources) in enumerate(zip(batch, sound, strict=True)):
            owner = _record(number, content, resources)
            for resource in resources:
                if resource.type in rows:
                    rows[resource.type].add(resource.body, owner, resource.segment)
                if REFERENCE in rows:
                    for target in _references(resource.body):
                        rows[REFERENCE].add(target, owner, resource.segment)
            if RECORD in rows:
                rows[RECORD].add(None, owner, "MSH")
        return {table: self._read(table, found) for table, found in rows.items()}

    def _read(self, table: str, rows: _Rows) -> Table:
        cells: dict[str, list[Any]] = {}
        for name, read in self._readers[table]:
            cells[name] = read(rows, cells)
        columns = self._suite.tables[table]
        numeric = {one.name for one in columns if one.reading in NUMERIC or one.lookup}
        return Table(cells, numeric, [owner.number for owner in rows.owners], rows.segments)


def _record(number: int, content: Normalised, resources: Sequence[Resource]) -> _Record:
    first: dict[str, dict[str, Any]] = {}
    for one in resources:
        first.setdefault(one.type, one.body)
    # Counts and targets read every resource: one that is set aside for its structure was sent all the same.
    sent = [(one.body.get("resourceType"), one.body.get("id")) for one in content.resources]
    return _Record(number, content.facts, first, sent, frozenset(sent))


def _references(body: dict[str, Any]) -> set[tuple[str, str]]:
    """The relative literal references (``Type/id``) in a resource (FHIR R4, 2.3.0.1).

    Found in its JSON, several times faster than by walking it: quotes inside a text are escaped there, so only an
    element named ``reference`` can match.
    """
    return {(kind.decode(), id_.decode()) for kind, id_ in _REFERENCE.findall(orjson.dumps(body))}


def _reader(suite: Suite, column: Column) -> _Reader:
    """Return the function that reads one column."""
    if column.source:
        return _from_record(column)
    if column.path:
        find, reading = _finder(column), _reading(column)
        return lambda rows, _cells: [reading(find(body)) for body in rows.subjects]
    if column.lookup:
        return _from_lookup(suite.lookups[column.lookup], column)
    if column.fact:
        fact, reading = column.fact, _reading(column)
        return lambda rows, _cells: [reading([one.facts[fact]] if fact in one.facts else []) for one in rows.owners]
    if column.count:
        count = column.count
        return lambda rows, _cells: [sum(kind == count for kind, _ in one.sent) for one in rows.owners]
    if column.reference == "target":
        return lambda rows, _cells: [kind for kind, _ in rows.subjects]
    if column.reference == "in_record":
        return lambda rows, _cells: [target in one.ids for target, one in zip(rows.subjects, rows.owners, strict=True)]
    return lambda rows, _cells: [len(one.sent) - len(one.ids) for one in rows.owners]


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
    find, reading, source = _finder(column), _reading(column), column.source

    def read(rows: _Rows, _cells: Mapping[str, list[Any]]) -> list[Any]:
        cell, last, cells = None, -1, []
        for owner in rows.owners:
            if owner.number != last:
                last, body = owner.number, owner.first.get(source)
                cell = reading([] if body is None else find(body))
            cells.append(cell)
        return cells

    return read


def _from_lookup(lookup: Mapping[str, tuple[float, ...]], column: Column) -> _Reader:
    part = column.part

    def read(_rows: _Rows, cells: Mapping[str, list[Any]]) -> list[Any]:
        keys = zip(*(cells[name] for name in column.key), strict=True)
        found = (lookup.get(" ".join(map(str, key))) for key in keys)
        return [None if row is None else row[part] for row in found]

    return read
