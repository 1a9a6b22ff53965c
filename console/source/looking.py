"""`xinglin source check`, `preview`, `profile`, `coverage`: what is there, and what it would become. Nothing is stored.

What these commands print may hold patients' data, for the terminal of the hospital's own engineer; logs get nothing.
"""

from __future__ import annotations

import re
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Final

import orjson
import typer

from console.exits import REFUSED, fail, print_json, sentences
from console.screen import columns, say
from console.source.opened import Json, Name, opened
from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from dags.steps.onboarding.sampling import Sample
    from dags.steps.site import Site
    from schemas.records import Normalised, RawRecord, Refusal
    from schemas.source import Source

_LINES: Final = 14
#: Elements that a person knows a resource by, in the order in which they are shown.
_TELLING: Final = (
    r"(name|code|type|medicationCodeableConcept|vaccineCode)\.text|name",
    r"(code|class|type)\.(coding\.)?code",
    r"valueQuantity\.(comparator|value|unit)|value[A-Z]\w*(\.text)?",
    r"gender|birthDate",
    r"(identifier|telecom)\.value",
    r"(effective|onset|performed|occurrence)\w*|period\.\w+|started|issued",
    r"status|clinicalStatus.*",
    r"component\.value.*",
    r"description|title|(method|bodySite|reason)\w*\.text",
)
Wait = Annotated[float, typer.Option(min=0, help="Seconds to wait for a source that sends by itself.")]


def check(name: Name, as_json: Json = False) -> None:
    """Look at the source: does it connect, may it be read, its clock, its charset. Exit 1 where something is wrong."""
    from dags.steps.onboarding.certifying import look

    with sentences():
        source, at = opened(name)
        findings = look(source, at)
    if as_json:
        print_json([asdict(one) for one in findings])
    else:
        say(columns(("", "", ""), [("✓" if one.ok else "✗", one.aspect, one.message) for one in findings]).lstrip("\n"))
    if not all(one.ok for one in findings):
        raise typer.Exit(REFUSED)
    if not as_json:
        say(f"next: xinglin source preview {name}")


def preview(
    name: Name,
    records: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 20,
    wait: Wait = 0.0,
    as_json: Json = False,
) -> None:
    """Show the first records beside what they would become; nothing is stored, nothing at the source changes."""
    from dags.steps.onboarding.sampling import judge

    with sentences():
        source, at = opened(name)
        sample = _sample(source, at, records, wait)
        judged = judge(sample.records, source)
    if as_json:
        for raw, made, refusal in judged.records:
            print_json(_line(raw, made, refusal))
        return
    from rich.console import Console

    console = Console(highlight=False)
    for number, (raw, made, refusal) in enumerate(judged.records, 1):
        console.print(_beside(number, raw, made, refusal, source))
    for one in sample.unreadable:
        console.print(f"[red]✗[/red] {one.position}: {one.refusal.code}: {one.refusal.message}")
    say(f"{len(sample.records)} records shown, {len(sample.unreadable)} pieces that are none. Nothing was stored.")
    say(f"next: xinglin source profile {name}")


def _sample(source: Source, at: Site, records: int, wait: float) -> Sample:
    """Return a sample; of a source that sends by itself once something has landed, or the patience is over."""
    from connectors import mode
    from dags.steps.onboarding.sampling import take

    deadline = time.monotonic() + wait
    while True:
        sample = take(source, at, records)
        if sample.records or sample.unreadable or time.monotonic() >= deadline:
            break
        time.sleep(0.2)
    if not sample.records and not sample.unreadable:
        hint = (
            f"run `xinglin listen {source.id}` and have the sender send a few records"
            if mode(source) == "listen"
            else "see `xinglin source check`"
        )
        fail(f"{source.id} holds no record yet; {hint}")
    return sample


def _line(raw: RawRecord, made: Normalised, refusal: Refusal | None) -> dict[str, Any]:
    return {
        "position": raw.position,
        "media": raw.media,
        "record": raw.content.decode("utf-8", "backslashreplace"),
        "resources": [] if refusal else [one.body for one in made.resources],
        "refused": asdict(refusal) if refusal else None,
        "notes": [asdict(one) for one in made.notes],
    }


