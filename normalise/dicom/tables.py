"""The mapping tables of ``schemas/dicom``, read once at import, and the digest that names the mapping's version."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Final

import schemas

FOLDER: Final = Path(schemas.__file__).parent / "dicom"


def rows(name: str) -> Iterator[dict[str, str]]:
    """Yield the rows of one table, cells stripped.

    Raises:
        ValueError: A row has more or fewer cells than the heading: the table, not an object, is wrong.
    """
    with (FOLDER / name).open(encoding="utf-8", newline="") as stream:
        for number, row in enumerate(csv.DictReader(stream, restval=None), 2):
            if None in row or None in row.values():
                raise ValueError(f"schemas/dicom/{name} line {number}: wrong number of cells")
            yield {key: cell.strip() for key, cell in row.items()}


def _digest() -> str:
    """The version: of the tables, and of the code, for most of what an object becomes is said there."""
    whole = hashlib.sha256()
    for path in (*sorted(FOLDER.glob("*.csv")), *sorted(Path(__file__).parent.glob("*.py"))):
        whole.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return f"dicom-{whole.hexdigest()[:16]}"


MAPPING: Final = _digest()
CODE_SCHEMES: Final = MappingProxyType({row["scheme"]: row["uri"] for row in rows("code_schemes.csv")})
#: Kinds by the beginning of the SOP class, the longest first.
KINDS: Final = tuple(
    sorted(((row["sop_class"], row["kind"]) for row in rows("kinds.csv")), key=lambda one: -len(one[0]))
)


def kind_of(sop_class: str) -> str:
    """Return what objects of a SOP class are: ``report``, ``document``, ``waveform``…, or ``image``."""
    return next((kind for start, kind in KINDS if sop_class == start or sop_class.startswith(start + ".")), "image")
