"""Persons over all tables of a dataset: what a pseudonym joins is held to k together.

A `Gate` looks at one table. Where a dataset's tables name their persons by one pseudonym, whoever holds it joins them,
and may find alone a person whom each table shows among many. `Together` looks at every person once, with all that all
tables have of them: quasi-identifiers of one name and hierarchy are one, and a person's values of it are a set. Its
plan goes over the batches before each table's own gate does, which then has less to do.

How many rows a table has of somebody, and whether it has any, is no value of a column and is not held to anything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import orjson

from schemas.sharing import Demands
from sharing.risk.counting import Column
from sharing.risk.gate import QUASI_IDENTIFIER, Gate
from sharing.risk.hierarchies import HIERARCHIES, Level, star
from sharing.risk.measures import distinct
from sharing.risk.values import Text, Values

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

#: Name of the column that says whose a row of the table of persons is; no column of a view can be called so.
_WHOSE: Final = " "
_WAITING: Final = 500_000
_SHIFT: Final = 2**31


@dataclass(frozen=True, slots=True)
class _Shared:
    """A quasi-identifier of persons, whichever tables have it."""

    name: str
    hierarchy: str
    role: str = QUASI_IDENTIFIER


class _Attribute:
    """Distinct pairs of person and value of one quasi-identifier: 8 bytes each."""

    def __init__(self, shared: _Shared) -> None:
        self._values = Values(shared.name, shared.hierarchy)
        self._pairs: NDArray[np.int64] = np.empty(0, np.int64)
        self._waiting: list[NDArray[np.int64]] = []
        self._size = 0

    def add(self, array: pa.Array, persons: NDArray[np.int64]) -> None:
        self._waiting.append(distinct(persons * _SHIFT + self._values.encode(array)))
        self._size += len(self._waiting[-1])
        if self._size > max(_WAITING, len(self._pairs)):
            self._put_together()

    def _put_together(self) -> None:
        self._pairs = distinct(np.concatenate([self._pairs, *self._waiting]))
        self._waiting, self._size = [], 0

    def sets(self, people: int) -> list[Text]:
        """Return by person their values as one text: a JSON list, in order; None where no table had any."""
        self._put_together()
        persons, numbers = np.divmod(self._pairs, _SHIFT)
        texts = self._values.texts
        alone = [_set([text]) for text in texts]
        found: list[Text] = [None] * people
        starts: Sequence[int] = (
            np.flatnonzero(np.concatenate([[True], persons[1:] != persons[:-1]])).tolist() if len(persons) else []
        )
        for start, end in zip(starts, [*starts[1:], len(persons)], strict=True):
            one = numbers[start:end]
            found[persons[start]] = alone[one[0]] if len(one) == 1 else _set(texts[number] for number in one)
        return found


def _set(texts: Iterable[Text]) -> str:
    return orjson.dumps(sorted(set(texts), key=lambda one: (one is not None, one or ""))).decode()


class _OfPersons(Gate):
    """The gate over one row a person, whose values are sets: every value in one goes up a level."""

    def _levels(self, column: Column) -> tuple[Level, ...]:
        return tuple(_each(one) for one in HIERARCHIES[column.hierarchy])


def _each(level: Level) -> Level:
    if level.step is star:
        return level

    def step(label: str) -> str:
        return _set(None if one is None else level.step(one) for one in orjson.loads(label))

    return Level(level.name, step)


class TogetherPlan:
    """What becomes of every table for the sake of persons.

    Attributes:
        suppressed: Persons whose rows leave in every table.

    Args:
        steps: By column and hierarchy, how many steps up.
        leaving: The persons whose rows leave.
        report: As a `Plan`'s; ``rows`` in it are persons.
    """

    def __init__(self, steps: Mapping[tuple[str, str], int], leaving: frozenset[bytes], report: dict[str, Any]) -> None:
        self.suppressed = len(leaving)
        self._steps, self._leaving, self._report = steps, leaving, report

    def schema_of(self, columns: Sequence[Column], schema: pa.Schema) -> pa.Schema:
        """Return what becomes of a table's schema: a column that is generalised is text."""
        import pyarrow as pa

        for one in columns:
            if self._up(one):
                place = schema.get_field_index(one.name)
                schema = schema.set(place, schema.field(place).with_type(pa.string()).with_nullable(True))
        return schema

    def apply(
        self, columns: Sequence[Column], batch: pa.RecordBatch, persons: Sequence[bytes]
    ) -> tuple[pa.RecordBatch, list[bytes]]:
        """Return a table's batch generalised, without the rows of persons who leave, and whose the others are.

        Args:
            columns: The table's view's columns.
            batch: The rows.
            persons: Whose each row is.
        """
        import pyarrow as pa

        arrays = dict(zip(batch.schema.names, batch.columns, strict=True))
        for one in columns:
            if up := self._up(one):
                arrays[one.name] = _lifted(arrays[one.name], HIERARCHIES[one.hierarchy][:up])
        whole = pa.RecordBatch.from_arrays(list(arrays.values()), schema=self.schema_of(columns, batch.schema))
        if not self._leaving:
            return whole, list(persons)
        stays = [one not in self._leaving for one in persons]
        return whole.filter(pa.array(stays, pa.bool_())), [one for one in persons if one not in self._leaving]

    def _up(self, column: Column) -> int:
        return self._steps.get((column.name, column.hierarchy), 0) if column.role == QUASI_IDENTIFIER else 0

    def report(self) -> dict[str, Any]:
        """Return counts before and after, the steps, and sentences; no value of any table is in it."""
        return self._report


