"""The solution, applied: each batch a second time, coarser, without the rows that leave."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sharing.risk.counting import Counting, marked
from sharing.risk.ladder import Ladder
from sharing.risk.population import Levels

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray


class Plan:
    """What becomes of a table.

    Attributes:
        suppressed: Rows that are left out.

    Args:
        counting: What was counted; values and persons are looked up in it.
        ladders: The quasi-identifiers' ladders.
        levels: A level for each.
        leaving: The classes that leave, as codes at these levels.
        suppressed: Rows that are left out.
        report: What `report` returns.
    """

    def __init__(
        self,
        counting: Counting,
        ladders: Sequence[Ladder],
        levels: Levels,
        leaving: NDArray[np.int32],
        suppressed: int,
        report: dict[str, Any],
    ) -> None:
        self.suppressed = suppressed
        self._counting, self._ladders, self._levels, self._report = counting, ladders, levels, report
        ways = [(one.rungs[0].up, one.lift(0, at)) for one, at in zip(ladders, levels, strict=True)]
        self._codes = [way[first] for first, way in ways]
        self._leaving = frozenset(_bytes(leaving))
        self._rows = self._mark = 0

    @property
    def steps(self) -> dict[str, int]:
        """By quasi-identifier, how many levels of its hierarchy it goes up."""
        chosen = zip(self._ladders, self._levels, strict=True)
        return {ladder.column: ladder.rungs[level].steps for ladder, level in chosen}

    @property
    def schema(self) -> pa.Schema:
        """The schema of what `apply` returns; of no columns where no batch was counted."""
        import pyarrow as pa

        return pa.schema([]) if self._counting.schema is None else self.schema_of(self._counting.schema)

    def schema_of(self, schema: pa.Schema) -> pa.Schema:
        """Return what becomes of a schema: a column that is generalised is text, the others stay."""
        import pyarrow as pa

        for ladder, level in zip(self._ladders, self._levels, strict=True):
            place = schema.get_field_index(ladder.column)
            if level and place >= 0:
                schema = schema.set(place, schema.field(place).with_type(pa.string()).with_nullable(True))
        return schema

    def apply(self, batch: pa.RecordBatch, persons: Sequence[bytes]) -> pa.RecordBatch:
        """Return the batch generalised, without the rows that leave; the order of rows stays.

        Args:
            batch: A batch as it was counted; batches may come in another order or cut otherwise.
            persons: Whose each row is.

        Raises:
            RuntimeError: A value or person came that was not counted.
        """
        import pyarrow as pa

        numbers = self._counting.encode(batch, persons, closed=True)
        self._rows += len(numbers)
        self._mark = (self._mark + marked(numbers)) % 2**64
        codes = np.empty((len(numbers), len(self._ladders)), np.int32)
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        for place, (ladder, level) in enumerate(zip(self._ladders, self._levels, strict=True)):
            codes[:, place] = self._codes[place][numbers[:, place]]
            if level:
                labels = pa.array(ladder.rungs[level].labels, pa.string())
                columns[ladder.column] = labels.take(pa.array(codes[:, place]))
        whole = pa.RecordBatch.from_arrays(list(columns.values()), schema=self.schema_of(batch.schema))
        if not self._leaving:
            return whole
        stays = np.fromiter((one not in self._leaving for one in _bytes(codes)), bool, len(codes))
        return whole.filter(pa.array(stays))

    def complete(self) -> None:
        """Every row that was counted was applied once, and none beside; call it before anything is delivered.

        Raises:
            RuntimeError: It was not so. What was applied may not meet the demands: throw it away, and count again.
        """
        if (self._rows, self._mark) != (self._counting.rows, self._counting.mark):
            raise RuntimeError(
                f"{self._counting.rows} rows were counted and {self._rows} applied, or they changed in between; "
                "what was applied is not what the plan was made for: throw it away and count again"
            )

    def report(self) -> dict[str, Any]:
        """Return counts before and after, the steps, and sentences; no value of the table is in it."""
        return self._report


def _bytes(codes: NDArray[np.int32]) -> list[bytes]:
    """Return each row of codes as bytes."""
    if not codes.shape[1]:
        return [b""] * len(codes)
    rows = np.ascontiguousarray(codes).view(np.dtype((np.void, 4 * codes.shape[1]))).ravel()
    return [one.tobytes() for one in rows]
