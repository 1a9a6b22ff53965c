"""The shipped ViewDefinitions, and what a view's columns mean, for people and programs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import orjson

import schemas
from sharing.views.view import View

FOLDER: Final = Path(schemas.__file__).parent / "views"


@cache
def library() -> Mapping[str, Mapping[str, Any]]:
    """Return the shipped ViewDefinitions by name."""
    found = {path.stem: orjson.loads(path.read_bytes()) for path in sorted(FOLDER.glob("*.json"))}
    return MappingProxyType(found)


def dictionary(view: View) -> dict[str, Any]:
    """Return what a table's columns mean: plain JSON, in the order of the table.

    ``columns`` holds for each its name, description, FHIR type, type in Arrow, whether a cell is a list, its role in
    disclosure risk, how it is generalised, and the FHIRPath expression it comes from.
    """
    return {
        "name": view.name,
        "title": view.definition.get("title", ""),
        "description": view.definition.get("description", ""),
        "resource": view.resource,
        "conditions": [one["path"] for one in view.definition.get("where", ())],
        "columns": [
            {
                "name": column.name,
                "description": column.description,
                "type": column.type,
                "arrow": str(field.type),
                "collection": column.collection,
                "role": column.role,
                "hierarchy": column.hierarchy,
                "path": column.path,
            }
            for column, field in zip(view.columns, view.schema, strict=True)
        ],
    }
