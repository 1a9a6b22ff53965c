"""ConceptMap files that a hospital supplies: its own codes onto LOINC, SNOMED CT, ICD-10, UCUM.

One CSV row a pair, in UTF-8 (with or without a mark) or GB 18030, as spreadsheets write it::

    source_system,source_code,target_system,target_code,target_display,equivalence

``source_system`` is the URI that `xinglin unmapped` shows, ``equivalence`` one of FHIR's ConceptMapEquivalence
(``equivalent`` where left out). A code may have several targets. ``unmatched`` says that there is none, on purpose.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from schemas.errors import ConfigurationError

COLUMNS: Final = ("source_system", "source_code", "target_system", "target_code", "target_display", "equivalence")
#: FHIR R4 ConceptMapEquivalence under which the target may stand for the source.
FITTING: Final = frozenset({"relatedto", "equivalent", "equal", "wider", "subsumes"})
_OTHERS: Final = frozenset({"narrower", "specializes", "inexact", "unmatched", "disjoint"})
UCUM: Final = "http://unitsofmeasure.org"


@dataclass(frozen=True, slots=True)
class Target:
    """A code of a standard system."""

    system: str
    code: str
    display: str


@dataclass(frozen=True, slots=True)
class ConceptMaps:
    """All maps of one source.

    Attributes:
        targets: By system and code of the source's own; an empty tuple where there is none on purpose.
        digest: Names their version, 12 hex digits; ``""`` where there are none.
    """

    targets: Mapping[tuple[str, str], tuple[Target, ...]] = field(default_factory=dict)
    digest: str = ""


def load_concept_maps(paths: Iterable[Path]) -> ConceptMaps:
    """Read and check ConceptMap files.

    Raises:
        ConfigurationError: A file cannot be read, lacks a column, or a row is incomplete or names no equivalence;
            the message names file and row.
    """
    targets: dict[tuple[str, str], tuple[Target, ...]] = {}
    digest = hashlib.sha256()
    for path in paths:
        text = _text(path)
        digest.update(text.encode())
        rows = csv.DictReader(io.StringIO(text))
        if missing := [name for name in COLUMNS[:4] if name not in (rows.fieldnames or ())]:
            raise ConfigurationError(f"{path.name}: the column {missing[0]} is missing; expected {', '.join(COLUMNS)}")
        for number, row in enumerate(rows, 2):
            key, target = _row({name: (row.get(name) or "").strip() for name in COLUMNS}, f"{path.name} row {number}")
            targets[key] = (*targets.get(key, ()), *([target] if target else []))
    return ConceptMaps(targets, digest.hexdigest()[:12])


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path.name}: cannot be read ({type(error).__name__})") from None
    for codec in ("utf-8-sig", "gb18030"):
        try:
            return raw.decode(codec)
        except UnicodeDecodeError:
            continue
    raise ConfigurationError(f"{path.name}: neither UTF-8 nor GB 18030; save it as CSV UTF-8")


def _row(row: Mapping[str, str], where: str) -> tuple[tuple[str, str], Target | None]:
    equivalence = row["equivalence"] or "equivalent"
    if equivalence not in FITTING | _OTHERS:
        raise ConfigurationError(
            f"{where}: no such equivalence; expected one of {', '.join(sorted(FITTING | _OTHERS))}"
        )
    if not row["source_code"]:
        raise ConfigurationError(f"{where}: source_code is empty")
    key = (row["source_system"], row["source_code"])
    if equivalence not in FITTING:
        return key, None
    if not (row["target_system"] and row["target_code"]):
        raise ConfigurationError(f"{where}: target_system and target_code are needed; or say unmatched")
    return key, Target(row["target_system"], row["target_code"], row["target_display"])
