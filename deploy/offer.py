"""Offers invented sealed records as an institution does: envelopes in its store, their batch on the exchange.

    python deploy/offer.py COUNT

Run with the institution's environment (docs/region.md). It stands in for sources where only the region is of interest;
the envelopes hold random bytes. Prints the number of the batch, and when it stood on the exchange.
"""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime

from pymongo import MongoClient

from ledger.exchange import MongoExchange
from ledger.opening import open_node
from schemas.home import Home
from schemas.records import Entry
from shangmi import sm3

ENVELOPE_BYTES = 300


def offer(count: int) -> tuple[int, datetime]:
    """A signed batch of so many records waits for the next block; returns its number, and when it stood there."""
    home, institution = Home.from_environment(), os.environ["XINGLIN_NODE"]
    with MongoClient[dict[str, object]](home.mongodb_uri(), tz_aware=True) as client:
        entries = []
        for _ in range(count):
            rid, envelope = os.urandom(16), os.urandom(ENVELOPE_BYTES)
            locator = f"{rid.hex()}.1"
            client[f"xinglin_{institution}"]["records"].insert_one({"_id": locator, "envelope": envelope})
            entries.append(Entry(rid, 1, sm3(envelope), os.urandom(32), bytes(32), len(envelope), 1, locator))
        node = open_node(home, institution, client)
        seq = node.next_seq()
        signed = node.submit(entries, seq, f"xinglin_{institution}/records")
        MongoExchange(client["xinglin_exchange"]).post_submission(signed.tx, signed.leaves)
        return seq, datetime.now(UTC)


if __name__ == "__main__":
    number, at = offer(int(sys.argv[1]))
    sys.stdout.write(f"{number} {at.isoformat()}\n")
