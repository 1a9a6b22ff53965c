"""Sources, contexts and readers that the wearables' tests share."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest

from normalise import SetAside, convert
from quality.structure import check_structure
from schemas.attribution import attributed
from schemas.records import Normalised, Refusal, SourceContext
from schemas.source import Source

CONTEXT = SourceContext("home-devices", "sunset-home", "Asia/Shanghai")
AT = {"date_time": "2026-01-05T07:30:00+08:00"}


def source_of(kind: str, record_bytes: int = 4_194_304, **settings: Any) -> Source:
    """A checked source."""
    return Source(
        "home-devices", "", "sunset-home", kind, True, "Asia/Shanghai", "auto", None, 2000, record_bytes, "wearables",
        0.2, 20, "evolve", None, None, {}, settings,
    )  # fmt: skip


def point(name: str, version: str, body: dict[str, Any], user: str = "u1", **header: Any) -> dict[str, Any]:
    """A data point."""
    head = {
        "id": "p1", "creation_date_time": "2026-01-05T07:30:05+08:00",
        "schema_id": {"namespace": "omh", "name": name, "version": version}, "user_id": user, **header,
    }  # fmt: skip
    return {"header": head, "body": body}


def heart_rate(value: Any = 70, unit: str = "beats/min", **more: Any) -> dict[str, Any]:
    return {"heart_rate": {"value": value, "unit": unit}, "effective_time_frame": AT, **more}


def become(media: str, content: bytes | dict[str, Any] | list[Any], user: str = "") -> Normalised:
    """What a record becomes; every resource of it is valid FHIR."""
    raw = content if isinstance(content, bytes) else json.dumps(content, ensure_ascii=False).encode()
    made = convert(media, attributed(user, raw), CONTEXT)
    faults = [fault for one in made.resources if (fault := check_structure(one.body))]
    assert faults == []
    return made


def refusal(media: str, content: bytes | dict[str, Any] | list[Any]) -> Refusal:
    """Why a record is refused."""
    raw = content if isinstance(content, bytes) else json.dumps(content, ensure_ascii=False).encode()
    with pytest.raises(SetAside) as caught:
        convert(media, raw, CONTEXT)
    return caught.value.refusal


def bodies(made: Normalised, type_: str = "Observation") -> list[dict[str, Any]]:
    return [one.body for one in made.resources if one.type == type_]


def coded(made: Normalised, code: str) -> list[dict[str, Any]]:
    """The Observations with a code."""
    return [one for one in bodies(made) if code in [coding["code"] for coding in one["code"]["coding"]]]


def quantities(made: Normalised, code: str) -> list[tuple[Any, Any]]:
    return [(one["valueQuantity"]["value"], one["valueQuantity"].get("code")) for one in coded(made, code)]


class Store:
    """Lands in memory, each record once; or nothing, while it is broken."""

    def __init__(self) -> None:
        self.keys: dict[tuple[str, bytes], None] = {}
        self.records: list[Any] = []
        self.broken = False

    def land_many(self, records: Iterable[Any]) -> list[bool]:
        if self.broken:
            raise ConnectionError("the database is away")
        new = []
        for one in records:
            key = (one.native_id, one.content)
            new.append(key not in self.keys)
            self.keys[key] = None
            if new[-1]:
                self.records.append(one)
        return new
