"""A region in one process: real mongod, real keys, real sources; Airflow is the only part that is not there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from founded import opened_site

from console.region.founding import found
from dags.steps.site import Site
from schemas.home import Home

LAB = "lab-centre-lis"


@pytest.fixture
def home(tmp_path: Path, mongo_uri: str, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A founded home with the repository's sources, on the session's mongod."""
    monkeypatch.setenv("XINGLIN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MONGODB_URI", mongo_uri)
    home = Home.from_environment()
    found(home)
    (home.path / "inbox" / LAB).mkdir(parents=True)
    return home


@pytest.fixture
def at(home: Home) -> Iterator[Site]:
    """The opened site; its databases are gone afterwards."""
    with opened_site(home) as opened:
        yield opened
