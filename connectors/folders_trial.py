"""A drop folder under trial: read as it is; what it must not show on the hospital's folder it shows on one of ours."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from connectors.conformance import Trial
from connectors.folders import FolderConnector
from connectors.registry import open_connector
from schemas.source import Source

#: When the files of the rehearsal were last changed, Unix time; the late one before them.
_DATED: Final = 1_700_000_000


@contextmanager
def trial(source: Source, home: Path) -> Iterator[Trial]:
    """Yield the folder, a folder that is not there, and a folder of our own with the source's settings.

    No record of the hospital is copied: a file of any bytes shows whether it is met.
    """
    absent = _elsewhere(source, f"{source.settings.get('folder')}.is-not-there")
    with tempfile.TemporaryDirectory(prefix="xinglin-") as folder:
        own = _elsewhere(source, folder)
        connector = open_connector(own, home)
        assert isinstance(connector, FolderConnector)
        names = _names(connector)
        for number, name in enumerate(names[1:]):
            _drop(Path(folder, name), _DATED + number)
        yield Trial(
            partial(open_connector, source, home),
            wrong=partial(open_connector, absent, home),
            late=partial(_drop, Path(folder, names[0]), _DATED - 3_600),
            rehearsal=partial(open_connector, own, home),
        )


def _elsewhere(source: Source, folder: str) -> Source:
    return replace(source, settings={**source.settings, "folder": folder})


def _names(connector: FolderConnector) -> list[str]:
    """Return three file names that the source's patterns take."""
    for pattern in connector.settings.pattern:
        names = [_example(pattern, word) for word in ("late", "one", "two")]
        if len(set(names)) == 3 and all(map(connector.settings.takes, names)):
            return names
    return ["late", "one", "two"]


def _example(pattern: str, word: str) -> str:
    """Return a name that a shell pattern of ``*`` and ``?`` matches."""
    return pattern.replace("*", word).replace("?", word[0])


def _drop(path: Path, changed: float) -> None:
    path.write_bytes(b"a file of the rehearsal: %s\n" % path.name.encode())
    os.utime(path, (changed, changed))
