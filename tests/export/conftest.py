"""A region whose hospitals hold sealed patients."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from export_world import EAST, WEST, World
from founded import founded_site

from schemas.home import Home


@pytest.fixture
def world(tmp_path: Path, mongo_uri: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("XINGLIN_HOME", str(tmp_path))
    monkeypatch.setenv("MONGODB_URI", mongo_uri)
    with founded_site(Home(tmp_path)) as at:
        made = World(at)
        made.fill(EAST, WEST)
        yield made
