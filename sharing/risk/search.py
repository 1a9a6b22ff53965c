"""The choice of levels that loses least and meets the demands.

All choices are a lattice. They are looked at in order of what their levels alone cost (a lower bound of what they lose,
since rows that leave only add to it), so the search ends as soon as the next one cannot be better than the best found:
what it returns is the least there is. Two things make it short (Kohlmayer et al. 2012, *Flash*):

- from a choice that has to be looked at, the way up to the stars is halved until the border between too little and
  enough is found, which also finds good solutions early;
- a choice that fails for k or l takes everything below it along: coarser classes are unions, so persons and distinct
  values only grow and rows to leave out only shrink. For t there is no such rule; it is looked at each time.

Before that every column alone is held to the demands with all others as stars: what fails there fails everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Final

import numpy as np

from schemas.sharing import Demands
from sharing.risk.population import Levels, Outcome, Population

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Choices that are listed at a time; where there are more, levels are given up from below.
MOST_CHOICES: Final = 400_000
#: Numbers that may be touched (`Population.work`) before the best found so far is taken; some seconds.
MOST_WORK: Final = 2_000_000_000


@dataclass(frozen=True, slots=True)
class Found:
    """The solution.

    Attributes:
        population: The table at the levels that the search began from.
        outcome: What the solution comes to, in classes of that population.
        looked: Choices that were looked at.
        choices: Choices there are.
        best: Whether none that loses less was left unseen.
    """

    population: Population
    outcome: Outcome
    looked: int
    choices: int
    best: bool


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is remembered of a choice: whether it is a solution, whether it fails for k or l, rows that do."""

    fits: bool
    fails: bool
    certain: int


class Search:
    """One search.

    Args:
        population: The table as it is.
        demands: What must hold.
        allowed: Rows that may leave.
    """

    def __init__(self, population: Population, demands: Demands, allowed: int) -> None:
        self._population, self._demands, self._allowed = population, demands, allowed
        self._top = tuple(one.top for one in population.ladders)
        self._seen: dict[Levels, _Seen] = {}
        self._work, self.looked = 0, 0
        self._best: Outcome | None = None

    def run(self) -> Found | None:
        """Return the solution, or None where even stars do not meet the demands."""
        if not self._look(self._top).fits:
            return None
        choices = prod(one + 1 for one in self._top)
        floor = self._alone()
        self._raise(floor)
        shortened = self._shorten()
        complete = self._through()
        assert self._best is not None  # the stars fit
        return Found(self._population, self._best, self.looked, choices, complete and not shortened)

    def _look(self, levels: Levels) -> _Seen:
        if (known := self._seen.get(levels)) is not None:
            return known
        outcome = self._population.look(levels, self._demands, self._allowed)
        self._work += self._population.work
        self.looked += 1
        fits = outcome.suppressed <= self._allowed and not (len(outcome.out) and bool(outcome.out.all()))
        if fits and (self._best is None or _rank(outcome) < _rank(self._best)):
            self._best = outcome
        found = self._seen[levels] = _Seen(fits, outcome.certain > self._allowed, outcome.certain)
        return found

    def _raise(self, levels: Levels) -> None:
        """The search goes on from coarser levels; outcomes seen so far are of other combinations and are made again."""
        if levels == self._population.levels:
            return
        self._population = self._population.raised(levels)
        self._seen.clear()
        best, self._best = self._best, None
        if best is not None:
            self._look(best.levels)

    def _alone(self) -> Levels:
        """Return by column the lowest level that does not fail while all the others are stars."""
        floor = []
        for place, top in enumerate(self._top):
            low, high = 0, top
            while low < high:
                middle = (low + high) // 2
                alone = (*self._top[:place], middle, *self._top[place + 1 :])
                if self._look(alone).fails:
                    low = middle + 1
                else:
                    high = middle
            floor.append(low)
        return tuple(floor)

    def _shorten(self) -> bool:
        """The choices are few enough to be listed; returns whether any had to be given up for it.

        Step by step the column goes up whose next level leaves the fewest rows to be left out, the cheaper one first.
        """
        shortened = False
        floor = self._population.levels
        while prod(top - low + 1 for top, low in zip(self._top, floor, strict=True)) > MOST_CHOICES:
            costs = self._population.costs
            offers = []
            for place, low in enumerate(floor):
                if low < self._top[place]:
                    higher = (*floor[:place], low + 1, *floor[place + 1 :])
                    offers.append((self._look(higher).certain, costs[place][1], place, higher))
            floor = min(offers)[3]
            self._raise(floor)
            shortened = True
        return shortened

    def _through(self) -> bool:
        """The best choice is found; returns False where the work allowed ended before."""
        choices, bounds = self._listed()
        alive = np.ones(len(choices), bool)
        for place in range(len(choices)):
            if self._best is not None and bounds[place] >= self._best.loss:
                return True
            if not alive[place]:
                continue
            if self._work > MOST_WORK and self._best is not None:
                return False
            failed = self._halve(self._way(tuple(map(int, choices[place]))))
            if failed is not None:
                ahead = slice(place, np.searchsorted(bounds, self._best.loss) if self._best else None)
                alive[ahead] &= (choices[ahead] > np.array(failed, np.int8)).any(axis=1)
                self._work += choices[ahead].size
        return True

    def _listed(self) -> tuple[NDArray[np.int8], NDArray[np.int64]]:
        """Return all choices with their lower bounds, the least bound first."""
        low = self._population.levels
        if not low:
            return np.zeros((1, 0), np.int8), np.zeros(1, np.int64)
        shape = tuple(top - at + 1 for top, at in zip(self._top, low, strict=True))
        grid = np.indices(shape, np.int8).reshape(len(shape), -1)
        bounds = np.zeros(grid.shape[1], np.int64)
        for steps, costs in zip(grid, self._population.costs, strict=True):
            bounds += np.array(costs, np.int64)[steps]
        bounds //= len(shape)
        order = np.argsort(bounds, kind="stable")
        return (grid + np.array(low, np.int8)[:, None]).T[order], bounds[order]

    def _way(self, start: Levels) -> list[Levels]:
        """Return a way from a choice up to the stars, one level at a time, the cheapest next level first."""
        costs, low = self._population.costs, self._population.levels
        way, at = [start], list(start)
        while tuple(at) != self._top:
            steps = [
                (costs[place][level + 1 - low[place]] - costs[place][level - low[place]], place)
                for place, level in enumerate(at)
                if level < self._top[place]
            ]
            at[min(steps)[1]] += 1
            way.append(tuple(at))
        return way

    def _halve(self, way: list[Levels]) -> Levels | None:
        """Return the highest choice on the way that is known to fail for k or l, or None."""
        first = self._look(way[0])
        if first.fits:
            return None
        failed = way[0] if first.fails else None
        low, high = 0, len(way) - 1
        while high - low > 1:
            middle = (low + high) // 2
            seen = self._look(way[middle])
            if seen.fits:
                high = middle
            else:
                low, failed = middle, way[middle] if seen.fails else failed
        return failed


def _rank(outcome: Outcome) -> tuple[int, int, Levels]:
    return outcome.loss, outcome.suppressed, outcome.levels
