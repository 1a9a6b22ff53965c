"""A founded home in which the command is run as the hospital's engineer would, with no source in it yet."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from onboarding_engineer import Engineer
from onboarding_zygote import commands as zygote
from pymongo import MongoClient

from console.region.founding import found
from dags.steps.site import Site
from schemas.home import Home


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for PATH with `xinglin` in it: real processes, forked from one that imported everything once."""
    with zygote(tmp_path_factory.mktemp("commands")) as folder:
        yield folder


@pytest.fixture(scope="session")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A founded home to be copied: making its keys takes seconds."""
    home = Home(tmp_path_factory.mktemp("founded") / "home")
    found(home)
    return home.path


@pytest.fixture
def engineer(
    tmp_path: Path, founded: Path, mongo_uri: str, mongo: MongoClient[dict[str, object]]
) -> Iterator[Engineer]:
    """An engineer at a founded home without sources; its databases are gone afterwards."""
    home = Home(tmp_path / "home")
    shutil.copytree(founded, home.path)
    sources = tmp_path / "sources"
    sources.mkdir()
    _clear(mongo)
    yield Engineer(home, {"XINGLIN_HOME": str(home.path), "XINGLIN_SOURCES": str(sources), "MONGODB_URI": mongo_uri})
    _clear(mongo)


@pytest.fixture
def at(engineer: Engineer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """The engineer's home, opened."""
    for name, value in engineer.variables.items():
        monkeypatch.setenv(name, value)
    site = Site(engineer.home)
    yield site
    site.close()


def _clear(mongo: MongoClient[dict[str, object]]) -> None:
    for name in mongo.list_database_names():
        if name.startswith(("xinglin_", "ledger_")):
            mongo.drop_database(name)
