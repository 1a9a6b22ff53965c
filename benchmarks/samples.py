"""Records of every kind as connectors hand them on: from the corpora, from the simulators where these have none."""

from __future__ import annotations

import json
import random
import sqlite3
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from fnmatch import fnmatch
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from report import CORPORA, ROOT

from connectors.pacs.instances import Taking, take_file
from connectors.registry import open_connector
from console.kinds import parts
from schemas.attribution import attributed
from schemas.records import RawRecord, SourceContext
from schemas.source import Source, load_mapping
from simulators.wearables import NursingHome

FOLDER: Final = CORPORA.parent
MAPPINGS: Final = ROOT / "sources" / "mappings"
_ZONE: Final = timezone(timedelta(hours=8))


@dataclass(frozen=True, slots=True)
class Sample:
    """What is measured of one kind.

    Attributes:
        media: Key of ``normalise.media.MEDIA``.
        origin: Where the records come from, in words.
        records: Yields them.
        mapping: The source's own mapping.
    """

    media: str
    origin: str
    records: Callable[[], Iterator[bytes]]
    mapping: dict[str, Any] = field(default_factory=dict)

    @property
    def context(self) -> SourceContext:
        """The source they come from."""
        return SourceContext("bench", "hospital-east", "Asia/Shanghai", mapping=self.mapping)


def listed(corpus: str) -> Iterator[tuple[str, Path]]:
    """Yield stratum and path of every file of a corpus, expected results and tables of codes among them."""
    for line in (FOLDER / corpus / "manifest.jsonl").read_text(encoding="utf-8").splitlines():
        one = json.loads(line)
        yield one["stratum"], FOLDER / corpus / one["file"]


def whole(corpus: str, media: str, *patterns: str) -> Callable[[], Iterator[bytes]]:
    """Return what yields the records in those files of a corpus whose stratum and name fit a shell pattern."""

    def records() -> Iterator[bytes]:
        for stratum, path in listed(corpus):
            if any(fnmatch(f"{stratum}/{path.name}", pattern) for pattern in patterns):
                yield from inside(path, media)

    return records


def inside(path: Path, media: str) -> Iterator[bytes]:
    """Yield the records of one file, somebody's named; what is no record is left out."""
    with path.open("rb") as stream:
        for part in parts(stream, media, SourceContext("bench", "hospital-east", "Asia/Shanghai")):
            if part.refusal is None:
                named = media in ("apple-health", "fit", "wearable-api")
                yield attributed("u", part.content) if named else part.content


def objects() -> Iterator[bytes]:
    """Yield the DICOM objects of the corpus as records: without pixels, which the bulk store takes."""
    import pydicom

    for _, path in listed("dicom"):
        if path.suffix == ".dcm":
            uid = str(pydicom.dcmread(path, force=True, stop_before_pixels=True).get("SOPInstanceUID", ""))
            taking = Taking("bench", 1 << 24, sha256, None)
            found = take_file(iter([path.read_bytes()]), uid, taking)
            if found.refusal is None:
                yield found.content


def resources() -> Iterator[bytes]:
    """Yield what FHIR servers give: exported lines, and the entries of patients' bundles one by one."""
    for path in sorted((FOLDER / "fhir" / "bulk-ndjson").glob("*.ndjson")):
        yield from path.read_bytes().splitlines()
    for path in sorted((FOLDER / "fhir" / "synthea").glob("*.json")):
        for entry in json.loads(path.read_bytes())["entry"]:
            yield json.dumps(entry["resource"], ensure_ascii=False).encode()


def rows(corpus: str) -> Iterator[bytes]:
    """Yield the rows of a database of corpora/his-sql, read by the connector of tables from SQLite.

    Args:
        corpus: One of ``sql_corpora.CORPORA_OF``.
    """
    from sql_corpora import CORPORA_OF, source_of

    _, load, tables, mapping, charset = next(one for one in CORPORA_OF if one[0] == corpus)
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        with closing(sqlite3.connect(home / "his.db")) as connection, connection:
            load(connection)
        for page in open_connector(source_of(home, tables, mapping, charset), home).pull():
            yield from (one.content for one in page.records if isinstance(one, RawRecord))


