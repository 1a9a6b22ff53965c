"""Every file of the DICOM corpora, the broken ones too, as FHIR: what each stratum becomes, how fast, in what memory.

    python benchmarks/dicom_corpora.py [--quick] [--results FOLDER]

A file is converted (valid FHIR R4, by ``quality.structure``), refused by name, or wrong: another exception, a faulty
structure or, where a ``.expected.json`` stands beside it, another name, number, date or description than that says.
Then made-up objects are converted for some seconds, and some are fetched over DIMSE and DICOMweb from an archive in
the same process. Exit code 1 where anything is wrong. Prints tables, writes bench-results/dicom_corpora.json.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

from report import CORPORA, ROOT, SKIPPED, options, table, write

sys.path.insert(0, str(ROOT))

from connectors.pacs.archive import ArchiveConnector
from connectors.pacs.dicomweb import DicomwebConnector
from connectors.pacs.dimse import DimseConnector
from normalise import SetAside, convert
from quality.structure import check_structure
from schemas.records import SourceContext
from schemas.source import Source
from simulators.imaging import studies
from simulators.pacs import Pacs

FILES = CORPORA.parent / "dicom"
CONTEXT = SourceContext("bench", "hospital-east", "Asia/Shanghai")
DAY = date(2026, 3, 15)


def cases() -> Iterator[tuple[str, Path]]:
    """Yield the stratum and path of every DICOM file."""
    for line in (FILES / "manifest.jsonl").read_text(encoding="utf-8").splitlines():
        one = json.loads(line)
        if one["file"].endswith(".dcm"):
            yield one["stratum"], FILES / one["file"]


def judge(path: Path) -> str:
    """Return ``converted``, ``right to the field``, a reason code, or ``WRONG: …``."""
    try:
        made = convert("dicom", path.read_bytes(), CONTEXT)
    except SetAside as refused:
        return refused.refusal.code
    except Exception as fault:  # noqa: BLE001  what is counted here is that there is none
        return f"WRONG: {type(fault).__name__}"
    if any(check_structure(one.body) for one in made.resources):
        return "WRONG: structure"
    expected = path.with_suffix("").with_suffix(".expected.json")
    if not expected.exists():
        return "converted"
    said = json.loads(expected.read_bytes())
    bodies = {one.type: one.body for one in made.resources}
    patient, study = bodies["Patient"], bodies["ImagingStudy"]
    names = ["^".join([one["family"], *one["given"]]) for one in patient["name"]]
    right = (
        names == [said["patient_name_ideographic"], said["patient_name_alphabetic"]]
        and patient["identifier"][0]["value"] == said["patient_id"]
        and study["description"] == said["study_description"]
        and study["identifier"][1]["value"] == said["accession"]
        and study["started"].replace("-", "").startswith(said["study_date"])
    )
    return "right to the field" if right else "WRONG: field"


def converting(seconds: float) -> list[dict[str, Any]]:
    """Measure conversion, one process, by kind of object."""
    rows = []
    made = [one for study in studies(7, "东城医院", DAY, 8) for one in study]
    for modality in ("CT", "SR", "ECG"):
        stream = BytesIO()
        next(one for one in made if one.Modality == modality).save_as(stream, enforce_file_format=True)
        content, count, begun = stream.getvalue(), 0, time.perf_counter()
        while (spent := time.perf_counter() - begun) < seconds:
            found = convert("dicom", content, CONTEXT)
            assert not any(check_structure(one.body) for one in found.resources)
            count += 1
        rows.append({"what": f"convert and validate {modality}", "bytes": len(content), "a second": count / spent})
    return rows


class Forgetful:
    """A bulk store that measures and keeps nothing."""

    def put(self, _name: str, chunks: Iterable[bytes], /) -> None:
        """Take everything."""
        for _ in chunks:
            pass

    def open(self, name: str, /) -> Iterator[bytes]:
        """Nothing is under any name."""
        raise KeyError(name)

    def delete(self, _name: str, /) -> None:
        """Nothing was kept."""


def source(kind: str, **settings: Any) -> Source:
    """Return a source of a kind."""
    return Source(
        id="bench", title="bench", institution="hospital-east", kind=kind, enabled=True, time_zone="Asia/Shanghai",
        charset="auto", schedule=None, batch_records=1_000, record_bytes=4_194_304, suite="dicom",
        failure_threshold=0.2, failure_minimum=5,
        drift="evolve", silence_minutes=None, mapping=None, mapping_document={}, settings=settings,
    )  # fmt: skip


def fetching(count: int, size: int) -> list[dict[str, Any]]:
    """Measure fetching from an archive in this same process, which costs as much as the reader."""
    rows = []
    now = datetime(2026, 3, 15, 12, 0, tzinfo=UTC)
    with Pacs() as pacs:
        for objects in studies(7, "东城医院", DAY, count, size=size):
            pacs.holdings.add(objects)
        ways: list[tuple[str, type[ArchiveConnector], dict[str, Any]]] = [
            ("C-FIND, C-GET", DimseConnector, {"host": "127.0.0.1", "port": pacs.port, "called_ae": pacs.ae_title}),
            ("QIDO-RS, WADO-RS", DicomwebConnector, {"url": pacs.url}),
        ]
        for name, kind, settings in ways:
            told = source("pacs.dimse" if kind is DimseConnector else "pacs.dicomweb", since=str(DAY), **settings)
            connector = kind(told, Path(), now=lambda: now, bulk=Forgetful())
            begun = time.perf_counter()
            came = [one for page in connector.pull({}) for one in page.records]
            spent = time.perf_counter() - begun
            rows.append({"what": name, "bytes": 2 * size * size, "a second": len(came) / spent})
    return rows


def main() -> None:
    """Count, measure and report."""
    chosen = options(__doc__).parse_args()
    if not FILES.is_dir():
        print(f"skipped: no DICOM corpora at {FILES}", file=sys.stderr)
        sys.exit(SKIPPED)
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for stratum, path in cases():
        counts[stratum][judge(path)] += 1
    total = Counter[str]()
    for found in counts.values():
        total.update(found)
    speeds = converting(0.3 if chosen.quick else 2.0) + fetching(4 if chosen.quick else 40, 32 if chosen.quick else 256)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    report = {"strata": counts, "total": total, "speeds": speeds, "peak_rss_bytes": peak}
    print(table(("stratum", "became"), [(name, _said(found)) for name, found in sorted(counts.items())]))
    print(table(("all", "became"), [("", _said(total))]))
    print(
        table(("what", "bytes", "a second"), [(one["what"], one["bytes"], f"{one['a second']:.0f}") for one in speeds])
    )
    print(f"peak memory of all of it: {peak // 2**20} MB")
    write(chosen.results, "dicom_corpora", report)
    sys.exit(any(name.startswith("WRONG") for name in total))


def _said(found: Counter[str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in sorted(found.items()))


if __name__ == "__main__":
    main()
