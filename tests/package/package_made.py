"""Datasets for tests: a holder, a recipient, files of every kind of size."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from schemas.sharing import Excluded
from shangmi import PrivateKey, sm3
from sharing.package import Finished, ManifestFacts, Table, Writer
from sharing.package.names import DICTIONARY, JSON, NDJSON, PARQUET, table_part
from sharing.package.sealing import CHUNK

HOLDER = "hospital-east"
HOLDER_KEY, RECIPIENT, STRANGER = (PrivateKey.generate() for _ in range(3))
CHAIN_ID, REQUEST = sm3(b"a chain"), sm3(b"a request")
REQUEST_FILE, POLICIES = b'{"title":"request"}', b"the rules in force"
#: Sealed files that lie on every edge of a chunk.
EDGES: Mapping[str, bytes] = {
    "empty": b"",
    "one": b"1",
    "short": b"s" * (CHUNK - 1),
    "whole": b"w" * CHUNK,
    "over": b"o" * (CHUNK + 1),
    "two": b"t" * (2 * CHUNK),
}


def facts(**changes: Any) -> ManifestFacts:
    standard: dict[str, Any] = {
        "chain_id": CHAIN_ID, "holder_key": HOLDER_KEY.public.bytes, "request_file": REQUEST_FILE,
        "asked": sm3(REQUEST_FILE), "policies": POLICIES, "consents": sm3(b"statements"),
        "profile": ("gbt-37964", sm3(b"profile")), "made_height": 7, "made_ms": 1_793_000_000_000,
        "keep_until": date(2028, 12, 31), "persons": 12, "records": 30, "tables": (),
        "excluded": (Excluded("consent", "denied", 3), Excluded("risk", "suppressed", 1)),
    }  # fmt: skip
    return ManifestFacts(**(standard | changes))


def sign(digest: bytes, request: bytes = REQUEST, holder_key: PrivateKey = HOLDER_KEY) -> bytes:
    from ledger.chain.validators import institution_id
    from ledger.messages.manifest_word import manifest_message

    return holder_key.sign(manifest_message(CHAIN_ID, institution_id(HOLDER), request, digest))


def parquet(rows: int, first: int = 0) -> tuple[bytes, tuple[tuple[str, str], ...]]:
    """A table of made-up persons, and its columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table(
        {"person": [f"p{first + one}" for one in range(rows)], "glucose": [4.0 + one % 50 / 10 for one in range(rows)],
         "age_band": [["40-49", "50-59", "60-69"][one % 3] for one in range(rows)]}
    )  # fmt: skip
    out = io.BytesIO()
    pq.write_table(table, out, row_group_size=1_000)
    return out.getvalue(), tuple((one.name, str(one.type)) for one in table.schema)


def write_edges(path: Path, **changes: Any) -> Finished:
    """A package whose sealed files end on every edge of a chunk."""
    with Writer(path, REQUEST, HOLDER, RECIPIENT.public) as writer:
        for name, content in EDGES.items():
            with writer.sealed(f"edges/{name}", "text/plain") as file:
                for at in range(0, len(content), 300_000):
                    file.write(content[at : at + 300_000])
        return writer.finish(facts(**changes), b"no evidence", sign)


def write_tables(path: Path, rows: int = 2_500, request: bytes = REQUEST, **changes: Any) -> Finished:
    """A package of one table in two parts, NDJSON and a dictionary."""
    with Writer(path, request, HOLDER, RECIPIENT.public) as writer:
        columns: tuple[tuple[str, str], ...] = ()
        for number, (first, count) in enumerate([(0, rows // 2), (rows // 2, rows - rows // 2)]):
            content, columns = parquet(count, first)
            with writer.sealed(table_part("glucose", number), PARQUET) as file:
                file.write(content)
        with writer.sealed("fhir/Observation.ndjson", NDJSON) as file:
            file.write(b'{"resourceType":"Observation"}\n' * 3)
        writer.plain(DICTIONARY, JSON, json.dumps({"glucose": {"person": "pseudonym"}}).encode())
        table = Table("glucose", rows, columns, (table_part("glucose", 0), table_part("glucose", 1)))
        return writer.finish(facts(tables=(table,), **changes), b"no evidence", lambda digest: sign(digest, request))
