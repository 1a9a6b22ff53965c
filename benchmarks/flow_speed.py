"""The whole flow on real parts: files to sealed resources in blocks that every institution has verified and applied.

    python benchmarks/flow_speed.py [--messages 2000 20000] [--quick]

For each size, in a fresh region with its own mongod: ORU messages in batch files lie in the laboratory's drop folder;
they are landed, processed (normalised, checked, sealed), reconciled, submitted and notarised by all six institutions
of region.yaml. Each part runs in a process of its own, as a worker's task does; on a real region the six institutions
notarise side by side on six machines, here one after the other in one process. What a process spends before its work
(imports, opening the region) is shown as its start and counted nowhere else. Prints the tables and writes
bench-results/flow_speed.json; the exit code is 1 where a resource is missing on the chain, where a worker's process()
took more than 1 GiB, or where messages were refused.
"""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

from fresh_region import FreshRegion, fresh_region
from oru import batch_file, messages
from report import options, table, write

HERE = Path(__file__).parent
PARTS = ("land", "process", "reconcile", "submit", "notarise", "settle")
SOURCE = "lab-centre-lis"
MESSAGES_A_FILE = 500
LIMIT_MIB = 1024


def drop(region: FreshRegion, count: int) -> int:
    """Leave the messages in the drop folder; return their mean size in bytes."""
    folder = region.home.path / "inbox" / SOURCE
    folder.mkdir(parents=True)
    made, size = messages(count, seed=count), 0
    number = 0
    while held := list(islice(made, MESSAGES_A_FILE)):
        size += sum(map(len, held))
        (folder / f"{number:06}.hl7").write_bytes(batch_file(held))
        number += 1
    return size // count


def run(part: str, region: FreshRegion, batches: list[str]) -> dict[str, Any]:
    """Have one part done in its own process and return its report."""
    command = [sys.executable, str(HERE / "flow_worker.py"), part, str(region.mongod), *batches]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"the worker of {part} ended with code {done.returncode}; its words stand above")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def measure(count: int) -> dict[str, Any]:
    """Return the report of one size."""
    with fresh_region() as region:
        size = drop(region, count)
        parts: dict[str, Any] = {}
        batches: list[str] = []
        for part in PARTS:
            parts[part] = run(part, region, batches)
            batches = batches or parts["land"]["result"].pop("batches")
    return {"messages": count, "message_bytes": size, **figures(count, parts), "parts": parts}


def figures(count: int, parts: dict[str, Any]) -> dict[str, Any]:
    """Return what the parts come to."""
    costs = [one["cost"] for one in parts.values()]
    wall = sum(one["wall"] for one in costs)
    work = sum(one["cpu"] + one["mongod"] for one in costs)
    resources = parts["submit"]["result"]["entries"]
    return {
        "resources": resources,
        "sealed": parts["reconcile"]["result"]["sealed"],
        "final": parts["settle"]["result"]["final"] == parts["submit"]["result"]["batches"],
        "blocks": parts["notarise"]["result"]["blocks"],
        "wall_seconds": round(wall, 2),
        "cpu_seconds": round(work, 2),
        "messages_per_second": round(count / wall, 1),
        "resources_per_second": round(resources / wall, 1),
        "resources_per_cpu_second": round(resources / work, 1),
        "worker_peak_mib": round(parts["process"]["cost"]["peak_mib"]),
        "wall_ms_per_message": round(1000 * wall / count, 3),
        "cpu_ms_per_message": round(1000 * work / count, 3),
    }


def growth(sizes: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the largest size's cost per message over the smallest's, whole and by part."""
    small, large = sizes[0], sizes[-1]

    def ratio(part: str) -> float:
        each = [
            (one["parts"][part]["cost"]["cpu"] + one["parts"][part]["cost"]["mongod"]) / one["messages"]
            for one in (small, large)
        ]
        return round(each[1] / each[0], 2) if each[0] else 0.0

    return {
        "cpu": round(large["cpu_ms_per_message"] / small["cpu_ms_per_message"], 2),
        "wall": round(large["wall_ms_per_message"] / small["wall_ms_per_message"], 2),
        "cpu_by_part": {part: ratio(part) for part in PARTS},
        "cpu_by_batch": [
            round(batch["cpu"] + batch["mongod"], 2) for batch in large["parts"]["process"]["result"]["batches"]
        ],
    }


def show(report: dict[str, Any]) -> None:
    """Print the tables."""
    sizes = report["sizes"]
    for one in sizes:
        print(
            f"{one['messages']:,} ORU^R01 of {one['message_bytes']:,} bytes, 14 segments, each of another patient: "
            f"{one['resources']:,} resources, {one['blocks']} blocks"
        )
        rows = [
            (
                part, cost["start"], cost["wall"], cost["cpu"], cost["mongod"],
                1000 * cost["wall"] / one["messages"], cost["peak_mib"],
            )
            for part, cost in ((part, one["parts"][part]["cost"]) for part in PARTS)
        ]  # fmt: skip
        print(
            table(("part", "start CPU s", "wall s", "our CPU s", "mongod CPU s", "ms a message", "peak MiB"), rows),
            "\n",
        )
    headings = ("messages", "resources/s", "resources/CPU s", "messages/s", "ms", "CPU ms a message", "worker MiB")
    names = (
        "messages", "resources_per_second", "resources_per_cpu_second", "messages_per_second",
        "wall_ms_per_message", "cpu_ms_per_message", "worker_peak_mib",
    )  # fmt: skip
    print("sealed, submitted and notarised by all institutions")
    print(table(headings, [[one[name] for name in names] for one in sizes]))
    if len(sizes) > 1:
        grown = report["growth"]
        by_part = ", ".join(f"{part} {ratio}" for part, ratio in grown["cpu_by_part"].items())
        print(
            f"cost per message, largest over smallest: {grown['cpu']} CPU, {grown['wall']} wall; CPU by part: {by_part}"
        )


def faults(sizes: list[dict[str, Any]]) -> list[str]:
    """Return what is wrong with the runs, apart from their speed."""
    found = []
    for one in sizes:
        if one["sealed"] != one["messages"] or not one["final"]:
            found.append(f"{one['messages']} messages: {one['sealed']} sealed, final: {one['final']}")
        if one["worker_peak_mib"] > LIMIT_MIB:
            found.append(f"{one['messages']} messages: process() took {one['worker_peak_mib']} MiB, over {LIMIT_MIB}")
    return found


def main() -> None:
    """Measure and report."""
    parser = options(__doc__)
    parser.add_argument("--messages", type=int, nargs="+", help="sizes, smallest first (2000 20000)")
    chosen = parser.parse_args()
    sizes = [measure(count) for count in chosen.messages or ([60] if chosen.quick else [2_000, 20_000])]
    report = {"sizes": sizes, "growth": growth(sizes), "quick": chosen.quick}
    show(report)
    write(chosen.results, "flow_speed", report)
    wrong = faults(sizes)
    print(*wrong, sep="\n", end="\n" if wrong else "", file=sys.stderr)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
