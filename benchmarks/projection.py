"""Rows a second of one SQL on FHIR view after the other, beside fhir4ds-v2 and sqlonfhir in the same run.

    python benchmarks/projection.py [--messages 200] [--rounds 3] [--alone] [--quick]

All get the same laboratory results, made by this project's converter of invented messages, and the same views: a flat
one, one that unnests codings, and the shipped laboratory_results of 16 columns with its conditions. Who begins changes
with every round. Ratios are of CPU seconds, all threads counted, because others' work stretches the wall; the wall
stands beside. What is timed goes from lines of JSON in memory to rows in memory; the first round warms up and is left
out. Each peer lives in a virtual environment of its own, made once; where it cannot be installed, and with --alone,
this project is measured by itself. Prints a table and writes bench-results/projection.json.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from oru import messages
from peer import peer_python
from report import ROOT, options, table, write

HERE = Path(__file__).parent
PEERS = {"fhir4ds-v2": "0.0.17", "sqlonfhir": "0.0.2"}


def column(name: str, path: str, type_: str) -> dict[str, str]:
    """Return a column of a ViewDefinition."""
    return {"name": name, "path": path, "type": type_}


FLAT = {
    "resource": "Observation",
    "status": "active",
    "select": [
        {
            "column": [
                column("id", "id", "id"),
                column("patient", "subject.reference", "string"),
                column("status", "status", "code"),
                column("code", "code.coding.first().code", "code"),
                column("value", "value.ofType(Quantity).value", "decimal"),
                column("unit", "value.ofType(Quantity).unit", "string"),
                column("effective", "effective.ofType(dateTime)", "dateTime"),
            ]
        }
    ],
}
UNNESTED = {
    "resource": "Observation",
    "status": "active",
    "where": [{"path": "status = 'final'"}],
    "select": [
        {"column": [column("id", "id", "id"), column("effective", "effective.ofType(dateTime)", "dateTime")]},
        {
            "forEach": "code.coding",
            "column": [column("system", "system", "uri"), column("code", "code", "code")],
        },
        {
            "forEachOrNull": "referenceRange.where(low.exists())",
            "column": [column("low", "low.value", "decimal"), column("high", "high.value", "decimal")],
        },
    ],
}


class Worker:
    """One engine in its own process."""

    def __init__(self, name: str, python: str | Path, folder: Path) -> None:
        self.name = name
        self.results: dict[str, list[dict[str, Any]]] = {}
        self._process = subprocess.Popen(
            [python, HERE / "projection_worker.py", name, folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, view: str) -> None:
        """Have it make rows by one view."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(f"{view}.json resources.ndjson", file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self.name} ended with code {self._process.wait()}; its words stand above")
        self.results.setdefault(view, []).append(json.loads(answer))

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def write_inputs(folder: Path, count: int) -> list[str]:
    """Write resources and views; return the views' names."""
    sys.path.insert(0, str(ROOT))
    import orjson

    from normalise.hl7v2 import convert
    from schemas.records import SourceContext
    from sharing.views import library

    context = SourceContext("bench", "hospital-east", "Asia/Shanghai")
    bodies = (one.body for message in messages(count) for one in convert(message, context).resources)
    lines = [orjson.dumps(body) for body in bodies if body["resourceType"] == "Observation"]
    (folder / "resources.ndjson").write_bytes(b"\n".join(lines))
    views = {"flat": FLAT, "unnested": UNNESTED, "laboratory_results": library()["laboratory_results"]}
    for name, view in views.items():
        (folder / f"{name}.json").write_bytes(orjson.dumps(view))
    return list(views)


def summary(worker: Worker, view: str, base: Worker) -> dict[str, Any]:
    """Return the figures of one engine on one view; the ratio is the base's speed over its."""
    ours, theirs = base.results[view][1:], worker.results[view][1:]
    if any("error" in one for one in theirs):
        return {"view": view, "engine": worker.name, "error": next(one["error"] for one in theirs if "error" in one)}

    def ratio(clock: str) -> float:
        pairs = zip(ours, theirs, strict=True)
        return round(statistics.median(slow[clock] / fast[clock] for fast, slow in pairs), 2)

    return {
        "view": view,
        "engine": worker.name,
        "rows": theirs[0]["rows"],
        "rows_per_cpu_second": round(statistics.median(one["rows"] / one["cpu"] for one in theirs)),
        "rows_per_second": round(statistics.median(one["rows"] / one["wall"] for one in theirs)),
        "ratio_cpu": ratio("cpu"),
        "ratio_wall": ratio("wall"),
    }


def main() -> None:
    """Measure and report."""
    parser = options(__doc__)
    parser.add_argument("--messages", type=int, help="messages of nine results each (200)")
    parser.add_argument("--rounds", type=int, help="rounds (3)")
    parser.add_argument("--alone", action="store_true", help="without the peers, which are installed from the network")
    chosen = parser.parse_args()
    count = chosen.messages or (20 if chosen.quick else 200)
    rounds = chosen.rounds or (2 if chosen.quick else 3)
    pythons = {} if chosen.alone else {name: peer_python(name, version) for name, version in PEERS.items()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        views = write_inputs(folder, count)
        workers = [Worker("xinglin", sys.executable, folder)]
        workers += [Worker(peer, python, folder) for peer, python in pythons.items() if python is not None]
        for index in range(rounds + 1):
            for view in views:
                for worker in workers if index % 2 else reversed(workers):
                    worker.run(view)
        for worker in workers:
            worker.close()
    report = {
        "resources": count * 9,
        "rounds": rounds,
        "projections": [summary(worker, view, workers[0]) for view in views for worker in workers],
        "quick": chosen.quick,
    }
    show(report)
    write(chosen.results, "projection", report)


def show(report: dict[str, Any]) -> None:
    """Print the table."""
    print(f"{report['resources']:,} laboratory results, JSON in memory to rows in memory; median of {report['rounds']}")
    names = ("view", "engine", "rows", "rows_per_cpu_second", "rows_per_second", "ratio_cpu", "ratio_wall")
    right = [one for one in report["projections"] if "error" not in one]
    headings = ("view", "engine", "rows", "rows/CPU s", "rows/s", "xinglin is … times as fast", "on the wall")
    print(table(headings, [[one[name] for name in names] for one in right]))
    for one in report["projections"]:
        if "error" in one:
            print(f"{one['view']}: {one['engine']} cannot: {one['error']}")


if __name__ == "__main__":
    main()
