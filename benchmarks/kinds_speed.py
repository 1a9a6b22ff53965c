"""Records a second of every kind, converted and checked in one process each; and the memory that large inputs take.

    python benchmarks/kinds_speed.py [--seconds 2] [--quick]

Each kind has a process of its own, which takes the records that convert (from the corpora, or a simulator where they
have none), goes through all of them once before anything is measured, and then again and again. Speeds are by processor
time; beside them what the wall clock said on a machine that others use.

Then an Apple Health export and a DICOM object are pulled through their connectors, small and large, with a bulk store
that keeps nothing: what the connector takes must stay under its bound, whatever the size, or the exit code is 1.
Prints tables and writes bench-results/kinds_speed.json.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from report import need_corpora, options, table, write

sys.path.insert(0, str(Path(__file__).parent.parent))

from samples import export, kinds

from simulators.imaging import studies
from simulators.pacs import Pacs

WORKER = Path(__file__).parent / "kinds_worker.py"
#: Bytes of the small and the large input of each connector.
EXPORTS, OBJECTS = (20 << 20, 200 << 20), (16 << 20, 256 << 20)
QUICK = (1 << 20, 8 << 20)
#: Memory that each may take beyond what stood before, MiB. An export's samples are gathered by kind and day: 16 MiB as
#: they came, 96 MiB compressed (connectors/wearables/pieces.py).
BOUNDS = {"Apple Health export": 128, "DICOM object": 16}


def work(*arguments: str) -> dict[str, Any]:
    """Return what a worker measured."""
    done = subprocess.run([sys.executable, WORKER, *arguments], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)}: ended with code {done.returncode}; its words stand above")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def pulled_export(size: int) -> dict[str, Any]:
    """Return what pulling an export.zip of so much XML takes."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "export.zip"
        written = export(path, size)
        os.utime(path, times=(0, 0))  # long finished, so that it is taken at once
        return {"input_bytes": written, **work("pull", "wearables.files", json.dumps({"folder": name}))}


def pulled_object(size: int) -> dict[str, Any]:
    """Return what pulling an object of so many bytes of pixels over DICOMweb takes; the archive is in this process."""
    day = (datetime.now(UTC) - timedelta(days=2)).date()
    one = next(iter(studies(7, "东城医院", day, 1)))[0]
    one.Rows, one.Columns, one.NumberOfFrames, one.BitsAllocated = 256, 4096, size >> 20, 8
    one.PixelData = bytes(size)
    with Pacs() as pacs:
        pacs.holdings.add([one])
        settings = {"url": pacs.url, "since": f"{day}", "attempts": 1}
        return {"input_bytes": size, **work("pull", "pacs.dicomweb", json.dumps(settings))}


def taken(one: dict[str, Any]) -> float:
    """Return the memory that a pull took beyond what stood before, MiB."""
    return float(one["peak_mib"] - one["mib_before"])


def main() -> None:
    """Measure and report."""
    parser = options(__doc__)
    parser.add_argument("--seconds", type=float, help="for each kind (2)")
    chosen = parser.parse_args()
    need_corpora()
    seconds, most = chosen.seconds or (0.05 if chosen.quick else 2), 20 if chosen.quick else 10_000
    measured = [work("convert", kind, f"{seconds},{most}") for kind in kinds()]
    show(measured)
    large: dict[str, list[dict[str, Any]]] = {}
    pulls: dict[str, tuple[Callable[[int], dict[str, Any]], tuple[int, int]]] = {
        "Apple Health export": (pulled_export, EXPORTS),
        "DICOM object": (pulled_object, OBJECTS),
    }
    for name, (pull, sizes) in pulls.items():
        large[name] = [pull(size) for size in (QUICK if chosen.quick else sizes)]
    show_large(large)
    report = {"kinds": measured, "large": large, "bounds_mib": BOUNDS, "quick": chosen.quick}
    write(chosen.results, "kinds_speed", report)
    if over := [name for name, found in large.items() if max(map(taken, found)) > BOUNDS[name]]:
        sys.exit(f"memory beyond its bound: {', '.join(over)}")


def show(measured: list[dict[str, Any]]) -> None:
    """Print a row for each kind."""
    heads = (
        "kind", "from", "records", "bytes", "resources", "records/s", "wall", "MB/s", "peak MiB", "left out",
    )  # fmt: skip
    rows = [
        (
            one["kind"], one["from"], one["records"], one["bytes"], one["resources_a_record"], one["records_a_second"],
            one["by_the_wall"], one["megabytes_a_second"], one["peak_mib"],
            ", ".join(f"{code} {count}" for code, count in one["refused"].items()),
        )
        for one in measured
    ]  # fmt: skip
    print("one process each; a record parsed, converted, checked; seconds of the processor (wall: of the clock)")
    print(table(heads, rows))


def show_large(large: dict[str, list[dict[str, Any]]]) -> None:
    """Print a row for each input."""
    heads = (
        "pulled", "input MiB", "records", "records MiB", "bulk MiB", "CPU s", "MiB before", "peak MiB", "bound MiB",
    )  # fmt: skip
    rows = [
        (
            name, one["input_bytes"] / 2**20, one["records"], one["record_bytes"] / 2**20, one["bulk_bytes"] / 2**20,
            one["cpu_seconds"], one["mib_before"], one["peak_mib"],
            round(one["mib_before"]) + BOUNDS[name],
        )
        for name, found in large.items() for one in found
    ]  # fmt: skip
    print(f"\n{table(heads, rows)}")


if __name__ == "__main__":
    main()
