"""A region with published records for each module; every test takes a patient that no other test has touched."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from founded import forget_site, opened_site
from record_world import World, small_region

from console.region.founding import found
from schemas.home import Home


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, mongo_uri: str) -> Iterator[World]:
    """A founded site in whose block 1 stand the laboratory's records."""
    folder = tmp_path_factory.mktemp("record")
    (region := folder / "region.yaml").write_text(small_region(), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XINGLIN_HOME", str(folder / "home"))
        patch.setenv("XINGLIN_REGION", str(region))
        patch.setenv("MONGODB_URI", mongo_uri)
        home = Home.from_environment()
        found(home)
        with opened_site(home) as at:
            yield World.publish(at)
        forget_site()
