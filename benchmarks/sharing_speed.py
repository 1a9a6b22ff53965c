"""An approved dataset, from sealed records to a package that is verified: resources and rows a second, memory, stages.

    python benchmarks/sharing_speed.py [--sizes 10000 200000] [--quick]

For each size, in a fresh region with its own mongod: a holder's vault is filled with patients (one Patient and nineteen
laboratory Observations each), all of it is notarised, the regulator asks for a dataset, and the holder exports it, in a
process of its own: select, open, de-identify, project, gate, pack, seal, gather evidence, sign. Then it is verified
offline, and opened. A large export is then made once more by two processes of that holder. At last two holders export
their parts side by side, a process each, as in a region. Prints the tables and writes bench-results/sharing_speed.json;
the exit code is 1 where a record is missing, or where the largest export's peak memory is above the smallest's by more
than 1 KiB for each further record: their ids are in the evidence. Memory is that of an export's own process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from fresh_region import FreshRegion, fresh_region
from report import options, table, write

from sharing.export.cutting import FEW, PATIENTS

HERE = Path(__file__).parent
HOLDERS = ("lab-centre", "hospital-east")
#: Records of one patient.
EACH = 20
#: KiB of memory that each further record may take, at most.
FLAT = 1.0


def start(part: str, region: FreshRegion, *arguments: str, processes: int = 1) -> subprocess.Popen[str]:
    """Return a worker that does one part; an export is shared by so many processes."""
    command = [sys.executable, str(HERE / "sharing_worker.py"), part, str(region.mongod), *arguments]
    environment = {**os.environ, "XINGLIN_EXPORT_PROCESSES": str(processes)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def ended(worker: subprocess.Popen[str]) -> dict[str, Any]:
    """Return a worker's report."""
    out, _ = worker.communicate()
    if worker.returncode:
        raise SystemExit(f"a worker ended with code {worker.returncode}; its words stand above")
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


def measure(resources: int, holders: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the reports of one size: of one holder, by two processes too where it is large; or of two, at once."""
    with fresh_region() as region:
        for holder in holders:
            ended(start("fill", region, holder, str(resources // EACH)))
        request = ended(start("ask", region, *holders))["result"]["request"]
        found = []
        large = len(holders) == 1 and resources // EACH >= 2 * FEW * PATIENTS
        for processes in (1, 2) if large else (1,):
            workers = [start("export", region, holder, request, processes=processes) for holder in holders]
            exports = [ended(one) for one in workers]
            checks = [ended(start("verify", region, holder, request)) for holder in holders]
            found.append(report(resources, processes, exports, checks))
    return found


def report(
    resources: int, processes: int, exports: list[dict[str, Any]], checks: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return what holders that worked side by side gave, and what it cost."""
    wall = max(one["cost"]["wall"] for one in exports)
    made = sum(one["result"]["resources"] for one in exports)
    rows = sum(one["result"]["rows"] for one in exports)
    return {
        "resources": made, "rows": rows, "holders": len(exports), "processes": processes,
        "complete": made == resources * len(exports),
        "seconds": wall, "resources_per_second": round(made / wall), "rows_per_second": round(rows / wall),
        "peak_mib": max(one["cost"]["peak_mib"] for one in exports), "package_mib": exports[0]["result"]["mib"],
        "stages": exports[0]["result"]["stages"], "verify_seconds": checks[0]["result"]["verify"],
        "open_seconds": checks[0]["result"]["open"],
    }  # fmt: skip


def show(runs: list[dict[str, Any]]) -> None:
    """Print the tables."""
    headings = (
        "resources",
        "rows",
        "holders",
        "processes",
        "resources/s",
        "rows/s",
        "peak MiB",
        "package MiB",
        "verify s",
        "open s",
    )
    names = (
        "resources", "rows", "holders", "processes", "resources_per_second", "rows_per_second", "peak_mib",
        "package_mib", "verify_seconds", "open_seconds",
    )  # fmt: skip
    print(table(headings, [[one[name] for name in names] for one in runs]), "\n")
    print("share of one export's time by stage, %")
    stages = list(runs[0]["stages"])
    shares = [
        [one["resources"], one["processes"], *(100 * one["stages"][stage] for stage in stages)]
        for one in runs
        if one["holders"] == 1
    ]
    print(table(("resources", "processes", *stages), shares))


def main() -> None:
    """Measure and report."""
    parser = options(__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", help="resources, smallest first (10000 200000)")
    chosen = parser.parse_args()
    sizes = chosen.sizes or ([400] if chosen.quick else [10_000, 200_000])
    runs = [one for size in sizes for one in measure(size, HOLDERS[:1])]
    runs += measure(sizes[0], HOLDERS)
    show(runs)
    alone = [one for one in runs if one["holders"] == one["processes"] == 1]
    first, last = alone[0], alone[-1]
    flat = 1024 * (last["peak_mib"] - first["peak_mib"]) <= FLAT * (last["resources"] - first["resources"])
    write(chosen.results, "sharing_speed", {"runs": runs, "flat": flat, "quick": chosen.quick})
    sys.exit(not (flat and all(one["complete"] for one in runs)))


if __name__ == "__main__":
    main()
