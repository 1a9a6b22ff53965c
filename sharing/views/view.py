"""A view: resources in, an Arrow table out, column by column.

Every select is evaluated over all nodes of a batch at once: a column is one list comprehension and one Arrow array,
and what forEach and unionAll do to rows is done to positions, not to values.
Source: SQL on FHIR v2, processing model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

from sharing.views.columns import Column, to_arrow
from sharing.views.compiled import Code, Env
from sharing.views.definition import Definition, Placed, Select, read_definition
from sharing.views.faults import Fault, Unfit
from sharing.views.values import MOST_ITEMS, items

if TYPE_CHECKING:
    import pyarrow as pa

#: Rows that one resource can become, and one batch.
MOST_ROWS: Final = 100_000
MOST_BATCH_ROWS: Final = 5_000_000


@dataclass(slots=True)
class Frame:
    """The nodes that a select is evaluated on.

    Attributes:
        nodes: In order; None where forEachOrNull found nothing.
        sources: For each, which resource it is in, from 0.
        resources: All resources of the batch.
        rows: For each, its place among those of its forEach; empty for all 0.
    """

    nodes: list[Any]
    sources: list[int]
    resources: list[Any]
    rows: list[int] = field(default_factory=list)

    def values(self, placed: Placed) -> list[Any]:
        """Return what an expression comes to on every node.

        Raises:
            Unfit: It has no value on one of them.
        """
        try:
            return self._values(placed.code)
        except (Fault, RecursionError):
            raise self._first_fault(placed) from None

    def _values(self, code: Code) -> list[Any]:
        run, env = code.run, Env()
        if not code.uses:
            return [run(node, env) for node in self.nodes]
        return [run(node, self._env(at)) for at, node in enumerate(self.nodes)]

    def _env(self, at: int) -> Env:
        return Env(self.resources[self.sources[at]], self.rows[at] if self.rows else 0)

    def _first_fault(self, placed: Placed) -> Exception:
        for at, node in enumerate(self.nodes):
            try:
                placed.code.run(node, self._env(at))
            except Fault as error:
                return self.fault(placed)(at, error)
            except RecursionError:
                return self.fault(placed)(at, Fault("the resource is nested too deep"))
        raise AssertionError("an expression has a fault once, and then none")

    def fault(self, placed: Placed) -> Callable[[int, Fault], Exception]:
        """Return what makes the error of a node."""
        return lambda at, error: Unfit(str(error.located(placed.place)), self.sources[at])


@dataclass(slots=True)
class Table:
    """Columns and where their rows come from.

    Attributes:
        columns: Of equal length.
        parents: For every row the node of the frame that it is of, never falling; None where each node is one row.
    """

    columns: list[pa.Array]
    parents: list[int] | None


class View:
    """A compiled ViewDefinition.

    Attributes:
        definition: As it was given.
        name: Its name, or its resource's in lower case.
        resource: Type of the resources that it reads.
        columns: In the order of the table.
        notes: What is right and yet most likely not meant: elements that FHIR R4 has not, values that may be several.
    """

    def __init__(self, definition: Mapping[str, Any], compiled: Definition) -> None:
        self.definition = definition
        self.name = compiled.name
        self.resource = compiled.resource
        self.columns: tuple[Column, ...] = tuple(compiled.root.all_columns())
        self.notes = compiled.notes
        self._compiled = compiled

    @cached_property
    def schema(self) -> pa.Schema:
        """The table's schema; a field carries its description."""
        import pyarrow as pa

        return pa.schema(
            [
                pa.field(
                    column.name,
                    column.arrow(),
                    metadata={"description": column.description} if column.description else None,
                )
                for column in self.columns
            ]
        )

    def rows(self, resources: Iterable[Mapping[str, Any]]) -> tuple[pa.RecordBatch, list[int]]:
        """Return the rows of some resources, and for each row the position of its resource among them.

        Args:
            resources: FHIR in JSON's shape; those of other types are passed over.

        Raises:
            Malformed: A value does not fit its column, or an expression cannot be evaluated; says where in the
                definition. Its attribute ``resource`` is the position of the resource.
        """
        import pyarrow as pa

        given = list(resources)
        kept = [at for at, one in enumerate(given) if one.get("resourceType") == self.resource]
        frame = Frame([given[at] for at in kept], kept, given)
        for placed in self._compiled.where:
            frame = _filtered(frame, placed)
        table = _select(self._compiled.root, frame)
        sources = frame.sources if table.parents is None else [frame.sources[at] for at in table.parents]
        return pa.RecordBatch.from_arrays(table.columns, schema=self.schema), sources


def compile_view(definition: Mapping[str, Any]) -> View:
    """Return the view of a ViewDefinition.

    Raises:
        Malformed: It is none, or holds what views here do not know; names the place, what was expected, what came.
    """
    return View(definition, read_definition(definition))


def _filtered(frame: Frame, placed: Placed) -> Frame:
    """Return the nodes on which a condition holds.

    Raises:
        Unfit: It comes to something else than true, false or nothing.
    """
    answers = frame.values(placed)
    for at, answer in enumerate(answers):
        if answer is not None and not isinstance(answer, bool):
            raise frame.fault(placed)(at, Fault("expected what is true or false; found something else"))
    kept = [at for at, answer in enumerate(answers) if answer]
    return Frame([frame.nodes[at] for at in kept], [frame.sources[at] for at in kept], frame.resources)


