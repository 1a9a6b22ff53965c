"""`xinglin ledger summaries`: what an institution may read of everybody's records without asking."""

from __future__ import annotations

import sys
from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from console.exits import fail, print_json, sentences
from console.records import site
from console.screen import columns, say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dags.steps.site import Site
    from ledger.messages.summary_store import Listed

_HEADINGS = ("date", "institution", "type", "class", "conclusion", "record", "version", "yuan")


def summaries(
    institution: Annotated[str, typer.Argument(help="Who reads; its keystore must be here.")],
    of: Annotated[str | None, typer.Option(metavar="INSTITUTION", help="Only of this institution's records.")] = None,
    resource_type: Annotated[str | None, typer.Option("--type", help="Only of this FHIR type.")] = None,
    since: Annotated[int, typer.Option(metavar="YYYYMMDD", help="Only from this date on.")] = 0,
    person: Annotated[
        bool, typer.Option("--person", help="Only of the person whose resident number stands on stdin.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest blocks first.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="JSON for programs.")] = False,
) -> None:
    """List the summaries an institution may read: pseudonyms, dates, codes, bills; no name, no text.

    A record in it is asked for by its id; the patient column of --json is how requests and consents name the patient.
    """
    from vault.errors import VaultError

    with sentences():
        at = site()
        name = at.region.institution(institution).id
        wanted = (at.region.institution(of).id if of else None), resource_type, since
        try:
            rows = list(islice(_fitting(at, name, _person(at, name) if person else None, *wanted), limit))
        except VaultError as error:
            fail(str(error))
    if as_json:
        print_json([_document(one) for one in rows])
        return
    if not rows:
        say("nothing to read here yet; summaries come with the blocks of others")
        return
    say(columns(_HEADINGS, [_row(one) for one in rows], numbers=2))


def _person(at: Site, institution: str) -> bytes:
    from schemas.residents import is_resident_number

    number = sys.stdin.readline().strip()
    if not is_resident_number(number):
        fail("stdin holds no resident identity number: expected 18 places with the right check character")
    of = at.vault(institution).summaries
    if not of.made:
        fail("region.keys is not in this home, so nobody is found by number here")
    return of.person_of(number)


def _fitting(
    at: Site, institution: str, person: bytes | None, of: str | None, resource_type: str | None, since: int
) -> Iterator[Listed]:
    from ledger.contracts.policy_request import type_name

    key = at.keystore(institution).signing_key
    for one in at.summaries(institution).read(at.exchange, key, of):
        told = one.summary
        if (
            told.date >= since
            and person in (None, told.person)
            and resource_type in (None, type_name(told.resource_type))
        ):
            yield one


def _document(one: Listed) -> dict[str, Any]:
    from ledger.contracts.policy_request import type_name

    told = asdict(one.summary)
    for name in ("person", "patient"):
        told[name] = told[name].hex()
    told["resource_type"] = type_name(told["resource_type"])
    about = {"institution": one.publisher, "record": one.rid.hex(), "version": one.version, "height": one.height}
    return told | about


def _row(one: Listed) -> tuple[Any, ...]:
    from ledger.contracts.policy_request import type_name

    told = one.summary
    date = f"{told.date // 10_000:04}-{told.date // 100 % 100:02}-{told.date % 100:02}" if told.date else "-"
    yuan = "" if told.total_fen is None else f"{told.total_fen // 100}.{told.total_fen % 100:02}"
    return (
        date, one.publisher, type_name(told.resource_type), told.code_class or "-", told.conclusion or "-",
        one.rid.hex(), one.version, yuan,
    )  # fmt: skip
