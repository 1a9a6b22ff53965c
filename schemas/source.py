"""A source's YAML file as one checked value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

from schemas.documents import load_document
from schemas.errors import ConfigurationError
from schemas.records import SourceContext
from schemas.terminology import load_concept_maps

Drift = Literal["evolve", "freeze", "set_aside"]

#: The suite of schemas/suites that a kind is checked by where its source names none.
SUITES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "his.hl7v2_files": "hl7v2",
        "his.hl7v2_mllp": "hl7v2",
        "his.sql_tables": "rows",
        "his.fhir_rest": "fhir",
        "his.cda_documents": "cda",
        "pacs.dimse": "dicom",
        "pacs.dicomweb": "dicom",
        "wearables.mqtt": "wearables",
        "wearables.files": "wearables",
    }
)


@dataclass(frozen=True, slots=True)
class Source:
    """One onboarded source.

    Attributes:
        id: Its name in DAGs, collections and messages.
        title: What people call it.
        institution: Who owns its records.
        kind: Which connector pulls it (``his.hl7v2_mllp``).
        enabled: Whether it has a DAG and, where it sends by itself, a listener.
        time_zone: IANA zone of times without an offset.
        charset: Codec of messages that declare none, or ``auto``.
        schedule: Cron expression, or None for on demand.
        batch_records: Records in one batch, at most.
        record_bytes: Largest record accepted, bytes.
        suite: Expectation suite in ``schemas/suites``.
        failure_threshold: Share of a batch set aside above which the batch stops, 0 to 1.
        failure_minimum: Records set aside below which a batch never stops.
        drift: What a field that appears, vanishes or changes its type does.
        silence_minutes: Minutes without a record after which somebody is told; None learns the rhythm.
        mapping: Name of its own mapping document, or None.
        mapping_document: That document, checked; ``{}`` where it has none.
        settings: The connector's own settings.
    """

    id: str
    title: str
    institution: str
    kind: str
    enabled: bool
    time_zone: str
    charset: str
    schedule: str | None
    batch_records: int
    record_bytes: int
    suite: str
    failure_threshold: float
    failure_minimum: int
    drift: Drift
    silence_minutes: int | None
    mapping: str | None
    mapping_document: Mapping[str, Any]
    settings: Mapping[str, Any]

    @property
    def context(self) -> SourceContext:
        """What normalising needs of it."""
        mapping = self.mapping_document
        if self.kind == "his.fhir_rest" and "fhir" not in mapping:
            # Absolute references to the server that is read are its own.
            mapping = {**mapping, "fhir": {"bases": [str(self.settings.get("base", ""))]}}
        return SourceContext(self.id, self.institution, self.time_zone, self.charset, mapping)


def load_source(path: Path) -> Source:
    """Read and check one source file.

    Raises:
        ConfigurationError: The file is no YAML, breaks ``source.schema.json``, names an unknown time zone, or
            its id is not its file name.
    """
    document = load_document(path, "source")
    if document["id"] != path.stem:
        raise ConfigurationError(f"{path.name}: id is {document['id']!r}; expected the file's name {path.stem!r}")
    try:
        ZoneInfo(document["time_zone"])
    except (KeyError, ValueError, OSError):
        raise ConfigurationError(
            f"{path.name}: time_zone {document['time_zone']!r} is no IANA zone; write one such as Asia/Shanghai"
        ) from None
    document.setdefault("title", document["id"])
    document.setdefault("suite", SUITES[document["kind"]])
    mapping = document["mapping"]
    own = load_mapping(path.parent / "mappings" / f"{mapping}.yaml") if mapping else {}
    return Source(**document, mapping_document=own)


def load_mapping(path: Path) -> dict[str, Any]:
    """Read and check a source's own mapping; its ``terminology`` names files, and comes back as their content."""
    document = load_document(path, "mapping")
    names = document.pop("terminology", ())
    return {**document, "terminology": load_concept_maps(path.parent / name for name in names)}


def load_sources(folder: Path) -> tuple[Source, ...]:
    """Read every enabled ``*.yaml`` of a folder, in order of id; one that is not enabled yet takes no part."""
    return tuple(source for path in sorted(folder.glob("*.yaml")) if (source := load_source(path)).enabled)
