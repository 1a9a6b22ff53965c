"""A row made into resources by its table's plan."""

from __future__ import annotations

from typing import Any

from normalise.collecting import Collector
from normalise.errors import set_aside
from normalise.rows.compiling import Plan, RowMapping, TablePlan
from normalise.rows.deletion import mark_deleted
from normalise.rows.paths import exists, finished, put
from normalise.rows.reading import Reader
from normalise.rows.record import Row
from normalise.rows.times import is_instant, moment
from schemas.records import Normalised, SourceContext


def make(row: Row, mapping: RowMapping, context: SourceContext) -> Normalised:
    """Return what a row becomes.

    Raises:
        SetAside: The mapping does not know its table, or a column that must be read cannot be.
    """
    table = mapping.tables.get(row.table)
    if table is None:
        message = "The mapping does not know the table; add it, or take it out of the source's tables."
        raise set_aside("mapping", row.table[:200], message)
    collector = Collector(context, row.name, mapping.version)
    reader = Reader(row, context, mapping.nulls, mapping.patients, collector)
    if table.patient:
        reader.patient = reader.patient_of(table.patient)
        if reader.patient is None:
            raise reader.refuse("required", table.patient, "Expected the patient's number; the row belongs to nobody.")
    for plan in table.plans:
        if plan.met(reader):
            _add(plan, reader, collector)
    if not collector.resources:
        collector.note("mapping", row.table, "No resource of the mapping takes this row; it becomes nothing.")
    _tell_unmapped(row, table, collector)
    collector.facts.update({"row.table": row.table, "row.deleted": "true" if row.deleted else "false"})
    return collector.finish(_recorded(reader, table, mapping), "delete" if row.deleted else "")


def _add(plan: Plan, reader: Reader, collector: Collector) -> None:
    id_ = _id(plan, reader)
    tree: dict[Any, Any] = {"resourceType": plan.type, "id": id_}
    for element in plan.elements:
        if element.needs and not exists(tree, element.needs):
            continue
        value = element.make(reader)
        if value is None:
            continue
        if element.path == ("value[x]",):
            tree.update(value)
        else:
            put(tree, element.path, value)
    body = finished(tree)
    if reader.deleted:
        mark_deleted(body)
    collector.add(body, reader.row.table, reader.patient if plan.own else None, plan.mode)


def _id(plan: Plan, reader: Reader) -> str:
    if plan.type == "Patient" and not plan.key and not plan.name:
        if reader.patient is None:
            raise set_aside("mapping", reader.row.table, "A Patient needs the table's `patient` column in the mapping.")
        return reader.patient
    columns = plan.key or tuple(reader.row.key)
    id_ = reader.id_of(plan.type, reader.row.table, plan.name, columns)
    if id_ is None:
        raise reader.refuse("required", columns[0], "A column of the resource's id is empty; fill it.")
    return id_


def _recorded(reader: Reader, table: TablePlan, mapping: RowMapping) -> str:
    text = reader.text(table.recorded) if table.recorded else None
    value = moment(text, reader.context.time_zone, mapping.dates) if text else None
    return value if value is not None and is_instant(value) else ""


def _tell_unmapped(row: Row, table: TablePlan, collector: Collector) -> None:
    """Every column that holds something and nobody maps has a note; the row itself stays, landed, as it came."""
    for name, value in row.columns.items():
        if value is not None and value != "" and name not in table.known and name not in row.key:
            message = "The column is not mapped; map it, or name it under ignore. The landed row keeps it."
            collector.note("unmapped_column", f"{row.table}.{name}", message)
