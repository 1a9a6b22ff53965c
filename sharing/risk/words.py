"""What the gate found, in numbers and in sentences for people. No value of the table is in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from schemas.sharing import Demands
from sharing.errors import RiskTooHigh
from sharing.risk.hierarchies import STAR
from sharing.risk.ladder import PARTS
from sharing.risk.population import Outcome, Population
from sharing.risk.search import Found


def report(population: Population, found: Found, demands: Demands, allowed: int) -> dict[str, Any]:
    """Return the report of a table that may leave.

    Args:
        population: The table as it came.
        found: The solution.
        demands: What was demanded.
        allowed: Rows that were allowed to leave.
    """
    bottom = population.look(population.levels, demands, population.total)
    outcome = found.outcome
    steps = _steps(population, outcome)
    drivers = _drivers(population, demands, bottom)
    return {
        "demands": {"k": demands.k, "l": demands.l, "t": demands.t, "suppression": demands.suppression},
        "before": _side(population, bottom) | {"drivers": drivers},
        "after": _after(found) | {"suppressed_rows": outcome.suppressed, "allowed_rows": allowed},
        "steps": steps,
        "search": {"choices": found.choices, "looked_at": found.looked, "best": found.best},
        "words": list(_sentences(population, found, bottom, steps, drivers, demands, allowed)),
    }


def _side(population: Population, outcome: Outcome) -> dict[str, Any]:
    return {
        "rows": population.total,
        "persons": population.people,
        "classes": len(outcome.rows),
        "least_persons": int(outcome.heads.min()) if len(outcome.heads) else 0,
        "alone": int((outcome.heads == 1).sum()),
        "rows_at_risk": int(outcome.rows[outcome.out].sum()),
    }


def _after(found: Found) -> dict[str, Any]:
    outcome = found.outcome
    kept = ~outcome.out
    return {
        "rows": int(outcome.rows[kept].sum()),
        "classes": int(kept.sum()),
        "least_persons": int(outcome.heads[kept].min()) if kept.any() else 0,
        "loss_thousandths": outcome.loss * 1_000 // PARTS,
    }


def _steps(population: Population, outcome: Outcome) -> list[dict[str, Any]]:
    return [
        {
            "column": ladder.column,
            "level": level,
            "levels": ladder.top,
            "given_as": ladder.rungs[level].name,
            "starred": ladder.rungs[level].labels == (STAR,),
            "values_before": ladder.values,
            "values_after": len(ladder.rungs[level].labels),
        }
        for ladder, level in zip(population.ladders, outcome.levels, strict=True)
    ]


def _drivers(population: Population, demands: Demands, bottom: Outcome) -> list[dict[str, Any]]:
    """Return by quasi-identifier how many rows are no longer at risk without it, the one that does most first."""
    at_risk = bottom.certain
    found = []
    for place, ladder in enumerate(population.ladders):
        without = (*population.levels[:place], ladder.top, *population.levels[place + 1 :])
        left = population.look(without, replace(demands, t=1_000), population.total)
        helps = at_risk - left.certain
        found.append({"column": ladder.column, "rows_no_longer_at_risk": helps, "classes_left": len(left.rows)})
    return sorted(found, key=lambda one: (-one["rows_no_longer_at_risk"], one["classes_left"], one["column"]))


def _sentences(
    population: Population,
    found: Found,
    bottom: Outcome,
    steps: list[dict[str, Any]],
    drivers: list[dict[str, Any]],
    demands: Demands,
    allowed: int,
) -> Iterator[str]:
    at_risk, outcome = int(bottom.rows[bottom.out].sum()), found.outcome
    if not population.total:
        yield "The table has no rows, so nobody is in it."
        return
    if not population.ladders:
        yield f"The view declares no quasi-identifier, so all {population.people:,} persons count as alike."
    elif not at_risk:
        yield f"As it came, the table already meets the demands: {_demanded(demands)}."
    else:
        yield (
            f"As it came, {at_risk:,} of {population.total:,} rows were of persons who stood out "
            f"({_demanded(demands)} is demanded)."
        )
        yield _driving(drivers)
    for one in steps:
        if one["level"]:
            yield _given(one)
    if outcome.suppressed:
        yield f"{outcome.suppressed:,} rows that stood out even so are left out; {allowed:,} were allowed."
    if population.ladders and outcome.loss >= PARTS:
        yield "No quasi-identifier says anything any more; a larger cohort, or a smaller k, would leave more of them."
    least = _after(found)["least_persons"]
    yield f"As it leaves, everybody in the table is one of at least {least:,} persons who look alike."
    if not found.best:
        yield "The choices were too many to look at all of them; a solution that keeps more may exist."


def _given(step: dict[str, Any]) -> str:
    if step["starred"]:
        return f"{step['column']} says nothing any more (*)."
    after, before = step["values_after"], step["values_before"]
    return f"{step['column']} is given as {step['given_as']}: {after:,} different values instead of {before:,}."


def _driving(drivers: list[dict[str, Any]]) -> str:
    most = drivers[0]
    if not most["rows_no_longer_at_risk"]:
        return f"No column does it alone; without {most['column']} the fewest different combinations would be left."
    return (
        f"{most['column']} does most of it: without it, {most['rows_no_longer_at_risk']:,} of these rows would not "
        "stand out."
    )


def _demanded(demands: Demands) -> str:
    parts = [f"at least {demands.k} persons alike"]
    if demands.l > 1:
        parts.append(f"at least {demands.l} different values of each sensitive column among them")
    if demands.t < 1_000:
        parts.append(f"their distribution within {demands.t} thousandths of the table's")
    return ", ".join(parts)


def too_high(population: Population, demands: Demands, allowed: int) -> RiskTooHigh:
    """Return the refusal of a table that meets the demands in no form: what stands against it, and what would help.

    Args:
        population: The table as it came.
        demands: What was demanded.
        allowed: Rows that were allowed to leave.
    """
    reasons = []
    if population.people < demands.k:
        reasons.append(
            f"all in all it has fewer than the {demands.k} persons that must be alike; widen the cohort (more codes, a "
            "longer period, more institutions)"
        )
    for one in population.sensitive:
        distinct = one.size
        if distinct < demands.l:
            reasons.append(
                f"{one.name} has fewer different values than l = {demands.l} in the whole table, so who is known to be "
                "in it is known by it; leave the column out of the view, widen the cohort, or ask for a smaller l"
            )
    if not reasons:
        reasons.append("every row would have to leave; ask for weaker demands, or widen the cohort")
    return RiskTooHigh(
        f"the table may not leave: even with every quasi-identifier as *, and {allowed:,} rows left out, "
        f"{_demanded(demands)} does not hold: " + "; ".join(reasons)
    )
