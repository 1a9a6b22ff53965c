"""`xinglin source unmapped | notes`: what of a source no standard code stands for, and what was not read fully."""

from __future__ import annotations

import csv
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from console.exits import print_json, sentences
from console.records import site, source_of
from console.screen import columns, say
from schemas.terminology import COLUMNS

if TYPE_CHECKING:
    from vault.tallies import Kind, Tally

Name = Annotated[str, typer.Argument(help="Id of the source.")]
Limit = Annotated[int, typer.Option(min=1, help="Most frequent ones.")]
Json = Annotated[bool, typer.Option("--json", help="JSON for programs.")]


def unmapped(
    name: Name,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="A ConceptMap file to fill in: save it in sources/mappings.")
    ] = False,
    limit: Limit = 200,
    as_json: Json = False,
) -> None:
    """List the source's codes that no standard system knows, by volume; with --csv, to be mapped in a spreadsheet."""
    rows = _tallies(name, "unmapped", limit)
    if as_json:
        print_json([{**one.what, "count": one.count} for one in rows])
    elif as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow((*COLUMNS, "source_display", "count"))
        for one in rows:
            writer.writerow((one.what["system"], one.what["code"], "", "", "", "", one.what["display"], one.count))
    elif not rows:
        say("every code met so far has a standard one beside it")
    else:
        table = [(one.what["system"], one.what["code"], one.what["display"], one.count) for one in rows]
        say(columns(("system", "code", "display", "count"), table, 1))


def notes(name: Name, limit: Limit = 200, as_json: Json = False) -> None:
    """List what records held that could not be read fully and was kept as it came, or left out: by volume."""
    rows = _tallies(name, "note", limit)
    if as_json:
        print_json([{**one.what, "count": one.count} for one in rows])
        return
    for one in rows:
        say(f"{one.count:>8}  {one.what['code']} at {one.what['where'] or '-'}: {one.what['message']}")
    if not rows:
        say("everything met so far was read fully")


def _tallies(name: str, kind: Kind, limit: int) -> list[Tally]:
    with sentences():
        at = site()
        source = source_of(at, name)
        return at.vault(source.institution).tallies.of(source.id, kind, limit)
