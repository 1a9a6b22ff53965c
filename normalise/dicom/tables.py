"""The mapping tables of ``schemas/dicom``, read once at import, and the digest that names the mapping's version."""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType
from typing import Final

from normalise.tables import SCHEMAS, read_rows, version

FOLDER: Final = SCHEMAS / "dicom"


def rows(name: str) -> Iterator[dict[str, str]]:
    """Return the rows of one table of ``schemas/dicom``."""
    return read_rows(FOLDER / name)


MAPPING: Final = version("dicom", FOLDER.glob("*.csv"), "dicom")
CODE_SCHEMES: Final = MappingProxyType({row["scheme"]: row["uri"] for row in rows("code_schemes.csv")})
#: Kinds by the beginning of the SOP class, the longest first.
KINDS: Final = tuple(
    sorted(((row["sop_class"], row["kind"]) for row in rows("kinds.csv")), key=lambda one: -len(one[0]))
)


def kind_of(sop_class: str) -> str:
    """Return what objects of a SOP class are: ``report``, ``document``, ``waveform``…, or ``image``."""
    return next((kind for start, kind in KINDS if sop_class == start or sop_class.startswith(start + ".")), "image")
