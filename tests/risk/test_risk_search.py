"""The search finds the least loss there is, in bounded time, and says where it gave up looking."""

from __future__ import annotations

import random
from itertools import product

import pyarrow as pa  # noqa: TID253  (Airflow loads no tests)
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from risk_reference import Declared

from schemas.sharing import Demands
from sharing.risk import Gate, search
from sharing.risk.population import Population

NAMES = {"age": "age", "seen": "date", "place": "place", "sex": ""}
COLUMNS = [*(Declared(name, "quasi-identifier", of) for name, of in NAMES.items()), Declared("code", "sensitive")]


def population(seed: int, rows: int, people: int) -> Population:
    draw = random.Random(seed)
    table = pa.RecordBatch.from_pydict(
        {
            "age": [draw.randrange(40, 80) for _ in range(rows)],
            "seen": [f"2026-{draw.randrange(1, 13):02}" for _ in range(rows)],
            "place": [draw.choice(["310115", "310104", "320102", "320106"]) for _ in range(rows)],
            "sex": [draw.choice(["male", "female", None]) for _ in range(rows)],
            "code": [draw.choice("abc") for _ in range(rows)],
        }
    )
    gate = Gate(COLUMNS, Demands())
    gate.add(table, [bytes([draw.randrange(people)]) for _ in range(rows)])
    return gate._population()


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.integers(0, 10_000),
    st.integers(20, 120),
    st.builds(Demands, k=st.integers(2, 6), l=st.integers(1, 2), t=st.sampled_from([1_000, 400])),
    st.sampled_from([0, 5, 20]),
)
def test_no_choice_of_levels_loses_less(seed: int, rows: int, demands: Demands, allowed: int) -> None:
    table = population(seed, rows, 60)
    found = search.Search(table, demands, allowed).run()
    choices = product(*(range(one.top + 1) for one in table.ladders))
    looked = [table.look(choice, demands, allowed) for choice in choices]
    fitting = [one for one in looked if one.suppressed <= allowed and not one.out.all()]
    assert bool(fitting) == bool(found)
    if found is not None:
        assert found.best
        assert found.choices == len(looked)
        least = min(one.loss for one in fitting)
        # Lower bounds are rounded down, by less than one part in a billion for each column.
        assert least <= found.outcome.loss <= least + len(table.ladders)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.builds(Demands, k=st.integers(2, 6), l=st.integers(1, 3)))
def test_going_up_never_puts_more_rows_at_risk_for_k_and_l(seed: int, demands: Demands) -> None:
    table = population(seed, 80, 50)
    draw = random.Random(seed)
    at = [0] * len(table.ladders)
    before = table.look(tuple(at), demands, table.total).certain
    while at != [one.top for one in table.ladders]:
        place = draw.choice([n for n, one in enumerate(table.ladders) if at[n] < one.top])
        at[place] += 1
        now = table.look(tuple(at), demands, table.total).certain
        assert now <= before
        before = now


def test_raising_a_population_changes_no_outcome() -> None:
    table = population(7, 200, 90)
    demands = Demands(k=3, l=2, t=500)
    levels = tuple(min(1, one.top) for one in table.ladders)
    top = tuple(one.top for one in table.ladders)
    for choice in (levels, top):
        one, other = table.look(choice, demands, 20), table.raised(levels).look(choice, demands, 20)
        assert (one.loss, one.suppressed, one.certain) == (other.loss, other.suppressed, other.certain)
        assert sorted(one.heads) == sorted(other.heads)


def test_more_choices_than_are_listed_are_shortened_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    table = population(3, 300, 200)
    demands = Demands()
    best = search.Search(table, demands, 15).run()
    monkeypatch.setattr(search, "MOST_CHOICES", 4)
    found = search.Search(table, demands, 15).run()
    assert best is not None and found is not None
    assert best.best and not found.best
    assert found.outcome.suppressed <= 15
    assert found.outcome.loss >= best.outcome.loss


def test_a_search_that_runs_out_of_work_takes_the_best_it_saw(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MOST_WORK", 1)
    found = search.Search(population(3, 300, 200), Demands(), 15).run()
    assert found is not None
    assert not found.best
    assert found.outcome.suppressed <= 15


def test_thirty_columns_with_nothing_but_stars_above_end_too() -> None:
    draw = random.Random(5)
    columns = [Declared(f"c{n}", "quasi-identifier") for n in range(30)]
    rows = pa.RecordBatch.from_pydict({one.name: [draw.choice("abc") for _ in range(60)] for one in columns})
    gate = Gate(columns, Demands(k=3))
    gate.add(rows, [bytes([n]) for n in range(60)])
    report = gate.plan().report()
    assert report["search"]["choices"] == 2**30
    assert not report["search"]["best"]
    assert report["after"]["least_persons"] >= 3
