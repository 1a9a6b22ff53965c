"""What leaves the gate meets the demands, by the definitions of the papers; what cannot, does not leave."""

from __future__ import annotations

import random
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import pyarrow as pa  # noqa: TID253  (Airflow loads no tests)
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from risk_reference import Declared, Row, batch_of, k_of, l_of, t_of

from schemas.sharing import Demands
from sharing.errors import Malformed, RiskTooHigh
from sharing.risk import Gate, Plan

COLUMNS = [
    Declared("id", "identifier"),
    Declared("age", "quasi-identifier", "age"),
    Declared("sex", "quasi-identifier"),
    Declared("place", "quasi-identifier", "place"),
    Declared("seen", "quasi-identifier", "date"),
    Declared("code", "sensitive"),
    Declared("value", "sensitive"),
    Declared("note"),
]
SCHEMA = pa.schema(
    [
        ("id", pa.string()), ("age", pa.int32()), ("sex", pa.string()), ("place", pa.string()), ("seen", pa.string()),
        ("code", pa.string()), ("value", pa.float64()), ("note", pa.string()),
    ]
)  # fmt: skip
QUASI = ["age", "sex", "place", "seen"]


def person(number: int) -> bytes:
    return b"person" + number.to_bytes(4, "big")


def planned(rows: Sequence[Row], persons: Sequence[bytes], demands: Demands, size: int = 7) -> Plan:
    gate = Gate(COLUMNS, demands)
    for at in range(0, len(rows), size):
        gate.add(batch_of(rows[at : at + size], SCHEMA), persons[at : at + size])
    return gate.plan()


def applied(plan: Plan, rows: Sequence[Row], persons: Sequence[bytes]) -> tuple[list[Row], list[bytes]]:
    """Every row that leaves with its person, who is found again by the row's id."""
    batch = plan.apply(batch_of(rows, SCHEMA), persons)
    assert batch.schema == plan.schema
    whose = {row["id"]: one for row, one in zip(rows, persons, strict=True)}
    found = batch.to_pylist()
    return found, [whose[row["id"]] for row in found]


def made(count: int, people: int, seed: int = 1) -> tuple[list[Row], list[bytes]]:
    draw = random.Random(seed)
    known = [
        {"age": draw.randrange(20, 95), "sex": draw.choice(["male", "female"]),
         "place": draw.choice(["310115", "310104", "320102", "320106", "330106"])}
        for _ in range(people)
    ]  # fmt: skip
    rows, persons = [], []
    for number in range(count):
        who = draw.randrange(people)
        rows.append(
            known[who]
            | {"id": f"r{number}", "seen": f"2026-{draw.randrange(1, 13):02}-{draw.randrange(1, 28):02}", "note": "x",
               "code": draw.choice(["E11", "I10", "J45", None]), "value": draw.choice([None, 1.0, 2.0, 2.5, 9.0])}
        )  # fmt: skip
        persons.append(person(who))
    return rows, persons


def test_everybody_is_alike_with_k_persons_whatever_rows_they_have() -> None:
    rows, persons = made(600, 120)
    plan = planned(rows, persons, Demands())
    leaving, whose = applied(plan, rows, persons)
    plan.complete()
    assert k_of(rows, persons, QUASI) == 1
    assert k_of(leaving, whose, QUASI) >= 5
    assert len(rows) - len(leaving) == plan.suppressed <= len(rows) * 50 // 1_000


def test_one_person_with_many_rows_is_one_person() -> None:
    rows, _ = made(20, 1)
    with pytest.raises(RiskTooHigh, match="fewer than the 5 persons that must be alike; widen the cohort"):
        planned(rows, [person(0)] * 20, Demands())


def test_diversity_and_closeness_hold_of_what_leaves() -> None:
    rows, persons = made(800, 300)
    plan = planned(rows, persons, Demands(k=4, l=3, t=300, suppression=100))
    leaving, whose = applied(plan, rows, persons)
    for column in ("code", "value"):
        assert l_of(leaving, whose, QUASI, column) >= 3
        assert t_of(leaving, whose, QUASI, column, column == "value") <= Fraction(300, 1_000)


def test_a_table_that_is_safe_already_leaves_as_it_came() -> None:
    rows = [{"id": f"r{n}", "age": 50, "sex": "male", "place": "310115", "seen": "2026-01-01", "code": "I10",
             "value": 1.0, "note": None} for n in range(10)]  # fmt: skip
    persons = [person(n) for n in range(10)]
    plan = planned(rows, persons, Demands())
    assert plan.schema == SCHEMA
    assert applied(plan, rows, persons)[0] == rows
    assert plan.report()["after"]["loss_thousandths"] == 0


