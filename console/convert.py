"""`xinglin convert`: records of any kind in, FHIR Bundles out; what is refused is named with its coordinates."""

from __future__ import annotations

import codecs
import errno
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO
from zoneinfo import ZoneInfo

import orjson
import typer

from console.exits import DONE, REFUSED, UNREADABLE, fail, print_json
from console.kinds import KINDS, parts
from console.screen import watched
from schemas.errors import ConfigurationError
from schemas.records import Refusal, Resource, SourceContext
from schemas.source import load_mapping

#: Relative references of a Bundle resolve against its entries' full addresses (FHIR R4 bundle.html#references).
BASE = "https://fhir.xinglin.invalid"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one message of a file became; ``number`` counts from 1, and is 0 for what belongs to no message."""

    number: int
    resources: tuple[Resource, ...] = ()
    refusal: Refusal | None = None

    @property
    def exit_code(self) -> int:
        """What the command ends with if nothing worse comes."""
        if self.refusal is None:
            return DONE
        return UNREADABLE if self.refusal.code == "unreadable" else REFUSED


def _zone(name: str) -> str:
    try:
        return ZoneInfo(name).key
    except (KeyError, ValueError, OSError):
        raise typer.BadParameter(f"{name!r} is no IANA time zone; write one such as Asia/Shanghai") from None


def _codec(name: str) -> str:
    try:
        "".encode("ascii" if name == "auto" else name)
    except (LookupError, ValueError):
        raise typer.BadParameter(f"{name!r} is no character set; write one such as gb18030, or auto") from None
    return name if name == "auto" else codecs.lookup(name).name


def _kind(name: str) -> str:
    if name not in ("auto", *KINDS):
        raise typer.BadParameter(f"{name!r} is no kind; there are {', '.join(KINDS)}")
    return name


def convert(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE", help="Files; - reads standard input.", show_default=False)
    ],
    kind: Annotated[
        str, typer.Option(help=f"What they are: {', '.join(KINDS)}; guessed when left out.", callback=_kind)
    ] = "auto",
    mapping: Annotated[
        Path | None, typer.Option(help="A source's own mapping (sources/mappings/NAME.yaml); rows need one.")
    ] = None,
    ndjson: Annotated[bool, typer.Option("--ndjson", help="One line of JSON for each file, in order.")] = False,
    institution: Annotated[str, typer.Option(help="Who owns local identifiers; part of resource ids.")] = "local",
    time_zone: Annotated[
        str, typer.Option(envvar="XINGLIN_TIME_ZONE", help="Zone of times without an offset.", callback=_zone)
    ] = "Asia/Shanghai",
    charset: Annotated[
        str, typer.Option(help="Codec of messages that declare none, or auto.", callback=_codec)
    ] = "auto",
) -> None:
    """Convert HL7 v2, CDA, DICOM, wearables' files, rows and FHIR of others to FHIR R4.

    Without --ndjson, stdout gets one Bundle of type collection with what all files hold.

    Refusals go to stderr, with the sender's coordinates.
    """
    try:
        context = SourceContext("convert", institution, time_zone, charset, load_mapping(mapping) if mapping else {})
    except ConfigurationError as error:
        fail(str(error))
    codes: set[int] = {DONE}
    if ndjson:
        for name in watched(files):
            print_json(line(_shown(name), _told(name, kind, context, codes)))
    else:
        outcomes = (outcome for name in watched(files) for outcome in _told(name, kind, context, codes))
        whole = bundle(resource for outcome in outcomes for resource in outcome.resources)
        if "entry" in whole:
            sys.stdout.buffer.write(orjson.dumps(whole, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
            sys.stdout.flush()
    raise typer.Exit(max(codes))


def _told(name: str, kind: str, context: SourceContext, codes: set[int]) -> Iterator[Outcome]:
    """Yield what each message of a file became, after telling refusals on stderr and adding to ``codes``."""
    for outcome in convert_file(name, context, kind):
        codes.add(outcome.exit_code)
        if (refusal := outcome.refusal) is not None:
            which = f"message {outcome.number} " if outcome.number else ""
            where = f" at {refusal.where}" if refusal.where else ""
            sentence = f"{_shown(name)}: {which}refused: {refusal.code}{where}: {refusal.message}"
            print(sentence, file=sys.stderr)  # noqa: T201  (the console speaks here)
        yield outcome


def convert_file(name: str, context: SourceContext, kind: str = "auto") -> Iterator[Outcome]:
    """Yield what each message of a file became, in order; a file that cannot be read is a refusal too."""
    try:
        with _open(name) as stream:
            yield from convert_stream(stream, context, kind)
    except OSError as error:
        why = f"The file cannot be read: {error.strerror or type(error).__name__}."
        yield Outcome(0, refusal=Refusal("unreadable", "", why))


def _open(name: str) -> Any:
    if name != "-":
        return Path(name).open("rb")
    if sys.stdin is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    return nullcontext(sys.stdin.buffer)


def convert_stream(stream: BinaryIO, context: SourceContext, kind: str = "hl7v2") -> Iterator[Outcome]:
    """Yield what each record of a stream became, in order; never raises for what the stream holds."""
    from normalise import SetAside
    from normalise import convert as convert_record

    for part in parts(stream, kind, context):
        if part.refusal is not None:
            yield Outcome(part.number, refusal=part.refusal)
            continue
        try:
            made = convert_record(part.media, part.content, context)
        except SetAside as error:
            yield Outcome(part.number, refusal=error.refusal)
            continue
        yield _checked(part.number, made.resources)


def _checked(number: int, resources: tuple[Resource, ...]) -> Outcome:
    from quality.structure import check_structure

    for resource in resources:
        if fault := check_structure(resource.body):
            return Outcome(number, refusal=Refusal(fault.code, resource.segment, f"{fault.where}: {fault.message}"))
    return Outcome(number, resources)


def line(name: str, outcomes: Iterable[Outcome]) -> dict[str, Any]:
    """Return the NDJSON value of one file: ``bundle`` or ``refused``, or ``bundles`` where it held several messages.

    Bundles are kept as the bytes they are written as: a file of many messages takes a fifth of the memory.
    """
    bundles: list[orjson.Fragment] = []
    refused: list[dict[str, Any]] = []
    for outcome in outcomes:
        if outcome.refusal is None:
            bundles.append(orjson.Fragment(orjson.dumps(bundle(outcome.resources))))
        else:
            refused.append({**asdict(outcome.refusal), "message_number": outcome.number})
    if len(bundles) == 1 and not refused:
        return {"file": name, "bundle": bundles[0]}
    if len(refused) == 1 and not bundles:
        return {"file": name, "refused": {key: refused[0][key] for key in ("code", "where", "message")}}
    return {"file": name, "bundles": bundles, **({"refused": refused} if refused else {})}


def bundle(resources: Iterable[Resource]) -> dict[str, Any]:
    """Return a Bundle of type collection; a resource that several messages hold stands in it once, as last told."""
    latest: dict[str, dict[str, Any]] = {}
    for resource in resources:
        key = f"{BASE}/{resource.type}/{resource.id}"
        if resource.mode == "update" or key not in latest:
            latest[key] = resource.body
    entries = [{"fullUrl": key, "resource": body} for key, body in latest.items()]
    return {"resourceType": "Bundle", "type": "collection", **({"entry": entries} if entries else {})}


def _shown(name: str) -> str:
    """Return a file's name as text, whatever bytes it has."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
