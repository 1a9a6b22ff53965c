"""k, l and t as the papers define them, slowly: what the fast code is held to."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from typing import Any

import pyarrow as pa  # noqa: TID253  (Airflow loads no tests)

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Declared:
    """A column as a view declares it."""

    name: str
    role: str = ""
    hierarchy: str = ""


def classes(rows: Sequence[Row], persons: Sequence[bytes], quasi: Sequence[str]) -> list[list[tuple[Row, bytes]]]:
    found = defaultdict(list)
    for row, person in zip(rows, persons, strict=True):
        found[tuple(map(str, map(row.get, quasi)))].append((row, person))
    return list(found.values())


def k_of(rows: Sequence[Row], persons: Sequence[bytes], quasi: Sequence[str]) -> int:
    return min(len({person for _, person in one}) for one in classes(rows, persons, quasi))


def l_of(rows: Sequence[Row], persons: Sequence[bytes], quasi: Sequence[str], sensitive: str) -> int:
    return min(len({row[sensitive] for row, _ in one}) for one in classes(rows, persons, quasi))


def t_of(
    rows: Sequence[Row], persons: Sequence[bytes], quasi: Sequence[str], sensitive: str, ordered: bool
) -> Fraction:
    def shares(pairs: Sequence[tuple[Row, bytes]]) -> list[Fraction]:
        counts = Counter(value for value, _ in {(row[sensitive], person) for row, person in pairs})
        return [Fraction(counts[value], counts.total()) for value in values]

    values = sorted({row[sensitive] for row in rows}, key=lambda one: (one is not None, one if one is not None else 0))
    whole = shares(list(zip(rows, persons, strict=True)))

    def distance(one: list[Fraction]) -> Fraction:
        moves = [p - q for p, q in zip(one, whole, strict=True)]
        if ordered:
            return sum(map(abs, accumulate(moves)), Fraction()) / max(len(values) - 1, 1)
        return sum(map(abs, moves), Fraction()) / 2

    return max(distance(shares(one)) for one in classes(rows, persons, quasi))


def batch_of(rows: Sequence[Row], schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(list(rows), schema=schema)
