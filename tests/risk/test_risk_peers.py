"""The reference says what pycanon 1.3.6 says of the same tables.

pycanon needs older numpy and pandas than we do, so its answers stand here: `k_anonymity`, `l_diversity` and
`t_closeness` of these tables as they leave the gate, one row a person, asked on 2026-11-23.
"""

from __future__ import annotations

import random

import pyarrow as pa  # noqa: TID253  (Airflow loads no tests)
import pytest
from risk_reference import Declared, k_of, l_of, t_of

from schemas.sharing import Demands
from sharing.risk import Gate

COLUMNS = [
    Declared("age", "quasi-identifier", "age"),
    Declared("sex", "quasi-identifier"),
    Declared("place", "quasi-identifier", "place"),
    Declared("code", "sensitive"),
    Declared("value", "sensitive"),
]


@pytest.mark.parametrize(
    ("seed", "k", "l_code", "l_value", "t_code", "t_value"),
    [
        (0, 21, 4, 5, 0.186667, 0.106734),
        (1, 26, 4, 5, 0.185238, 0.072462),
        (2, 7, 4, 3, 0.235622, 0.186623),
        (3, 20, 4, 5, 0.243333, 0.131667),
        (4, 12, 4, 5, 0.243373, 0.139868),
        (5, 18, 4, 5, 0.185641, 0.098358),
    ],
)
def test_k_l_and_t_are_those_of_pycanon(
    seed: int, k: int, l_code: int, l_value: int, t_code: float, t_value: float
) -> None:
    draw = random.Random(seed)
    rows = [
        {
            "age": draw.randrange(20, 90),
            "sex": draw.choice("mf"),
            "place": draw.choice(["310115", "310104", "320102", "330106"]),
            "code": draw.choice("abcd"),
            "value": draw.choice([1, 2, 3, 5, 8]),
        }
        for _ in range(600)
    ]
    batch, persons = pa.RecordBatch.from_pylist(rows), [str(number).encode() for number in range(600)]
    gate = Gate(COLUMNS, Demands(k=4, l=2, t=250, suppression=50))
    gate.add(batch, persons)
    leaving = gate.plan().apply(batch, persons).to_pylist()
    whose, quasi = [str(number).encode() for number in range(len(leaving))], ["age", "sex", "place"]
    assert k_of(leaving, whose, quasi) == k
    assert (l_of(leaving, whose, quasi, "code"), l_of(leaving, whose, quasi, "value")) == (l_code, l_value)
    assert float(t_of(leaving, whose, quasi, "code", ordered=False)) == pytest.approx(t_code, abs=1e-6)
    assert float(t_of(leaving, whose, quasi, "value", ordered=True)) == pytest.approx(t_value, abs=1e-6)
