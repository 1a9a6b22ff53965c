"""The codes of FHIR Consent that the region understands: ``schemas/consent/fhir.json``, ready to be looked up."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import schemas

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Table:
    """Codes by system and code.

    Attributes:
        scopes: Scopes that are read.
        categories: Categories that are read.
        bases: ``permit``, ``deny`` or ``silence`` where no provision speaks.
        purposes: Purposes of the region.
        actions: Actions that are read.
        roles: ``recipient`` or ``custodian``.
        actors: What an identifier's system names: ``institution``, ``class`` or ``kind``.
        class_system: System of resource types.
        kept_aside: Elements that permit and deny nothing.
    """

    scopes: frozenset[Key]
    categories: frozenset[Key]
    bases: Mapping[Key, str]
    purposes: Mapping[Key, frozenset[str]]
    actions: frozenset[Key]
    roles: Mapping[Key, str]
    actors: Mapping[str, str]
    class_system: str
    kept_aside: frozenset[str]


@cache
def table() -> Table:
    """Return what ``schemas/consent/fhir.json`` says."""
    path = Path(schemas.__file__).parent / "consent" / "fhir.json"
    read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return Table(
        scopes=frozenset({_key(read["scope"])}),
        categories=frozenset(map(_key, read["categories"])),
        bases={_key(one): one["base"] for one in read["bases"]},
        purposes={_key(one): frozenset(one["purposes"]) for one in read["purposes"]},
        actions=frozenset(map(_key, read["actions"])),
        roles={_key(one): one["as"] for one in read["roles"]},
        actors={system: kind for kind, system in read["actors"].items()},
        class_system=read["classes"]["system"],
        kept_aside=frozenset(name for one in read["kept_aside"] for name in one["elements"]),
    )


def _key(row: Mapping[str, str]) -> Key:
    return row["system"], row["code"]
