"""How complete a dataset's tables are, for who receives them: sealed with them, since exact counts say much."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(slots=True)
class Quality:
    """Counts over the rows that leave.

    Attributes:
        rows: By table.
        filled: By table and column, rows with a value.
    """

    rows: Counter[str] = field(default_factory=Counter)
    filled: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def add(self, table: str, batch: pa.RecordBatch, columns: list[str]) -> None:
        """These rows leave in a table."""
        self.rows[table] += batch.num_rows
        for name in columns:
            self.filled[table][name] += batch.num_rows - batch.column(name).null_count

    def as_dict(self, excluded: Counter[tuple[str, str]]) -> dict[str, Any]:
        """Return it for people and programs.

        Args:
            excluded: What was left out, by stage and reason.
        """
        return {
            "tables": {
                table: {
                    "rows": rows,
                    "columns": {
                        name: {"filled": count, "filled_thousandths": 1_000 * count // max(rows, 1)}
                        for name, count in self.filled[table].items()
                    },
                }
                for table, rows in sorted(self.rows.items())
            },
            "left_out": [
                {"stage": stage, "reason": why, "count": count} for (stage, why), count in sorted(excluded.items())
            ],
        }
