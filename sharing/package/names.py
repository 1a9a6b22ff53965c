"""Names and media types of the files that every dataset has, or may have."""

from __future__ import annotations

from typing import Final

JSON: Final = "application/json"
BINARY: Final = "application/octet-stream"
PARQUET: Final = "application/vnd.apache.parquet"
NDJSON: Final = "application/fhir+ndjson"

#: Put in by the writer itself, readable by everybody.
REQUEST: Final = "request.json"
POLICIES: Final = "policies.bin"
EVIDENCE: Final = "evidence.bin"

#: Put in by the export, readable by everybody: data dictionaries, what was found of quality and of risk.
DICTIONARY: Final = "dictionary.json"
QUALITY: Final = "quality.json"
RISK: Final = "risk.json"
DEIDENTIFICATION: Final = "deidentification.json"


def table_part(table: str, number: int) -> str:
    """Return the name of one Parquet file of a table, numbered from 0."""
    return f"tables/{table}/part-{number:05d}.parquet"
