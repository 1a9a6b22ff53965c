"""`xinglin consent`: what a patient permits and denies, filed on the chain, shown, and what follows from it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from console.consent_patients import Found, Number, Patient, System, patient_of
from console.exits import REFUSED, UNREADABLE, USAGE, fail, print_json, sentences
from console.motions import Institution, acting
from console.records import site
from console.screen import quiet_libraries, say

if TYPE_CHECKING:
    from shangmi import PrivateKey
    from sharing.consent.campaign import Terms
    from sharing.consent.desk import Dataset, Desk
    from sharing.consent.filing import Counts, Decision, Wish
    from sharing.consent.parties import Parties

app = typer.Typer(help="What patients permit and deny; docs/consent.md.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="JSON for programs.")]
Purpose = Annotated[list[str] | None, typer.Option("--purpose", help="research, care, … ; default every purpose.")]
Who = Annotated[
    list[str] | None,
    typer.Option("--who", help="An institution, class:A, hospital, regulator, …; default everyone."),
]
Types = Annotated[list[str] | None, typer.Option("--types", help="FHIR types like Observation; default all.")]
From = Annotated[str, typer.Option("--from", metavar="DATE", help="It holds from this day on.")]
Until = Annotated[str, typer.Option("--until", metavar="DATE", help="It holds until the end of this day.")]
DataFrom = Annotated[str, typer.Option("--data-from", metavar="DATE", help="For records dated from this day on.")]
DataUntil = Annotated[str, typer.Option("--data-until", metavar="DATE", help="For records dated until this day.")]
Reference = Annotated[str, typer.Option("--reference", help="Where the signed form lies; it stays in the vault.")]
Scan = Annotated[Path | None, typer.Option("--form", help="Scan of the signed form; its digest stays in the vault.")]
Key = Annotated[
    Path | None, typer.Option("--key", help="The patient's own key, from `consent key`, in place of a form.")
]
Password = Annotated[Path | None, typer.Option("--password-file", help="Password of --key; else it is asked for.")]
Fhir = Annotated[Path | None, typer.Option("--fhir", help="FHIR R4 Consent that is the whole statement.")]
Many = Annotated[Path | None, typer.Option("--many", help="CSV or NDJSON, a patient a line; docs/consent.md.")]


@app.command("grant")
def grant(
    patient: Patient = "", number: Number = False, system: System = None, purpose: Purpose = None, who: Who = None,
    types: Types = None, from_: From = "", until: Until = "", data_from: DataFrom = "", data_until: DataUntil = "",
    reference: Reference = "", form: Scan = None, key: Key = None, password: Password = None, fhir: Fhir = None,
    many: Many = None, institution: Institution = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Permit, beside what stands: a patient, by form or own key; or a FHIR Consent; or a file of patients."""
    terms = (purpose, who, types), (from_, until), (data_from, data_until)
    _file("grant", Found(patient, number, system), terms, (reference, form, key, password), fhir, many, institution,
          as_json)  # fmt: skip


