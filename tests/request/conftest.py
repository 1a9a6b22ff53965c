"""A founded region whose chain has begun, and the command on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from console_run import ROOT
from founded import founded_site

from dags.steps.site import Site
from schemas.home import Home


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory, mongo_uri: str) -> Iterator[Site]:
    """A region of eight institutions, all of whose keys are on this machine."""
    home = Home(tmp_path_factory.mktemp("region"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XINGLIN_REGION", str(ROOT / "region.yaml"))
        patch.setenv("XINGLIN_HOME", str(home.path))
        patch.setenv("MONGODB_URI", mongo_uri)
        with founded_site(home) as opened:
            yield opened
