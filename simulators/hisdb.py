"""A hospital's own database, the way such databases are: it grows day by day, and not in order.

One SQLite file with the tables of a Chinese HIS, its texts in GB 18030. Each day brings patients, visits, diagnoses,
orders, results and bills; discharges of yesterday's stays; results stamped yesterday and written today; refunds; a bill
deleted without a trace; two patients merged; birth dates that are none, a name cut off in the middle of a character, a
result without a value, a visit that ends before it begins.
"""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from simulators.people import Patient, patient
from simulators.sent import Sent

_TABLES: Final = """
CREATE TABLE PAT_MASTER_INDEX (patient_id VARCHAR(20) PRIMARY KEY, name VARCHAR(50), sex CHAR(1),
  date_of_birth VARCHAR(19), id_no VARCHAR(18), nation VARCHAR(10), mailing_address VARCHAR(100), phone VARCHAR(20),
  merged_into VARCHAR(20), update_time VARCHAR(19));
CREATE TABLE PAT_VISIT (patient_id VARCHAR(20), visit_id INT, visit_type CHAR(1), dept_code VARCHAR(10),
  dept_name VARCHAR(30), admission_time VARCHAR(19), discharge_time VARCHAR(19), doctor VARCHAR(20),
  insurance_type VARCHAR(20), PRIMARY KEY (patient_id, visit_id));
CREATE TABLE DIAGNOSIS (patient_id VARCHAR(20), visit_id INT, diag_no INT, diag_type CHAR(1), icd10 VARCHAR(12),
  diag_name VARCHAR(80), diag_time VARCHAR(19), PRIMARY KEY (patient_id, visit_id, diag_no));
CREATE TABLE ORDERS (order_no VARCHAR(20) PRIMARY KEY, patient_id VARCHAR(20), visit_id INT, order_class CHAR(1),
  item_code VARCHAR(20), item_name VARCHAR(80), dosage DECIMAL(12,4), dosage_unit VARCHAR(10), freq VARCHAR(10),
  start_time VARCHAR(19), stop_time VARCHAR(19), status CHAR(1));
CREATE TABLE LAB_RESULT (test_no VARCHAR(20), item_no INT, patient_id VARCHAR(20), visit_id INT, item_code VARCHAR(20),
  item_name VARCHAR(60), result VARCHAR(60), unit VARCHAR(20), ref_range VARCHAR(30), abnormal CHAR(1),
  result_time VARCHAR(19), PRIMARY KEY (test_no, item_no));
CREATE TABLE BILL_DETAIL (bill_no VARCHAR(20) PRIMARY KEY, patient_id VARCHAR(20), visit_id INT, item_class CHAR(1),
  item_code VARCHAR(20), item_name VARCHAR(80), amount DECIMAL(12,2), quantity DECIMAL(10,2), charges DECIMAL(14,2),
  refund_of VARCHAR(20), bill_time VARCHAR(19));
CREATE TABLE DAYS (day INT PRIMARY KEY);
CREATE INDEX patients_updated ON PAT_MASTER_INDEX (update_time);
CREATE INDEX diagnoses_made ON DIAGNOSIS (diag_time);
CREATE INDEX orders_started ON ORDERS (start_time);
CREATE INDEX results_made ON LAB_RESULT (result_time);
"""
_DEPARTMENTS: Final = (("0301", "心血管内科"), ("0402", "普通外科"), ("2001", "急诊科"))
_DIAGNOSES: Final = (
    ("I10.x00", "原发性高血压"),
    ("E11.900", "2型糖尿病"),
    ("J18.900", "肺炎，未特指"),
    ("K35.800", "急性阑尾炎"),
)
_INSURANCES: Final = ("城镇职工", "城乡居民", "自费")
_PRICES: Final = (Decimal("50.00"), Decimal("15.35"), Decimal("0.33"), Decimal("1280.00"))
#: The first day.
_START: Final = datetime(2026, 6, 1, 7, 0)  # noqa: DTZ001 - the database has no zones, like its models


def settings(file: str) -> dict[str, Any]:
    """Return the settings of a source of kind ``his.sql_tables`` that reads this database.

    Args:
        file: The database's path, absolute or in the home folder.
    """
    day = 26 * 3600  # results are written up to a day late
    return {
        "url": f"sqlite:///{file}",
        "overlap_seconds": day,
        "tables": {
            "PAT_MASTER_INDEX": {"key": ["patient_id"], "watermark": ["update_time"]},
            "PAT_VISIT": {"key": ["patient_id", "visit_id"]},
            "DIAGNOSIS": {"key": ["patient_id", "visit_id", "diag_no"], "watermark": ["diag_time"]},
            "ORDERS": {"key": ["order_no"], "watermark": ["start_time"]},
            "LAB_RESULT": {"key": ["test_no", "item_no"], "watermark": ["result_time"]},
            "BILL_DETAIL": {"key": ["bill_no"], "watermark": ["bill_time"], "compare_hours": 0},
        },
    }


