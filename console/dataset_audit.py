"""`xinglin dataset audit`, `exports`, `recut`: who received what and why; how far exports are; rows called back."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from console.exits import REFUSED, fail, print_json, sentences
from console.ledger import Json, Whose, longest
from console.motions import Institution, acting
from console.records import site
from console.screen import columns, quiet_libraries, say

if TYPE_CHECKING:
    from sharing.audit import Access

_ROWS = {
    "rows raised": "called rows back",
    "rows recut": "cut the dataset anew, without them",
    "rows replaced": "put the new package in place of the old one",
    "rows deleted": "deleted the dataset",
}
#: The region's time, as people there read it.
_REGION = timedelta(hours=8)


def audit(
    requester: Annotated[str | None, typer.Option(help="Only what this institution asked for.")] = None,
    holder: Annotated[str | None, typer.Option(help="Only what this institution was asked for.")] = None,
    purpose: Annotated[str | None, typer.Option(help="Only for this purpose.")] = None,
    kind: Annotated[str | None, typer.Option(help="`dataset` or `record`.")] = None,
    since: Annotated[int, typer.Option(min=1, help="Only requests from this block on.")] = 1,
    given: Annotated[bool, typer.Option("--given", help="Only where something was delivered.")] = False,
    whose: Whose = None,
    as_json: Json = False,
) -> None:
    """Tell who received what, when, why, and allowed by whom: from the blocks alone, asking nobody."""
    from sharing.audit import accesses

    with sentences(), quiet_libraries():
        replica = longest(whose)
        found = [
            one
            for one in accesses(replica, range(since, replica.view.head.height + 1))
            if requester in (None, one.requester)
            and (holder is None or holder in one.holders)
            and purpose in (None, one.purpose)
            and kind in (None, one.kind)
            and (one.given or not given)
        ]
    if as_json:
        print_json([one.as_dict() for one in found])
        return
    for one in found:
        say("\n".join(_told(one)))
    say(counted(len(found), "request"))


def _told(one: Access) -> Iterator[str]:
    many = "" if one.most == 1 else f", {one.most} records at most"
    by = f" for its {one.reader}" if one.reader else ""
    yield f"{_time(one.time_ms)}  {one.requester} asked {', '.join(one.holders)} for a {one.kind}{many}"
    yield f"    {one.purpose}{by}; request {one.request.hex()[:16]}, file {one.digest.hex()[:16]}, block {one.height}"
    if one.decision is None:
        yield "    decided in a block that this replica did not execute itself"
    else:
        rules = ", ".join(one.decision.policies) or "no rule"
        yield f"    {_decided(one)} by {rules}"
    for fact in one.later:
        yield f"    {_time(fact['time_ms'])}  {fact['who']}: {_said(fact)} (block {fact['height']})"


def _decided(one: Access) -> str:
    if one.decision is None or one.decision.allowed:
        return "allowed"
    return "put before the data access committee" if one.decision.pending else f"denied ({one.decision.reason})"


def _said(fact: dict[str, Any]) -> str:
    if fact["what"] == "delivered":
        return f"delivered {counted(fact['records'], 'record')}, package {fact['package'][:16]}"
    if fact["what"] in _ROWS:
        whose = f" of at most {counted(fact['persons'], 'person')}" if fact["persons"] else ""
        return _ROWS[fact["what"]] + whose
    if fact["what"] == "received":
        return f"received package {fact['package'][:16]}"
    return f"{fact['what']}{': ' + fact['reason'] if fact.get('reason') else ''}"


def counted(number: int, noun: str) -> str:
    """Return a number of things in words."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _time(milliseconds: int) -> str:
    return f"{datetime.fromtimestamp(milliseconds / 1_000, UTC) + _REGION:%Y-%m-%d %H:%M}"


def recut(
    request: Annotated[str, typer.Argument(help="First digits of the request's transaction or digest.")],
    institution: Institution = None,
    as_json: Json = False,
) -> None:
    """Cut a dataset anew, without the rows that patients called back; the requester is told in the next block."""
    from console.request_files import resolve
    from dags.steps import share
    from ledger.messages.notice import notice
    from sharing.export import standing

    with sentences(), quiet_libraries():
        holder = share.holder(acting(institution), site())
        tx_id = resolve(request, holder.replica)
        ledger = standing.now(holder.replica)
        called = notice(ledger, tx_id, holder.party)
        if called is None or not called.open:
            fail("no rows of this dataset are called back; `xinglin consent withdraw` says so where there are", REFUSED)
        finished = share.export(holder, tx_id, again=True).recut()
    facts = {"request": tx_id.hex(), "package": finished.package.hex(), "records": finished.records}
    if as_json:
        print_json(facts)
    else:
        say(f"{finished.records} records are in package {finished.package.hex()[:16]}; the next block tells who asked")


def exports(as_json: Json = False) -> None:
    """Show how far the exports of this machine's holders are: counts and reasons, no patients' data."""
    from console.records import vaults

    with sentences(), quiet_libraries():
        found = [(name, one) for name, vault in vaults(site()) for one in vault.exports.all()]
    if as_json:
        print_json(
            [
                {"holder": name, "request": one.request, "state": one.state, "done": one.done, "parts": one.parts,
                 "reason": one.reason, "since": one.since, "at": one.at, **one.facts}
                for name, one in found
            ]
        )  # fmt: skip
        return
    rows = [(name, one.request[:16], one.state, f"{one.done} of {one.parts}", one.reason) for name, one in found]
    say(columns(("holder", "request", "state", "parts", "reason"), rows) if rows else "nothing was exported here")
