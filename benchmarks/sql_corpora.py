"""The table corpora on their way to the vault: what is read, what would be sealed, what is refused by which name.

    python benchmarks/sql_corpora.py [--quick]

Loads the Chinese HIS (UTF-8 and GB 18030) and Synthea's tables into SQLite, pulls them as a source would, maps, checks.
The counts and the sum of all charges must be what corpora/his-sql says, to the row and to the cent: otherwise the exit
code is 1. Prints tables and writes bench-results/sql_corpora.json.
"""

from __future__ import annotations

import csv
import json
import re
import resource
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
from report import CORPORA, need_corpora, options, table, write

from connectors.his.sql_tables import TablesConnector
from normalise import SetAside
from normalise.rows import convert
from quality.gate import Gate
from schemas.documents import load_document
from schemas.records import Normalised, RawRecord
from schemas.source import Source, load_source

FOLDER = CORPORA.parent / "his-sql"
MAPPINGS = Path(__file__).parent.parent / "sources" / "mappings"
ZH: dict[str, Any] = {
    "PAT_MASTER_INDEX": {"key": "patient_id", "watermark": "update_time"},
    "PAT_VISIT": {"key": ["patient_id", "visit_id"]},
    "DIAGNOSIS": {"key": ["patient_id", "visit_id", "diag_no"], "watermark": "diag_time"},
    "ORDERS": {"key": "order_no", "watermark": "start_time"},
    "LAB_RESULT": {"key": ["test_no", "item_no"], "watermark": "result_time"},
    "BILL_DETAIL": {"key": "bill_no", "watermark": "bill_time"},
}
#: Synthea's tables have no keys; these columns tell their rows apart.
SYNTHEA: dict[str, Any] = {
    **{name: {"key": "Id"} for name in ("patients", "organizations", "providers", "payers", "encounters", "careplans")},
    "payer_transitions": {"key": ["PATIENT", "START_YEAR", "PAYER"]},
    "conditions": {"key": ["PATIENT", "ENCOUNTER", "CODE", "START"]},
    "allergies": {"key": ["PATIENT", "CODE", "START"]},
    "observations": {"key": ["PATIENT", "DATE", "CODE", "VALUE"]},
    "medications": {"key": ["PATIENT", "ENCOUNTER", "CODE", "START", "DISPENSES"]},
    "procedures": {"key": ["PATIENT", "ENCOUNTER", "CODE", "START"]},
    "immunizations": {"key": ["PATIENT", "DATE", "CODE"]},
    "devices": {"key": ["PATIENT", "CODE", "START"]},
    "imaging_studies": {"key": ["Id", "INSTANCE_UID"]},
    "claims": {"key": "Id"},
    "claims_transactions": {"key": "ID"},
}


def zh_utf8(connection: sqlite3.Connection) -> int:
    """Load the dump as it is; returns its rows."""
    script = (FOLDER / "zh-his" / "his_26.sql").read_text("utf-8")
    connection.executescript(f"BEGIN;{script}\nCOMMIT;")
    return script.count("\nINSERT INTO ")


def zh_gb18030(connection: sqlite3.Connection) -> int:
    """Load the other dump so that the file holds its bytes; returns its rows."""
    script = (FOLDER / "zh-his" / "his_26.gb18030.sql").read_bytes()
    stored = re.sub(rb"'([^']*)'", lambda found: b"CAST(X'%s' AS TEXT)" % found[1].hex().encode(), script)
    connection.executescript(f"BEGIN;{stored.decode('gb18030')}\nCOMMIT;")
    return script.count(b"\nINSERT INTO ")


def synthea(connection: sqlite3.Connection) -> int:
    """Load every CSV file as a table of texts; returns their rows."""
    count = 0
    for file in sorted((FOLDER / "synthea-csv").glob("*.csv")):
        with file.open(encoding="utf-8", newline="") as stream:
            head, *rows = csv.reader(stream)
        connection.execute(f'CREATE TABLE "{file.stem}" ({", ".join(f"{name!r} TEXT" for name in head)})')
        marks = ", ".join("?" * len(head))
        connection.executemany(f'INSERT INTO "{file.stem}" VALUES ({marks})', [[c or None for c in r] for r in rows])
        count += len(rows)
    return count


#: Name, how it is loaded, its tables, mapping and character set.
CORPORA_OF = (
    ("zh-his", zh_utf8, ZH, "zh-his", "auto"),
    ("zh-his GB 18030", zh_gb18030, ZH, "zh-his", "gb18030"),
    ("synthea-csv", synthea, SYNTHEA, "synthea", "auto"),
)


