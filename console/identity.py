"""`xinglin identity`: which patients are one person, and what only a person can decide."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from console.exits import USAGE, fail, print_json, sentences
from console.records import site, vaults
from console.screen import columns, say

if TYPE_CHECKING:
    from vault.persons import Question
    from vault.store import Vault

app = typer.Typer(help="Which patients are one person, and what a person must decide.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="JSON for programs.")]

REASONS: Final = {
    "two-resident-numbers": "a merge would join two resident identity numbers",
    "resident-number-disagrees": "the same resident number, but birth date or gender say another person",
    "shared-number": "the same number of one assigner, but two resident identity numbers",
}


@app.command("list")
def list_(
    everything: Annotated[bool, typer.Option("--all", help="Decided questions too.")] = False, as_json: Json = False
) -> None:
    """List the questions that wait for a person, oldest first."""
    with sentences():
        found = [(name, one) for name, vault in vaults(site()) for one in _questions(vault, everything)]
    if as_json:
        print_json([{"institution": name, **_plain(one)} for name, one in found])
        return
    if not found:
        say("no question waits")
        return
    rows = [(one.id, name, one.state, f"{one.since:%Y-%m-%d}", REASONS[one.reason]) for name, one in found]
    say(columns(("question", "institution", "state", "since", "why"), rows))


def _questions(vault: Vault, everything: bool) -> Iterator[Question]:
    vault.persons.examine()
    yield from vault.persons.questions(decided=everything)


def _plain(question: Question) -> dict[str, Any]:
    return {name: value for name, value in asdict(question).items() if name != "owners"}


@app.command("show")
def show(question: Annotated[str, typer.Argument(help="Id from `identity list`.")], as_json: Json = False) -> None:
    """Show the two patients of a question beside each other: patient data, for who decides."""
    with sentences():
        vault, found = _find(question)
        both = [vault.records.patient_of(owner) for owner in found.owners]
    if as_json:
        print_json({**_plain(found), "patients": both})
        return
    say(f"{found.id}: {REASONS[found.reason]} ({found.state})")
    for name in ("name", "birthDate", "gender", "identifier", "telecom", "address"):
        for one in both:
            say(f"  {name:<11}{_shown(one.get(name))}")


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return "; ".join(_shown(one) for one in value)
    if isinstance(value, dict):
        return " ".join(_shown(value[name]) for name in ("text", "family", "given", "system", "value") if name in value)
    return "-" if value is None else str(value)


@app.command("decide")
def decide(
    question: Annotated[str, typer.Argument(help="Id from `identity list`.")],
    decision: Annotated[str, typer.Argument(help="`same` or `different`.")],
    as_json: Json = False,
) -> None:
    """Decide whether two patients are one person; it holds for whatever comes later, until decided anew."""
    if decision not in ("same", "different"):
        fail("expected same or different", USAGE)
    with sentences():
        vault, found = _find(question)
        done = vault.persons.decide(found.id, "same" if decision == "same" else "different")
    if as_json:
        print_json(_plain(done))
    else:
        say(f"{done.id}: {done.state}")


def _find(id_: str) -> tuple[Vault, Question]:
    from vault.errors import Unknown

    for _, vault in vaults(site()):
        for one in vault.persons.questions(decided=True):
            if one.id == id_:
                return vault, one
    raise Unknown(f"no question {id_}; see `xinglin identity list`")