def _select(select: Select, frame: Frame) -> Table:
    """Return the rows of a select on every node of a frame."""
    inner, parents = _expanded(select, frame) if select.each else (frame, None)
    tables = []
    if select.columns:
        tables.append(Table([_array(inner, column, placed) for column, placed in select.columns], None))
    tables += [_select(one, inner) for one in select.selects]
    if select.unions:
        tables.append(_united([_select(one, inner) for one in select.unions], len(inner.nodes)))
    table = _crossed(tables, select, inner)
    if parents is None:
        return table
    return Table(table.columns, parents if table.parents is None else [parents[at] for at in table.parents])


def _array(frame: Frame, column: Column, placed: Placed) -> pa.Array:
    return to_arrow(column, frame.values(placed), frame.fault(placed))


def _expanded(select: Select, frame: Frame) -> tuple[Frame, list[int]]:
    """Return the nodes that a forEach, forEachOrNull or repeat finds, and for each the node it was found in."""
    found = [items(value) for value in frame.values(select.each[0])] if not select.repeat else _repeated(select, frame)
    nodes: list[Any] = []
    parents: list[int] = []
    rows: list[int] = []
    for at, below in enumerate(found):
        size = len(below)
        if size == 1 or (size == 0 and select.kept):
            nodes.append(below[0] if size else None)
            parents.append(at)
            rows.append(0)
        elif size:
            nodes += below
            parents += [at] * size
            rows += range(size)
    return Frame(nodes, [frame.sources[at] for at in parents], frame.resources, rows), parents


def _repeated(select: Select, frame: Frame) -> list[list[Any]]:
    """Return all that the expressions find, and find in what they found, each before what is in it."""
    found: list[list[Any]] = []
    for at, node in enumerate(frame.nodes):
        env = frame._env(at)
        reached: list[Any] = []
        waiting = _one_level(select, node, env, frame, at)
        while waiting:
            item = waiting.pop()
            reached.append(item)
            if len(reached) > MOST_ITEMS:
                raise frame.fault(select.each[0])(at, Fault(f"finds more than {MOST_ITEMS:,} items; does it go down?"))
            waiting += _one_level(select, item, env, frame, at)
        found.append(reached)
    return found


def _one_level(select: Select, node: Any, env: Env, frame: Frame, at: int) -> list[Any]:
    """Return what the expressions find in one node, last first."""
    below: list[Any] = []
    for placed in select.each:
        try:
            below += items(placed.code.run(node, env))
        except Fault as error:
            raise frame.fault(placed)(at, error) from None
    below.reverse()
    return below


def _united(tables: list[Table], nodes: int) -> Table:
    """Return the rows of all branches: those of one node together, the first branch's first."""
    import pyarrow as pa

    parents = [at for table in tables for at in (range(nodes) if table.parents is None else table.parents)]
    order = sorted(range(len(parents)), key=parents.__getitem__)
    taken = pa.array(order, pa.int64())
    columns = [pa.concat_arrays(one).take(taken) for one in zip(*(table.columns for table in tables), strict=True)]
    return Table(columns, [parents[at] for at in order])


def _crossed(tables: list[Table], select: Select, frame: Frame) -> Table:
    """Return every combination of the rows that are of the same node, those of the first table outermost."""
    if all(table.parents is None for table in tables):
        return Table([column for table in tables for column in table.columns], None)
    first, *others = tables
    crossed = first
    for table in others:
        crossed = _pair(crossed, table, select, frame)
    return crossed


def _pair(left: Table, right: Table, select: Select, frame: Frame) -> Table:
    if left.parents is None and right.parents is None:
        return Table([*left.columns, *right.columns], None)
    if right.parents is None:
        assert left.parents is not None
        return Table([*left.columns, *_taken(right.columns, left.parents)], left.parents)
    if left.parents is None:
        return Table([*_taken(left.columns, right.parents), *right.columns], right.parents)
    ours, theirs = _counts(left.parents, len(frame.nodes)), _counts(right.parents, len(frame.nodes))
    products = [a * b for a, b in zip(ours, theirs, strict=True)]
    if sum(products) > MOST_BATCH_ROWS or max(products, default=0) > MOST_ROWS:
        at = products.index(max(products))
        raise Unfit(
            f"{select.place or 'select'}: sibling selects make {products[at]:,} rows of one resource and "
            f"{sum(products):,} of these; at most {MOST_ROWS:,} and {MOST_BATCH_ROWS:,} are made",
            frame.sources[at],
        )
    begins = [0, *accumulate(theirs)]
    mine = [at for at, parent in enumerate(left.parents) for _ in range(theirs[parent])]
    other = [at for parent in left.parents for at in range(begins[parent], begins[parent + 1])]
    parents = [left.parents[at] for at in mine]
    return Table([*_taken(left.columns, mine), *_taken(right.columns, other)], parents)


def _taken(columns: list[pa.Array], positions: list[int]) -> list[pa.Array]:
    import pyarrow as pa

    taken = pa.array(positions, pa.int64())
    return [column.take(taken) for column in columns]


def _counts(parents: list[int], nodes: int) -> list[int]:
    counts = [0] * nodes
    for parent in parents:
        counts[parent] += 1
    return counts
