"""A row while it is being mapped: its columns, its patient, and how ids of its resources are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from normalise.collecting import Collector
from normalise.errors import SetAside, set_aside
from normalise.ids import id_within, local_uri
from normalise.patients import patient_id
from normalise.rows.record import Row, Value, as_text
from schemas.records import SourceContext

Body = dict[str, Any]
_URI: Final = ("urn:", "http://", "https://")


class Reader:
    """What a rule of a mapping asks for.

    Args:
        row: The row.
        context: Its source.
        nulls: Texts that mean that nothing is known.
        patients: System of the numbers that name patients.
        collector: Takes notes.
    """

    def __init__(
        self, row: Row, context: SourceContext, nulls: frozenset[str], patients: str, collector: Collector
    ) -> None:
        self.row = row
        self.context = context
        self.patient: str | None = None
        self.deleted = row.deleted
        self._nulls = nulls
        self._patients = patients
        self._collector = collector

    def value(self, column: str) -> Value:
        """Return a column's value, None where it is NULL, empty, or holds a text that means nothing is known."""
        value = self.row.columns.get(column)
        if isinstance(value, str):
            value = value.strip()
            return None if not value or value in self._nulls else value
        return value

    def text(self, column: str) -> str | None:
        """Return a column as text, or None."""
        value = self.value(column)
        return None if value is None else as_text(value)

    def where(self, column: str) -> str:
        """Return the sender's coordinate of a column."""
        return f"{self.row.table}.{column}"

    def note(self, code: str, column: str, message: str) -> None:
        """What could not be read is told."""
        self._collector.note(code, self.where(column), message)

    def refuse(self, code: str, column: str, message: str) -> SetAside:
        """Return the refusal of the whole row."""
        return set_aside(code, self.where(column), message)

    def system(self, name: str, kind: str) -> str:
        """Return a system's URI; a name that is none becomes the institution's own."""
        return name if name.startswith(_URI) else local_uri(self.context.institution, kind, name)

    def patient_of(self, column: str) -> str | None:
        """Return the id of the patient whose number a column holds."""
        number = self.text(column)
        if number is None:
            return None
        system = self.system(self._patients, "ids")
        return patient_id([{"system": system, "value": number}], self.context.institution)

    def id_of(self, type_: str, table: str, name: str, columns: Sequence[str]) -> str | None:
        """Return the id of the resource that a table's row becomes, or None where a column of its key is empty.

        Args:
            type_: FHIR type.
            table: The table whose row it is.
            name: Tells resources of one type and row apart, or ``""``.
            columns: Columns of this row that hold the key of that one, in its order.
        """
        parts = [self.text(column) for column in columns]
        if None in parts:
            return None
        scope = (self.context.source, table, name)
        return id_within(type_, self.context.institution, "row", *scope, *(part for part in parts if part is not None))


def condition(rules: Sequence[Mapping[str, Any]]) -> Any:
    """Return whether a row meets all conditions of a ``when``, as a function of its reader."""

    def met(reader: Reader) -> bool:
        return all(_met(rule, reader.text(rule["column"])) for rule in rules)

    return met


def _met(rule: Mapping[str, Any], value: str | None) -> bool:
    if "in" in rule:
        return value is not None and value in {as_text(one) for one in rule["in"]}
    if "not_in" in rule:
        return value is None or value not in {as_text(one) for one in rule["not_in"]}
    if "less_than" in rule:
        return _number(value) < float(rule["less_than"])
    return (value is None) == bool(rule["empty"])


def _number(value: str | None) -> float:
    try:
        return float(value or "nan")
    except ValueError:
        return float("nan")
