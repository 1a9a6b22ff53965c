"""Sources as their files would give them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from schemas.source import Source, load_source


@pytest.fixture
def source_of(tmp_path: Path) -> Callable[..., Source]:
    """Make a source of a kind, with the settings given by name."""
    path = tmp_path / "east-lis.yaml"
    path.write_text(
        "{id: east-lis, institution: hospital-east, kind: his.hl7v2_files, time_zone: Asia/Shanghai}", "utf-8"
    )

    def make(kind: str, record_bytes: int = 1_000_000, charset: str = "auto", **settings: Any) -> Source:
        source = load_source(path)
        return replace(source, kind=kind, record_bytes=record_bytes, charset=charset, settings=settings)

    return make
