"""`xinglin record`: one record of another institution, asked for by its reference, answered, opened; emergencies."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import orjson
import typer

from console.exits import USAGE, fail, print_json, sentences
from console.motions import Institution, acting
from console.records import site
from console.screen import columns, quiet_libraries, say

if TYPE_CHECKING:
    from sharing.record.asking import Reference
    from sharing.record.desk import Desk
    from sharing.record.emergencies import Access
    from sharing.record.opening import Standing

T = TypeVar("T")
app = typer.Typer(help="Single records of other institutions, at the point of care.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="JSON for programs.")]
Request = Annotated[str, typer.Argument(metavar="REQUEST", help="Its id from `record list`, or the first 6 digits on.")]
#: What people are told before they read without a statement.
LOUD: Final = (
    "Emergency: allowed without the patient's statement. Your institution's name stands on the chain, the record's "
    "custodian is told at once, and the access is reviewed."
)


def desk_of(institution: str | None) -> Desk:
    """Return the desk of the institution that acts."""
    from dags.steps.records import desk

    return desk(acting(institution), site())


@app.command("request")
def request(
    ref: Annotated[str, typer.Option("--ref", metavar="REF", help="INSTITUTION/RECORD.VERSION, from a summary.")],
    purpose: Annotated[str, typer.Option(help="care, emergency, claims, …; `policy show` says who may what.")] = "care",
    reader: Annotated[str, typer.Option(help="Who will read: doctor, patient, …; default the institution.")] = "",
    patient: Annotated[
        str, typer.Option(metavar="HEX", help="The patient's pseudonym there; default the summary's.")
    ] = "",
    institution: Institution = None,
    as_json: Json = False,
) -> None:
    """Ask for one record. Refused at once, and nothing signed, where the rules would say no."""
    from sharing.record.asking import EMERGENCY, Question, Reference, ask

    with sentences(), quiet_libraries():
        here, reference = desk_of(institution), readable(Reference.read, ref)
        named = _pseudonym(patient) if patient else _patient(here, reference)
        question = readable(lambda _: Question(reference, purpose, reader, named), purpose)
        id_ = ask(here, question)
    if as_json:
        print_json({"request": id_.hex(), "emergency": purpose == EMERGENCY})
        return
    if purpose == EMERGENCY:
        say(LOUD)
    say(f"offered to the next block: {id_.hex()}\n`xinglin record open {id_.hex()[:16]}` once the holder has answered")


def readable(read: Callable[[str], T], text: str) -> T:
    """Return what was written; what cannot be read ends the command."""
    from sharing.errors import Malformed

    try:
        return read(text)
    except Malformed as error:
        fail(str(error), USAGE)


def _pseudonym(text: str) -> bytes:
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b""
    if len(found) != 32:
        fail("--patient: expected 64 hex digits, the patient column of `ledger summaries --json`", USAGE)
    return found


def _patient(here: Desk, reference: Reference) -> bytes:
    """Return whose record it is as its summary says, or zeros where this institution may read none."""
    from ledger.encoding import ZERO_DIGEST
    from sharing.record.asking import find_record, state_name

    holder, _ = find_record(here, reference)
    at, name = site(), state_name(here.now(), holder)
    found = at.summaries(here.institution).find(at.exchange, here.node, name, reference.rid, reference.version)
    return ZERO_DIGEST if found is None else found.summary.patient


@app.command("answer")
def answer(institution: Institution = None, as_json: Json = False) -> None:
    """Answer what others were allowed to ask of this institution; the DAG `answer_requests` does it by itself."""
    from dags.steps.records import answer_all

    with sentences(), quiet_libraries():
        counts = answer_all(acting(institution), site())
    if as_json:
        print_json(counts)
        return
    said = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    say(said or "no request waits for an answer of this institution")
    if counts.get("waiting"):
        say("An answer lies ready for who asked once its announcement is in a block and this command runs again.")


@app.command("open")
def open_(
    given: Request,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; default stdout. Patient data!")
    ] = None,
    proof: Annotated[Path | None, typer.Option(help="File for the proof that it is the published record.")] = None,
    envelope: Annotated[
        Path | None, typer.Option(help="File for its sealed bytes, which `ledger verify-proof` takes with the proof.")
    ] = None,
    institution: Institution = None,
) -> None:
    """Open the record that came, checked against the chain, and confirm that it arrived."""
    from ledger.proofs.proving import prove
    from sharing.record.asking import Reference
    from sharing.record.opening import confirm, open_record

    with sentences(), quiet_libraries():
        here = desk_of(institution)
        standing = find(here, given)
        opened, reference = open_record(here, standing.request), Reference.read(standing.reference)
        if proof is not None:
            made = prove(here.replica, reference.rid, reference.version, reference.holder)
            _write(proof, orjson.dumps(made, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2))
        if envelope is not None:
            _write(envelope, opened.envelope)
        body = orjson.dumps(opened.body, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        if output is not None:
            _write(output, body)
        else:
            typer.echo(body, nl=False)
        confirm(here, standing.request)  # kept by now: the holder takes the answer away once this is in a block


def _write(path: Path, content: bytes) -> None:
    """The file is there, new, and for its owner alone."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            stream.write(content)
    except FileExistsError:
        fail(f"{path} exists; nothing was written to it, and nothing confirmed")