@dataclass(frozen=True, slots=True)
class HisDatabase:
    """One hospital's database.

    Attributes:
        seed: The region's seed; its patients are those of the other simulators.
        patients: New patients a day, at least 5.
    """

    seed: int
    patients: int = 12

    def grow(self, file: Path, day: int = 0, trouble: bool = True) -> Sent:
        """Return what a day adds, once it stands in the database; a day that stands there already adds nothing.

        Counted are records: a row that is new, changed, or deleted since the day before. Who reads day by day meets
        each once; besides, a reading meets again what its overlap covers.

        Args:
            file: Made where it is not there.
            day: Which day, from 0; days come in order.
            trouble: Whether rows that must be set aside are among them.
        """
        with closing(sqlite3.connect(file)) as connection, connection:
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'DAYS'").fetchone():
                connection.executescript(_TABLES)
            if connection.execute("INSERT OR IGNORE INTO DAYS VALUES (?)", (day,)).rowcount == 0:
                return Sent()
            return _Day(connection, self, day).write(trouble)

    def charges(self, file: Path) -> Decimal:
        """Return the exact sum of all bills in the database."""
        with closing(sqlite3.connect(file)) as connection:
            rows = connection.execute("SELECT charges FROM BILL_DETAIL")
            return sum((Decimal(repr(one)).quantize(Decimal("0.01")) for (one,) in rows), Decimal(0))