def test_few_rows_that_stand_out_leave_instead_of_everybodys_detail() -> None:
    rows = [{"id": f"r{n}", "age": 50 if n < 100 else 17, "sex": "male", "place": "310115", "seen": "2026-01-01",
             "code": "I10", "value": 1.0, "note": None} for n in range(102)]  # fmt: skip
    persons = [person(n) for n in range(102)]
    plan = planned(rows, persons, Demands(suppression=20))
    leaving, _ = applied(plan, rows, persons)
    assert plan.suppressed == 2
    assert {row["age"] for row in leaving} == {50}
    plan = planned(rows, persons, Demands(suppression=19))
    assert {row["age"] for row in applied(plan, rows, persons)[0]} == {"under 60"}


def test_a_generalised_column_is_text_in_the_plans_schema() -> None:
    rows, persons = made(200, 60)
    plan = planned(rows, persons, Demands())
    levels = {one["column"]: one["level"] for one in plan.report()["steps"]}
    for field in plan.schema:
        came = SCHEMA.field(field.name).type
        assert field.type == (pa.string() if levels.get(field.name) else came)


def test_a_missing_value_is_a_value_of_its_own() -> None:
    rows = [{"id": f"r{n}", "age": None if n < 5 else 40, "sex": "male", "place": None, "seen": None, "code": "I10",
             "value": None, "note": None} for n in range(10)]  # fmt: skip
    persons = [person(n) for n in range(10)]
    assert applied(planned(rows, persons, Demands()), rows, persons)[0] == rows
    plan = planned(rows, persons, Demands(k=6))
    assert {row["age"] for row in applied(plan, rows, persons)[0]} == {"*"}


def test_an_empty_table_leaves_empty() -> None:
    gate = Gate(COLUMNS, Demands())
    gate.add(batch_of([], SCHEMA), [])
    plan = gate.plan()
    assert plan.apply(batch_of([], SCHEMA), []).num_rows == 0
    plan.complete()
    assert Gate(COLUMNS, Demands()).plan().suppressed == 0


def test_a_view_without_quasi_identifiers_is_one_class() -> None:
    columns = [Declared("id"), Declared("code", "sensitive")]
    schema = pa.schema([("id", pa.string()), ("code", pa.string())])
    rows = [{"id": str(n), "code": "I10"} for n in range(4)]
    for persons, k in ((4, 5), (4, 4)):
        gate = Gate(columns, Demands(k=k))
        gate.add(batch_of(rows, schema), [person(n) for n in range(persons)])
        if k == 5:
            with pytest.raises(RiskTooHigh):
                gate.plan()
        else:
            assert gate.plan().apply(batch_of(rows, schema), [person(n) for n in range(4)]).num_rows == 4


def test_a_sensitive_column_of_one_value_is_named_in_the_refusal_and_its_value_is_not() -> None:
    rows, persons = made(200, 60)
    rows = [row | {"code": "B20"} for row in rows]
    with pytest.raises(RiskTooHigh, match="code has fewer different values than l = 2") as refused:
        planned(rows, persons, Demands(l=2))
    assert "B20" not in str(refused.value)


def test_no_value_of_the_table_is_in_the_report() -> None:
    rows, persons = made(300, 80)
    told = str(planned(rows, persons, Demands()).report())
    assert not [
        row[name] for row in rows for name in ("place", "seen", "code", "id") if row[name] and row[name] in told
    ]


def test_the_report_says_before_and_after_in_sentences() -> None:
    rows, persons = made(300, 80)
    report = planned(rows, persons, Demands()).report()
    assert report["before"]["persons"] == len(set(persons))
    assert report["before"]["least_persons"] == 1
    assert report["after"]["least_persons"] >= 5
    assert report["words"][0].startswith("As it came, 300 of 300 rows were of persons who stood out")
    assert any(one.startswith("seen is given as") for one in report["words"])


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (Declared("a", "quasi"), "role 'quasi' is none"),
        (Declared("a", "quasi-identifier", "zodiac"), "hierarchy 'zodiac' is none"),
        (Declared("age"), "stands twice"),
    ],
)
def test_a_column_that_says_nonsense_is_refused(column: Declared, said: str) -> None:
    with pytest.raises(Malformed, match=said):
        Gate([*COLUMNS, column], Demands())


@pytest.mark.parametrize("wrong", [{"k": 0}, {"l": 0}, {"t": 1_001}, {"t": -1}, {"suppression": 1_001}])
def test_demands_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(Malformed, match="demands: "):
        Gate(COLUMNS, Demands(**wrong))


