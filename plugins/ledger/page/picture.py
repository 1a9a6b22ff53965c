"""Credit over time as geometry: lines, marks and labels in the units of the picture, nothing of HTML.

Nobody needs colours to read it: each line also has its own dashes, its own mark, and its name at its end.
The colours are those of Okabe and Ito, which people with any common colour blindness tell apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ledger.page.answers import CreditEpoch

WIDTH: Final = 760
LEFT, RIGHT, TOP, BOTTOM = 44, 560, 14, 322
HEIGHT: Final = 362
#: Credit is a number from 0 to this.
FULL: Final = 1000
#: Steps of the axis at the left, and how many of them it has.
STEPS: Final = (5, 10, 20, 50, 100, 200)
MOST_STEPS: Final = 6
LEAST_STEPS: Final = 3
#: A label needs this much height.
LABEL: Final = 15
STYLES: Final = 8
MARKS: Final = ("circle", "square", "triangle", "diamond")
DASHES: Final = ("none", "7 3", "2 3", "9 3 2 3")
_MOST_TICKS = 8


@dataclass(frozen=True, slots=True)
class Line:
    """One institution's credit.

    Attributes:
        institution: Whose.
        style: 0 to 7, its colour.
        dash: Value of ``stroke-dasharray``.
        mark: Shape of its points.
        points: x, y and credit at the end of each epoch that names it.
        label_y: Where its name stands, beside the line's end.
    """

    institution: str
    style: int
    dash: str
    mark: str
    points: tuple[tuple[float, float, int], ...]
    label_y: float

    @property
    def path(self) -> str:
        """Value of ``points`` of a polyline."""
        return " ".join(f"{x:g},{y:g}" for x, y, _ in self.points)

    @property
    def end(self) -> tuple[float, float, int]:
        """Its last point."""
        return self.points[-1]


@dataclass(frozen=True, slots=True)
class Picture:
    """The whole picture.

    Attributes:
        lines: In order of the institutions' ids.
        ticks: x and epoch for the axis below.
        levels: y and credit for the axis at the left, which shows the part of 0 to 1,000 where the lines are.
        height: Of the picture, which grows with the number of labels.
    """

    lines: tuple[Line, ...]
    ticks: tuple[tuple[float, int], ...]
    levels: tuple[tuple[float, int], ...]
    height: int


@dataclass(frozen=True, slots=True)
class Axis:
    """The part of the scale that is shown, from ``low`` to ``high`` in whole ``step``s."""

    low: int
    high: int
    step: int

    @classmethod
    def over(cls, epochs: Sequence[CreditEpoch]) -> Axis:
        """Return the smallest axis that holds every score: most of them stay close to 600 for a long time."""
        scores = [min(one, FULL) for epoch in epochs for one in epoch.scores.values()]
        for step in STEPS:
            low, high = min(scores) // step * step, -(-max(scores) // step) * step
            if high - low <= MOST_STEPS * step:
                break
        while high - low < LEAST_STEPS * step:
            low, high = max(low - step, 0), min(high + step, FULL)
        return cls(low, high, step)

    def down(self, score: int) -> float:
        """Return a score's y."""
        return round(BOTTOM - (BOTTOM - TOP) * (min(score, FULL) - self.low) / (self.high - self.low), 1)


def credit_picture(epochs: Sequence[CreditEpoch]) -> Picture | None:
    """Return the picture of credit at the end of each epoch; None where no epoch has ended."""
    if not epochs:
        return None
    names = sorted({name for epoch in epochs for name in epoch.scores})
    if not names:
        return None
    across, axis = _across([one.epoch for one in epochs]), Axis.over(epochs)
    points = {name: _points(name, epochs, across, axis) for name in names}
    labels = spread({name: points[name][-1][1] for name in names})
    lines = tuple(Line(name, *_look(at), points[name], labels[name]) for at, name in enumerate(names))
    step = max(1, -(-len(epochs) // _MOST_TICKS))
    ticks = tuple((across[one.epoch], one.epoch) for one in epochs[::step])
    levels = tuple((axis.down(level), level) for level in range(axis.low, axis.high + 1, axis.step))
    return Picture(lines, ticks, levels, max(HEIGHT, round(max(labels.values())) + LABEL))


def _look(at: int) -> tuple[int, str, str]:
    """Return colour, dashes and mark of the n-th line: sixteen differ without colours, 128 with them."""
    return (at + at // 16) % STYLES, DASHES[(at + at // 4) % len(DASHES)], MARKS[at % len(MARKS)]


def _points(
    name: str, epochs: Sequence[CreditEpoch], across: Mapping[int, float], axis: Axis
) -> tuple[tuple[float, float, int], ...]:
    held = [(one.epoch, one.scores[name]) for one in epochs if name in one.scores]
    return tuple((across[epoch], axis.down(score), score) for epoch, score in held)


def _across(epochs: Sequence[int]) -> dict[int, float]:
    """Return each epoch's x: in the middle where there is one alone."""
    first, last = epochs[0], epochs[-1]
    if first == last:
        return {first: (LEFT + RIGHT) / 2}
    return {one: round(LEFT + (RIGHT - LEFT) * (one - first) / (last - first), 1) for one in epochs}


def spread(wanted: Mapping[str, float]) -> dict[str, float]:
    """Return where labels stand so that none covers another: near where they want to be, in the same order."""
    order = sorted(wanted, key=lambda name: (wanted[name], name))
    placed: dict[str, float] = {}
    free = float(TOP)
    for name in order:
        placed[name] = max(free, wanted[name])
        free = placed[name] + LABEL
    # What was pushed over the lower edge goes up again, as far as there is room.
    limit = float(BOTTOM)
    for name in reversed(order):
        placed[name] = min(placed[name], limit)
        limit = placed[name] - LABEL
    short = TOP - min(placed.values(), default=TOP)
    return {name: round(y + max(short, 0.0), 1) for name, y in placed.items()}
