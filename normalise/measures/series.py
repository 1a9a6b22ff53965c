"""Points in time on a grid: which of them lie densely enough to stand in one SampledData (R4 datatypes 2.24.0.12)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from math import gcd
from typing import Final

#: Fewer points than this stand one by one: they are findings, not a curve.
DENSE: Final = 20
#: A gap longer than this ends a run.
GAP: Final = timedelta(minutes=10)
#: Points in one SampledData, those without a value among them.
LONGEST: Final = 20_000
#: Places on the grid for each point, at most: beyond that the grid is mostly empty, and points stand one by one.
_SPARSE: Final = 20

Point = tuple[datetime, Decimal]


@dataclass(frozen=True, slots=True)
class Series:
    """A run of points, in order of time, each time once.

    Attributes:
        points: The points.
        period_ms: Their common step in milliseconds; 0 for a single point.
    """

    points: Sequence[Point]
    period_ms: int

    @classmethod
    def runs(cls, points: Sequence[Point]) -> Iterator[Series]:
        """Yield the points in runs without long gaps, whatever order they come in.

        Of several values at the same time each begins a run of its own, so that none is lost.
        """
        layers: list[list[Point]] = []
        values: dict[datetime, set[Decimal]] = {}
        for point in sorted(points, key=lambda one: one[0]):
            there = values.setdefault(point[0], set())
            if point[1] in there:
                continue
            if len(there) == len(layers):
                layers.append([])
            layers[len(there)].append(point)
            there.add(point[1])
        for layer in layers:
            yield from cls._runs(layer)

    @classmethod
    def _runs(cls, points: Sequence[Point]) -> Iterator[Series]:
        run: list[Point] = []
        for point in points:
            if run and (point[0] - run[-1][0] > GAP or len(run) >= LONGEST):
                yield cls(run, _step(run))
                run = []
            run.append(point)
        if run:
            yield cls(run, _step(run))

    @property
    def places(self) -> int:
        """Places of the grid from the first point to the last."""
        return _ms(self.points[-1][0] - self.points[0][0]) // self.period_ms + 1 if self.period_ms else 1

    @property
    def is_dense(self) -> bool:
        """Whether it may stand as one SampledData."""
        count = len(self.points)
        return count >= DENSE and 0 < self.places <= min(_SPARSE * count, LONGEST)

    def grid(self) -> Iterator[Decimal | None]:
        """Yield the value at each place of the grid, None where no point lies."""
        start = self.points[0][0]
        values = {_ms(when - start) // self.period_ms: value for when, value in self.points}
        return (values.get(place) for place in range(self.places))


def _ms(span: timedelta) -> int:
    return round(span.total_seconds() * 1000)


def _step(points: Sequence[Point]) -> int:
    start = points[0][0]
    return gcd(*(_ms(when - start) for when, _ in points[1:]))
