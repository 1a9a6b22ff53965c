"""The tables of ``schemas/fhir`` that normalising reads, and the digest that names their version and this code's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any, Final

from normalise.tables import SCHEMAS, read_rows, version

FOLDER: Final = SCHEMAS / "fhir"
_TABLES: Final = ("compartment", "compartment_own", "deleted", "deleted_own", "modifier_extensions")

#: Lists of many patients at once are nobody's own: the key of one member must not decide over all.
_MANY: Final = frozenset({"Group"})


def rows(name: str) -> Iterator[dict[str, str]]:
    """Return the rows of one table of ``schemas/fhir``."""
    return read_rows(FOLDER / f"{name}.csv")


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
    text = (SCHEMAS / "resource_types.json").read_text(encoding="utf-8")
    return frozenset(json.loads(text))


MAPPING: Final = version("fhir", (FOLDER / f"{name}.csv" for name in _TABLES), "fhir")
#: Elements that say whose a resource is, those of its subject first; by type.
COMPARTMENT: Final = MappingProxyType(_compartment())
#: The least resource that says it was entered in error or is not active; types that cannot say so are not there.
DELETED: Final = MappingProxyType(_deleted())
#: Every type that the ledger has a number for, and so may be sealed.
TYPES: Final = _types()
#: Modifier extensions whose meaning is understood: none yet that changes what we do.
MODIFIERS: Final = frozenset(row["url"] for row in rows("modifier_extensions"))