def find(here: Desk, given: str) -> Standing:
    """Return this institution's request whose id begins so."""
    from sharing.record.opening import requests_of

    begins = re.fullmatch(r"[0-9a-f]{6,64}", given.lower())
    found = requests_of(here, given.lower()) if begins else []
    if len(found) != 1:
        fail(f"{given[:64]}: {len(found)} requests of {here.institution} begin so; see `xinglin record list`", USAGE)
    return found[0]


@app.command("list")
def list_(
    emergency: Annotated[
        bool, typer.Option("--emergency", help="The whole region's emergency accesses that nobody has reviewed.")
    ] = False,
    institution: Institution = None,
    as_json: Json = False,
) -> None:
    """List this institution's requests and where they stand; or every emergency access that waits for a review."""
    with sentences(), quiet_libraries():
        here = desk_of(institution)
        if emergency:
            return _emergencies(here, as_json)
        from sharing.record.opening import requests_of

        rows = requests_of(here)
    if as_json:
        print_json([_document(one) for one in rows])
        return None
    if not rows:
        return say(f"{here.institution} has asked for no record")
    headings = ("request", "record", "purpose", "reader", "stands")
    table = [(one.request.hex()[:16], one.reference, one.purpose, one.reader or "-", one.stage) for one in rows]
    return say(columns(headings, table))


def _document(one: Standing) -> dict[str, Any]:
    return {
        "request": one.request.hex(), "record": one.reference, "purpose": one.purpose, "reader": one.reader,
        "holder": one.holder, "stage": one.stage, "rules": list(one.rules), "deadline": one.deadline or None,
    }  # fmt: skip


def _emergencies(here: Desk, as_json: bool) -> None:
    from sharing.record.emergencies import open_accesses, told

    rows: list[Access] = list(open_accesses(here.now()))
    if as_json:
        return print_json(
            [
                {
                    "request": one.request.hex(), "record": one.reference, "requester": one.requester,
                    "reader": one.reader, "holder": one.holder, "height": one.height, "due": one.due,
                    "overdue": one.overdue,
                }
                for one in rows
            ]
        )  # fmt: skip
    return say("\n".join(map(told, rows)) or "every emergency access was reviewed")


@app.command("review")
def review(
    given: Annotated[str, typer.Argument(metavar="REQUEST", help="Its id from `record list --emergency`.")],
    reason: Annotated[str, typer.Option(help="What you found; an unknown one lists those there are.")],
    institution: Institution = None,
    as_json: Json = False,
) -> None:
    """Say whether an emergency access was justified: for the record's custodian and for regulators."""
    from ledger.messages.review import JUSTIFIED, REASONS, UNJUSTIFIED
    from sharing.record.emergencies import find as find_access
    from sharing.record.emergencies import review as send

    if reason not in REASONS:
        fail(f"--reason: justified are {', '.join(JUSTIFIED)}; unjustified are {', '.join(UNJUSTIFIED)}", USAGE)
    with sentences(), quiet_libraries():
        here = desk_of(institution)
        access = find_access(here.now(), given)
        id_ = send(here, access, reason)
    if as_json:
        print_json({"transaction": id_.hex(), "request": access.hex(), "justified": reason in JUSTIFIED})
        return
    say(f"offered to the next block: {id_.hex()}")
    if reason in UNJUSTIFIED:
        say(
            "A review moves no credit by itself. Put it before the others as a finding (kind 4, used beyond purpose or "
            f"consent; subject {access.hex()}): an auditor and more than a third of the votes sign it."
        )