def _lifted(array: pa.Array, levels: Sequence[Level]) -> pa.Array:
    import pyarrow as pa

    values = Values("", "")
    places = values.encode(array)
    labels: list[Text] = []
    for text in values.texts:
        label = text
        for level in levels:
            label = level.step(label or "") if level.step is star or label is not None else None
        labels.append(label)
    return pa.array(labels, pa.string()).take(pa.array(places))


class Together:
    """Counts the persons of all tables, then says how they may leave.

    Args:
        tables: By name, the columns of each table's view.
        demands: k and suppression (thousandths of persons) are held to here; l and t are each table's own matter.

    Raises:
        Malformed: As `Gate`.
    """

    def __init__(self, tables: Mapping[str, Sequence[Column]], demands: Demands) -> None:
        keys = sorted(
            {(one.name, one.hierarchy) for of in tables.values() for one in of if one.role == QUASI_IDENTIFIER}
        )
        names = Counter(name for name, _ in keys)
        for columns in tables.values():
            Gate(columns, demands)
        self._tables = {name: [one for one in of if one.role == QUASI_IDENTIFIER] for name, of in tables.items()}
        self._shared = {
            key: _Shared(key[0] if names[key[0]] == 1 else f"{key[0]} ({key[1] or 'no hierarchy'})", key[1])
            for key in keys
        }
        self._gate = _OfPersons(list(self._shared.values()), replace(demands, l=1, t=1_000))
        self._attributes = {key: _Attribute(one) for key, one in self._shared.items()}
        self._persons: dict[bytes, int] = {}

    def add(self, table: str, batch: pa.RecordBatch, persons: Sequence[bytes]) -> None:
        """A batch of a table is counted.

        Args:
            table: Its name.
            batch: Its rows, with every column of the view.
            persons: Whose each row is: the same bytes for the same person in every table.
        """
        if len(persons) != batch.num_rows:
            raise RuntimeError(f"{batch.num_rows} rows came with {len(persons)} persons; expected one for each row")
        known = self._persons
        numbers = np.fromiter((known.setdefault(one, len(known)) for one in persons), np.int64, len(persons))
        for one in self._tables[table]:
            self._attributes[one.name, one.hierarchy].add(batch.column(one.name), numbers)

    def plan(self) -> TogetherPlan:
        """Return how the persons may leave with the least loss.

        Raises:
            RiskTooHigh: In no way; the message says what stands against it and what would help.
        """
        import pyarrow as pa

        people = list(self._persons)
        columns = {one.name: self._attributes[key].sets(len(people)) for key, one in self._shared.items()}
        schema = pa.schema([*((name, pa.string()) for name in columns), (_WHOSE, pa.int64())])
        batch = pa.RecordBatch.from_pydict({**columns, _WHOSE: range(len(people))}, schema=schema)
        self._gate.add(batch, people)
        plan = self._gate.plan()
        staying = plan.apply(batch, people).column(_WHOSE).to_pylist()
        leaving = frozenset(people) - {people[number] for number in staying}
        steps = {key: plan.steps[one.name] for key, one in self._shared.items()}
        return TogetherPlan(steps, leaving, plan.report())
