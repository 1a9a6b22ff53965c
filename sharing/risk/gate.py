"""The disclosure-risk gate: a table leaves when everybody in it is like enough others, or it does not leave."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from schemas.sharing import Demands
from sharing.errors import Malformed
from sharing.risk import words
from sharing.risk.counting import Column, Counting
from sharing.risk.hierarchies import HIERARCHIES, Level
from sharing.risk.ladder import climb
from sharing.risk.plan import Plan
from sharing.risk.population import Population
from sharing.risk.search import Found, Search

if TYPE_CHECKING:
    import pyarrow as pa

QUASI_IDENTIFIER: Final = "quasi-identifier"
SENSITIVE: Final = "sensitive"
_ROLES: Final = (QUASI_IDENTIFIER, SENSITIVE, "identifier", "")


class Gate:
    """Counts a table, then says how it may leave.

    Args:
        columns: The view's columns.
        demands: What must hold of the table that leaves.

    Raises:
        Malformed: A role or hierarchy is unknown, a name stands twice, or a demand is out of range.
    """

    def __init__(self, columns: Sequence[Column], demands: Demands) -> None:
        _check(columns, demands)
        self._quasi = [one for one in columns if one.role == QUASI_IDENTIFIER]
        self._demands = demands
        self._counting = Counting(self._quasi, [one for one in columns if one.role == SENSITIVE])
        self._planned = False

    def add(self, batch: pa.RecordBatch, persons: Sequence[bytes]) -> None:
        """The batch is counted; nothing of it is kept but distinct combinations.

        Args:
            batch: With every column of the view; all batches have one schema.
            persons: Whose each row is: any bytes, the same for the same person.
        """
        if self._planned:
            raise RuntimeError("the plan is made; a batch that comes later is not in it")
        self._counting.add(batch, persons)

    def plan(self) -> Plan:
        """Return how the table may leave with the least loss.

        Raises:
            RiskTooHigh: In no way; the message says what stands against it and what would help.
        """
        population, found, allowed = self._found()
        return self._plan(population, found, allowed)

    def _found(self) -> tuple[Population, Found, int]:
        """Return the table, the solution, and the rows that may leave; raises as `plan`."""
        self._planned = True
        population = self._population()
        allowed = self._counting.rows * self._demands.suppression // 1_000
        found = Search(population, self._demands, allowed).run()
        if found is None:
            raise words.too_high(population, self._demands, allowed)
        return population, found, allowed

    def _levels(self, column: Column) -> tuple[Level, ...]:
        return HIERARCHIES[column.hierarchy]

    def _population(self) -> Population:
        codes, rows = self._counting.facts()
        ladders = [climb(one, self._levels(of)) for one, of in zip(self._counting.quasi, self._quasi, strict=True)]
        width = len(ladders)
        coded = np.empty((len(codes), width), np.int32)
        for place, one in enumerate(ladders):
            coded[:, place] = one.rungs[0].up[codes[:, place]]
        sensitive = self._counting.sensitive
        ranks = np.empty((len(codes), len(sensitive)), np.int32)
        for place, values in enumerate(sensitive):
            ranks[:, place] = values.ranks()[codes[:, width + place]]
        named = [(one.name, len(one), one.ordered) for one in sensitive]
        bottom = (0,) * width
        return Population(ladders, bottom, coded, codes[:, -1], ranks, rows, self._counting.persons, named)

    def _plan(self, population: Population, found: Found, allowed: int) -> Plan:
        outcome, at = found.outcome, found.population
        lifted = at.lifted(at.codes, outcome.levels)
        leaving = lifted[outcome.out[outcome.classes]]
        report = words.report(population, found, self._demands, allowed)
        return Plan(self._counting, population.ladders, outcome.levels, leaving, outcome.suppressed, report)


def _check(columns: Sequence[Column], demands: Demands) -> None:
    names = [one.name for one in columns]
    for one in columns:
        if one.role not in _ROLES:
            raise Malformed(f"column {one.name}: role {one.role!r} is none; expected {', '.join(filter(None, _ROLES))}")
        if one.hierarchy not in HIERARCHIES:
            known = ", ".join(filter(None, HIERARCHIES))
            raise Malformed(f"column {one.name}: hierarchy {one.hierarchy!r} is none; expected {known} or nothing")
        if names.count(one.name) > 1:
            raise Malformed(f"column {one.name} stands twice")
    for name, least, most in (("k", 1, 1_000_000), ("l", 1, 1_000_000), ("t", 0, 1_000), ("suppression", 0, 1_000)):
        if not least <= getattr(demands, name) <= most:
            raise Malformed(f"demands: {name} is {getattr(demands, name)}; expected {least} to {most:,}")
