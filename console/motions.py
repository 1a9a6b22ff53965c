"""What `xinglin policy` and `xinglin governance` share: the chain as it stands here, proposals in words, signing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from console.exits import USAGE, fail, print_json, sentences
from console.ledger import longest
from console.records import site
from console.screen import quiet_libraries, say

if TYPE_CHECKING:
    from ledger.chain.replica import ReplicaView
    from ledger.chain.transaction import Transaction
    from ledger.chain.working_state import WorkingState
    from ledger.contracts.change import Change
    from ledger.contracts.motions import Motion
    from ledger.contracts.policy_check import Changes

Institution = Annotated[
    str | None, typer.Option("--institution", help="Who acts; default the only one whose keys are here.")
]
Title = Annotated[str, typer.Option("--title", help="What it is about, one line for people; no names of patients.")]


@dataclass(frozen=True, slots=True)
class Tried:
    """The next block as it would stand now: for asking what a transaction would do before it is signed."""

    view: ReplicaView
    state: WorkingState


def chain() -> Tried:
    """Return the chain as the longest replica of this machine holds it."""
    from ledger.chain.working_state import WorkingState

    view = longest().view
    return Tried(view, WorkingState(view, view.head.timestamp_ms + 1))


def acting(given: str | None) -> str:
    """Return the institution that acts: the one given, or the only one whose keys are here."""
    at = site()
    here = [one.id for one in at.region.institutions if at.home.keys(one.id).is_dir()]
    if given:
        return given
    if len(here) != 1:
        fail(f"{len(here)} institutions have keys here; name one with --institution", USAGE)
    return here[0]


def offer(kind: type[Transaction], institution: str, fields: dict[str, Any]) -> bytes:
    """Sign a transaction as an institution and offer it to the next producers; return its id.

    Raises:
        Refused: The next block would not take it; nothing was signed.
    """
    at, tried = site(), chain()
    node = at.node(institution)
    draft = kind(**node.heading(), **fields)
    with tried.state.attempt():
        draft.execute(tried.state)
    at.exchange.post_submission(node.sign(draft), b"")
    return draft.tx_id


def put_forward(change: Change, title: str, institution: str | None, as_json: bool) -> None:
    """A change is proposed: signed, offered to the next block, and said to be."""
    from ledger.contracts.governance import Propose

    with sentences(), quiet_libraries():
        id_ = offer(Propose, acting(institution), {"title": title, "change": change})
    offered(id_, as_json)


def offered(id_: bytes, as_json: bool) -> None:
    """Say what was offered to the next block."""
    if as_json:
        print_json({"transaction": id_.hex()})
    else:
        say(f"offered to the next block: {id_.hex()}\n`xinglin policy show` tells when it stands")


def find(tried: Tried, given: str) -> bytes:
    """Return the id of the open proposal that begins with these hex digits."""
    from ledger.contracts.motions import open_motions

    found = [one for one in open_motions(tried.state) if one.hex().startswith(given.lower())]
    if len(found) != 1 or len(given) < 6:
        fail(f"{given}: {len(found)} open proposals begin so; `xinglin policy show` lists them", USAGE)
    return found[0]


def facts(tried: Tried, id_: bytes, motion: Motion) -> dict[str, Any]:
    """Return what a person asks of a proposal."""
    from ledger.contracts.governance import count_votes, due_epoch
    from ledger.contracts.motions import FOR, PASSED, ballots_of

    ballots = ballots_of(tried.state, id_)
    count = count_votes(tried.state, motion.change, ballots)
    named = {choice: sorted(tried.view.name(one) for one, is_ in ballots.items() if (is_ == FOR) == choice)
             for choice in (True, False)}  # fmt: skip
    return {
        "proposal": id_.hex(),
        "kind": motion.change.NAME,
        "title": motion.title,
        "proposer": tried.view.name(motion.proposer),
        "height": motion.height,
        "stage": motion.stage,
        "since": motion.since,
        "made_at_end_of_epoch": due_epoch(tried.state, motion) if motion.stage == PASSED else None,
        "for": named[True],
        "against": named[False],
        "weight": count.weight,
        "of": count.total,
        "cosigned": count.cosigned,
        "at_once": motion.stage == "open" and motion.change.deny_only(tried.state),
        "says": list(says(motion.change, tried)),
    }


def told(one: dict[str, Any]) -> str:
    """Return a proposal as a person reads it."""
    lines = [f"{one['proposal']}", f"  {one['title']} ({one['kind']}, proposed by {one['proposer']})"]
    lines += [f"  {sentence}" for sentence in one["says"]]
    signed = "signed by a regulator" if one["cosigned"] else "not signed by a regulator yet"
    lines.append(f"  {one['weight']} of {one['of']} votes for it, {signed}: {', '.join(one['for']) or 'nobody'}")
    if one["against"]:
        lines.append(f"  against: {', '.join(one['against'])}")
    when = {
        "open": "It is made in the very block in which the votes suffice: it can only deny." if one["at_once"]
        else "Needs more than two thirds of the votes and a regulator; then it waits whole epochs.",
        "passed": f"Passed. It is made in the last block of epoch {one['made_at_end_of_epoch']}, if the votes stay.",
        "enacted": f"Made in block {one['since']}.",
        "lapsed": f"Lapsed in block {one['since']}: too few votes.",
        "void": f"Void since block {one['since']}: by then it could not be made any more. Propose it again.",
    }  # fmt: skip
    return "\n".join([*lines, f"  {when[one['stage']]}"])


def says(change: Change, tried: Tried) -> Iterator[str]:
    """Yield in plain sentences what a change means."""
    from ledger.contracts.member_changes import Admit, Freeze, NewWeight, Remove, RotateKey, Thaw
    from ledger.contracts.policy import PolicySet
    from ledger.contracts.policy_check import changes
    from ledger.contracts.rule_changes import NewEngine, NewNumbers, NewRules

    name = tried.view.name
    match change:
        case NewRules():
            standing = tried.state.policies
            new = PolicySet(change.text, change.schema)
            yield from rule_lines(changes(PolicySet.decode(standing) if standing else PolicySet("", new.schema), new))
        case NewNumbers():
            now = tried.state.parameters
            yield from (f"{key} becomes {value}; it is {getattr(now, key)} now." for key, value in change.values)
        case NewEngine():
            yield f"Rules are judged by {change.engine}; every node halts until it is installed."
        case Admit():
            yield f"{change.title} ({change.name}) is admitted: class {change.class_}, to the rules: {change.party}."
        case Remove():
            yield f"{name(change.institution)} takes part no more."
        case Freeze():
            yield f"{name(change.institution)} may do nothing until it is thawed."
        case Thaw():
            yield f"{name(change.institution)} takes part again."
        case RotateKey():
            yield f"{name(change.institution)} signs with another key: {change.public_key.hex()[:16]}…"
        case NewWeight():
            yield f"{name(change.institution)} casts {change.weight} votes."


def rule_lines(found: Changes) -> Iterator[str]:
    """Yield what changes from one set of rules to another, rule by rule, in their own sentences."""
    yield from (f"+ {one.says} [{one.id}]" for one in found.added)
    yield from (f"- {one.says} [{one.id}]" for one in found.removed)
    for old, new in found.changed:
        yield f"~ {new.says} [{new.id}]"
        yield "    it said: " + (old.says if old.says != new.says else "the same sentence, under other conditions")
    if not (found.added or found.removed or found.changed):
        yield "No rule changes."
