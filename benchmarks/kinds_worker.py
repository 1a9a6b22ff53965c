"""One kind of record, or one large input, in a process of its own; started by kinds_speed.py.

    python kinds_worker.py convert KIND SECONDS,RECORDS
    python kinds_worker.py pull SOURCE_KIND SETTINGS

Writes one line of JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from samples import Sample, kinds, source
from spent import peak_mib

from connectors.registry import open_connector
from normalise import SetAside, convert
from quality.structure import check_structure
from schemas.records import RawRecord


def become(sample: Sample, content: bytes) -> int:
    """Return how many resources a record becomes, converted and checked; one of them wrong is an error of ours."""
    made = convert(sample.media, content, sample.context)
    for one in made.resources:
        if fault := check_structure(one.body):
            raise SystemExit(f"{sample.media}: {one.type} {fault.where}: {fault.message}")
    return len(made.resources)


def accepted(sample: Sample, most: int) -> tuple[list[bytes], dict[str, int]]:
    """Return the records that convert, and the others by reason; everything is loaded and warm afterwards.

    Of more than ``most`` records, every so many are taken.
    """
    good, refused, found = list[bytes](), Counter[str](), list(sample.records())
    for content in found[:: -(-len(found) // most)]:
        try:
            become(sample, content)
            good.append(content)
        except SetAside as error:
            refused[error.refusal.code] += 1
    return good, dict(sorted(refused.items()))


def speed(kind: str, seconds: float, most: int) -> dict[str, Any]:
    """Return what converting and checking the records of a kind takes, again and again until the time is over."""
    sample = kinds()[kind]
    held, refused = accepted(sample, most)
    rounds, resources = 0, 0
    wall, cpu = time.perf_counter(), time.process_time()
    while not rounds or time.perf_counter() - wall < seconds:
        resources += sum(become(sample, content) for content in held)
        rounds += 1
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {
        "kind": kind,
        "from": sample.origin,
        "records": len(held),
        "refused": refused,
        "bytes": sum(map(len, held)) // len(held),
        "resources_a_record": resources / rounds / len(held),
        "records_a_second": rounds * len(held) / cpu,
        "by_the_wall": rounds * len(held) / wall,
        "megabytes_a_second": rounds * sum(map(len, held)) / cpu / 1e6,
        "peak_mib": peak_mib(),
    }


class Discarded:
    """A bulk store that counts what it is given and keeps none of it."""

    def __init__(self) -> None:
        self.size = 0

    def put(self, _: str, chunks: Iterable[bytes], /) -> None:
        """Nothing is kept."""
        for chunk in chunks:
            self.size += len(chunk)

    def open(self, name: str, /) -> Iterator[bytes]:
        """Nothing is under any name."""
        raise KeyError(name)

    def delete(self, _name: str, /) -> None:
        """Nothing was kept."""


def pull(kind: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return what pulling a source takes, page after page, each forgotten; any refusal is an error here."""
    bulk = Discarded()
    connector = open_connector(source(kind, settings), Path(), bulk=bulk)
    before, cpu, records, size = peak_mib(), time.process_time(), 0, 0
    for page in connector.pull():
        for one in page.records:
            if not isinstance(one, RawRecord):
                raise SystemExit(f"{kind}: {one.refusal.code} {one.refusal.where}: {one.refusal.message}")
            records += 1
            size += len(one.content)
    return {
        "records": records,
        "record_bytes": size,
        "bulk_bytes": bulk.size,
        "cpu_seconds": time.process_time() - cpu,
        "mib_before": before,
        "peak_mib": peak_mib(),
    }


def main() -> None:
    """Do what the command line says."""
    task, kind, rest = sys.argv[1:]
    if task == "convert":
        seconds, _, most = rest.partition(",")
        print(json.dumps(speed(kind, float(seconds), int(most))))
    else:
        print(json.dumps(pull(kind, json.loads(rest))))


if __name__ == "__main__":
    main()
