"""FHIR as the demonstration's region holds it: what its converters make of what its simulators send."""

from __future__ import annotations

import io
import json
import sqlite3
from collections.abc import Iterator
from datetime import date
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from console.convert import convert_stream
from schemas.records import SourceContext
from schemas.source import load_source
from simulators.fhir_records import resources as fhir_resources
from simulators.hisdb import HisDatabase
from simulators.imaging import studies
from simulators.messages import Sender
from simulators.peers import SEED
from simulators.visits import visits
from simulators.wearables import NursingHome, Phones

SOURCES = Path(__file__).parent.parent.parent / "sources"


@cache
def _context(source: str) -> SourceContext:
    read = load_source(SOURCES / f"{source}.yaml")
    return SourceContext(read.id, read.institution, read.time_zone, "auto", read.mapping_document)


def _rows(folder: Path) -> Iterator[bytes]:
    HisDatabase(SEED).grow(folder / "his.db", trouble=False)
    tables = load_source(SOURCES / "hospital-west-db.yaml").settings["tables"]
    with sqlite3.connect(folder / "his.db") as connection:
        connection.row_factory = sqlite3.Row
        connection.text_factory = lambda text: text.decode("gb18030", "replace")
        for table, settings in tables.items():
            for found in connection.execute(f'SELECT * FROM "{table}"'):
                row = {name: None if value is None else str(value) for name, value in dict(found).items()}
                key = {name: value for name, value in row.items() if name.lower() in settings["key"]}
                yield json.dumps({"key": key, "row": row, "table": table}, sort_keys=True).encode()
    connection.close()


def _records(folder: Path) -> Iterator[tuple[str, str, bytes]]:
    sender = Sender("HIS", "东城医院", "1.2.156.112699.1", "utf-8", "UNICODE UTF-8")
    for messages in islice(visits(SEED, sender, "east", 0), 40):
        yield from (("hospital-east-his", "hl7v2", message) for message in messages)
    yield from (("hospital-west-db", "row", row) for row in _rows(folder))
    for number in range(2):
        yield "nursing-home-phones", "apple-health", Phones(SEED).export(number)
    yield from (("nursing-home-beds", "omh", payload) for _, payload in NursingHome(SEED).plan(40))
    for body, _ in fhir_resources(SEED, 10):
        yield "hospital-district-fhir", "fhir", json.dumps(body).encode()
    for study in studies(SEED, "hospital-east", date(2026, 3, 1), 3):
        for image in study:
            file = io.BytesIO()
            image.save_as(file, enforce_file_format=True)
            yield "hospital-east-pacs", "dicom", file.getvalue()


@pytest.fixture(scope="session")
def region(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Every resource of a small day, each once."""
    made: dict[tuple[str, str], dict[str, Any]] = {}
    for source, kind, content in _records(tmp_path_factory.mktemp("region")):
        for outcome in convert_stream(io.BytesIO(content), _context(source), kind):
            made.update({(one.type, one.id): one.body for one in outcome.resources})
    return list(made.values())