def source(kind: str, settings: dict[str, Any]) -> Source:
    """Return a source as its YAML file would make it."""
    return Source(
        id="bench", title="bench", institution="hospital-east", kind=kind, enabled=True, time_zone="Asia/Shanghai",
        charset="auto", schedule=None, batch_records=1_000, record_bytes=4 << 20, suite="", failure_threshold=1.0,
        failure_minimum=1, drift="evolve", silence_minutes=None, mapping=None, mapping_document={}, settings=settings,
    )  # fmt: skip


def kinds() -> dict[str, Sample]:
    """Return what is measured, by kind."""
    zh_his = load_mapping(MAPPINGS / "zh-his.yaml")
    return {
        "hl7v2 ORU": Sample("hl7v2", "corpora/hl7v2", whole("hl7v2", "hl7v2", "*/ORU/*.hl7")),
        "hl7v2 ADT": Sample("hl7v2", "corpora/hl7v2", whole("hl7v2", "hl7v2", "*/ADT/*.hl7")),
        "cda": Sample("cda", "corpora/cda", whole("cda", "cda", "*.xml", "*.ccda")),
        "fhir": Sample("fhir", "corpora/fhir synthea, bulk-ndjson", resources),
        "dicom": Sample("dicom", "corpora/dicom", objects),
        "row": Sample("row", "corpora/his-sql/zh-his", lambda: rows("zh-his"), zh_his),
        "omh": Sample("omh", "simulators.wearables", lambda: (one for _, one in NursingHome(1).plan(200))),
        "apple-health": _wearables("apple-health", "apple-zh/*.zip", "*/export.xml"),
        "fit": _wearables("fit", "fit/valid/*.fit"),
        "wearable-api": _wearables("wearable-api", "vendor/*.json"),
    }


def _wearables(media: str, *patterns: str) -> Sample:
    return Sample(media, f"corpora/wearables {patterns[0].partition('/')[0]}", whole("wearables", media, *patterns))


#: What a watch measures in a day: HealthKit's type, unit, samples, least and most.
_SAMPLED: Final = (
    ("HKQuantityTypeIdentifierHeartRate", "count/min", 720, 52, 140),
    ("HKQuantityTypeIdentifierStepCount", "count", 96, 10, 900),
    ("HKQuantityTypeIdentifierActiveEnergyBurned", "kcal", 288, 1, 40),
    ("HKQuantityTypeIdentifierRespiratoryRate", "count/min", 48, 11, 22),
)


def export(path: Path, size: int) -> int:
    """Return the bytes of XML in the export.zip written here, at least ``size``: kind after kind, as phones write them.

    Args:
        path: Where it goes.
        size: Bytes.
    """
    a_day = sum(count for _, _, count, _, _ in _SAMPLED) * 330
    days, chance, written = max(1, size // a_day + 1), random.Random(size), 0
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("apple_health_export/导出.xml", "w", force_zip64=True) as out,
    ):
        written += out.write(b'<?xml version="1.0" encoding="UTF-8"?>\n<HealthData locale="zh_CN">\n <Me/>\n')
        for type_, unit, count, least, most in _SAMPLED:
            for day in range(days):
                written += out.write(_samples(chance, day, type_, unit, count, least, most).encode())
        written += out.write(b"</HealthData>\n")
    return written


def _samples(chance: random.Random, day: int, type_: str, unit: str, count: int, least: int, most: int) -> str:
    begin, gap = datetime(2023, 1, 1, tzinfo=_ZONE) + timedelta(days=day), timedelta(days=1) / count
    lines = []
    for number in range(count):
        at = f"{begin + number * gap:%Y-%m-%d %H:%M:%S} +0800"
        lines.append(
            f' <Record type="{type_}" sourceName="手表" sourceVersion="10.1" device="&lt;&lt;HKDevice: 0x28, '
            f'name:Watch, manufacturer:X, model:Watch, hardware:Watch6,1&gt;" unit="{unit}" creationDate="{at}" '
            f'startDate="{at}" endDate="{at}" value="{chance.randrange(least, most)}"/>\n'
        )
    return "".join(lines)
