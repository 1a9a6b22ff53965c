"""A table as combinations of codes with their rows and persons: what one choice of levels makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from schemas.sharing import Demands
from sharing.risk.ladder import PARTS, Ladder
from sharing.risk.measures import Heads, Spread, grouped, numbered

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Levels = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Sensitive:
    """A sensitive column of a population: its pairs of combination and value, and whose they are.

    Attributes:
        name: The column's name.
        ordered: Whether its values' order counts.
        combos: Combination of each pair.
        ranks: Rank of its value.
        size: How many values the column has.
        heads: Persons by pair.
    """

    name: str
    ordered: bool
    combos: NDArray[np.int64]
    ranks: NDArray[np.int64]
    size: int
    heads: Heads

    def spread(self, groups: NDArray[np.int64], classes: int) -> Spread:
        """Return who has what in each class.

        Args:
            groups: Class by combination.
            classes: How many classes there are.
        """
        keys = groups[self.combos] * self.size + self.ranks
        numbers, count = numbered(keys, classes * self.size)
        pairs = np.empty(count, np.int64)
        pairs[numbers] = keys
        of, values = np.divmod(pairs, max(self.size, 1))
        return Spread(of, values, self.heads.count(numbers, count))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one choice of levels comes to.

    Attributes:
        levels: The choice, a level a quasi-identifier.
        classes: Class by combination of the population.
        rows: Rows by class.
        heads: Persons by class; rows where too many of these must leave anyway.
        out: By class, whether it must leave for the demands to hold.
        suppressed: Rows that leave.
        certain: Rows that leave for k and l alone; never fewer at a choice that is nowhere coarser. Where they are more
            than allowed, at least so many.
        loss: What the table loses, in ``PARTS``: 0 is nothing, ``PARTS`` everything.
    """

    levels: Levels
    classes: NDArray[np.int64]
    rows: NDArray[np.int64]
    heads: NDArray[np.int64]
    out: NDArray[np.bool_]
    suppressed: int
    certain: int
    loss: int


