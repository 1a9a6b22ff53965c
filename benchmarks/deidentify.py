"""Observations a second through de-identification, beside orjson reading and writing them in the same run.

    python benchmarks/deidentify.py [--messages 400] [--rounds 5] [--quick]

Both get the same laboratory results, made by this project's converter of invented messages; one process. Ratios are of
CPU seconds, because others' work stretches the wall; the first round warms up and is left out. Prints a table, writes
bench-results/deidentify.json.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from oru import messages
from report import ROOT, options, table, write

JSON = "orjson loads + dumps"


def observations(count: int) -> list[dict[str, Any]]:
    """Return the laboratory results of so many messages."""
    sys.path[:0] = [str(ROOT), str(ROOT / "plugins")]
    from normalise.hl7v2 import convert
    from schemas.records import SourceContext

    context = SourceContext("bench", "hospital-east", "Asia/Shanghai")
    bodies = (one.body for message in messages(count) for one in convert(message, context).resources)
    return [body for body in bodies if body["resourceType"] == "Observation"]


def works(bodies: list[dict[str, Any]]) -> dict[str, Callable[[], None]]:
    """Return what is measured, by name."""
    import orjson

    from sharing.deidentify import Deidentifier, load_profile, profile_names

    lines = [orjson.dumps(body) for body in bodies]
    whose = [body["subject"]["reference"].encode() for body in bodies]

    def through_json() -> None:
        for line in lines:
            orjson.dumps(orjson.loads(line))

    def through(name: str) -> Callable[[], None]:
        one = Deidentifier(load_profile(name), bytes(32))

        def run() -> None:
            for body, person in zip(bodies, whose, strict=True):
                one.resource(body, person)

        return run

    return {JSON: through_json, **{name: through(name) for name in profile_names()}}


def rates(bodies: list[dict[str, Any]], rounds: int) -> dict[str, float]:
    """Return resources a CPU second of each work, the median of the rounds."""
    work = works(bodies)
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds + 1):
        for name, run in work.items():
            start = time.process_time()
            run()
            seconds[name].append(time.process_time() - start)
    return {name: len(bodies) / statistics.median(spent[1:]) for name, spent in seconds.items()}


def main() -> None:
    """Measure and report."""
    parser = options(__doc__)
    parser.add_argument("--messages", type=int, help="messages of nine results each (400)")
    parser.add_argument("--rounds", type=int, help="rounds (5)")
    chosen = parser.parse_args()
    bodies = observations(chosen.messages or (20 if chosen.quick else 400))
    rounds = chosen.rounds or (2 if chosen.quick else 5)
    found = rates(bodies, rounds)
    print(f"{len(bodies):,} laboratory results, one process; median of {rounds}")
    rows = [(name, round(rate), round(found[JSON] / rate, 1)) for name, rate in found.items()]
    print(table(("work", "resources/CPU s", "orjson is … times as fast"), rows))
    report = {"resources": len(bodies), "rounds": rounds, "rates": found, "quick": chosen.quick}
    write(chosen.results, "deidentify", report)


if __name__ == "__main__":
    main()
