"""`xinglin policy`: the region's rules of sharing: try them, propose others, vote, read what holds."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from console.exits import REFUSED, UNREADABLE, fail, print_json, sentences
from console.motions import (
    Institution,
    Title,
    acting,
    chain,
    facts,
    find,
    offer,
    offered,
    put_forward,
    rule_lines,
    told,
)
from console.policy_words import plain_changes, plain_rules, plain_trial, question_of, trial_told
from console.screen import columns, quiet_libraries, say

if TYPE_CHECKING:
    from ledger.contracts.policy import PolicySet
    from ledger.contracts.policy_request import Question

app = typer.Typer(help="The region's rules of sharing; docs/governance.md shows how.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="JSON for programs.")]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        fail(f"{path}: not UTF-8 text", UNREADABLE)
    except OSError as error:
        fail(f"{path}: {error.strerror}", UNREADABLE)


def _shipped() -> PolicySet:
    from ledger.contracts.policy import PolicySet, default_policies

    return PolicySet.decode(default_policies())


def _standing() -> PolicySet:
    """Return the rules in force on the chain."""
    from ledger.contracts.policy import PolicySet

    encoded = chain().view.policies
    if not encoded:
        fail("the chain has no rules yet: uploads of one's own are allowed and nothing else. Propose some")
    return PolicySet.decode(encoded)


@app.command("check")
def check(
    file: Annotated[Path | None, typer.Argument(help="Rules in Cedar; default those in force on the chain.")] = None,
    against: Annotated[Path | None, typer.Option(help="Compare with these rules; default those in force.")] = None,
    as_: Annotated[
        str | None, typer.Option("--as", metavar="WHO", help="Ask as this institution, or as: hospital, insurer, …")
    ] = None,
    action: Annotated[str, typer.Option(help="upload, access or download.")] = "access",
    purpose: Annotated[str, typer.Option(help="care, emergency, research, claims, public-health, audit.")] = "care",
    owner: Annotated[str, typer.Option(help="Whose records.")] = "another-hospital",
    consent: Annotated[str, typer.Option(help="What the patient's statement says: permit, deny, none.")] = "none",
    reader: Annotated[str, typer.Option(help="Who reads, if not the institution: doctor, patient.")] = "",
    credit: Annotated[int, typer.Option(min=0, max=1000, help="Credit of who asks.")] = 600,
    records: Annotated[int, typer.Option(min=1, help="How many records at most.")] = 1,
    dataset: Annotated[bool, typer.Option("--dataset", help="Many patients' records, not one.")] = False,
    ethics: Annotated[bool, typer.Option("--ethics", help="It names an ethics committee's approval.")] = False,
    approved: Annotated[bool, typer.Option("--approved", help="The data access committee approved it.")] = False,
    recent: Annotated[int, typer.Option(min=0, help="Requests of its kind that it made in this epoch.")] = 0,
    erased: Annotated[bool, typer.Option("--erased", help="The record is erased.")] = False,
    as_json: Json = False,
) -> None:
    """Find faults in rules, say what they mean and what they would change; with --as ask them one question.

    Exit 1 where the rules have faults, or where they deny what --as asks.
    """
    with sentences(), quiet_libraries():
        rules = _standing() if file is None else _rules(_read(file))
        if (faults := _faults(rules)) is not None:
            _end_with_faults(faults, as_json)
        if as_ is None:
            _explain(rules, _compared(against, file), as_json)
            return
        asked = question_of(
            as_, owner, credit, action=action, purpose=purpose, consent=consent, reader=reader, records=records,
            dataset=dataset, ethics=ethics, approved=approved, recent=recent, erased=erased,
        )  # fmt: skip
        allowed = _answer(rules, asked, as_json)
    if not allowed:
        raise typer.Exit(REFUSED)


def _rules(text: str) -> PolicySet:
    from dataclasses import replace

    return replace(_shipped(), text=text)


def _faults(rules: PolicySet) -> list[dict[str, str]] | None:
    from ledger.contracts.policy_check import check_policies

    found = check_policies(rules.text, rules.schema)
    return [{"rule": one.rule, "message": one.message} for one in found] or None


def _end_with_faults(faults: list[dict[str, str]], as_json: bool) -> None:
    if as_json:
        print_json({"faults": faults})
        raise typer.Exit(REFUSED)
    for one in faults:
        say(f"{one['rule']}: {one['message']}" if one["rule"] else one["message"])
    fail("these rules cannot be proposed; mend what is named above")


def _compared(against: Path | None, file: Path | None) -> PolicySet | None:
    """Return the rules to compare with: a file's, or the chain's where there is one here; else none."""
    from schemas.home import Home

    if against is not None:
        other = _rules(_read(against))
        if (faults := _faults(other)) is not None:
            fail(f"{against}: {faults[0]['message']}")
        return other
    return _standing() if file is not None and Home.from_environment().genesis.exists() else None


def _explain(rules: PolicySet, old: PolicySet | None, as_json: bool) -> None:
    from ledger.contracts.policy_check import changes, rules_of
    from ledger.contracts.policy_trials import compare

    found = rules_of(rules.text)
    change, trial = (changes(old, rules), compare(old, rules)) if old else (None, None)
    if as_json:
        moved = None if change is None or trial is None else plain_changes(change) | plain_trial(trial)
        print_json({"faults": [], "policy_hash": rules.hash.hex(), "rules": plain_rules(found), "changes": moved})
        return
    say("\n".join(f"{'forbidden' if one.forbids else 'permitted'}: {one.says} [{one.id}]" for one in found))
    if change is not None and trial is not None:
        say("\nCompared with the rules in force:\n" + "\n".join(rule_lines(change)))
        say(trial_told(trial))
        wait = "in the block after the vote: they can only deny" if change.deny_only else "after whole epochs"
        say(f"Once voted, these rules come into force {wait}.")


def _answer(rules: PolicySet, question: Question, as_json: bool) -> bool:
    from ledger.contracts.policy_check import rules_of

    decision = rules.decide(question)
    said = {one.id: one.says for one in rules_of(rules.text)}
    if as_json:
        print_json({"allowed": decision.allowed, "reason": decision.reason, "policies": list(decision.policies),
                    "says": [said[one] for one in decision.policies], "policy_hash": rules.hash.hex()})  # fmt: skip
        return decision.allowed
    say(f"{'allowed' if decision.allowed else 'denied'}: {decision.reason}")
    say(
        "\n".join(f"  {said[one]} [{one}]" for one in decision.policies)
        or "  No rule permits it with these facts; what none permits is denied."
    )
    return decision.allowed


@app.command("show")
def show(
    proposal: Annotated[str | None, typer.Argument(help="First digits of a proposal's id; default all.")] = None,
    text: Annotated[bool, typer.Option("--text", help="Write the rules in force as they are, to edit them.")] = False,
    as_json: Json = False,
) -> None:
    """Show the rules in force in plain sentences, and every open proposal with its votes."""
    from ledger.contracts.motions import motion_of, open_motions
    from ledger.contracts.policy import PolicySet
    from ledger.contracts.policy_check import rules_of

    with sentences(), quiet_libraries():
        tried = chain()
        wanted = open_motions(tried.state) if proposal is None else [find(tried, proposal)]
        motions = [facts(tried, one, motion) for one in wanted if (motion := motion_of(tried.state, one)) is not None]
        standing = PolicySet.decode(tried.view.policies) if tried.view.policies else None
        found = rules_of(standing.text) if standing else []
    if text:
        if standing is None:
            fail("the chain has no rules yet")
        sys.stdout.write(standing.text)
        return
    if as_json:
        hash_ = standing.hash.hex() if standing else None
        print_json({"policy_hash": hash_, "engine": standing.engine if standing else None, "rules": plain_rules(found),
                    "proposals": motions, "height": tried.view.head.height})  # fmt: skip
        return
    if proposal is None and standing is not None:
        say(f"rules {standing.hash.hex()}, judged by {standing.engine}\n")
        say(columns(("rule", "what it says"), [(one.id, one.says) for one in found]))
        say("")
    say("\n\n".join(map(told, motions)) or "no proposal is open")


@app.command("propose")
def propose(
    file: Annotated[Path, typer.Argument(help="The rules, whole, in Cedar.")],
    title: Title,
    institution: Institution = None,
    as_json: Json = False,
) -> None:
    """Propose other rules: signed, and offered to the next block, with your institution's vote for them."""
    from ledger.contracts.rule_changes import NewRules
    from shangmi import sm3

    with sentences(), quiet_libraries():
        rules = _rules(_read(file))
        if (faults := _faults(rules)) is not None:
            _end_with_faults(faults, as_json)
        change = NewRules(sm3(chain().view.policies), rules.text, rules.schema)
    put_forward(change, title, institution, as_json)


@app.command("vote")
def vote(
    proposal: Annotated[str, typer.Argument(help="First digits of its id.")],
    against: Annotated[bool, typer.Option("--against", help="Vote against it, or take a vote back.")] = False,
    institution: Institution = None,
    as_json: Json = False,
) -> None:
    """Vote on any open proposal; a regulator's vote is its signature."""
    from ledger.contracts.governance import Vote
    from ledger.contracts.motions import AGAINST, FOR

    with sentences(), quiet_libraries():
        id_ = find(chain(), proposal)
        sent = offer(Vote, acting(institution), {"proposal": id_, "choice": AGAINST if against else FOR})
    offered(sent, as_json)
