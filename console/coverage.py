"""`xinglin coverage`: how much of HL7's own v2-to-FHIR inventory the mapping tables cover, and what is left out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from console.exits import UNREADABLE, fail, print_json
from console.screen import columns, say

if TYPE_CHECKING:
    from normalise.hl7v2.coverage import Answer

#: Where the corpora keep the inventory.
_PLACE: Final = ("hl7v2", "v2tofhir-mappings")


def _folder(given: Path | None) -> Path:
    if given is not None:
        return given
    corpora = os.environ.get("XINGLIN_CORPORA")
    if not corpora:
        fail("name the folder of the inventory with --inventory, or set XINGLIN_CORPORA to the corpora that hold it")
    return Path(corpora).joinpath(*_PLACE)


def coverage(
    inventory: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="HL7's v2-to-FHIR mappings: it holds segments/*.csv. Without it, that of XINGLIN_CORPORA.",
        ),
    ] = None,
    segment: Annotated[str, typer.Option(metavar="SEG", help="Only this segment, such as PID.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON value, with every row.")] = False,
) -> None:
    """Count the rows of HL7's v2-to-FHIR inventory that the HL7 v2 tables cover.

    Rows that no table covers are left out on purpose, with the reason, or open.
    """
    from normalise.hl7v2.coverage import NoInventory
    from normalise.hl7v2.coverage import inventory as read

    try:
        targets = [one for one in read(_folder(inventory)) if one.segment.startswith(segment.upper())]
    except NoInventory as error:
        fail(str(error), UNREADABLE)
    if not targets:
        fail(f"the inventory has no segment {segment}; it is written as in PID")
    answers = Counter((one.segment, one.answer) for one in targets)
    total = Counter(one.answer for one in targets)
    if as_json:
        rows = [
            {"map": one.map, "field": one.field, "attribute": one.attribute, "answer": one.answer, "where": one.where}
            for one in targets
        ]
        share = round(total["covered"] / len(targets), 4)
        print_json({"rows": len(targets), **total, "share": share, "targets": rows})
        return
    names = sorted({one.segment for one in targets})
    every: tuple[Answer, ...] = ("covered", "left out", "open")
    lines = [_line(name, {answer: answers[name, answer] for answer in every}) for name in names]
    say(columns(("segment", "rows", "covered", "left out", "open", "share"), [*lines, _line("all", total)], 5))
    for answer in ("left out", "open"):
        if found := Counter((one.map, one.where) for one in targets if one.answer == answer):
            say(f"\n{answer}:")
            for (map_, why), count in sorted(found.items()):
                fields = sorted(
                    {one.field for one in targets if (one.map, one.where, one.answer) == (map_, why, answer)}
                )
                say(f"  {map_} {_short(fields)}, {count} rows{f': {why}' if why else ''}")


def _line(name: str, counts: Mapping[Answer, int]) -> tuple[object, ...]:
    covered, left_out, missing = counts["covered"], counts["left out"], counts["open"]
    rows = covered + left_out + missing
    return name, rows, covered, left_out, missing, f"{covered / rows:.1%}"


def _short(fields: list[str]) -> str:
    return " ".join(fields) if len(fields) < 8 else f"{len(fields)} fields"