def source_of(home: Path, tables: dict[str, Any], mapping: str, charset: str) -> Source:
    """Return the source that reads a file in the home folder."""
    (home / "mappings").mkdir(exist_ok=True)
    (home / "mappings" / f"{mapping}.yaml").write_bytes((MAPPINGS / f"{mapping}.yaml").read_bytes())
    path = home / "corpus-db.yaml"
    settings = json.dumps({"url": "sqlite:///his.db", "tables": tables})
    path.write_text(
        f"{{id: corpus-db, institution: hospital-east, kind: his.sql_tables, time_zone: Asia/Shanghai, "
        f"charset: {charset}, mapping: {mapping}, settings: {settings}}}",
        "utf-8",
    )
    load_document(MAPPINGS / f"{mapping}.yaml", "mapping")
    return load_source(path)


def judged(records: Sequence[RawRecord], source: Source) -> tuple[list[Normalised], Counter[str]]:
    """Return what the rows become, and how many are refused for what."""
    made, refused = [], Counter[str]()
    for one in records:
        try:
            made.append(convert(one.content, source.context))
        except SetAside as error:
            refused[error.refusal.code] += 1
    report = Gate("rows").check(made)
    refused.update(found[0].code for found in report.refusals if found)
    return [made[at] for at in report.passed], refused


def charges(made: Sequence[Normalised]) -> Decimal:
    """Return the sum of all charges, as they stand in what would be sealed."""
    bodies = (
        orjson.loads(orjson.dumps(one.body)) for each in made for one in each.resources if one.type == "ChargeItem"
    )
    return sum((Decimal(repr(one["priceOverride"]["value"])) for one in bodies), Decimal(0))


def corpus(name: str, load: Any, tables: dict[str, Any], mapping: str, charset: str) -> dict[str, Any]:
    """Return the counts of one corpus."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with closing(sqlite3.connect(home / "his.db")) as connection, connection:
            rows = load(connection)
        source = source_of(home, tables, mapping, charset)
        begun = time.perf_counter()
        pages = list(TablesConnector(source, home).pull())
        pulled = time.perf_counter() - begun
    found = [one for page in pages for one in page.records]
    records = [one for one in found if isinstance(one, RawRecord)]
    refused = Counter(one.refusal.code for one in found if not isinstance(one, RawRecord))
    begun = time.process_time()
    for one in records[:1_000]:
        convert(one.content, source.context)
    converting = time.process_time() - begun
    made, more = judged(records, source)
    return {
        "corpus": name, "rows": rows, "counted": pages[-1].expected, "read": len(found), "sealable": len(made),
        "refused": dict(refused + more), "charges": str(charges(made)), "pull_per_second": round(len(found) / pulled),
        "convert_per_second": round(min(1_000, len(records)) / converting),
        "resources": dict(Counter(one.type for each in made for one in each.resources).most_common()),
    }  # fmt: skip


def faults(found: dict[str, Any]) -> list[str]:
    """Return how a corpus differs from what it must be."""
    wrong = [
        f"{found['corpus']}: {what} is {found[what]}, {found['rows']} were loaded"
        for what in ("counted", "read", "sealable")
        if found[what] != found["rows"]
    ]
    if Decimal(found["charges"]) != (expected := charged(found["corpus"])):
        wrong.append(f"{found['corpus']}: charges are {found['charges']}, expected {expected}")
    return wrong


def charged(name: str) -> Decimal:
    """Return the sum of a corpus's charges as its own files tell it."""
    if name.startswith("zh-his"):
        expected = json.loads((FOLDER / "zh-his" / "his_26.expected.json").read_text("utf-8"))
        return Decimal(expected["charges_sum"])
    with (FOLDER / "synthea-csv" / "claims_transactions.csv").open(encoding="utf-8", newline="") as stream:
        return sum((Decimal(row["AMOUNT"]) for row in csv.DictReader(stream) if row["TYPE"] == "CHARGE"), Decimal(0))


def main() -> None:
    """Load, pull, map, check, count."""
    chosen = options(__doc__).parse_args()
    need_corpora()
    results = [corpus(*one) for one in (CORPORA_OF[:1] if chosen.quick else CORPORA_OF)]
    head = (
        "corpus",
        "rows",
        "counted",
        "read",
        "sealable",
        "refused",
        "charges",
        "pull_per_second",
        "convert_per_second",
    )
    print(table(head, [[one[name] or "none" for name in head] for one in results]))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"peak memory {peak} MB")
    write(chosen.results, "sql_corpora", {"corpora": results, "peak_mb": peak, "quick": chosen.quick})
    wrong = [line for one in results for line in faults(one)]
    print("\n".join(wrong) or "every row and every cent agrees")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
