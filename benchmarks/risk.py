"""How long the disclosure-risk gate takes, and what it keeps in memory: made-up rows, never all in memory at once.

python benchmarks/risk.py                          200,000 rows, 5 quasi-identifiers
python benchmarks/risk.py --rows 2000000 --l 2 --t 300
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa  # noqa: TID253  (nothing loads this but a person)

from schemas.sharing import Demands
from sharing.risk import Gate

BATCH = 10_000
PLACES = [
    f"{province}{city:02}{county:02}" for province in range(31, 36) for city in range(1, 12) for county in range(8)
]
CODES = [f"{letter}{number:02}.{digit}" for letter in "ABCDEFGHIJ" for number in range(0, 99, 7) for digit in range(5)]


@dataclass(frozen=True)
class Column:
    """A column as a view declares it."""

    name: str
    role: str
    hierarchy: str


COLUMNS = [
    Column("age", "quasi-identifier", "age"),
    Column("sex", "quasi-identifier", ""),
    Column("place", "quasi-identifier", "place"),
    Column("seen", "quasi-identifier", "date"),
    Column("icd10", "quasi-identifier", "code"),
    Column("born", "quasi-identifier", "date"),
    Column("home", "quasi-identifier", "place"),
    Column("work", "quasi-identifier", ""),
]
SENSITIVE = [Column("outcome", "sensitive", "code"), Column("value", "sensitive", "")]


def batches(rows: int, persons: int, columns: list[Column]) -> Iterator[tuple[pa.RecordBatch, list[bytes]]]:
    """Yield the same rows at each call."""
    draw = np.random.default_rng(1)
    of_persons = {
        "age": draw.integers(0, 100, persons),
        "sex": np.array(["male", "female"])[draw.integers(0, 2, persons)],
        "place": np.array(PLACES)[draw.integers(0, len(PLACES), persons)],
        "born": np.datetime_as_string(np.datetime64("1930-01-01") + draw.integers(0, 30_000, persons)),
        "home": np.array(PLACES)[draw.integers(0, len(PLACES), persons)],
        "work": np.array([f"work{n}" for n in range(12)])[draw.integers(0, 12, persons)],
    }
    for start in range(0, rows, BATCH):
        size = min(BATCH, rows - start)
        who = draw.integers(0, persons, size)
        values = {name: known[who] for name, known in of_persons.items()} | {
            "seen": np.datetime_as_string(np.datetime64("2024-01-01") + draw.integers(0, 1_000, size)),
            "icd10": np.array(CODES)[draw.integers(0, len(CODES), size)],
            "outcome": np.array(CODES[:30])[draw.integers(0, 30, size)],
            "value": np.round(draw.normal(100, 15, size), 1),
        }
        yield pa.RecordBatch.from_pydict({one.name: values[one.name] for one in columns}), [b"%032d" % n for n in who]


def main() -> None:
    """Print seconds of each pass, what was chosen, and the highest memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--persons", type=int, default=50_000)
    parser.add_argument("--quasi", type=int, default=5, choices=range(1, 9))
    for name, default in (("k", 5), ("l", 1), ("t", 1_000), ("suppression", 50)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    columns = [*COLUMNS[: given.quasi], *SENSITIVE]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    gate, spent = Gate(columns, Demands(given.k, given.l, given.t, given.suppression)), {"add": 0.0, "apply": 0.0}
    for batch, persons in batches(given.rows, given.persons, columns):
        began = time.perf_counter()
        gate.add(batch, persons)
        spent["add"] += time.perf_counter() - began
    began = time.perf_counter()
    plan = gate.plan()
    spent["plan"] = time.perf_counter() - began
    for batch, persons in batches(given.rows, given.persons, columns):
        began = time.perf_counter()
        plan.apply(batch, persons)
        spent["apply"] += time.perf_counter() - began
    plan.complete()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    report = plan.report()
    print(f"{given.rows:,} rows of {given.persons:,} persons, {given.quasi} quasi-identifiers")
    print(", ".join(f"{name} {seconds:.1f} s" for name, seconds in sorted(spent.items())))
    print(f"memory: {before >> 10} MB before, {peak >> 10} MB at most")
    print(f"looked at {report['search']['looked_at']} of {report['search']['choices']:,} choices of levels")
    print("\n".join(report["words"]))


if __name__ == "__main__":
    main()
