"""One SQL on FHIR engine in a process of its own, told what to do on stdin; started by projection.py.

    python projection_worker.py (xinglin | fhir4ds-v2 | sqlonfhir) FOLDER

For each ``VIEW FILE`` on stdin, makes rows of the resources in FOLDER/FILE, a line each, by FOLDER/VIEW, and writes one
line of JSON: seconds, rows. What is timed goes from lines of JSON in memory to rows in the engine's own form: Arrow of
xinglin and fhir4ds-v2, dicts of sqlonfhir. Compiling the view is in it, once a file.
The peers' interpreters hold no part of this project, so this file imports none of it at the top.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: Rows of a view and lines of JSON.
Engine = Callable[[dict[str, Any], list[bytes]], int]
#: Gets lines ready where an engine wants them elsewhere than in memory; not timed.
Load = Callable[[list[bytes]], None]
BATCH = 2_000


def xinglin() -> tuple[Load, Engine]:
    """This project, in batches as an export makes them."""
    sys.path.insert(0, str(Path(__file__).parent.parent))
    import orjson
    import pyarrow as pa

    from sharing.views import compile_view

    def run(definition: dict[str, Any], lines: list[bytes]) -> int:
        view = compile_view(definition)
        batches = [
            view.rows([orjson.loads(line) for line in lines[at : at + BATCH]])[0] for at in range(0, len(lines), BATCH)
        ]
        return int(pa.Table.from_batches(batches, view.schema).num_rows)

    return lambda _: None, run


def fhir4ds() -> tuple[Load, Engine]:
    """The peer on DuckDB: SQL made of the view, over a table that holds the resources as it wants them."""
    import fhir4ds as peer

    connection = peer.create_connection()

    def load(lines: list[bytes]) -> None:
        connection.execute("CREATE OR REPLACE TABLE resources (id VARCHAR, resourceType VARCHAR, resource JSON)")
        bodies = [json.loads(line) for line in lines]
        rows = [(body["id"], body["resourceType"], line.decode()) for body, line in zip(bodies, lines, strict=True)]
        connection.executemany("INSERT INTO resources VALUES (?, ?, ?)", rows)

    def run(definition: dict[str, Any], lines: list[bytes]) -> int:  # noqa: ARG001  (they lie in its table)
        return int(connection.execute(peer.generate_view_sql(json.dumps(definition))).to_arrow_table().num_rows)

    return load, run


def sqlonfhir() -> tuple[Load, Engine]:
    """The peer in pure Python on fhirpathpy."""
    from sqlonfhir import evaluate

    return lambda _: None, lambda definition, lines: len(evaluate([json.loads(line) for line in lines], definition))


ENGINES: dict[str, Callable[[], tuple[Load, Engine]]] = {
    "xinglin": xinglin,
    "fhir4ds-v2": fhir4ds,
    "sqlonfhir": sqlonfhir,
}


def main() -> None:
    """Serve until stdin ends."""
    load, run = ENGINES[sys.argv[1]]()
    folder = Path(sys.argv[2])
    for order in sys.stdin:
        view, file = order.split()
        lines = (folder / file).read_bytes().splitlines()
        definition = json.loads((folder / view).read_bytes())
        load(lines)
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            rows = run(definition, lines)
        except Exception as error:  # noqa: BLE001  (a peer that cannot do a view is a result, whatever it raises)
            print(json.dumps({"error": f"{type(error).__name__}: {error}"[:160]}), flush=True)
            continue
        spent = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        print(json.dumps({"resources": len(lines), "rows": rows, **spent}), flush=True)


if __name__ == "__main__":
    main()
