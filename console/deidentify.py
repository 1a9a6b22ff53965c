"""`xinglin deidentify`: FHIR, DICOM and text by a named profile, for trying it and for audits of what it drops."""

from __future__ import annotations

import io
import os
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import orjson
import typer

from console.exits import DONE, REFUSED, UNREADABLE, fail, print_json, sentences
from console.kinds import guess, parts
from console.screen import say
from schemas.records import SourceContext

if TYPE_CHECKING:
    from sharing.deidentify import Deidentifier, Profile, Report

KINDS: Final = ("fhir", "dicom", "text")
TRIAL: Final = (
    "This is a trial. Its pseudonyms and dates were made under a secret that is forgotten now: they mean nothing, and "
    "fit no dataset and no other trial."
)
#: Largest file, bytes.
_BYTES: Final = 1 << 30
_CONTEXT: Final = SourceContext("deidentify", "local", "Asia/Shanghai", "auto", {})


@dataclass(slots=True)
class Trial:
    """One run of the command.

    Attributes:
        profile: By which.
        folder: Where DICOM objects go, or None.
        quiet: Results are gathered for ``--json`` instead of written.
        deidentifier: Of the trial's own secret.
        report: What was done to texts and DICOM objects; at the end to all.
        secret: 32 random bytes that nobody else has.
        results: What was gathered.
        written: Files written.
        codes: Exit codes so far.
    """

    profile: Profile
    folder: Path | None
    quiet: bool
    deidentifier: Deidentifier
    report: Report
    secret: bytes
    results: list[Any] = field(default_factory=list)
    written: int = 0
    codes: set[int] = field(default_factory=lambda: {DONE})

    def put(self, result: Any) -> None:
        """Hand a result out: JSON a line, text as it is."""
        if self.quiet:
            self.results.append(result)
        elif isinstance(result, str):
            say(result)
        else:
            sys.stdout.buffer.write(orjson.dumps(result, option=orjson.OPT_APPEND_NEWLINE))
            sys.stdout.flush()

    def tell(self, code: int, where: str, why: str) -> None:
        """Name what could not be done on stderr."""
        self.codes.add(code)
        print(f"xinglin: {where}: {why}", file=sys.stderr)  # noqa: T201  (the console speaks here)


def _kind(name: str) -> str:
    if name not in ("auto", *KINDS):
        raise typer.BadParameter(f"{name!r} is no kind; there are {', '.join(KINDS)}")
    return name


def _profile(name: str) -> str:
    from sharing.deidentify import profile_names

    if name not in profile_names():
        raise typer.BadParameter(f"{name!r} is no profile; there are {', '.join(profile_names())}")
    return name


def deidentify(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE", help="Files; - reads standard input.", show_default=False)
    ],
    profile: Annotated[str, typer.Option(help="By which profile.", callback=_profile)] = "gbt-37964",
    kind: Annotated[
        str, typer.Option(help=f"What they are: {', '.join(KINDS)}; guessed when left out.", callback=_kind)
    ] = "auto",
    out: Annotated[Path | None, typer.Option(help="Folder for DICOM objects: 0001.dcm and so on.")] = None,
    report: Annotated[bool, typer.Option("--report", help="Say afterwards what was dropped and changed.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON value with results and report.")] = False,
) -> None:
    """De-identify FHIR resources, Bundles, NDJSON, DICOM objects or texts, to see what a profile leaves.

    This is for trying and for audits: what it prints is no dataset.
    """
    from sharing.deidentify import Deidentifier, Report, load_profile

    secret = secrets.token_bytes(32)
    with sentences():
        chosen = load_profile(profile)
        trial = Trial(chosen, out, as_json, Deidentifier(chosen, secret), Report(), secret)
        for name in files:
            _file(trial, name, kind)
    trial.report.add(trial.deidentifier.report)
    _finish(trial, report)


def _finish(trial: Trial, report: bool) -> None:
    if trial.quiet:
        found = {"profile": trial.profile.name, "trial": TRIAL, "results": trial.results}
        print_json({**found, "report": trial.report.as_dict()})
    else:
        if report:
            for sentence in trial.report.sentences(trial.profile.sentences()):
                print(sentence, file=sys.stderr)  # noqa: T201
        print(TRIAL, file=sys.stderr)  # noqa: T201
    if trial.report.taken and not trial.report.left:
        trial.codes.add(REFUSED)
    raise typer.Exit(max(trial.codes))


