"""Whoever joins a dataset's tables by their pseudonym still finds everybody among k."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import pyarrow as pa  # noqa: TID253  (Airflow loads no tests)
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from risk_reference import Declared, Row, batch_of

from schemas.sharing import Demands
from sharing.errors import Malformed, RiskTooHigh
from sharing.risk import Gate, Together

PATIENTS = [Declared("sex", "quasi-identifier"), Declared("born", "quasi-identifier", "date")]
VISITS = [
    Declared("born", "quasi-identifier", "date"),
    Declared("class", "quasi-identifier"),
    Declared("why", "sensitive", "code"),
]
TABLES = {"patients": PATIENTS, "visits": VISITS}
SCHEMAS = {name: pa.schema([(one.name, pa.string()) for one in columns]) for name, columns in TABLES.items()}
Tables = Mapping[str, tuple[Sequence[Row], Sequence[bytes]]]


def made(people: int, seed: int = 1) -> Tables:
    draw = random.Random(seed)
    patients: list[Row] = []
    visits: list[Row] = []
    whose: list[bytes] = []
    for number in range(people):
        born = f"19{draw.randrange(40, 90)}"
        patients.append({"sex": draw.choice(["male", "female"]), "born": born})
        for _ in range(draw.randrange(4)):
            visits.append({"born": born, "class": draw.choice(["AMB", "IMP", "EMER"]), "why": draw.choice("ABC")})
            whose.append(bytes([number]))
    return {"patients": (patients, [bytes([number]) for number in range(people)]), "visits": (visits, whose)}


def least_alike(tables: Tables) -> int:
    """How many persons are alike at least in the sets of all that all tables have of them: the slow reference."""
    seen: dict[bytes, dict[str, set[str]]] = {one: defaultdict(set) for _, whose in tables.values() for one in whose}
    labels: dict[str, set[str]] = defaultdict(set)
    for name, (rows, persons) in tables.items():
        for row, person in zip(rows, persons, strict=True):
            for one in TABLES[name]:
                if one.role == "quasi-identifier":
                    seen[person][one.name].add(str(row[one.name]))
                    labels[one.name].add(str(row[one.name]))
    for name, of in labels.items():
        if of == {"*"}:  # says nothing of anybody, and nothing of who has no row
            for one in seen.values():
                one[name].add("*")
    shown = Counter(str(sorted((name, sorted(of)) for name, of in one.items())) for one in seen.values())
    return min(shown.values(), default=0)


def through(tables: Tables, demands: Demands) -> Tables:
    together = Together(TABLES, demands)
    for name, (rows, persons) in tables.items():
        for at in range(0, len(rows), 9):
            together.add(name, batch_of(rows[at : at + 9], SCHEMAS[name]), persons[at : at + 9])
    plan = together.plan()
    found = {}
    for name, (rows, persons) in tables.items():
        batch, whose = plan.apply(TABLES[name], batch_of(rows, SCHEMAS[name]), persons)
        assert batch.schema == plan.schema_of(TABLES[name], SCHEMAS[name])
        found[name] = batch.to_pylist(), whose
    return found


def test_persons_are_alike_over_all_tables() -> None:
    tables = made(150)
    assert least_alike(tables) == 1
    found = through(tables, Demands(suppression=100))
    assert least_alike(found) >= 5
    gone = set(tables["patients"][1]) - set(found["patients"][1])
    assert 0 < len(gone) <= 15
    assert not gone & set(found["visits"][1])


def test_each_tables_own_gate_takes_what_comes_from_it() -> None:
    rows, persons = through(made(150), Demands(suppression=100))["visits"]
    gate = Gate(VISITS, Demands(l=2, suppression=200))
    gate.add(batch_of(rows, SCHEMAS["visits"]), persons)
    assert gate.plan().report()["after"]["least_persons"] >= 5


def test_a_table_alone_may_be_safe_where_both_are_not() -> None:
    tables: Tables = {
        "patients": ([{"sex": "male", "born": "1950"}] * 10, [bytes([n]) for n in range(10)]),
        "visits": (
            [{"born": "1950", "class": "AMB" if n < 5 else "IMP", "why": "A"} for n in range(9)],
            [bytes([n]) for n in range(9)],
        ),
    }
    for name, (rows, persons) in tables.items():
        if name == "patients":
            gate = Gate(TABLES[name], Demands())
            gate.add(batch_of(rows, SCHEMAS[name]), persons)
            assert gate.plan().report()["after"]["loss_thousandths"] == 0
    assert least_alike(tables) == 1
    # The tenth has no visit, and stands out by that alone: who has none cannot be made like who has some.
    found = through(tables, Demands(k=4, suppression=100))
    assert least_alike(found) >= 4


def test_too_few_persons_are_refused_and_unknown_roles_too() -> None:
    with pytest.raises(RiskTooHigh, match="fewer than the 5 persons"):
        through(made(4), Demands())
    with pytest.raises(Malformed, match="role 'nothing'"):
        Together({"a": [Declared("x", "nothing")]}, Demands())
    with pytest.raises(RuntimeError, match="2 rows came with 1 persons"):
        Together(TABLES, Demands()).add("patients", batch_of([{}, {}], SCHEMAS["patients"]), [b"a"])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(5, 60), st.integers(0, 10_000), st.integers(1, 5), st.sampled_from([0, 100, 500]))
def test_the_reference_confirms_what_leaves_together(people: int, seed: int, k: int, suppression: int) -> None:
    tables = made(people, seed)
    found = through(tables, Demands(k=k, suppression=suppression))
    kept = set(found["patients"][1])
    assert people - len(kept) <= people * suppression // 1_000
    assert least_alike(found) >= k
