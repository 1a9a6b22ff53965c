"""`xinglin convert`: raw HL7 v2 in, FHIR Bundles out; what is refused is named with its coordinates."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import orjson
import typer

from connectors.his.framing import split_messages
from console.exits import REFUSED, UNREADABLE, print_json
from normalise.errors import SetAside
from normalise.hl7v2 import convert as convert_message
from quality.structure import check_structure
from schemas.records import Refusal, Resource, SourceContext

#: Relative references of a Bundle resolve against its entries' full addresses (FHIR R4 bundle.html#references).
BASE = "https://fhir.xinglin.invalid"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one message of a file became; ``number`` counts from 1."""

    number: int
    resources: tuple[Resource, ...] = ()
    refusal: Refusal | None = None


def convert(
    files: Annotated[list[str], typer.Argument(help="HL7 v2 files; - reads standard input.", show_default=False)],
    ndjson: Annotated[bool, typer.Option("--ndjson", help="One line of JSON for each file, in order.")] = False,
    institution: Annotated[str, typer.Option(help="Who owns local identifiers; part of resource ids.")] = "local",
    time_zone: Annotated[
        str, typer.Option(envvar="XINGLIN_TIME_ZONE", help="Zone of times without an offset.")
    ] = "Asia/Shanghai",
    charset: Annotated[str, typer.Option(help="Codec of messages that declare none, or auto.")] = "auto",
) -> None:
    """Convert HL7 v2 files to FHIR R4.

    Without --ndjson, one Bundle of type collection with what all files hold goes to stdout; refusals go to
    stderr with the sender's coordinates.
    """
    context = SourceContext("convert", institution, time_zone, charset)
    worst = 0
    collected: list[Resource] = []
    for name in files:
        try:
            content = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        except OSError as error:
            _say(name, f"cannot be read: {error.strerror}")
            worst = UNREADABLE
            if ndjson:
                refusal = Refusal("unreadable", "", f"the file cannot be read: {error.strerror}")
                print_json({"file": name, "refused": asdict(refusal)})
            continue
        outcomes = tuple(convert_stream(BytesIO(content), context))
        worst = max(worst, _tell_refusals(name, outcomes))
        if ndjson:
            print_json(line(name, outcomes))
        else:
            collected += [resource for outcome in outcomes for resource in outcome.resources]
    if not ndjson and (collected or not worst):
        sys.stdout.buffer.write(orjson.dumps(bundle(collected), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    raise typer.Exit(worst)


def convert_stream(stream: BinaryIO, context: SourceContext) -> Iterator[Outcome]:
    """Yield what each message of a stream became, in order; never raises for what the stream holds."""
    for framed in split_messages(stream):
        if framed.refusal is not None:
            yield Outcome(framed.number, refusal=framed.refusal)
            continue
        try:
            made = convert_message(framed.content, context)
        except SetAside as error:
            yield Outcome(framed.number, refusal=error.refusal)
            continue
        yield _checked(framed.number, made.resources)


def _checked(number: int, resources: tuple[Resource, ...]) -> Outcome:
    for resource in resources:
        if fault := check_structure(resource.body):
            return Outcome(number, refusal=Refusal(fault.code, resource.segment, f"{fault.where}: {fault.message}"))
    return Outcome(number, resources)


def line(name: str, outcomes: tuple[Outcome, ...]) -> dict[str, Any]:
    """Return the NDJSON value of one file: ``bundle`` or ``refused``, or ``bundles`` where it held several messages."""
    refused = [{**asdict(one.refusal), "message_number": one.number} for one in outcomes if one.refusal]
    bundles = [bundle(one.resources) for one in outcomes if one.refusal is None]
    if len(outcomes) == 1:
        return {"file": name, "bundle": bundles[0]} if bundles else {"file": name, "refused": _plain(outcomes[0])}
    several: dict[str, Any] = {"file": name, "bundles": bundles}
    if refused:
        several["refused"] = refused
    return several


def _plain(outcome: Outcome) -> dict[str, str]:
    assert outcome.refusal is not None
    return asdict(outcome.refusal)


def bundle(resources: list[Resource] | tuple[Resource, ...]) -> dict[str, Any]:
    """Return a Bundle of type collection; a resource that several messages hold stands in it once, as last told."""
    latest: dict[str, dict[str, Any]] = {}
    for resource in resources:
        key = f"{BASE}/{resource.type}/{resource.id}"
        if resource.mode == "update" or key not in latest:
            latest[key] = resource.body
    entries = [{"fullUrl": key, "resource": body} for key, body in latest.items()]
    return {"resourceType": "Bundle", "type": "collection", **({"entry": entries} if entries else {})}


def _tell_refusals(name: str, outcomes: tuple[Outcome, ...]) -> int:
    for outcome in outcomes:
        if (refusal := outcome.refusal) is not None:
            where = f" at {refusal.where}" if refusal.where else ""
            _say(name, f"message {outcome.number} refused: {refusal.code}{where}: {refusal.message}")
    return REFUSED if any(outcome.refusal for outcome in outcomes) else 0


def _say(name: str, sentence: str) -> None:
    print(f"{name}: {sentence}", file=sys.stderr)  # noqa: T201  (the console speaks here)
