"""FHIR sources on a simulated server, as their files would give them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from connectors.contract import Page
from connectors.his.fhir_rest import FhirConnector
from schemas.source import Source, load_source

TYPES = ["Organization", "Practitioner", "Patient", "Encounter", "Condition", "Observation"]
Connect = Callable[..., FhirConnector]


@pytest.fixture
def fhir_source(tmp_path: Path) -> Callable[..., Source]:
    """Make a source with the settings given by name."""
    path = tmp_path / "east-fhir.yaml"
    path.write_text(
        "{id: east-fhir, institution: hospital-east, kind: his.fhir_rest, time_zone: Asia/Shanghai, "
        "settings: {base: 'https://fhir.example.org/r4'}}",
        "utf-8",
    )

    def make(base: str, record_bytes: int = 1_000_000, **settings: Any) -> Source:
        quick = {"backoff_seconds": 0.0, "timeout_seconds": 5.0, "types": TYPES, "count": 7}
        return replace(load_source(path), record_bytes=record_bytes, settings={"base": base, **quick, **settings})

    return make


@pytest.fixture
def connect(fhir_source: Callable[..., Source], tmp_path: Path) -> Connect:
    """Open a connector on a base address, with the settings given by name."""

    def make(base: str, **settings: Any) -> FhirConnector:
        return FhirConnector(fhir_source(base, **settings), tmp_path)

    return make


@pytest.fixture
def secret_of(tmp_path: Path) -> Callable[[str, str], None]:
    """Write a secret as a hospital would."""

    def write(name: str, value: str) -> None:
        folder = tmp_path / "secrets"
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(value, "utf-8")
        (folder / name).chmod(0o600)

    return write


def pulled(connector: FhirConnector, cursor: dict[str, Any] | None = None) -> list[Page]:
    """Return every page of one pull."""
    return list(connector.pull(cursor))
