"""Mapping tables as every kind of record has them: CSV read strictly, and the digest that names a mapping's version."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import schemas

#: Folder of each kind's tables.
SCHEMAS: Final = Path(schemas.__file__).parent
_HERE: Final = Path(__file__).parent


def read_rows(path: Path) -> Iterator[dict[str, str]]:
    """Yield the rows of one table, cells stripped.

    Raises:
        ValueError: A row has more or fewer cells than the heading: the table, not a record, is wrong.
    """
    with path.open(encoding="utf-8", newline="") as stream:
        for number, row in enumerate(csv.DictReader(stream, restval=None), 2):
            if None in row or None in row.values():
                raise ValueError(f"{path.name} line {number}: wrong number of cells")
            yield {key: cell.strip() for key, cell in row.items()}


def version(media: str, tables: Iterable[Path], *packages: str) -> str:
    """Return the version of a mapping: a change of its tables, or of the code that runs them, is another one.

    Args:
        media: Begins it.
        tables: What stands in ``schemas``.
        packages: Folders of ``normalise`` whose code it runs, beside what all kinds share.
    """
    code = [path for folder in (_HERE, *(_HERE / one for one in packages)) for path in folder.glob("*.py")]
    whole = hashlib.sha256()
    for path in sorted({*tables, *code}):
        whole.update(path.relative_to(SCHEMAS.parent).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return f"{media}-{whole.hexdigest()[:16]}"
