"""Messages a second, parsed, converted and validated in one process, beside hl7v2-fhir-bridge in the same run.

    python benchmarks/convert_speed.py [--messages 1000] [--rounds 7] [--alone] [--quick]

Both get the same new messages in each round, in turn, and who begins changes with every round; the ratio is the
median of the rounds' ratios. The peer lives in a virtual environment of its own, made once; where it cannot be
installed, and with --alone, this project is measured by itself. Prints a table and writes
bench-results/convert_speed.json.
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
from report import options, table, write

HERE = Path(__file__).parent
PEER = "hl7v2-fhir-bridge"
VERSION = "0.1.0"
WARM_UP = 200


class Worker:
    """One converter in its own process."""

    def __init__(self, name: str, python: str | Path, folder: Path) -> None:
        self.name = name
        self.rounds: list[dict[str, Any]] = []
        self._process = subprocess.Popen(
            [python, HERE / "convert_worker.py", name, folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, file: str) -> dict[str, Any]:
        """Have it convert one file of messages."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(file, file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self.name} ended with code {self._process.wait()}; its words stand above")
        result: dict[str, Any] = json.loads(answer)
        return result

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def write_messages(folder: Path, count: int, rounds: int) -> int:
    """Write one file for the warm-up and for each round; return the mean size of a message in bytes."""
    size = 0
    for index in range(rounds + 1):
        made = list(messages(count if index else WARM_UP, seed=index + 1))
        (folder / f"round-{index}").write_bytes(b"\n\n".join(made))
        size = sum(map(len, made)) // len(made)
    return size


def compare(workers: list[Worker], rounds: int) -> list[float]:
    """Run the rounds and return the first worker's speed over the second's, round by round; nothing for one alone."""
    for worker in workers:
        worker.run("round-0")
    for index in range(1, rounds + 1):
        for worker in workers if index % 2 else reversed(workers):
            worker.rounds.append(worker.run(f"round-{index}"))
    return [
        slow["seconds"] / fast["seconds"]
        for fast, *others in zip(*(worker.rounds for worker in workers), strict=True)
        for slow in others
    ]


def summary(worker: Worker) -> dict[str, Any]:
    """Return the figures of one worker over all rounds."""
    speeds = [one["messages"] / one["seconds"] for one in worker.rounds]
    total = sum(one["messages"] for one in worker.rounds)
    return {
        "name": worker.name,
        "messages_per_second": round(statistics.median(speeds)),
        "slowest": round(min(speeds)),
        "fastest": round(max(speeds)),
        "refused": sum(one["refused"] for one in worker.rounds),
        "resources_per_message": round(sum(one["resources"] for one in worker.rounds) / total, 2),
        "numbers_per_message": round(sum(one["numbers"] for one in worker.rounds) / total, 2),
    }


def main() -> None:
    """Measure and report."""
    parser = options(__doc__)
    parser.add_argument("--messages", type=int, help="messages in a round (1000)")
    parser.add_argument("--rounds", type=int, help="rounds (7)")
    parser.add_argument("--alone", action="store_true", help="without the peer, which is installed from the network")
    chosen = parser.parse_args()
    count = chosen.messages or (50 if chosen.quick else 1000)
    rounds = chosen.rounds or (2 if chosen.quick else 7)
    peer = None if chosen.alone else peer_python(PEER, VERSION)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = write_messages(folder, count, rounds)
        workers = [Worker("xinglin", sys.executable, folder)]
        if peer is not None:
            workers.append(Worker(PEER, peer, folder))
        ratios = compare(workers, rounds)
        for worker in workers:
            worker.close()
    report = {
        "message_bytes": size,
        "messages": count,
        "rounds": rounds,
        "converters": [summary(worker) for worker in workers],
        "ratio_median": round(statistics.median(ratios), 2) if ratios else None,
        "ratios": [round(ratio, 2) for ratio in ratios],
        "quick": chosen.quick,
    }
    show(report)
    write(chosen.results, "convert_speed", report)


def show(report: dict[str, Any]) -> None:
    """Print the table."""
    print(f"ORU^R01 of {report['message_bytes']:,} bytes, 14 segments; parsed, converted, validated; one process each")
    headings = ("converter", "messages/s", "slowest", "fastest", "refused", "resources", "numbers")
    print(table(headings, [list(one.values()) for one in report["converters"]]))
    if report["ratio_median"] is not None:
        print(f"xinglin / {PEER}: {report['ratio_median']} (median of {report['rounds']} rounds)")


if __name__ == "__main__":
    main()
