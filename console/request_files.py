"""Files of requests on this machine, and what the vaults here would have for one."""

from __future__ import annotations

import os
from dataclasses import asdict
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from console.exits import UNREADABLE, USAGE, fail

if TYPE_CHECKING:
    from console.motions import Tried
    from ledger.chain.replica import Replica
    from schemas.sharing import DatasetRequest

Password = Annotated[
    Path | None, typer.Option("--password-file", help="File with the key's password; else it is asked for.")
]


def today() -> date:
    """Return the date on this machine."""
    return datetime.now().astimezone().date()


def read_content(path: Path, chain_id: bytes, on: date, recipient: bytes | None = None) -> bytes:
    """Return the request file at a path, or made of the draft there; what is none ends the command with code 3."""
    from sharing.errors import Malformed
    from sharing.request.canonical import MAX_FILE
    from sharing.request.draft import finish
    from sharing.request.reading import read_request

    try:
        if path.suffix != ".json":
            return finish(path, chain_id, on, recipient)
        with path.open("rb") as file:
            content = file.read(MAX_FILE + 1)
        read_request(content)
        return content
    except OSError as error:
        fail(f"{path}: {error.strerror}", UNREADABLE)
    except Malformed as error:
        fail(f"{path}: {error}", UNREADABLE)


def signature_path(path: Path) -> Path:
    """Return where the signatures of a request file lie."""
    return path.with_suffix(".sig")


def read_signatures(path: Path) -> bytes:
    """Return the signatures beside a request file; without them the command ends."""
    beside = signature_path(path)
    try:
        return beside.read_bytes()
    except FileNotFoundError:
        fail(f"{path} is not signed: {beside.name} is not beside it. `xinglin request sign` makes it")
    except OSError as error:
        fail(f"{beside}: {error.strerror}", UNREADABLE)


def write_new(path: Path, content: bytes, mode: int = 0o644) -> None:
    """A file stands that was not there before; one that is there ends the command, untouched."""
    try:
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        fail(f"{path} is there already; take another name, or remove it")
    with os.fdopen(opened, "wb") as file:
        file.write(content)


def password_of(path: Path | None, twice: bool = False) -> bytes:
    """Return the password of a person's key: a file's content without the line end, or what is typed unseen."""
    if path is None:
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=twice, err=True)).encode()
    try:
        found = path.read_bytes().rstrip(b"\r\n")
    except OSError as error:
        fail(f"{path}: {error.strerror}", UNREADABLE)
    if not found:
        fail(f"{path}: the password is empty", USAGE)
    return found


def resolve(which: str, replica: Replica) -> bytes:
    """Return the transaction of the request that is named by a file, or by first digits of its id or digest."""
    from ledger.chain.state import SEEN
    from sharing.request.standing import digest_of, requests

    if (path := Path(which)).suffix == ".json" and path.exists():
        return _of_file(path, replica)
    wanted = which.lower()
    if len(wanted) == 64 and not set(wanted) - set("0123456789abcdef"):
        given = bytes.fromhex(wanted)
        if replica.view.state(SEEN, given) is not None:
            return given
    found = [
        one.tx_id
        for one in requests(replica)
        if one.tx_id.hex().startswith(wanted) or digest_of(one).hex().startswith(wanted)
    ]
    if len(found) != 1 or len(wanted) < 6:
        fail(f"{which}: {len(found)} requests begin so; `xinglin request list` names them", USAGE)
    return found[0]


def _of_file(path: Path, replica: Replica) -> bytes:
    from ledger.chain.state import REQUEST
    from ledger.chain.validators import institution_id
    from sharing.errors import NotYet
    from sharing.request.reading import read_request, request_digest

    content = read_content(path, b"", date.min)
    requester = institution_id(read_request(content).requester)
    found = replica.view.state(REQUEST, requester + request_digest(content))
    if found is None:
        raise NotYet(f"{path}: no final block holds this request so far")
    return found


def previews(request: DatasetRequest, tried: Tried) -> dict[str, dict[str, Any] | None]:
    """Return by holder what it would have for a request; None where its vault is not on this machine."""
    from console.records import site
    from ledger.chain.validators import institution_id
    from sharing.consent import Cutter
    from sharing.request.preview import preview

    at, found = site(), dict[str, dict[str, Any] | None]()
    requester = tried.view.roster.registration(institution_id(request.requester))
    for holder in request.holders:
        found[holder] = None
        if requester is not None and at.home.keys(holder).is_dir():
            cutter = Cutter(tried.view, institution_id(holder), requester, request.purpose, tried.state.time_ms)
            found[holder] = asdict(preview(at.vault(holder), request, cutter))
    return found
