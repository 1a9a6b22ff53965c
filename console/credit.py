"""`xinglin credit`: every institution's score, and which facts of the chain moved it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from console.exits import REFUSED, USAGE, fail, print_json, sentences
from console.ledger import Json, Whose, longest, progress
from console.screen import columns, quiet_libraries, say

if TYPE_CHECKING:
    from ledger.chain.replica import Replica, ReplicaView
    from ledger.credit.credit_history import CreditHistory, EpochAccount
    from ledger.credit.tally import Facts

Why = Annotated[
    str | None,
    typer.Option("--why", metavar="INSTITUTION", help="Every epoch's facts of one institution, counted from blocks."),
]


def credit(why: Why = None, whose: Whose = None, as_json: Json = False) -> None:
    """Show every institution's credit, seat and jail; with --why the facts behind one score, epoch by epoch.

    Exit 1 where the blocks give another score than the replica's state holds.
    """
    with sentences(), quiet_libraries():
        replica = longest(whose)
        view = replica.view
        if why is None:
            rows, alarms = scores(view), standing_alarms(view)
            if as_json:
                print_json({"height": view.head.height, "epoch": view.head.epoch, "scores": rows, "alarms": alarms})
            else:
                _print_scores(view, rows, alarms)
            return
        account = explain(replica, why)
    if as_json:
        print_json(account)
    else:
        _print_account(account)
    if not account["holds"]:
        raise typer.Exit(REFUSED)


# --- scores --------------------------------------------------------------------------------------------------------


def scores(view: ReplicaView) -> list[dict[str, Any]]:
    """Return each registered institution's credit and seat, best first."""
    from ledger.chain.state import CREDIT
    from ledger.credit.credit import opened_credit

    rows, members = list[dict[str, Any]](), view.validators
    for one in view.roster:
        found = opened_credit(view.state(CREDIT, one.id), members, one.id)
        seat = members.member(one.id)
        rows.append(
            {
                "institution": one.name,
                "class": one.class_,
                "score": found.score,
                "earned": found.role,
                "seat": seat.role if seat else "none",
                "weight": seat.weight if seat else 0,
                "standing": one.standing,
                "jailed_until_epoch": found.jailed_until or None,
                "convicted_at_height": found.convicted_at or None,
            }
        )
    return sorted(rows, key=lambda row: (-row["score"], row["institution"]))


def standing_alarms(view: ReplicaView) -> list[dict[str, Any]]:
    """Return why seats of the present epoch are not those that were earned."""
    from ledger.chain.state import CREDIT, ONLY
    from ledger.credit.seats import Alarms

    value = view.state(CREDIT, ONLY)
    found = Alarms.decode(value).alarms if value else ()
    return [{"institution": "the region" if id_ == bytes(16) else view.name(id_), "reason": why} for why, id_ in found]


#: What an alarm means, for people.
_ALARM_TEXTS = {
    "kept as a voter": "votes although its credit or standing would end that: fewer than 4 voters would be left",
    "kept as a producer": "takes producers' turns so that there are 3 producers",
    "weight follows later": "has another weight than it should: one epoch moves less than a third of the votes",
    "too few voters": "has fewer than 4 institutions that may vote: its voters stay until governance admits more",
}  # fmt: skip


def _print_scores(view: ReplicaView, rows: list[dict[str, Any]], alarms: list[dict[str, Any]]) -> None:
    height = view.head.height
    say(f"block {height}; the next is of epoch {view.genesis.epoch(height + 1)}\n")
    table = [
        (row["institution"], row["class"], row["seat"], row["earned"], _jail(row), row["weight"], row["score"])
        for row in rows
    ]
    say(columns(("institution", "class", "seat", "earned", "jail", "votes", "score"), table, numbers=2))
    for one in alarms:
        say(f"alarm: {one['institution']} {_ALARM_TEXTS[one['reason']]}")


def _jail(row: dict[str, Any]) -> str:
    if row["standing"] != "active":
        return str(row["standing"])
    return f"to epoch {row['jailed_until_epoch']}" if row["jailed_until_epoch"] else "-"