@app.command("deny")
def deny(
    patient: Patient = "", number: Number = False, system: System = None, purpose: Purpose = None, who: Who = None,
    types: Types = None, from_: From = "", until: Until = "", data_from: DataFrom = "", data_until: DataUntil = "",
    reference: Reference = "", form: Scan = None, key: Key = None, password: Password = None, many: Many = None,
    institution: Institution = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Deny, whatever is permitted; --purpose directory keeps the patient out of summaries."""
    terms = (purpose, who, types), (from_, until), (data_from, data_until)
    _file("deny", Found(patient, number, system), terms, (reference, form, key, password), None, many, institution,
          as_json)  # fmt: skip


@app.command("withdraw")
def withdraw(
    patient: Patient = "", number: Number = False, system: System = None, reference: Reference = "",
    form: Scan = None, key: Key = None, password: Password = None, many: Many = None,
    institution: Institution = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Take everything back, and say which datasets the patient is in: their holders are told."""
    nothing: tuple[Any, ...] = ((None, None, None), ("", ""), ("", ""))
    _file("withdraw", Found(patient, number, system), nothing, (reference, form, key, password), None, many,
          institution, as_json)  # fmt: skip


def _file(
    decision: Decision, found: Found, said: tuple[Any, ...], paper: tuple[Any, ...], fhir: Path | None,
    many: Path | None, institution: str | None, as_json: bool,
) -> None:  # fmt: skip
    """File one wish or a file of them, and say what became of it."""
    from sharing.consent.filing import file_many

    if bool(many) == bool(found.named):
        fail("name a patient with --patient or --number, or a file with --many", USAGE)
    with sentences(), quiet_libraries():
        desk, parties = _desk(institution), _parties(institution)
        terms, datasets = _terms(said, paper[0]), list["Dataset"]()
        if many:
            counts, faults = _campaign(desk, parties, many, decision, terms)
        else:
            wish = _wish(desk, parties, decision, patient_of(desk.vault, found), terms, paper[1:], fhir)
            counts, faults = file_many(desk, [wish]), []
            datasets = _datasets(desk, wish.patient) if decision != "grant" or wish.decision == "replace" else []
    _tell(decision, counts, faults, datasets, as_json)


def _desk(institution: str | None) -> Desk:
    from sharing.consent.desk import Desk

    at, name = site(), acting(institution)
    return Desk(at.vault(name), at.node(name), at.exchange, at.replica(name))


def _parties(institution: str | None) -> Parties:
    from sharing.consent.parties import Parties

    return Parties(site().replica(acting(institution)).view.roster)


def _terms(said: tuple[Any, ...], reference: str) -> Terms:
    from sharing.consent.campaign import Terms

    purpose, who, types = (tuple(word for one in part or () for word in one.split(",")) for part in said[0])
    return Terms(purpose, who, types, said[1], said[2], reference)


def _campaign(
    desk: Desk, parties: Parties, path: Path, decision: Decision, terms: Terms
) -> tuple[Counts, list[tuple[str, str]]]:
    from sharing.consent.campaign import Campaign
    from sharing.consent.filing import file_many
    from sharing.errors import Malformed

    campaign = Campaign(path, decision, terms, parties)
    try:
        return file_many(desk, campaign.wishes()), campaign.faults
    except Malformed as error:
        fail(str(error), UNREADABLE)
    except FileNotFoundError:
        fail(f"{path}: no such file", UNREADABLE)


def _wish(
    desk: Desk, parties: Parties, decision: Decision, patient: str, terms: Terms, paper: tuple[Any, ...],
    fhir: Path | None,
) -> Wish:  # fmt: skip
    """Return what one patient wants, attested by a form or the patient's key."""
    from sharing.consent.campaign import form_of
    from sharing.consent.filing import Wish
    from vault.consents import Form

    scan, key_file, password = paper
    if sum(map(bool, (scan or terms.reference, key_file))) != 1:
        fail("what did the patient sign? name the paper with --form or --reference, or have --key sign", USAGE)
    key = _key(key_file, password) if key_file else None
    form = None if key else form_of(scan, terms.reference) if scan else Form.of(terms.reference)
    if fhir is not None:
        return _from_fhir(desk, parties, patient, fhir, form, key)
    provisions = () if decision == "withdraw" else (terms.provision(decision == "grant", parties),)
    return Wish(patient, decision, provisions, form, key)


def _key(path: Path, password: Path | None) -> PrivateKey:
    from shangmi import PrivateKey, ShangmiError

    word = password.read_bytes().rstrip(b"\r\n") if password else _asked("password of the patient's key")
    try:
        return PrivateKey.from_pem(path.read_bytes(), word)
    except ShangmiError:
        fail(f"{path}: the password does not open this key, or it is none", UNREADABLE)


def _asked(what: str) -> bytes:
    return str(typer.prompt(what, hide_input=True, err=True)).encode()


def _from_fhir(desk: Desk, parties: Parties, patient: str, path: Path, form: Any, key: Any) -> Wish:
    """Return the wish that a FHIR Consent is; it must name this very patient."""
    import orjson

    from sharing.consent.fhir_reading import read_consent
    from sharing.consent.filing import Wish

    try:
        resource = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        fail(f"{path}: no such file", UNREADABLE)
    except orjson.JSONDecodeError:
        fail(f"{path}: expected JSON", UNREADABLE)
    said = read_consent(resource, desk.node.institution, parties)
    if said.patient != patient:
        fail(f"{path}: Consent.patient: names another patient than the one given")
    if said.withdrawn:
        return Wish(patient, "withdraw", (), form, key)
    return Wish(patient, "replace", said.provisions, form, key)


def _datasets(desk: Desk, patient: str) -> list[Dataset]:
    from sharing.consent.desk import datasets
    from sharing.consent.filing import people

    owners = people(desk.vault, [patient]).get(patient, ())
    return datasets(desk, desk.replica.view, owners)


def _tell(
    decision: Decision, counts: Counts, faults: list[tuple[str, str]], datasets: list[Dataset], as_json: bool
) -> None:
    refused = [*faults, *counts.refused]
    if as_json:
        found = [asdict(one) | {"request": one.request.hex()} for one in datasets]
        print_json(asdict(counts) | {"refused": [list(one) for one in refused], "datasets": found})
    else:
        say(_said(counts))
        for place, why in refused:
            say(f"{place or 'refused'}: {why}")
        if datasets:
            say("\n".join(_named(datasets, decision)))
    if refused:
        raise typer.Exit(REFUSED)


def _said(counts: Counts) -> str:
    lines = []
    if counts.filed:
        lines.append(f"{_count(counts.filed, 'statement')} signed and offered to the next block")
    if counts.same:
        lines.append(f"{_count(counts.same, 'wish', 'wishes')} stand or wait already; nothing was filed for them")
    if counts.left:
        lines.append(
            f"{counts.left} left: {counts.waiting} statements wait for a block. Run the same command again once "
            "one has taken them"
        )
    return "\n".join(lines) or "nothing was filed"


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def _named(datasets: list[Dataset], decision: Decision) -> list[str]:
    """Return the lines on datasets that the patient is in."""
    from sharing.consent.dates import moment

    lines = [f"the patient is in {_count(len(datasets), 'dataset')} that left this institution:"]
    for one in datasets:
        day = f"{moment(one.time_ms):%Y-%m-%d %H:%M}"
        when = f"delivered {day} in block {one.delivered}" if one.delivered else "not announced yet"
        lines.append(f"  {one.request.hex()[:16]}  {one.requester or 'unknown'}  {one.purpose}  {when}")
    lines.append(
        "once a block holds this, `xinglin consent notify` tells who holds them how many persons' rows must go; "
        "`xinglin dataset recut` makes a package without them. What was read before cannot be called back"
        if decision == "withdraw"
        else "of those that this denial speaks of, who holds them is told by `xinglin consent notify`"
    )
    return lines


@app.command("show")
def show(
    patient: Patient = "",
    number: Number = False,
    system: System = None,
    fhir: Annotated[bool, typer.Option("--fhir", help="Write it as FHIR R4 Consent.")] = False,
    institution: Institution = None,
    as_json: Json = False,
) -> None:
    """Tell what stands for a patient, since when, on which paper, and what it means today."""
    from console.consent_shown import shown

    found = Found(patient, number, system)
    if not found.named:
        fail("name a patient with --patient or --number", USAGE)
    with sentences(), quiet_libraries():
        desk = _desk(institution)
        value = shown(desk, _parties(institution), patient_of(desk.vault, found), fhir=fhir)
    if as_json or fhir:
        print_json(
            value["fhir"] if fhir else {name: one for name, one in value.items() if name not in ("told", "fhir")}
        )
        return
    say(value["told"])


@app.command("key")
def key(
    output: Annotated[Path, typer.Argument(help="File for the key; it must not exist.")],
    password: Password = None,
) -> None:
    """Make a patient's own key, encrypted under a password: the patient keeps both, and signs by --key."""
    import os

    from shangmi import PrivateKey

    with sentences():
        word = password.read_bytes().rstrip(b"\r\n") if password else _twice()
        if len(word) < 8:
            fail("the password has fewer than 8 characters", USAGE)
        made = PrivateKey.generate()
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(made.to_pem(word))
    say(f"{output} written; its public half is {made.public.bytes.hex()}")


def _twice() -> bytes:
    return str(typer.prompt("new password", hide_input=True, confirmation_prompt=True, err=True)).encode()


@app.command("notify")
def notify(institution: Institution = None, as_json: Json = False) -> None:
    """Tell who holds datasets of how many persons rows must go; called again, nothing is said twice."""
    from sharing.consent.notices import raise_notices

    with sentences(), quiet_libraries():
        found = raise_notices(_desk(institution))
    if as_json:
        print_json([asdict(one) | {"request": one.request.hex()} for one in found])
        return
    for one in found:
        say(f"{one.request.hex()[:16]}  {one.requester} is told by the next block: at most {one.persons} persons")
    if not found:
        say("nobody is to be told of anything now; a withdrawal counts once a block holds it")


@app.command("notices")
def notices(
    delivered: Annotated[bool, typer.Option("--delivered", help="Of datasets that it delivered, too.")] = False,
    institution: Institution = None,
    as_json: Json = False,
) -> None:
    """List the datasets that this institution received and that must lose rows, or did."""
    from ledger.chain.validators import institution_id
    from sharing.consent.notices import called_back

    with sentences():
        name = acting(institution)
        replica, id_ = site().replica(name), institution_id(name)
        found = called_back(replica, id_) + (called_back(replica, id_, "holder") if delivered else [])
    if as_json:
        print_json([asdict(one) | {"request": one.request.hex()} for one in found])
        return
    for one in found:
        say(
            f"{one.request.hex()}  of {one.holder}, for {one.purpose}, at {one.requester}: at most {one.persons} "
            f"persons, {one.stage} in block {one.height}" + (f"; cut anew: {one.package}" if one.package else "")
        )
    if not found:
        say("no dataset must lose rows")


@app.command("answer")
def answer(
    request: Annotated[str, typer.Argument(help="Id of the request, from `consent notices`.")],
    deleted: Annotated[bool, typer.Option("--deleted", help="The dataset and every copy are deleted.")] = False,
    replaced: Annotated[bool, typer.Option("--replaced", help="The package cut anew is in its place.")] = False,
    holder: Annotated[str | None, typer.Option(help="Who delivered it, where several did.")] = None,
    institution: Institution = None,
    as_json: Json = False,
) -> None:
    """Answer, for who received a dataset, what was done about rows that must go; it is signed and stands."""
    from ledger.chain.validators import institution_id
    from sharing.consent.notices import called_back, post_notice

    if deleted == replaced:
        fail("say --deleted or --replaced", USAGE)
    with sentences(), quiet_libraries():
        at, name = site(), acting(institution)
        replica = at.replica(name)
        fitting = [
            one
            for one in called_back(replica, institution_id(name))
            if len(request) >= 6 and one.request.hex().startswith(request.lower()) and holder in (None, one.holder)
        ]
        if len(fitting) != 1:
            fail(f"{len(fitting)} datasets fit; `xinglin consent notices` lists them, --holder tells them apart", USAGE)
        one = fitting[0]
        content: dict[str, Any] = {"step": "deleted"}
        if replaced:
            content = {"step": "replaced", "package": bytes.fromhex(one.package) or bytes(32)}
        where = {"request": one.request, "holder": institution_id(one.holder)}
        id_ = post_notice(at.node(name), at.exchange, replica, **where, **content)
    if as_json:
        print_json({"transaction": id_.hex()})
    else:
        say(f"offered to the next block: {id_.hex()}")
