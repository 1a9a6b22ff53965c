"""A region of its own for one measurement: a founded home and a real mongod in a folder that goes afterwards."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from console.region.founding import found
from console.region.mongod import free_port, start_mongod
from schemas.home import Home


@dataclass(frozen=True, slots=True)
class FreshRegion:
    """A region that nothing has happened in.

    Attributes:
        home: Its home; the environment names it too, so worker processes find it.
        mongod: Process id of its database server.
    """

    home: Home
    mongod: int


@contextmanager
def fresh_region(described: str | None = None) -> Iterator[FreshRegion]:
    """Yield a region of its own; nothing of it is left afterwards.

    Args:
        described: Content of its region.yaml; the repository's where None. Its sources are the repository's.
    """
    with tempfile.TemporaryDirectory(prefix="xinglin-bench-") as folder:
        for name in ("XINGLIN_REGION", "XINGLIN_SOURCES", "MONGODB_URI_FILE"):
            os.environ.pop(name, None)
        server = start_mongod(Path(folder) / "mongo", free_port())
        try:
            os.environ["XINGLIN_HOME"], os.environ["MONGODB_URI"] = str(Path(folder) / "home"), server.uri
            if described is not None:
                region = Path(folder) / "region.yaml"
                region.write_text(described, encoding="utf-8")
                os.environ["XINGLIN_REGION"] = str(region)
            home = Home.from_environment()
            found(home)
            yield FreshRegion(home, server.process.pid)
        finally:
            server.stop(kill=True)