def _beside(number: int, raw: RawRecord, made: Normalised, refusal: Refusal | None, source: Source) -> RenderableType:
    """Return a record on the left, what it becomes on the right."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(f"{number}  {raw.position}"), title_justify="left", expand=True, show_lines=False)
    table.add_column("as it came", ratio=1, overflow="fold")
    table.add_column("as FHIR R4", ratio=1, overflow="fold")
    right = _refused(refusal) if refusal else _resources(made)
    notes = [f"note: {one.code} at {one.where}: {one.message}" for one in made.notes[:3]]
    table.add_row(escape(_text(raw, source)), "\n".join([right, *(f"[yellow]{escape(one)}[/yellow]" for one in notes)]))
    return table


def _refused(refusal: Refusal) -> str:
    from rich.markup import escape

    where = escape(refusal.where or "the record")
    return f"[red]set aside: {escape(refusal.code)} at {where}[/red]\n{escape(refusal.message)}"


def _text(raw: RawRecord, source: Source) -> str:
    """Return a record as a person reads it, cut after some lines."""
    from dags.steps.onboarding.anatomy import anatomy

    if raw.media in ("dicom", "fit"):
        how = anatomy(raw.media)
        fields = how.fields(raw.content) if how else {}
        lines = [f"{path} {values[0]}" for path, values in fields.items()] or [f"{len(raw.content)} bytes"]
    elif raw.media == "hl7v2":
        from normalise import SetAside
        from normalise.hl7v2.charsets import decode

        try:
            lines = decode(raw.content, source.charset)[0].replace("\r\n", "\r").replace("\n", "\r").split("\r")
        except SetAside:
            lines = raw.content.decode("ascii", "backslashreplace").split("\r")
    else:
        text = raw.content.decode("utf-8", "backslashreplace")
        if text[:1] in "{[":
            text = orjson.dumps(orjson.loads(text), option=orjson.OPT_INDENT_2).decode()
        lines = text.splitlines()
    more = [f"… and {len(lines) - _LINES} more"] if len(lines) > _LINES else []
    return "\n".join(line[:200] for line in lines[:_LINES] + more)


def _resources(made: Normalised) -> str:
    """Return each resource with what tells it from the others."""
    from rich.markup import escape

    shown = [f"[bold]{one.type}[/bold] {escape(_facts(one.body))}" for one in made.resources]
    return "\n".join(shown[:_LINES] + ([f"… and {len(shown) - _LINES} more"] if len(shown) > _LINES else []))


def _facts(body: dict[str, Any]) -> str:
    """Return what tells one resource from another: names, codes, values, times; at most seven."""
    from dags.steps.onboarding.elements import elements

    found: dict[str, str] = {}
    for path, value in elements(body):
        for at, pattern in enumerate(_TELLING):
            if re.fullmatch(pattern, path.partition(".")[2]):
                found.setdefault(f"{at:02d} {path.partition('.')[2]}", value)
    told = [f"{key[3:]} {found[key]}" for key in sorted(found)][:7]
    return ", ".join(told)


def profile(
    name: Name,
    records: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")] = 500,
    values: Annotated[bool, typer.Option("--values/--no-values", help="Show the codes that occur.")] = True,
    wait: Wait = 0.0,
    propose: Annotated[
        str | None, typer.Option(metavar="MAPPING", help="Write a proposed mapping for a database's tables.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what is in the data: parts by frequency, their forms, their codes, volumes."""
    from console.source.proposing import show_tables
    from dags.steps.onboarding.profiling import lines
    from dags.steps.onboarding.profiling import profile as profiled

    with sentences():
        source, at = opened(name)
        if source.kind == "his.sql_tables":
            show_tables(source, at, records, values, as_json, propose)
            return
        if propose is not None:
            raise ConfigurationError(f"{source.kind} needs no mapping of its own; leave --propose out")
        sample = _sample(source, at, records, wait)
        found = profiled(sample.records, source.charset)
    if as_json:
        print_json({
            "records": found.records, "kinds": found.kinds,
            "parts": [{"path": one.path, "records": one.records, "values": one.values, "form": one.form,
                       "longest": one.longest} for one in found.parts],
        })  # fmt: skip
        return
    say(f"{found.records} records, {sample.size:,} bytes, {len(sample.unreadable)} pieces that are none")
    say(columns(("kind", "records"), list(found.kinds.items()), 1) + "\n")
    rows = [
        (path, share, form, longest, codes if values else "") for path, share, form, longest, _, codes in lines(found)
    ]
    say(columns(("part", "filled", "form", "longest", "holds" if values else ""), rows))
    say(f"next: xinglin source certify {name}")


def coverage(
    name: Name,
    records: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 200,
    wait: Wait = 0.0,
    as_json: Json = False,
) -> None:
    """Show which parts of the source's data the mapping reads, found by leaving each out and converting again."""
    from dags.steps.onboarding.profiling import coverage as covered
    from dags.steps.onboarding.profiling import profile as profiled

    with sentences():
        source, at = opened(name)
        sample = _sample(source, at, records, wait)
        parts = profiled(sample.records, source.charset)
        found = covered(parts, sample.records, source)
    if as_json:
        print_json({"read": found.read, "tried": found.tried, "values_read": found.values_read,
                    "unread": {one.path: one.records for one in found.unread}})  # fmt: skip
        return
    if not found.tried:
        say("records of this kind have no parts with names; nothing can be told part by part")
        return
    say(
        f"{found.read} of {found.tried} parts make a difference; they hold {found.values_read:.0%} of the filled values"
    )
    if found.unread:
        say(columns(("without effect", "records"), [(one.path, one.records) for one in found.unread], 1))