def _file(trial: Trial, name: str, kind: str) -> None:
    """De-identify one file."""
    try:
        content = sys.stdin.buffer.read(_BYTES + 1) if name == "-" else _read(Path(name))
    except OSError as error:
        trial.tell(UNREADABLE, _shown(name), f"the file cannot be read: {error.strerror or type(error).__name__}")
        return
    if len(content) > _BYTES:
        trial.tell(UNREADABLE, _shown(name), f"at most {_BYTES} bytes were expected in one file")
        return
    kind = _guessed(content) if kind == "auto" else kind
    {"fhir": _fhir, "dicom": _dicom, "text": _text}[kind](trial, _shown(name), content)


def _read(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(_BYTES + 1)


def _guessed(content: bytes) -> str:
    found = guess(content[:4096])
    return found if found in ("fhir", "dicom") else "text"


def _fhir(trial: Trial, name: str, content: bytes) -> None:
    for part in parts(io.BytesIO(content.removeprefix(b"\xef\xbb\xbf")), "fhir", _CONTEXT):
        try:
            body = orjson.loads(part.content)
        except orjson.JSONDecodeError:
            trial.tell(
                UNREADABLE, name, f"record {part.number}: JSON was expected (FHIR R4, one resource a line or a file)"
            )
            continue
        if not isinstance(body, dict) or not isinstance(body.get("resourceType"), str):
            trial.tell(UNREADABLE, name, f"record {part.number}: a resource with its resourceType was expected")
            continue
        if body["resourceType"] == "Bundle":
            trial.put(trial.deidentifier.bundle(body, whose))
        elif (found := trial.deidentifier.resource(body, whose(body))) is not None:
            trial.put(found)


def whose(body: Mapping[str, Any]) -> bytes:
    """Return the patient whom a resource is about as bytes: the same for all of one patient's, ``b""`` for nobody's."""
    if body.get("resourceType") == "Patient":
        return f"Patient/{body.get('id', '')}".encode()
    for name in ("subject", "patient", "beneficiary"):
        one = body.get(name)
        one = one[0] if isinstance(one, list) and one else one
        literal = one.get("reference") if isinstance(one, dict) else None
        if isinstance(literal, str):
            return "/".join(literal.split("/_history/")[0].split("/")[-2:]).encode("utf-8", "surrogatepass")
    return b""


def _text(trial: Trial, name: str, content: bytes) -> None:
    from sharing.deidentify.scrubbing import scrub

    text = _decoded(content)
    if text is None:
        trial.tell(UNREADABLE, name, "text in UTF-8 or GB 18030 was expected")
        return
    scrubbed = scrub(text)
    for span in scrubbed.spans:
        trial.report.note("text", str(span.kind))
    trial.report.taken += 1
    trial.report.left += 1
    trial.put(scrubbed.text)


def _decoded(content: bytes) -> str | None:
    for codec in ("utf-8-sig", "gb18030"):
        try:
            return content.decode(codec)
        except UnicodeDecodeError:
            continue
    return None


def _dicom(trial: Trial, name: str, content: bytes) -> None:
    from sharing.deidentify.imaging import deidentify_dicom
    from sharing.errors import Malformed, Refused

    if trial.folder is None:
        fail("DICOM objects are written to a folder; name it with --out", 2)
    try:
        made, report = deidentify_dicom(content, trial.secret, b"", trial.profile)
    except Malformed as error:
        trial.tell(UNREADABLE, name, str(error))
        return
    except Refused as error:
        trial.tell(REFUSED, name, str(error))
        return
    trial.report.add(report)
    trial.folder.mkdir(parents=True, exist_ok=True)
    trial.written += 1
    path = trial.folder / f"{trial.written:04d}.dcm"
    path.write_bytes(made)
    trial.put({"file": path.name, "bytes": len(made)})


def _shown(name: str) -> str:
    """Return a file's name as text, whatever bytes it has."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
