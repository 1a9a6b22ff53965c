"""What the gate keeps of a table: distinct combinations, whose they are, and how many rows each has.

A *fact* is one distinct combination of quasi-identifiers, person and sensitive values. Memory: 4 bytes a column and 12
beside for each fact (twice that while facts are put together), one entry for each distinct value of a column, and
about 150 bytes a person. Rows that repeat a fact cost nothing, so a table is never in memory as such.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from sharing.risk.values import Values

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

#: Rows that wait before they are put together with the facts, at least.
_WAITING: Final = 500_000
_GOLDEN: Final = 0x9E3779B97F4A7C15


class Column(Protocol):
    """What the gate reads of a view's column."""

    @property
    def name(self) -> str:
        """The column's name."""
        ...

    @property
    def role(self) -> str:
        """``quasi-identifier``, ``sensitive``, ``identifier`` or "" (passes as it is)."""
        ...

    @property
    def hierarchy(self) -> str:
        """A name of `hierarchies.HIERARCHIES`."""
        ...


class Counting:
    """Counts batches into facts.

    Args:
        quasi: Columns by which somebody could know a person.
        sensitive: Columns that nobody should learn of a person.
    """

    def __init__(self, quasi: Sequence[Column], sensitive: Sequence[Column]) -> None:
        self.quasi = [Values(one.name, one.hierarchy) for one in quasi]
        self.sensitive = [Values(one.name, one.hierarchy) for one in sensitive]
        self.rows, self.mark = 0, 0
        self.schema: pa.Schema | None = None
        self._persons: dict[bytes, int] = {}
        self._waiting: list[NDArray[np.int32]] = []
        self._size = 0
        self._facts: pa.Table | None = None

    @property
    def persons(self) -> int:
        """How many persons came."""
        return len(self._persons)

    def add(self, batch: pa.RecordBatch, persons: Sequence[bytes]) -> None:
        """The batch is counted."""
        if self.schema is None:
            self.schema = batch.schema
        elif not self.schema.equals(batch.schema):
            raise RuntimeError("the batches of one table must have one schema")
        codes = self.encode(batch, persons)
        self.rows += batch.num_rows
        self.mark = (self.mark + marked(codes)) % 2**64
        self._waiting.append(codes)
        self._size += batch.num_rows
        if self._size >= max(_WAITING, self._facts.num_rows if self._facts is not None else 0):
            self._put_together()

    def encode(self, batch: pa.RecordBatch, persons: Sequence[bytes], *, closed: bool = False) -> NDArray[np.int32]:
        """Return a row of numbers for each row: quasi-identifiers, sensitive values, person.

        Args:
            batch: The rows.
            persons: Whose each row is.
            closed: Whether values and persons that did not come before are a fault.

        Raises:
            RuntimeError: They are and came; or rows and persons are not equally many; or a column is missing.
        """
        if len(persons) != batch.num_rows:
            raise RuntimeError(f"{batch.num_rows} rows came with {len(persons)} persons; expected one for each row")
        columns = [*self.quasi, *self.sensitive]
        if missing := [one.name for one in columns if one.name not in batch.schema.names]:
            raise RuntimeError(f"the batch has no column {', '.join(missing)}, which the view declares")
        codes = np.empty((batch.num_rows, len(columns) + 1), np.int32)
        for place, one in enumerate(columns):
            codes[:, place] = one.encode(batch.column(one.name), closed=closed)
        codes[:, -1] = self._people(persons, closed)
        return codes

    def _people(self, persons: Sequence[bytes], closed: bool) -> list[int]:
        known = self._persons
        if not closed:
            for one in persons:
                known.setdefault(one, len(known))
        elif any(one not in known for one in persons):
            raise RuntimeError("a person whom the gate has not counted came to be let through")
        return [known[one] for one in persons]

    def _put_together(self) -> None:
        import pyarrow as pa

        if not self._waiting:
            return
        codes = np.concatenate(self._waiting)
        names = [str(place) for place in range(codes.shape[1])]
        fresh = pa.table([pa.array(codes[:, place]) for place in range(len(names))], names=names)
        fresh = fresh.append_column("rows", pa.array(np.ones(len(codes), np.int64)))
        whole = fresh if self._facts is None else pa.concat_tables([self._facts, fresh])
        summed = whole.group_by(names, use_threads=False).aggregate([("rows", "sum")])
        self._facts = summed.rename_columns({"rows_sum": "rows"}).select([*names, "rows"]).combine_chunks()
        self._waiting, self._size = [], 0

    def facts(self) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Return the distinct facts, numbered as `encode` does, and the rows that each has."""
        self._put_together()
        if self._facts is None:
            return np.empty((0, len(self.quasi) + len(self.sensitive) + 1), np.int32), np.empty(0, np.int64)
        columns: list[Any] = [one.to_numpy() for one in self._facts.columns]
        return np.stack(columns[:-1], axis=1).astype(np.int32, copy=False), columns[-1]


def marked(codes: NDArray[np.int32]) -> int:
    """Return a number that the same rows give again in whatever order and batches they come, modulo 2**64."""
    with np.errstate(over="ignore"):
        mixed = np.zeros(len(codes), np.uint64)
        for place in range(codes.shape[1]):
            mixed = (mixed ^ codes[:, place].astype(np.uint64)) * np.uint64(_GOLDEN)
            mixed ^= mixed >> np.uint64(29)
        return int(mixed.sum(dtype=np.uint64)) if len(mixed) else 0
