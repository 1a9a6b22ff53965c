"""`xinglin request`: a dataset is asked for: written, tried, signed, submitted, and decided by the committee."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from console.exits import REFUSED, UNREADABLE, fail, print_json, sentences
from console.motions import Institution, chain
from console.request_asking import Asked, ask_for_the_rest
from console.request_deciding import approve, list_all, refuse, show
from console.request_files import (
    Password,
    password_of,
    previews,
    read_content,
    read_signatures,
    signature_path,
    today,
    write_new,
)
from console.request_words import answer_lines, named, plain_answer
from console.screen import quiet_libraries, say

if TYPE_CHECKING:
    from schemas.sharing import DatasetRequest

app = typer.Typer(help="Ask for a dataset, and decide on requests; docs/requests.md shows how.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="JSON for programs.")]
Draft = Annotated[Path, typer.Argument(help="A draft (.yaml), or a request file (.request.json).")]
File = Annotated[Path, typer.Argument(help="The request file, as `sign` wrote it.")]


@app.command("new")
def new(
    file: Annotated[Path, typer.Argument(help="Where to write the draft, NAME.yaml.")],
    title: Annotated[str, typer.Option(help="What it is for, in one line for people.")] = "",
    requester: Annotated[str, typer.Option(help="Institution that asks.")] = "",
    holder: Annotated[list[str] | None, typer.Option(help="Whose records; repeat it.")] = None,
    purpose: Annotated[str, typer.Option(help="research, claims, public-health, audit or care.")] = "",
    code: Annotated[
        list[str] | None,
        typer.Option(metavar="SYSTEM|CODE[,…]", help="A criterion: patients with a record of one of these codes."),
    ] = None,
    since: Annotated[str, typer.Option("--from", metavar="DATE", help="First date of records.")] = "",
    until: Annotated[str, typer.Option(metavar="DATE", help="Last date of records.")] = "",
    ages: Annotated[str, typer.Option(metavar="FROM-TO", help="Completed years.")] = "",
    sex: Annotated[list[str] | None, typer.Option(help="female, male, other, unknown.")] = None,
    view: Annotated[list[str] | None, typer.Option(help="A table: from the library, or a .json file.")] = None,
    most: Annotated[int, typer.Option(min=1, help="Records at most.")] = 100_000,
    keep_until: Annotated[str, typer.Option(metavar="DATE", help="By when you delete the dataset.")] = "",
    ethics: Annotated[
        str, typer.Option(metavar="COMMITTEE,NUMBER,FROM,UNTIL,FILE", help="The ethics committee's approval.")
    ] = "",
    ask: Annotated[bool, typer.Option("--ask", help="Ask for what no option says.")] = False,
) -> None:
    """Write a draft of a request: from options, from questions, or to be completed by hand."""
    from sharing.request.template import draft

    asked = Asked(title, requester, holder or [], purpose, code or [], since, until, ages, sex or [], view or [],
                  most, keep_until, ethics)  # fmt: skip
    if ask:
        asked = ask_for_the_rest(asked)
    with sentences():
        write_new(file, draft(asked.wishes()).encode())
    say(f"{file}: complete it, then `xinglin request check {file}`")


@app.command("key")
def key(
    file: Annotated[Path, typer.Argument(help="Where to write the key, NAME.pem.")],
    password_file: Password = None,
    as_json: Json = False,
) -> None:
    """Make an SM2 key for a person: datasets sealed to it open with this file and its password, and nowhere else."""
    from shangmi import PrivateKey

    password, made = password_of(password_file, twice=True), PrivateKey.generate()
    with sentences():
        write_new(file, made.to_pem(password), mode=0o600)
    if as_json:
        print_json({"recipient": made.public.bytes.hex()})
        return
    say(f"{file}: keep it and its password; without them no dataset opens.\nrecipient: {made.public.bytes.hex()}")


@app.command("check")
def check(file: Draft, as_json: Json = False) -> None:
    """Try a request: how much it would find, what the rules would answer now, why, and what would change that.

    Nothing is signed or sent. Only who keeps records counts them: numbers come from the vaults on this machine.
    Exit 1 where it cannot be asked so, or where the rules deny it.
    """
    from schemas.home import Home
    from sharing.request.reading import read_request
    from sharing.request.words import sentences as told

    with sentences(), quiet_libraries():
        here = Home.from_environment().genesis.exists()
        content = read_content(file, chain().view.genesis.chain_id if here else bytes(32), today())
        request = read_request(content)
        if not here:
            _end_without_chain(request, as_json)
            return
        tried = chain()
        answer, faults = _tried(content, request)
        found = previews(request, tried) if not faults else {}
    if as_json:
        faulty = [{"rule": one.rule, "place": one.place, "why": one.why} for one in faults]
        print_json({"faults": faulty, "finds": found} | (plain_answer(answer) if answer else {}))
    else:
        say("\n".join(told(request, named(tried.view.roster))) + "\n")
        _say_trial(answer, faults, found)
    if faults or answer is None or answer.word == "denied":
        raise typer.Exit(REFUSED)


def _tried(content: bytes, request: DatasetRequest) -> tuple[Any, list[Any]]:
    """Return what the rules would answer in the next block, and what keeps the request from being asked at all."""
    from ledger.chain.validators import institution_id
    from sharing.request.answer import answer
    from sharing.request.checks import request_faults
    from sharing.request.signing import access_request

    tried = chain()
    faults = list(request_faults(request, tried.view.roster, tried.view.genesis.chain_id, today()))
    registration = tried.view.roster.registration(institution_id(request.requester))
    if faults or registration is None:
        return None, faults
    heading = {"chain_id": request.chain_id, "sender": registration.id, "key_id": registration.key_id,
               "nonce": request.nonce, "expiry_height": tried.state.height}  # fmt: skip
    return answer(tried.state, access_request(request, content, heading).facts(tried.state)), []


def _end_without_chain(request: DatasetRequest, as_json: bool) -> None:
    from sharing.request.words import sentences as told

    if as_json:
        print_json({"faults": [], "finds": {}, "answer": None})
        return
    say("\n".join(told(request)) + "\n\nThe form is right. There is no chain here, so nobody asked the rules.")


def _say_trial(answer: Any, faults: list[Any], found: dict[str, Any]) -> None:
    if faults:
        say("It cannot be asked so:\n" + "\n".join(f"  {one.place}: {one.why} [{one.rule}]" for one in faults))
        return
    for holder, one in found.items():
        if one is None:
            say(f"{holder}: its records are not on this machine; only it can count them")
            continue
        rows = ", ".join(f"{name} {count}" for name, count in one["rows"].items())
        say(f"{holder}: about {one['persons']} persons meant, {one['permitted']} whose statements let something go, "
            f"{one['records']} records; rows before the risk gate: {rows}")  # fmt: skip
        if one["most_exceeded"]:
            say("  More records than `most` allows: it would be answered with none. Ask for fewer, or raise `most`.")
    say("\n".join(answer_lines(answer)))


@app.command("sign")
def sign(
    file: Draft,
    out: Annotated[Path | None, typer.Option("--output", "-o", help="Default: NAME.request.json beside it.")] = None,
    key_file: Annotated[Path | None, typer.Option("--key", help="The key of `request key` it is sealed to.")] = None,
    password_file: Password = None,
    institution: Institution = None,
    as_json: Json = False,
) -> None:
    """Sign a request as your institution: writes NAME.request.json, which everybody reads, and NAME.request.sig.

    A draft becomes a request file; a request file is signed anew as it is, when its signature has lapsed.
    """
    from console.records import site
    from sharing.request.checks import require_askable
    from sharing.request.reading import read_request, request_digest
    from sharing.request.signing import sign_request

    person = _key(key_file, password_file)
    with sentences(), quiet_libraries():
        tried = chain()
        content = read_content(file, tried.view.genesis.chain_id, today(), person.public.bytes if person else None)
        request = read_request(content)
        require_askable(request, tried.view.roster, tried.view.genesis.chain_id, today())
        signatures = sign_request(content, site().node(institution or acting_for(request.requester)), person)
        is_draft = file.suffix != ".json"
        target = out or (file.with_name(f"{file.stem}.request.json") if is_draft else file)
        if is_draft:
            write_new(target, content)
        signature_path(target).write_bytes(signatures.encode())
    if as_json:
        print_json({"file": str(target), "digest": request_digest(content).hex()})
        return
    say(f"signed as {request.requester}: {target} and {signature_path(target).name}\n"
        f"digest {request_digest(content).hex()}\nsend it with `xinglin request submit {target}`")  # fmt: skip


def acting_for(requester: str) -> str:
    """Return the requester where its keys are here; else the command ends."""
    from console.records import site

    at = site()
    if at.home.node_socket is None and not at.home.keys(requester).is_dir():
        fail(f"the keys of {requester} are not on this machine; sign where they are")
    return requester


@app.command("submit")
def submit(
    file: File,
    anyway: Annotated[bool, typer.Option("--anyway", help="Even though the rules would deny it now.")] = False,
    as_json: Json = False,
) -> None:
    """Offer a signed request to the next block, and leave its file where holders and committee read it."""
    from console.records import site
    from sharing.request.submitting import submit as send

    with sentences(), quiet_libraries():
        content, signatures = read_content(file, b"", today()), read_signatures(file)
        sent = send(site().exchange, chain().state, content, signatures, today(), anyway=anyway)
    id_ = None if sent.tx_id is None else sent.tx_id.hex()
    if as_json:
        print_json({"transaction": id_} | plain_answer(sent.answer))
    else:
        say("\n".join(answer_lines(sent.answer)))
        if id_ is not None:
            say(f"offered to the next block: {id_}\n`xinglin request show {file}` tells where it stands")
    if id_ is None:
        fail("not sent: the rules would deny it. `--anyway` has the denial written on the chain")


def _key(path: Path | None, password_file: Path | None) -> Any:
    """Return the key in a PEM file, or None where none is named."""
    from shangmi import PrivateKey, ShangmiError

    if path is None:
        return None
    password = password_of(password_file)
    try:
        return PrivateKey.from_pem(path.read_bytes(), password)
    except OSError as error:
        fail(f"{path}: {error.strerror}", UNREADABLE)
    except ShangmiError as error:
        fail(f"{path}: {error}")


app.command("show")(show)
app.command("list")(list_all)
app.command("approve")(approve)
app.command("refuse")(refuse)