# --- why -----------------------------------------------------------------------------------------------------------


def explain(replica: Replica, name: str) -> dict[str, Any]:
    """Return every epoch's facts of one institution and how they moved its score.

    The chain is counted again from block 1; nothing but blocks is believed.
    """
    from ledger.chain.validators import institution_id
    from ledger.credit.credit_history import credit_history

    view = replica.view
    if view.roster.registration(institution_id(name)) is None:
        known = ", ".join(sorted(one.name for one in view.roster))
        fail(f"nobody is registered as {name!r}; there are {known}", USAGE)
    with progress() as follow:
        history = credit_history(replica, follow("counting"))
    [row] = [one for one in scores(view) if one["institution"] == name]
    return {
        **row,
        "height": history.height,
        "epochs": [_epoch(one) for one in history.accounts.get(institution_id(name), ())],
        "open_epoch": _facts(history.open_facts.get(institution_id(name))),
        "holds": _holds(history),
        "rules_changed": history.rules_changed,
    }


def _holds(history: CreditHistory) -> bool:
    """Whether blocks and state agree; after a change of rules earlier epochs may honestly differ."""
    return history.rules_changed or not (history.differing or history.miscounted)


def _epoch(one: EpochAccount) -> dict[str, Any]:
    return {
        "epoch": one.epoch,
        "before": one.change.before,
        "causes": dict(one.change.causes),
        "drift": one.change.drift,
        "after": one.change.after,
        "earned": one.role,
        "facts": _facts(one.facts),
        "events": [{"height": event.height, "text": event.text} for event in one.events],
    }


def _facts(facts: Facts | None) -> dict[str, Any]:
    from ledger.credit.tally import Facts as Nothing

    found = facts or Nothing()
    return {
        "built": found.built, "confirmed": found.included, "certificates": found.seats, "missed": found.missed,
        "waived": found.waived, "broken_builds": found.broken, "violation_points": found.violated,
        "unanswered_requests": found.unanswered, "convicted": found.convicted,
    }  # fmt: skip


def _print_account(account: dict[str, Any]) -> None:
    say(
        f"{account['institution']}: class {account['class']}, score {account['score']}, seat {account['seat']} "
        f"with {account['weight']} votes, jail {_jail(account)}\n"
    )
    table = [
        (one["epoch"], _counted(one["facts"]), _causes(one), one["earned"], one["before"], one["drift"], one["after"])
        for one in account["epochs"]
    ]
    say(columns(("epoch", "facts", "points", "earned", "before", "drift", "after"), table, numbers=3))
    say(f"open  {_counted(account['open_epoch'])}")
    for one in account["epochs"]:
        for event in one["events"]:
            say(f"epoch {one['epoch']}, block {event['height']}: {event['text']}")
    say(f"\ncounted from blocks 1 to {account['height']}: " + _verdict(account))


def _verdict(account: dict[str, Any]) -> str:
    if account["rules_changed"]:
        return "by the present rules; governance changed them meanwhile, so earlier epochs may have counted otherwise"
    if account["holds"]:
        return "the state holds the same scores"
    return "the state holds OTHER scores; `xinglin ledger verify` says what was changed"


def _counted(facts: dict[str, Any]) -> str:
    parts = [f"built {facts['built']}"] if facts["built"] else []
    if facts["certificates"]:
        parts.append(f"confirmed {facts['confirmed']} of {facts['certificates']}")
    parts += [f"missed {facts['missed']}"] if facts["missed"] else []
    parts += [f"waived {facts['waived']}"] if facts["waived"] else []
    parts += [f"broken builds {facts['broken_builds']}"] if facts["broken_builds"] else []
    parts += [f"violations {facts['violation_points']}"] if facts["violation_points"] else []
    parts += [f"unanswered {facts['unanswered_requests']}"] if facts["unanswered_requests"] else []
    parts += ["convicted"] if facts["convicted"] else []
    return ", ".join(parts) or "-"


def _causes(one: dict[str, Any]) -> str:
    return ", ".join(f"{cause} {number:+d}" for cause, number in one["causes"].items()) or "-"
