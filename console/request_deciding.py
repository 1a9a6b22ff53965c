"""`xinglin request show | list | approve | refuse`: where requests stand, and what the committee says to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from console.exits import REFUSED, USAGE, fail, print_json, sentences
from console.motions import Institution, acting, offer
from console.request_files import resolve, today
from console.request_words import named, plain_standing, record_lines, standing_lines, verdict_lines
from console.screen import columns, quiet_libraries, say

if TYPE_CHECKING:
    from ledger.chain.replica import ReplicaView
    from sharing.request.standing import Standing

Json = Annotated[bool, typer.Option("--json", help="JSON for programs.")]
Which = Annotated[str, typer.Argument(help="First digits of its transaction or digest, or its request file.")]
Yes = Annotated[bool, typer.Option("--yes", help="Sign without asking once more.")]
#: Blocks that `list` looks at where nothing else is said.
_SINCE: Final = 1_000


def show(which: Which, as_json: Json = False) -> None:
    """Show what a request asks, in plain sentences, and where it stands on the chain."""
    from console.ledger import longest
    from sharing.request.answer import reasons_of
    from sharing.request.standing import standing

    with sentences(), quiet_libraries():
        replica = longest()
        found, view = standing(replica, resolve(which, replica)), replica.view
        asks = _asks(found, view)
        reasons = reasons_of(view.policies, found.verdict.policies if found.verdict else ())
    if as_json:
        print_json(plain_standing(found, view.name) | {"asks": asks})
        return
    say(f"request {found.asked.tx_id.hex()}\ndigest  {found.digest.hex()}\n")
    say("\n".join(asks or ["Its file does not lie in the exchange."]))
    say("\n" + "\n".join(standing_lines(found, view.name)))
    say("\n".join(verdict_lines(found.verdict, reasons)))


def _asks(found: Standing, view: ReplicaView) -> list[str] | None:
    """Return what is asked, a sentence each; None where the file of it does not lie in the exchange.

    Raises:
        Tampered: The chain was asked something else than the file says.
    """
    from console.records import site
    from sharing.request import desk
    from sharing.request.reading import read_request
    from sharing.request.signing import require_same
    from sharing.request.words import sentences as told

    if found.is_record:
        return list(record_lines(found, view.name))
    content = desk.find(site().exchange, found.digest)
    if content is None:
        return None
    require_same(found.asked, content)
    return list(told(read_request(content), named(view.roster)))


def list_all(
    waiting: Annotated[bool, typer.Option("--waiting", help="Only those that wait for the committee.")] = False,
    records: Annotated[bool, typer.Option("--records", help="Requests for single records too.")] = False,
    since: Annotated[int | None, typer.Option(min=1, help="From this block on; default the last 1,000.")] = None,
    as_json: Json = False,
) -> None:
    """List the requests for datasets on the chain, newest first."""
    from console.ledger import longest
    from sharing.request.standing import requests, standing

    with sentences(), quiet_libraries():
        replica = longest()
        first = since or replica.view.head.height - _SINCE
        found = (standing(replica, one.tx_id) for one in requests(replica, first))
        rows = [
            plain_standing(one, replica.view.name) | {"title": _title(one, replica.view)}
            for one in found
            if (one.stage == "pending" or not waiting) and (waiting or records or not one.is_record)
        ]
    if as_json:
        print_json(rows)
        return
    shown = [(one["transaction"][:16], one["stage"], one["requester"], one["title"], one["asked_at"]) for one in rows]
    say(columns(("request", "stands", "asked by", "title", "block"), shown, numbers=1) if rows else "no request so far")


def _title(found: Standing, view: ReplicaView) -> str:
    """Return what a request is called in a list."""
    from sharing.errors import Tampered

    try:
        asks = _asks(found, view)
    except Tampered:
        return "(its file says something else than the chain)"
    return asks[0].strip("“”") if asks else "(its file does not lie in the exchange)"


def approve(which: Which, institution: Institution = None, yes: Yes = False, as_json: Json = False) -> None:
    """Approve a request as a member of the data access committee: reads it out, then signs its exact digest."""
    _speak(which, True, "", institution, yes, as_json)


def refuse(
    which: Which,
    reason: Annotated[
        str, typer.Option(help="purpose, ethics, too-much, re-identification, unclear, conflict or other.")
    ],
    institution: Institution = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Refuse a request as a member of the data access committee; two refusals close it."""
    from ledger.messages.request_state import VOICE_REASONS

    if reason not in VOICE_REASONS[1:]:
        fail(f"--reason {reason}: expected one of {', '.join(VOICE_REASONS[1:])}", USAGE)
    _speak(which, False, reason, institution, yes, as_json)


def _speak(which: str, approves: bool, reason: str, institution: str | None, yes: bool, as_json: bool) -> None:
    """A member's word is offered to the next block, once the person has read what is signed."""
    from console.ledger import longest
    from ledger.messages.approval import Approval
    from sharing.request.standing import standing

    with sentences(), quiet_libraries():
        replica, member = longest(), acting(institution)
        found, view = standing(replica, resolve(which, replica)), replica.view
        if (asks := _asks(found, view)) is None:
            fail("its file does not lie in the exchange, and nobody signs what cannot be read; the requester posts it")
        if approves and not found.is_record:
            _check_askable(found, view)
    id_, digest = found.asked.tx_id.hex(), found.digest.hex()
    word = "approves" if approves else f"refuses ({reason})"
    if not as_json or not yes:
        say("\n".join(asks) + f"\n\nYou sign: {member} {word} the request {id_}\nwith the digest {digest}.")
    if not yes and not _confirmed():
        fail("not signed", REFUSED)
    with sentences(), quiet_libraries():
        fields = {"request": found.asked.tx_id, "digest": found.digest, "approves": approves, "reason": reason}
        sent = offer(Approval, member, fields)
    if as_json:
        print_json({"transaction": sent.hex(), "request": id_, "digest": digest})
        return
    say(f"offered to the next block: {sent.hex()}\n`xinglin request show {id_[:16]}` tells when it stands")


def _check_askable(found: Standing, view: ReplicaView) -> None:
    """Raise Refused where what is asked may not be asked any more, so that nobody approves it in vain."""
    from console.records import site
    from sharing.request import desk
    from sharing.request.checks import require_askable
    from sharing.request.reading import read_request

    content = desk.find(site().exchange, found.digest)
    if content is not None:
        require_askable(read_request(content), view.roster, view.genesis.chain_id, today())


def _confirmed() -> bool:
    try:
        return typer.confirm("Sign this?", default=False, err=True)
    except typer.Abort:
        return False
