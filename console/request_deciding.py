"""`xinglin request show | list | approve | refuse`: where requests stand, and what the committee says to them."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from console.exits import REFUSED, USAGE, fail, print_json, sentences
from console.motions import Institution, acting, offer
from console.request_files import resolve, today
from console.request_words import named, plain_standing, standing_lines, verdict_lines
from console.screen import columns, quiet_libraries, say

Json = Annotated[bool, typer.Option("--json", help="JSON for programs.")]
Which = Annotated[str, typer.Argument(help="First digits of its transaction or digest, or its request file.")]
Yes = Annotated[bool, typer.Option("--yes", help="Sign without asking once more.")]
#: Blocks that `list` looks at where nothing else is said.
_SINCE: Final = 1_000


def show(which: Which, as_json: Json = False) -> None:
    """Show what a request asks, in plain sentences, and where it stands on the chain."""
    from console.ledger import longest
    from console.records import site
    from sharing.request import desk
    from sharing.request.answer import reasons_of
    from sharing.request.reading import read_request
    from sharing.request.standing import standing
    from sharing.request.words import sentences as told

    with sentences(), quiet_libraries():
        replica = longest()
        found = standing(replica, resolve(which, replica))
        content = desk.find(site().exchange, found.digest)
        request = None if content is None else read_request(content)
        view = replica.view
        reasons = reasons_of(view.policies, found.verdict.policies if found.verdict else ())
    if as_json:
        asks = None if request is None else list(told(request, named(view.roster)))
        print_json(plain_standing(found, view.name) | {"asks": asks})
        return
    say(f"request {found.tx_id.hex()}\ndigest  {found.digest.hex()}\n")
    say("\n".join(told(request, named(view.roster))) if request else "Its file does not lie in the exchange.")
    say("\n" + "\n".join(standing_lines(found, view.name)))
    say("\n".join(verdict_lines(found.verdict, reasons)))


def list_all(
    waiting: Annotated[bool, typer.Option("--waiting", help="Only those that wait for the committee.")] = False,
    since: Annotated[int | None, typer.Option(min=1, help="From this block on; default the last 1,000.")] = None,
    as_json: Json = False,
) -> None:
    """List the requests for datasets on the chain, newest first."""
    from console.ledger import longest
    from console.records import site
    from sharing.request import desk
    from sharing.request.reading import read_request
    from sharing.request.standing import requests, standing

    with sentences(), quiet_libraries():
        replica = longest()
        first = since or replica.view.head.height - _SINCE
        rows = [plain_standing(standing(replica, one), replica.view.name) for one in requests(replica, first)]
        rows = [one for one in rows if not waiting or one["stage"] == "pending"]
        for one in rows:
            content = desk.find(site().exchange, bytes.fromhex(one["digest"]))
            one["title"] = None if content is None else read_request(content).title
    if as_json:
        print_json(rows)
        return
    shown = [
        (one["transaction"][:16], one["stage"], one["requester"], one["title"] or "?", one["asked_at"]) for one in rows
    ]
    say(columns(("request", "stands", "asked by", "title", "block"), shown, numbers=1) if rows else "no request so far")


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
    from console.records import site
    from ledger.messages.approval import Approval
    from sharing.request import desk
    from sharing.request.checks import require_askable
    from sharing.request.reading import read_request
    from sharing.request.standing import standing
    from sharing.request.words import sentences as told

    with sentences(), quiet_libraries():
        replica, member = longest(), acting(institution)
        found = standing(replica, resolve(which, replica))
        content, view = desk.find(site().exchange, found.digest), replica.view
        if content is None:
            fail(
                "its file does not lie in the exchange, and nobody signs what cannot be read; the requester submits it"
            )
        request = read_request(content)
        if approves:
            require_askable(request, view.roster, view.genesis.chain_id, today())
        lines = list(told(request, named(view.roster)))
    word = "approves" if approves else f"refuses ({reason})"
    if not as_json or not yes:
        say("\n".join(lines) + f"\n\nYou sign: {member} {word} the request {found.tx_id.hex()}\n"
            f"with the digest {found.digest.hex()}.")  # fmt: skip
    if not yes and not _confirmed():
        fail("not signed", REFUSED)
    with sentences(), quiet_libraries():
        fields = {"request": found.tx_id, "digest": found.digest, "approves": approves, "reason": reason}
        sent = offer(Approval, member, fields)
    if as_json:
        print_json({"transaction": sent.hex(), "request": found.tx_id.hex(), "digest": found.digest.hex()})
        return
    say(
        f"offered to the next block: {sent.hex()}\n`xinglin request show {found.tx_id.hex()[:16]}` tells when it stands"
    )


def _confirmed() -> bool:
    try:
        return typer.confirm("Sign this?", default=False, err=True)
    except typer.Abort:
        return False
