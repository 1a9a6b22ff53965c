"""A database under trial: read as it is; a late row is shown on a file of our own that is read by the same settings."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from connectors.conformance import Trial
from connectors.his.sql_settings import Table, read_sql_settings
from connectors.registry import open_connector
from schemas.source import Source

#: When the rows of the rehearsal were written, and the late one a second before them.
_ROWS: Final = ("2026-01-01 08:00:01", "2026-01-01 08:00:02")
_LATE: Final = "2026-01-01 08:00:00"


@contextmanager
def trial(source: Source, home: Path) -> Iterator[Trial]:
    """Yield the database, the same without its rights or its address, and a file with a table as the settings say.

    No row of the hospital is copied: any row shows whether it is met.
    """
    settings = read_sql_settings(source)
    name, table = next(((name, one) for name, one in settings.tables.items() if one.watermark), (None, None))
    with tempfile.TemporaryDirectory(prefix="xinglin-") as folder:
        opened = partial(open_connector, source, home)
        wrong = partial(open_connector, _elsewhere(source), home)
        if name is None or table is None:
            yield Trial(opened, wrong=wrong)
            return
        file = Path(folder, "rehearsal.db")
        own = replace(source, settings=_settings(source.settings, name, file))
        _write(file, name, table, *_ROWS)
        yield Trial(
            opened,
            wrong=wrong,
            late=partial(_write, file, name, table, _LATE),
            rehearsal=partial(open_connector, own, home),
        )


def _elsewhere(source: Source) -> Source:
    """The same source where nobody may, or nothing is."""
    given = dict(source.settings)
    if str(given["url"]).startswith("sqlite"):
        given["url"] = f"{given['url']}.is-not-there"
    else:
        head, at, tail = str(given["url"]).partition("@")
        scheme = head.partition("://")[0]
        given["url"] = f"{scheme}://nobody-of-xinglin{at}{tail}" if at else f"{given['url']}-is-not-there"
    return replace(source, settings=given)


def _settings(given: Mapping[str, Any], name: str, file: Path) -> dict[str, Any]:
    """The source's settings for one table in a file; what only a server has is left out."""
    table = {
        word: one for word, one in given["tables"][name].items() if word in ("key", "watermark", "overlap_seconds")
    }
    kept = {word: one for word, one in given.items() if word in ("overlap_seconds", "page_rows")}
    return {**kept, "url": f"sqlite:///{file}", "tables": {name.rpartition(".")[2]: table}}


def _write(file: Path, name: str, table: Table, *times: str) -> None:
    """Rows with these watermarks stand in the file's table."""
    bare = name.rpartition(".")[2]
    columns = list(dict.fromkeys([*table.key, *table.watermark]))
    quoted = [f'"{one}"' for one in columns]
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(f'CREATE TABLE IF NOT EXISTS "{bare}" ({" TEXT, ".join(quoted)} TEXT)')
        marks = ", ".join("?" * len(columns))
        for time in times:
            values = [time if one in table.watermark else f"trial {time}" for one in columns]
            connection.execute(f'INSERT INTO "{bare}" VALUES ({marks})', values)  # noqa: S608 - names of the settings
