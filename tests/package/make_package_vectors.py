"""Makes the files of ``vectors/`` anew: a dataset that holds, its keys and its anchor. Keys are drawn, so files differ.

    PYTHONPATH=tests:tests/package:tests/ledger .venv/bin/python tests/package/make_package_vectors.py

Only for a new version of the format: what is there must stay readable.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from package_world import ASKER, HOLDER, dataset_region, deliver, request_file
from pymongo import MongoClient

from console.region.mongod import free_port, start_mongod
from sharing.request import request_digest

VECTORS = Path(__file__).parent / "vectors"
PASSWORD = b"of the test vectors"


def main() -> None:
    """Write them."""
    VECTORS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        server = start_mongod(Path(folder), free_port())
        try:
            with MongoClient(server.uri, tz_aware=True) as client, dataset_region(client, Path(folder)) as region:
                first, second = region.published(HOLDER, 6, 5)
                content = request_file(region)
                request = region.allowed(ASKER, request_digest(content))
                deliver(region, VECTORS / "valid.xld", request.tx_id, content, [*first[1:4], *second[2:]], persons=6)
                for name, who in (("recipient", ASKER), ("holder", HOLDER)):
                    (VECTORS / f"{name}.pem").write_bytes(region.keys[who].to_pem(PASSWORD))
                (VECTORS / "anchor.json").write_bytes(region.genesis.anchor())
        finally:
            server.stop()


if __name__ == "__main__":
    main()