def test_what_was_not_counted_is_not_let_through() -> None:
    rows, persons = made(300, 80)
    plan = planned(rows, persons, Demands())
    strange = [{**rows[0], "place": "650102"}]
    with pytest.raises(RuntimeError, match="column place: a value that the gate has not counted"):
        plan.apply(batch_of(strange, SCHEMA), persons[:1])
    with pytest.raises(RuntimeError, match="a person whom the gate has not counted"):
        plan.apply(batch_of(rows[:1], SCHEMA), [b"somebody else"])


def test_rows_that_vanish_between_counting_and_applying_are_noticed() -> None:
    rows, persons = made(300, 80)
    plan = planned(rows, persons, Demands())
    plan.apply(batch_of(rows[1:], SCHEMA), persons[1:])
    with pytest.raises(RuntimeError, match="300 rows were counted and 299 applied"):
        plan.complete()
    plan = planned(rows, persons, Demands())
    plan.apply(batch_of(rows, SCHEMA), persons[1:] + persons[:1])
    with pytest.raises(RuntimeError, match="or they changed in between"):
        plan.complete()


def test_wrong_calls_are_our_own_faults() -> None:
    rows, persons = made(30, 30)
    gate = Gate(COLUMNS, Demands())
    with pytest.raises(RuntimeError, match="30 rows came with 29 persons"):
        gate.add(batch_of(rows, SCHEMA), persons[1:])
    gate.add(batch_of(rows, SCHEMA), persons)
    with pytest.raises(RuntimeError, match="one schema"):
        gate.add(batch_of(rows, SCHEMA).drop_columns(["note"]), persons)
    gate.plan()
    with pytest.raises(RuntimeError, match="comes later"):
        gate.add(batch_of(rows, SCHEMA), persons)


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[Row], list[bytes]]:
    row = st.fixed_dictionaries(
        {
            "age": st.one_of(st.none(), st.integers(0, 110)),
            "sex": st.sampled_from(["male", "female", None]),
            "place": st.sampled_from(["310115", "310104", "320102", "上海市浦东新区", "江苏省南京市", "nowhere", None]),
            "seen": st.sampled_from(["2026-01-05", "2026-01-09T10:00:00+08:00", "2026-02", "2025", "soon", None]),
            "code": st.sampled_from(["E11", "I10", "J45", None]),
            "value": st.sampled_from([None, 1.0, 2.0, 2.5, -7.0]),
            "note": st.none(),
        }
    )
    rows: list[dict[str, Any]] = draw(st.lists(row, min_size=1, max_size=40))
    persons = [person(draw(st.integers(0, 15))) for _ in rows]
    return [one | {"id": f"r{at}"} for at, one in enumerate(rows)], persons


DEMANDS = st.builds(
    Demands,
    k=st.integers(1, 5),
    l=st.integers(1, 3),
    t=st.sampled_from([1_000, 600, 300, 0]),
    suppression=st.sampled_from([0, 50, 300, 1_000]),
)
PROPERTY = settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@PROPERTY
@given(tables(), DEMANDS)
def test_the_reference_confirms_what_the_gate_lets_through(
    table: tuple[list[Row], list[bytes]], demands: Demands
) -> None:
    rows, persons = table
    try:
        plan = planned(rows, persons, demands)
    except RiskTooHigh:
        # Even as one class of everybody it fails, or rows of everybody would have to leave.
        assert len(set(persons)) < demands.k or min(len({r[c] for r in rows}) for c in ("code", "value")) < demands.l
        return
    leaving, whose = applied(plan, rows, persons)
    plan.complete()
    assert leaving
    assert len(rows) - len(leaving) == plan.suppressed <= len(rows) * demands.suppression // 1_000
    assert k_of(leaving, whose, QUASI) >= demands.k
    for column in ("code", "value"):
        assert l_of(leaving, whose, QUASI, column) >= demands.l
        assert t_of(leaving, whose, QUASI, column, column == "value") <= Fraction(demands.t, 1_000)


@PROPERTY
@given(tables(), DEMANDS, st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(
    table: tuple[list[Row], list[bytes]], demands: Demands, shuffler: random.Random
) -> None:
    rows, persons = table
    order = list(range(len(rows)))
    shuffler.shuffle(order)
    other = [rows[at] for at in order], [persons[at] for at in order]
    answers = []
    for some, whose in ((rows, persons), other):
        try:
            plan = planned(some, whose, demands, size=shuffler.randrange(1, 20))
        except RiskTooHigh as refused:
            answers.append(str(refused))
        else:
            leaving = sorted(applied(plan, some, whose)[0], key=lambda row: str(row["id"]))
            answers.append(str((leaving, plan.schema, plan.report())))
    assert answers[0] == answers[1]