class _Day:
    """One day being written."""

    def __init__(self, connection: sqlite3.Connection, owner: HisDatabase, day: int) -> None:
        self._connection = connection
        self._owner = owner
        self._day = day
        self._now = _START + timedelta(days=day)
        self._chance = random.Random(f"his {owner.seed} {day}")
        self._sent = Sent()

    def write(self, trouble: bool) -> Sent:
        """Everything of the day is in the database."""
        first = self._day * self._owner.patients
        for number in range(first, first + self._owner.patients):
            self._arrive(patient(self._owner.seed, number))
        if self._day:
            self._yesterday()
        if trouble:
            self._trouble()
        return self._sent

    def _arrive(self, person: Patient) -> None:
        """A patient comes, is seen, examined, and billed."""
        number = person.number
        born = "0000-00-00" if number % 11 == 10 else person.born.isoformat()
        self._patient(number, person.name, born, person)
        inside = number % 3 == 0
        self._visit(number, inside, self._now + timedelta(minutes=7 * (number % 60)))
        code, name = self._chance.choice(_DIAGNOSES)
        self._insert("DIAGNOSIS", _id(number), 1, 1, "1", code, name, self._clock(number))
        self._insert(
            "ORDERS", f"O{number:06d}1", _id(number), 1, "A", "XC08CA01", "苯磺酸氨氯地平片 5mg×7片",
            self._chance.choice((2.5, 5, 0.125)), "mg", "qd", self._clock(number), None, "3",
        )  # fmt: skip
        late = number % 4 == 3
        if not late:  # the others are written tomorrow, with today's time
            self._results(number, self._clock(number))
        self._bills(number)

    def _patient(self, number: int, name: str | bytes, born: str, person: Patient) -> None:
        self._insert(
            "PAT_MASTER_INDEX", _id(number), name, "1" if person.sex == "M" else "2", born, person.identity,
            person.nation[1], "".join(person.area[1:4]) + person.street, person.phone, None, self._clock(number),
        )  # fmt: skip

    def _visit(self, number: int, inside: bool, admitted: datetime) -> None:
        department = _DEPARTMENTS[number % 3]
        left = None if inside else _written(admitted + timedelta(minutes=40))
        self._insert(
            "PAT_VISIT", _id(number), 1, "I" if inside else "O", *department, _written(admitted), left, "欧阳喆",
            self._chance.choice(_INSURANCES),
        )  # fmt: skip

    def _results(self, number: int, time: str) -> None:
        items = (
            ("GLU", "葡萄糖", f"{self._chance.uniform(3.5, 12):.2f}", "mmol/L", "3.9-6.1"),
            ("TNI", "肌钙蛋白I", self._chance.choice(("<0.01", "0.35", ">50.00")), "ng/mL", "<0.04"),
            ("HBsAg", "乙肝表面抗原", self._chance.choice(("阴性", "弱阳性", "阳性(+)")), "", "阴性"),
        )
        for at, (code, name, result, unit, usual) in enumerate(items, 1):
            self._insert("LAB_RESULT", f"T{number:06d}", at, _id(number), 1, code, name, result, unit, usual, "N", time)

    def _bills(self, number: int) -> None:
        for at in range(2):
            price, quantity = self._chance.choice(_PRICES), self._chance.choice((1, 2, 3))
            self._bill(f"B{number:06d}{at}", number, price, quantity, None)

    def _bill(self, name: str, number: int, price: Decimal, quantity: int, of: str | None) -> None:
        self._insert(
            "BILL_DETAIL", name, _id(number), 1, "A", "110200001", "普通门诊诊查费",
            str(price), quantity, str(price * quantity), of, self._clock(number),
        )  # fmt: skip

    def _yesterday(self) -> None:
        """Stays end, results come late, a bill is refunded, one vanishes, two patients turn out to be one."""
        first = (self._day - 1) * self._owner.patients
        numbers = range(first, first + self._owner.patients)
        for number in numbers:
            if number % 3 == 0:
                self._change("UPDATE PAT_VISIT SET discharge_time = ? WHERE patient_id = ?", self._clock(), _id(number))
            if number % 4 == 3:
                self._results(number, _written(self._now - timedelta(hours=2)))
        name, price, quantity = self._connection.execute(
            "SELECT bill_no, amount, quantity FROM BILL_DETAIL WHERE patient_id = ? ORDER BY bill_no", (_id(first),)
        ).fetchone()
        exact = Decimal(repr(price)).quantize(Decimal("0.01"))
        self._bill(f"{name}R", first, exact, -int(quantity), name)
        self._change("DELETE FROM BILL_DETAIL WHERE bill_no = ?", f"B{first + 1:06d}1")
        self._change(
            "UPDATE PAT_MASTER_INDEX SET merged_into = ?, update_time = ? WHERE patient_id = ?",
            _id(first + 2), self._clock(), _id(first + 1),
        )  # fmt: skip

    def _trouble(self) -> None:
        number = 900_000 + self._day
        person = patient(self._owner.seed, number)
        self._patient(number, "欧阳".encode("gb18030")[:3], person.born.isoformat(), person)
        self._aside("charset")
        self._visit(number, False, self._now)
        self._connection.execute(
            "UPDATE PAT_VISIT SET discharge_time = '2020-01-01 08:00:00' WHERE patient_id = ?", (_id(number),)
        )
        self._aside("quality:row-encounter-ends-after-start")
        self._insert(
            "LAB_RESULT",
            f"T{number}",
            1,
            _id(number),
            1,
            "GLU",
            "葡萄糖",
            None,
            "mmol/L",
            "3.9-6.1",
            "N",
            self._clock(),
        )
        self._aside("quality:row-observation-answer")

    def _aside(self, reason: str) -> None:
        """What was counted last must not be sealed but set aside."""
        self._sent += Sent(sealed=-1, set_aside=Counter({reason: 1}))

    def _insert(self, table: str, *values: Any) -> None:
        marks = ", ".join("CAST(? AS TEXT)" if isinstance(one, (str, bytes)) else "?" for one in values)
        stored = [one.encode("gb18030") if isinstance(one, str) else one for one in values]
        self._connection.execute(f"INSERT INTO {table} VALUES ({marks})", stored)  # noqa: S608 - names of ours
        self._sent += Sent(sealed=1)

    def _change(self, statement: str, *values: str) -> None:
        self._sent += Sent(sealed=self._connection.execute(statement, values).rowcount)

    def _clock(self, number: int = 0) -> str:
        return _written(self._now + timedelta(minutes=number % 120))


def _id(number: int) -> str:
    return f"26{number:08d}"


def _written(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"


@contextmanager
def onboarding(home: Path) -> Iterator[dict[str, str]]:
    """Yield what the page of docs/onboarding calls it: ``HIS_DATABASE``, a database that grew for two days."""
    file = home / "hospital" / "his.db"
    file.parent.mkdir(parents=True, exist_ok=True)
    for day in range(2):
        HisDatabase(20261101).grow(file, day, trouble=False)
    yield {"HIS_DATABASE": str(file)}