class Population:
    """Combinations of codes at some levels.

    Args:
        ladders: The quasi-identifiers' ladders.
        levels: Where the codes are.
        codes: A row of codes a fact.
        persons: Person of each fact, below ``people``.
        ranks: A row of ranks of sensitive values a fact.
        rows: Rows of each fact.
        people: How many persons there are.
        sensitive: Name, number of values and whether ordered, of each sensitive column.
    """

    def __init__(
        self,
        ladders: Sequence[Ladder],
        levels: Levels,
        codes: NDArray[np.int32],
        persons: NDArray[np.int32],
        ranks: NDArray[np.int32],
        rows: NDArray[np.int64],
        people: int,
        sensitive: Sequence[tuple[str, int, bool]],
    ) -> None:
        self.ladders, self.levels, self.people = ladders, levels, people
        self._facts = codes, persons, ranks, rows
        self._named = sensitive
        self.total = int(rows.sum())
        sizes = [len(one.rungs[at].labels) for one, at in zip(ladders, levels, strict=True)]
        of, count = grouped([codes[:, place] for place in range(len(ladders))], sizes, len(rows))
        first = np.empty(count, np.int64)
        first[of] = np.arange(len(of))
        self.codes = np.asfortranarray(codes[first])  # read column by column ever after
        self.rows = _summed(of, rows, count)
        self.heads = Heads.of(of, persons.astype(np.int64), count, people)
        self.sensitive = [
            _sensitive(one, of, ranks[:, place].astype(np.int64), persons, count, people)
            for place, one in enumerate(sensitive)
        ]

    @property
    def work(self) -> int:
        """What looking at one choice of levels costs, in numbers that are touched."""
        pairs = sum(len(one.combos) * 4 for one in self.sensitive)
        return len(self.rows) * (len(self.ladders) + 3) + 4 * len(self.heads.keys) + pairs + 1_000

    def raised(self, levels: Levels) -> Population:
        """Return the same table at coarser levels."""
        codes, persons, ranks, rows = self._facts
        return Population(
            self.ladders, levels, self.lifted(codes, levels), persons, ranks, rows, self.people, self._named
        )

    def lifted(self, codes: NDArray[np.int32], levels: Levels) -> NDArray[np.int32]:
        """Return rows of codes of this population as they are at coarser levels."""
        lifted = np.empty_like(codes)
        for place, (ladder, low, high) in enumerate(zip(self.ladders, self.levels, levels, strict=True)):
            lifted[:, place] = ladder.lift(low, high)[codes[:, place]]
        return lifted

    def look(self, levels: Levels, demands: Demands, allowed: int) -> Outcome:
        """Return what a choice of levels comes to.

        Args:
            levels: At or above the population's own.
            demands: What must hold of every class that stays.
            allowed: Rows that may leave; where more must, what else is wrong is not looked for.
        """
        lifted = self.lifted(self.codes, levels)
        sizes = [len(one.rungs[at].labels) for one, at in zip(self.ladders, levels, strict=True)]
        classes, count = grouped([lifted[:, at] for at in range(len(sizes))], sizes, len(lifted))
        rows = _summed(classes, self.rows, count)
        out = rows < demands.k  # nobody has less than a row: where this is too much already, persons need no counting
        heads = rows if int(rows[out].sum()) > allowed else self.heads.count(classes, count)
        out = heads < demands.k
        enough = int(rows[out].sum()) <= allowed
        spreads = [one.spread(classes, count) for one in self.sensitive] if enough and _watches(demands) else []
        if demands.l > 1:
            for one in spreads:
                out |= one.diversity(count) < demands.l
        certain = int(rows[out].sum())
        if spreads and demands.t < 1_000:
            out = self._close(spreads, demands.t, out, rows, allowed)
        suppressed = int(rows[out].sum())
        first = np.empty(count, np.int64)
        first[classes] = np.arange(len(classes))
        loss = self._loss(levels, lifted[first], np.where(out, 0, rows), suppressed)
        return Outcome(levels, classes, rows, heads, out, suppressed, certain, loss)

    def _close(
        self, spreads: list[Spread], t: int, out: NDArray[np.bool_], rows: NDArray[np.int64], allowed: int
    ) -> NDArray[np.bool_]:
        """Return what must leave so that what stays is close to itself; who leaves changes what the rest is held to."""
        while int(rows[out].sum()) <= allowed:
            far = np.zeros(len(out), bool)
            for one, spread in zip(self.sensitive, spreads, strict=True):
                far |= spread.farther(t, ~out, one.ordered)
            if not far.any():
                return out
            out = out | far
        return out

    def _loss(self, levels: Levels, codes: NDArray[np.int32], kept: NDArray[np.int64], suppressed: int) -> int:
        """Return the mean penalty of all cells of quasi-identifiers; a row that leaves loses all of its own.

        Args:
            levels: Where the codes are.
            codes: A row of codes a class.
            kept: Rows of each class that stay.
            suppressed: Rows that leave.
        """
        if not self.total or not self.ladders:
            return PARTS * suppressed // max(self.total, 1)
        lost = PARTS * suppressed * len(self.ladders) // self.total
        for place, (ladder, level) in enumerate(zip(self.ladders, levels, strict=True)):
            rows = _summed(codes[:, place], kept, len(ladder.rungs[level].labels))
            lost += ladder.cost(level, rows, self.total)
        return lost // len(self.ladders)

    @cached_property
    def costs(self) -> list[list[int]]:
        """Return by column and level, from its own level on, what every row costs there, in ``PARTS`` of a column."""
        found = []
        for place, (ladder, low) in enumerate(zip(self.ladders, self.levels, strict=True)):
            rows = _summed(self.codes[:, place], self.rows, len(ladder.rungs[low].labels))
            found.append(
                [
                    ladder.cost(
                        level, _summed(ladder.lift(low, level), rows, len(ladder.rungs[level].labels)), self.total
                    )
                    for level in range(low, ladder.top + 1)
                ]
            )
        return found


def _watches(demands: Demands) -> bool:
    """Whether anything is asked of sensitive columns."""
    return demands.l > 1 or demands.t < 1_000


def _sensitive(
    named: tuple[str, int, bool],
    of: NDArray[np.int64],
    ranks: NDArray[np.int64],
    persons: NDArray[np.int32],
    count: int,
    people: int,
) -> Sensitive:
    name, size, ordered = named
    keys = of * size + ranks
    numbers, pairs = numbered(keys, count * size)
    distinct = np.empty(pairs, np.int64)
    distinct[numbers] = keys
    combos, values = np.divmod(distinct, max(size, 1))
    return Sensitive(name, ordered, combos, values, size, Heads.of(numbers, persons.astype(np.int64), pairs, people))


def _summed(groups: NDArray[Any], rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return the rows by group; sums of whole numbers below 2**53, so nothing is rounded."""
    return np.bincount(groups, weights=rows, minlength=count).astype(np.int64)
