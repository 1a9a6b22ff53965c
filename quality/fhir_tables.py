"""The tables of ``schemas/fhir`` that checking reads; ``schemas/fhir/derive.py`` says where they come from."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

import schemas

FOLDER: Final = Path(schemas.__file__).parent / "fhir"


def rows(name: str) -> Iterator[dict[str, str]]:
    """Yield the rows of one table.

    Raises:
        ValueError: A row has more or fewer cells than the heading.
    """
    with (FOLDER / name).open(encoding="utf-8", newline="") as stream:
        for number, row in enumerate(csv.DictReader(stream, restval=None), 2):
            if None in row or None in row.values():
                raise ValueError(f"schemas/fhir/{name} line {number}: wrong number of cells")
            yield row


@cache
def _choices() -> Mapping[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for row in rows("choices.csv"):
        found.setdefault(row["stem"], set()).add(row["name"])
    return MappingProxyType({stem: frozenset(names) for stem, names in found.items()})


def choice_names(stem: str) -> frozenset[str]:
    """Return the JSON names of an element of several types: ``valueQuantity`` and others for ``value``; or nothing."""
    return _choices().get(stem, frozenset())


@cache
def value_set(url: str) -> frozenset[tuple[str, str]]:
    """Return system and code of the members of a value set."""
    return frozenset((row["system"], row["code"]) for row in rows("value_sets.csv") if row["value_set"] == url)
