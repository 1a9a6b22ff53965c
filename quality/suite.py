"""An expectation suite's YAML file as one checked value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import Any, Final, Literal

import schemas
from quality.definitions import is_resource_type
from quality.errors import SuiteError
from quality.paths import compile_path
from quality.readings import NUMERIC
from schemas.documents import load_document
from schemas.errors import ConfigurationError

SUITES: Final = Path(schemas.__file__).parent / "suites"
#: Tables that are not a FHIR resource type.
RECORD: Final = "Record"
REFERENCE: Final = "Reference"

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class Column:
    """How one column of a table is read; the keys of ``suite.schema.json`` ``$defs/column``."""

    name: str
    path: str = ""
    source: str = ""
    fact: str = ""
    count: str = ""
    repeated: str = ""
    reference: str = ""
    lookup: str = ""
    key: tuple[str, ...] = ()
    part: int = 0
    reading: str = "value"
    add: float = 0


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Attributes:
        id: Its name in refusals (``quality:<id>``) and statistics.
        severity: ``refuse`` sets the record aside, ``warn`` only counts.
        table: The table it judges.
        expectation: Name of a great-expectations expectation that judges rows.
        arguments: The expectation's arguments.
        when: Columns and the values that a row must have one of to be judged.
        unless: Columns and the values that keep a row from being judged.
        where: The sender's coordinate, ``{segment}`` for the resource's segment.
        message: What was expected and what to do.
    """

    id: str
    severity: Literal["refuse", "warn"]
    table: str
    expectation: str
    arguments: Mapping[str, Any]
    when: Mapping[str, tuple[Any, ...]]
    unless: Mapping[str, tuple[Any, ...]]
    where: str
    message: str

    @property
    def code(self) -> str:
        """Reason code of its refusals."""
        return f"quality:{self.id}"


@dataclass(frozen=True, slots=True)
class Suite:
    """A checked suite: columns by table, lookups, rules in the file's order, fields that must be readable.

    Attributes:
        invariants: Whether every resource is held to FHIR's invariants, too (`quality.invariants`).
    """

    name: str
    title: str
    tables: Mapping[str, tuple[Column, ...]]
    lookups: Mapping[str, Mapping[str, tuple[float, ...]]]
    rules: tuple[Rule, ...]
    unread: frozenset[str] = frozenset()
    invariants: bool = False


def load_suite(name: str, folder: Path = SUITES) -> Suite:
    """Read and check ``<folder>/<name>.yaml``.

    Raises:
        SuiteError: The name is none, the file is missing or breaks ``suite.schema.json``, a table is no FHIR
            resource type, a rule stands twice, or a rule or column names a table, column or lookup that the
            file does not have.
    """
    if not _NAME.fullmatch(name):
        raise SuiteError("a suite's name was expected: small letters, digits, - and _")
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(one.stem for one in folder.glob("*.yaml"))) or "none"
        raise SuiteError(f"{path.name}: there is no such suite; there are: {known}")
    try:
        document = load_document(path, "suite")
    except ConfigurationError as error:
        raise SuiteError(str(error)) from error
    suite = _suite(name, document)
    for fault in _faults(suite):
        raise SuiteError(f"{path.name}: {fault}")
    return suite


def _suite(name: str, document: Mapping[str, Any]) -> Suite:
    tables = {
        table: tuple(_column(column, spec) for column, spec in columns.items())
        for table, columns in document["tables"].items()
    }
    lookups = {
        lookup: {key: tuple(map(float, row)) for key, row in rows.items()}
        for lookup, rows in document["lookups"].items()
    }
    rules = tuple(_rule(rule) for rule in document["rules"])
    unread = frozenset(document["unread"])
    return Suite(name, document["title"], tables, lookups, rules, unread, document["invariants"])


def _column(name: str, spec: Mapping[str, Any]) -> Column:
    keys = {key: value for key, value in spec.items() if key not in ("as", "from", "key")}
    return Column(
        name,
        source=spec.get("from", ""),
        key=tuple(spec.get("key", ())),
        reading=spec.get("as", "value"),
        **keys,
    )


def _rule(rule: Mapping[str, Any]) -> Rule:
    def cells(key: str) -> dict[str, tuple[Any, ...]]:
        return {column: tuple(values) for column, values in rule.get(key, {}).items()}

    return Rule(
        rule["id"], rule["severity"], rule["table"], rule["expect"], rule.get("with", {}),
        cells("when"), cells("unless"), rule["where"], rule["message"],
    )  # fmt: skip


def _faults(suite: Suite) -> list[str]:
    faults = [fault for table, columns in suite.tables.items() for fault in _table_faults(suite, table, columns)]
    seen: set[str] = set()
    for rule in suite.rules:
        if rule.id in seen:
            faults.append(f"rule {rule.id}: id: another rule has the same id")
        seen.add(rule.id)
        faults += [f"rule {rule.id}: {fault}" for fault in _rule_faults(suite, rule)]
    return faults


def _table_faults(suite: Suite, table: str, columns: tuple[Column, ...]) -> list[str]:
    if table not in (RECORD, REFERENCE) and not is_resource_type(table):
        return [f"tables/{table}: is no FHIR R4 resource type, nor {RECORD} or {REFERENCE}"]
    faults, known = [], set[str]()
    for column in columns:
        where = f"tables/{table}/{column.name}"
        if column.path and compile_path(column.path) is None:
            faults.append(f"{where}/path: is no path; write it like code.coding.code or value[x]")
        if column.lookup and column.lookup not in suite.lookups:
            faults.append(f"{where}/lookup: there is no lookup {column.lookup!r}")
        if any(column.part >= len(row) for row in suite.lookups.get(column.lookup, {}).values()):
            faults.append(f"{where}/part: a row of the lookup is shorter")
        if column.path and not column.source and table in (RECORD, REFERENCE):
            faults.append(f"{where}/path: a {table} has no elements of its own; say from which type")
        if column.add and column.reading not in NUMERIC:
            faults.append(f"{where}/add: only {', '.join(sorted(NUMERIC))} can be added to")
        if column.reference and table != REFERENCE:
            faults.append(f"{where}/reference: only the table {REFERENCE} has references")
        faults += [f"{where}/key: {key!r} is no column above it" for key in column.key if key not in known]
        known.add(column.name)
    return faults


def _rule_faults(suite: Suite, rule: Rule) -> list[str]:
    columns = {column.name for column in suite.tables.get(rule.table, ())}
    if not columns:
        return [f"table: there is no table {rule.table!r} in tables"]
    faults = [
        f"{key}: table {rule.table} has no column {name!r}"
        for key, names in (("with", _named(rule.arguments)), ("when", rule.when), ("unless", rule.unless))
        for name in names
        if name not in columns
    ]
    if not _fillable(rule.where):
        faults.append("where: only {segment} can be filled in")
    return faults


def _fillable(where: str) -> bool:
    try:
        return all(field in (None, "segment") for _, field, _, _ in Formatter().parse(where))
    except ValueError:
        return False


def _named(arguments: Mapping[str, Any]) -> list[str]:
    """Columns that an expectation's arguments name."""
    single = [arguments[key] for key in ("column", "column_A", "column_B") if key in arguments]
    return single + list(arguments.get("column_list", ()))
