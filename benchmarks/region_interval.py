"""Block interval under a real scheduler with seven workers: from the sealed batch to its CommitQC, and where it goes.

    python benchmarks/region_interval.py [--blocks 10] [--entries 1000] [--quick]

Sets up the region of deploy/rehearsal.py: Airflow's scheduler, API server, triggerer and DAG processor, and seven Edge
workers, each with a home, key and MongoDB account of its own, all on this machine. One institution offers a batch of N
sealed records and tells Airflow so; the next one follows when all replicas hold the block. Clocks are one machine's:
the batch's, the exchange's (when each message was first shown), Airflow's (when each task began). Prints the tables
and writes bench-results/region_interval.json; the exit code is 1 where a run failed or a replica differs.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # deploy/ is no installed package

from report import options, table, write

from deploy.rehearsal import Rehearsal, rehearsed

SUBMITTER = "hospital-district"
PATIENCE = 600.0
#: What follows what on the way to a CommitQC, each with who has it in hand until then.
MARKS: Sequence[tuple[str, str, str]] = (
    ("run", "the scheduler makes the run", "Airflow"),
    ("propose", "presence is asked, the producer's worker takes its task", "Airflow"),
    ("proposal", "the producer collects, executes and signs", "node"),
    ("validate", "the triggerer sees the proposal, voters' workers take their tasks", "Airflow"),
    ("prepared", "voters execute, sample and sign PREPARE, up to two thirds", "node"),
    ("confirm", "the triggerer sees the certificate, workers take their tasks", "Airflow"),
    ("committed", "voters sign COMMIT, up to two thirds", "node"),
)


def measure(region: Rehearsal, entries: int) -> dict[str, float]:
    """Have one block made; return the seconds from the batch to each mark, and until the last replica holds it."""
    before = max((height for height, _ in region.heads().values()), default=0)
    known = {run["dag_run_id"] for run in region.runs()}
    begun = region.offer(SUBMITTER, entries)
    end = time.monotonic() + PATIENCE
    while {height for height, _ in region.heads().values()} != {before + 1}:
        if time.monotonic() > end:
            raise SystemExit(f"no block {before + 1} after {PATIENCE:.0f} s; see {region.folder}")
        time.sleep(0.1)
    applied = time.time()
    marks = {**shown(region, before + 1), **tasks(region, known)}
    seconds = {name: (at - begun).total_seconds() for name, at in marks.items()}
    return {**seconds, "applied": applied - begun.timestamp()}


def shown(region: Rehearsal, height: int) -> dict[str, datetime]:
    """Return when the exchange first showed proposal and certificates of a height."""
    topics = {
        "proposal": f"^proposal/{height}/", "prepared": f"^PREPARE-certificate/{height}/",
        "committed": f"^COMMIT-certificate/{height}/",
    }  # fmt: skip
    found = region.root["xinglin_exchange"]["topics"]
    return {
        name: min(one["at"] for one in found.find({"topic": {"$regex": pattern}}))
        for name, pattern in topics.items()
    }  # fmt: skip


def tasks(region: Rehearsal, known: set[str]) -> dict[str, datetime]:
    """Return when the run that made the block was made, and when a worker first took a task of each step."""
    run = next(one for one in region.runs() if one["dag_run_id"] not in known)
    path = f"/api/v2/dags/notarise/dagRuns/{run['dag_run_id']}/taskInstances"
    rows = region.client.get(path, params={"limit": 200}).json()["task_instances"]

    def first(step: str) -> datetime:
        began = (one["start_date"] for one in rows if one["task_id"].startswith(f"{step}_"))
        return min(datetime.fromisoformat(one) for one in began if one)

    queued = datetime.fromisoformat(run["queued_at"])
    return {"run": queued, **{step: first(step) for step in ("propose", "validate", "confirm")}}


def parts(block: dict[str, float]) -> dict[str, float]:
    """Return the seconds between each mark and the one before it."""
    at = [0.0, *(block[name] for name, _, _ in MARKS)]
    return {name: after - before for (name, _, _), before, after in zip(MARKS, at, at[1:], strict=False)}


def summary(blocks: list[dict[str, float]]) -> dict[str, Any]:
    """Return medians, the worst block and the shares."""
    each = [parts(one) for one in blocks]
    median = {name: round(statistics.median(one[name] for one in each), 2) for name, _, _ in MARKS}
    interval = [one["committed"] for one in blocks]
    by = {who: sum(median[name] for name, _, owner in MARKS if owner == who) for who in ("Airflow", "node")}
    return {
        "interval_median": round(statistics.median(interval), 2),
        "interval_worst": round(max(interval), 2),
        "applied_median": round(statistics.median(one["applied"] for one in blocks), 2),
        "parts_median": median,
        "share": {who: round(seconds / sum(by.values()), 2) for who, seconds in by.items()},
    }


def show(report: dict[str, Any]) -> None:
    """Print the tables."""
    result = report["result"]
    count = len(report["blocks"])
    print(f"{count} blocks of {report['entries']:,} entries, 7 institutions, 7 Edge workers, {report['database']}")
    rows = [(what, who, result["parts_median"][name]) for name, what, who in MARKS]
    print(table(("from the sealed batch to the CommitQC", "in whose hand", "median s"), rows), "\n")
    print(table(
        ("", "median s", "worst s"),
        [("sealed batch to CommitQC", result["interval_median"], result["interval_worst"]),
         ("… to the last replica", result["applied_median"], None)],
    ))  # fmt: skip
    print(", ".join(f"{who} {share:.0%}" for who, share in result["share"].items()))


def main() -> None:
    """Measure and report."""
    parser = options(__doc__)
    parser.add_argument("--blocks", type=int, help="how many are measured (10)")
    parser.add_argument("--entries", type=int, default=1_000, help="records in each (1000)")
    parser.add_argument("--database", help="SQLAlchemy address of Airflow's database; SQLite without it")
    chosen = parser.parse_args()
    count = chosen.blocks or (2 if chosen.quick else 10)
    with rehearsed(database=chosen.database, round_seconds=60, clock_drift_ms=600_000) as region:
        measure(region, chosen.entries)  # the first one loads what every later one finds loaded
        blocks = [measure(region, chosen.entries) for _ in range(count)]
        failed = [run["dag_run_id"] for run in region.runs() if run["state"] == "failed"]
        different = len({id_ for _, id_ in region.heads().values()}) > 1
    kind = (chosen.database or "sqlite").partition(":")[0].partition("+")[0]
    report = {
        "entries": chosen.entries,
        "database": kind,
        "blocks": [{name: round(seconds, 2) for name, seconds in one.items()} for one in blocks],
        "result": summary(blocks),
        "quick": chosen.quick,
    }
    show(report)
    write(chosen.results, "region_interval", report)
    if failed or different:
        print(f"runs that failed: {failed}; replicas differ: {different}", file=sys.stderr)
        raise SystemExit(1)


if __name__ == "__main__":
    main()
