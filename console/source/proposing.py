"""What `xinglin source profile` shows of a database, and the mapping that it proposes for its tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from console.exits import print_json
from console.screen import columns, say
from schemas.documents import check_document
from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from connectors.his.sql_profile import ColumnProfile, Profile
    from dags.steps.site import Site
    from schemas.source import Source


_HEADINGS: Final = ("column", "type", "form", "empty", "different", "longest", "holds")
_BEGINNING: Final = "# Proposed by `xinglin source profile`: read it before it is used. docs/mapping.md\n"


def show_tables(source: Source, at: Site, rows: int, values: bool, as_json: bool, propose: str | None) -> None:
    """Show the tables of a database and, if asked, write the proposed mapping.

    Args:
        source: The source, of kind ``his.sql_tables``.
        at: This machine's site.
        rows: Rows of each table looked at, at most.
        values: Whether codes that occur are shown.
        as_json: For a program.
        propose: Name of the mapping to write, or None.

    Raises:
        ConfigurationError: A mapping of that name is there already, or no table is recognised.
    """
    from connectors.his.sql_profile import profile

    found = profile(source, at.home.path, rows)
    written = _write(at.home.sources, propose, found) if propose else None
    if as_json:
        print_json({"tables": [_plain(one) for one in found.tables], "mapping": str(written) if written else None})
        return
    for table in found.tables:
        key = ", ".join(table.key) or f"none declared; {', '.join(table.telling) or 'no columns'} tell rows apart"
        say(f"{table.name}: {table.rows:,} rows, {table.sampled:,} looked at, {table.unreadable} unreadable; key {key}")
        say(columns(_HEADINGS[: 7 if values else 6], [_row(one, values) for one in table.columns]) + "\n")
    if written:
        say(f"proposed mapping: {written}; read it, then set `mapping: {propose}` in sources/{source.id}.yaml")
        say(f"next: xinglin source preview {source.id}")
    elif not source.mapping:
        say(f"next: xinglin source profile {source.id} --propose {source.id}")


def _write(folder: Path, name: str, found: Profile) -> Path:
    from connectors.his.sql_proposal import propose

    path = folder / "mappings" / f"{name}.yaml"
    if path.exists():
        raise ConfigurationError(f"mappings/{name}.yaml is there already; give another name, or move it away")
    document = propose(found)
    if not document:
        raise ConfigurationError("no table is recognised by its columns; write the mapping, see docs/mapping.md")
    check_document(document, "mapping", path.name)
    text = yaml.safe_dump(document, allow_unicode=True, sort_keys=False, width=110)
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        f"# Proposed by `xinglin source profile`: read it before it is used. docs/mapping.md\n{text}", "utf-8"
    )
    return path


def _row(column: ColumnProfile, values: bool) -> tuple[object, ...]:
    one = column
    codes = ", ".join(f"{code} {count}" for code, count in list(one.codes.items())[:8])
    return (one.name, one.declared, one.form, one.nulls, one.distinct, one.longest, *([codes] if values else []))


def _plain(table: Any) -> dict[str, Any]:
    return {
        "name": table.name, "rows": table.rows, "sampled": table.sampled, "unreadable": table.unreadable,
        "key": list(table.key), "columns": [
            {"name": one.name, "type": one.declared, "form": one.form, "empty": one.nulls, "different": one.distinct,
             "longest": one.longest} for one in table.columns
        ],
    }  # fmt: skip
