"""One column's levels over the values it really has: labels, the way up, and what each level costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from sharing.risk.hierarchies import STAR, Level, star
from sharing.risk.values import Text, Values

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Losses are whole numbers of these parts, so that no rounding decides between two solutions.
PARTS: Final = 10**9
EXACT: Final = "as it is"


@dataclass(frozen=True, slots=True)
class Rung:
    """One level.

    Attributes:
        name: What a value is given as, for people.
        labels: The labels, in order; a code is a place in them.
        up: Code at the level below to code here; of the lowest, number of the value (`Values`) to code.
        lost: By code, how many other values of the column the label stands for.
        steps: Levels of the hierarchy that lead here, those included that are left out.
    """

    name: str
    labels: tuple[Text, ...]
    up: NDArray[np.int32]
    lost: NDArray[np.int64]
    steps: int = 0


@dataclass(frozen=True, slots=True)
class Ladder:
    """A column's levels, the values themselves first; a level that would join nothing is left out."""

    column: str
    rungs: tuple[Rung, ...]

    @property
    def values(self) -> int:
        """How many distinct values the column has."""
        return len(self.rungs[0].labels)

    @property
    def top(self) -> int:
        """The last level."""
        return len(self.rungs) - 1

    def lift(self, low: int, high: int) -> NDArray[np.int32]:
        """Return the code at the higher level by code at the lower one."""
        way = np.arange(len(self.rungs[low].labels), dtype=np.int32)
        for rung in self.rungs[low + 1 : high + 1]:
            way = rung.up[way]
        return way

    def cost(self, level: int, rows: NDArray[np.int64], total: int) -> int:
        """Return the normalised certainty penalty of this column's cells, in ``PARTS`` of all cells of the column.

        A cell costs (values its label stands for - 1) / (values of the column - 1): nothing as it is, 1 as a star.

        Args:
            level: Where they are.
            rows: Rows by code at that level.
            total: Rows of the table.
        """
        if self.values < 2 or not total:
            return 0
        return PARTS * int(np.dot(self.rungs[level].lost, rows)) // ((self.values - 1) * total)


def climb(values: Values, levels: tuple[Level, ...]) -> Ladder:
    """Return the ladder of a column's values under a hierarchy."""
    texts = values.texts
    labels, up = _coded(texts)
    under = np.ones(len(labels), np.int64)
    rungs = [Rung(EXACT, labels, up, under - 1)]
    # Labels one step up, by code of the last rung; steps go on from there where a level is left out, too.
    current: list[Text] = list(labels)
    for steps, level in enumerate(levels, 1):
        current = [_stepped(level, one) for one in current]
        labels, up = _coded(current)
        if len(labels) == len(rungs[-1].labels):
            continue
        under = np.bincount(up, weights=under, minlength=len(labels)).astype(np.int64)
        rungs.append(Rung(level.name, labels, up, under - 1, steps))
        current = list(labels)
    return Ladder(values.name, tuple(rungs))


def _stepped(level: Level, label: Text) -> Text:
    """Return the label one level up; what is missing stays missing until everything is a star."""
    if level.step is star:
        return STAR
    return None if label is None else level.step(label)


def _coded(labels: list[Text]) -> tuple[tuple[Text, ...], NDArray[np.int32]]:
    """Return the distinct labels, a missing one first, and the code of each label."""
    distinct = sorted(set(labels), key=lambda one: (one is not None, one or ""))
    codes = {one: place for place, one in enumerate(distinct)}
    return tuple(distinct), np.fromiter((codes[one] for one in labels), np.int32, len(labels))
