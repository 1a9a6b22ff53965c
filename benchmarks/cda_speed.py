"""Milliseconds a C-CDA document, parsed, converted and validated in one process, beside python-fhir-converter.

    python benchmarks/cda_speed.py [--rounds 9] [--alone] [--quick]

Both convert the same documents of corpora/cda/ms in each round, in turn, and who begins changes with every round. Ours
checks the structure of every resource; the peer has no check. The peer lives in a virtual environment of its own, made
once; where it cannot be installed, and with --alone, this project is measured by itself. How long WS/T 500 documents
take stands beside it. Prints a table and writes bench-results/cda_speed.json.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
PEER: Final = "python-fhir-converter"
VERSION: Final = "0.3.0"
#: Documents, and the peer's template for each.
DOCUMENTS: Final = {
    "ms/CCD.ccda": "CCD",
    "ms/History_and_Physical.ccda": "HistoryandPhysical",
    "ms/C-CDA_R2-1_CCD.xml.ccda": "CCD",
    "zh/01-C0002-utf-8.xml": "",
}


def ours() -> Callable[[bytes, str], int]:
    """This project: convert, then check the structure of every resource."""
    sys.path.insert(0, str(HERE.parent))
    from normalise.cda import convert
    from quality.structure import check_structure
    from schemas.records import SourceContext

    context = SourceContext("bench", "hospital-east", "Asia/Shanghai")

    def run(content: bytes, _: str) -> int:
        found = convert(content, context).resources
        assert not any(check_structure(one.body) for one in found)
        return len(found)

    return run


def peers() -> Callable[[bytes, str], int]:
    """The peer, by its renderer of C-CDA."""
    from fhir_converter.renderers import CcdaRenderer  # type: ignore[import-not-found]

    renderer = CcdaRenderer()

    def run(content: bytes, template: str) -> int:
        return len(json.loads(renderer.render_fhir_string(template, content.decode("utf-8")))["entry"])

    return run


def work(folder: Path, which: str) -> None:
    """Convert what each line of stdin names, and answer with milliseconds, resources and memory in MB."""
    run = ours() if which == "ours" else peers()
    for line in sys.stdin:
        name, times = line.split()
        content = (folder / name).read_bytes()
        begun = time.perf_counter()
        count = [run(content, DOCUMENTS[name]) for _ in range(int(times))][-1]
        spent = (time.perf_counter() - begun) / int(times) * 1000
        print(json.dumps([spent, count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]), flush=True)


class Worker:
    """One converter in its own process."""

    def __init__(self, which: str, python: str | Path, folder: Path) -> None:
        self._process = subprocess.Popen(
            [python, __file__, "--work", which, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, name: str, times: int) -> tuple[float, int, float]:
        """Return milliseconds a document, its resources, and the process's memory in MB."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(name, times, file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"a converter ended with code {self._process.wait()}; its words stand above")
        spent, count, memory = json.loads(answer)
        return spent, count, memory

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def measure(workers: dict[str, Worker], rounds: int, times: int) -> Iterator[dict[str, Any]]:
    """Yield the figures of each document."""
    for name, template in DOCUMENTS.items():
        asked = [one for one in workers if one == "ours" or template]
        spent: dict[str, list[float]] = {one: [] for one in asked}
        found: dict[str, tuple[float, int, float]] = {one: workers[one].run(name, 2) for one in asked}
        for number in range(rounds):
            for one in asked if number % 2 else reversed(asked):
                found[one] = workers[one].run(name, times)
                spent[one].append(found[one][0])
        middle = {one: statistics.median(values) for one, values in spent.items()}
        yield {
            "document": name,
            "ours_ms": round(middle["ours"], 2),
            "peer_ms": round(middle["peer"], 2) if "peer" in middle else None,
            "ratio": round(middle["peer"] / middle["ours"], 2) if "peer" in middle else None,
            "our_resources": found["ours"][1],
            "peer_resources": found["peer"][1] if "peer" in found else None,
            "our_mb": round(found["ours"][2]),
            "peer_mb": round(found["peer"][2]) if "peer" in found else None,
        }


def main() -> None:
    """Measure and report."""
    from peer import peer_python
    from report import CORPORA, need_corpora, options, table, write

    parser = options(__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="rounds (9)")
    parser.add_argument("--alone", action="store_true", help="without the peer, which is installed from the network")
    chosen = parser.parse_args()
    need_corpora()
    folder = CORPORA.parent / "cda"
    python = None if chosen.alone else peer_python(PEER, VERSION)
    workers = {"ours": Worker("ours", sys.executable, folder)}
    if python is not None:
        workers["peer"] = Worker("peer", python, folder)
    try:
        rows = list(measure(workers, 2 if chosen.quick else chosen.rounds, 2 if chosen.quick else 10))
    finally:
        for one in workers.values():
            one.close()
    print(f"xinglin (validated) beside {PEER} {VERSION} (not validated)\n")
    print(table(list(rows[0]), [list(one.values()) for one in rows]))
    write(chosen.results, "cda_speed", {"documents": rows, "peer": f"{PEER} {VERSION}", "quick": chosen.quick})


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(Path(sys.argv[3]), sys.argv[2])
    else:
        main()
