"""The tables of ``schemas/fhir`` that normalising reads, and the digest that names their version and this code's."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import schemas

FOLDER: Final = Path(schemas.__file__).parent / "fhir"
_TABLES: Final = ("compartment", "compartment_own", "deleted", "deleted_own", "modifier_extensions")

#: Lists of many patients at once are nobody's own: the key of one member must not decide over all.
_MANY: Final = frozenset({"Group"})


def rows(name: str) -> Iterator[dict[str, str]]:
    """Yield the rows of one table.

    Raises:
        ValueError: A row has more or fewer cells than the heading.
    """
    with (FOLDER / f"{name}.csv").open(encoding="utf-8", newline="") as stream:
        for number, row in enumerate(csv.DictReader(stream, restval=None), 2):
            if None in row or None in row.values():
                raise ValueError(f"schemas/fhir/{name}.csv line {number}: wrong number of cells")
            yield row


def _digest() -> str:
    whole = hashlib.sha256()
    paths = [FOLDER / f"{name}.csv" for name in _TABLES] + sorted(Path(__file__).parent.glob("*.py"))
    for path in paths:
        whole.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return f"fhir-{whole.hexdigest()[:16]}"


def _compartment() -> dict[str, tuple[tuple[str, ...], ...]]:
    found: dict[str, list[tuple[str, ...]]] = {}
    for row in (*rows("compartment"), *rows("compartment_own")):
        if row["type"] in _MANY:
            continue
        found.setdefault(row["type"], []).append(tuple(row["path"].split(".")))
    return {type_: tuple(paths) for type_, paths in found.items()}


def _deleted() -> dict[str, dict[str, Any]]:
    return {row["type"]: json.loads(row["body"]) for row in (*rows("deleted"), *rows("deleted_own"))}


def _types() -> frozenset[str]:
    text = (Path(schemas.__file__).parent / "resource_types.json").read_text(encoding="utf-8")
    return frozenset(json.loads(text))


MAPPING: Final = _digest()
#: Elements that say whose a resource is, those of its subject first; by type.
COMPARTMENT: Final = MappingProxyType(_compartment())
#: The least resource that says it was entered in error or is not active; types that cannot say so are not there.
DELETED: Final = MappingProxyType(_deleted())
#: Every type that the ledger has a number for, and so may be sealed.
TYPES: Final = _types()
#: Modifier extensions whose meaning is understood: none yet that changes what we do.
MODIFIERS: Final = frozenset(row["url"] for row in rows("modifier_extensions"))
