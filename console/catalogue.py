"""`xinglin catalogue`: what may be asked for in the region, and how an institution says so of its own."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from console.exits import fail, print_json, sentences
from console.records import site
from console.screen import columns, say

if TYPE_CHECKING:
    from dags.steps.site import Site
    from sharing.catalogue import Published

app = typer.Typer(invoke_without_command=True)
Json = Annotated[bool, typer.Option("--json", help="JSON for programs.")]
#: Codes that are listed where nobody asks for more.
_CODES: Final = 20
_NAMES: Final = {
    "http://loinc.org": "LOINC",
    "http://snomed.info/sct": "SNOMED CT",
    "http://hl7.org/fhir/sid/icd-10": "ICD-10",
    "http://hl7.org/fhir/sid/icd-10-cm": "ICD-10-CM",
    "http://hl7.org/fhir/sid/icd-9-cm": "ICD-9-CM",
    "http://hl7.org/fhir/sid/cvx": "CVX",
    "http://www.whocc.no/atc": "ATC",
    "http://www.nlm.nih.gov/research/umls/rxnorm": "RxNorm",
    "http://dicom.nema.org/resources/ontology/DCM": "DICOM",
    "urn:oid:2.16.156.10011.2.3.3.11.3": "GB/T 14396",
}


@app.callback()
def catalogue(
    context: typer.Context,
    institution: Annotated[str | None, typer.Option(help="Only of this institution.")] = None,
    resource_type: Annotated[str | None, typer.Option("--type", help="Only of this FHIR type.")] = None,
    codes: Annotated[
        str | None, typer.Option("--codes", metavar="TEXT", help="Codes whose code or name has this text in it.")
    ] = None,
    view: Annotated[str | None, typer.Option("--view", metavar="NAME", help="Data dictionary of one view.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Codes at most, those of most patients first.")] = _CODES,
    as_json: Json = False,
) -> None:
    """Show what the region's institutions say may be asked for: types, years, codes, quality, views; no patient data.

    Numbers are rounded to tens; <10 stands for fewer than ten patients.
    """
    if context.invoked_subcommand is not None:
        return
    with sentences():
        found = _published(site(), institution)
    if as_json:
        print_json([{"title": one.title, **one.catalogue} for one in found])
    elif view is not None:
        _say_view(found, view)
    elif not found:
        say("no institution has published a catalogue; each does with: xinglin catalogue publish")
    else:
        kept = [_narrowed(one.catalogue, resource_type, codes) for one in found]
        say("\n\n".join(_parts(found, kept, limit, codes is not None)))


def _published(at: Site, institution: str | None) -> list[Published]:
    from sharing.catalogue import published

    if institution is not None:
        at.region.institution(institution)  # says which there are where it is none
    roster = at.replica(_reader(at)).view.roster.registrations
    found = published(at.exchange, roster, at.genesis.chain_id)
    return [one for one in found if institution in (None, one.institution)]


def _reader(at: Site) -> str:
    """Return an institution whose replica this machine has: its roster says whose signatures count."""
    here = [one.id for one in at.region.institutions if at.home.keys(one.id).is_dir()]
    return (here or [at.region.institutions[0].id])[0]


def _narrowed(catalogue: Mapping[str, Any], resource_type: str | None, text: str | None) -> dict[str, Any]:
    found = dict(catalogue)
    for name in ("types", "codes"):
        found[name] = [one for one in catalogue[name] if resource_type in (None, one["type"])]
    if text is not None:
        wanted = text.casefold()
        found["codes"] = [
            one for one in found["codes"] if wanted in one["code"].casefold() or wanted in one["display"].casefold()
        ]
    return found


# --- what a person sees ----------------------------------------------------------------------------------------------


def _parts(
    found: Sequence[Published], kept: Sequence[Mapping[str, Any]], limit: int, only_codes: bool
) -> Iterator[str]:
    pairs = [(one.institution, catalogue) for one, catalogue in zip(found, kept, strict=True)]
    if not only_codes:
        yield _table("Institutions", ("institution", "counted", "set aside", "patients"), _institutions(pairs), 2)
        yield _table("Records", ("institution", "type", "years", "patients", "records"), _types(pairs), 2)
    codes = sorted(_codes(pairs), key=lambda row: (-int(row[-2]), *row[:3]))
    heading = f"Codes ({limit} of {len(codes)}; --limit or --codes TEXT for more)" if len(codes) > limit else "Codes"
    yield _table(heading, ("code", "system", "institution", "patients", "records", "name"), map(_named, codes[:limit]))
    if not only_codes:
        yield _table("Views (--view NAME for the data dictionary)", ("view", "of", "columns", "title"), _views(pairs))
        yield "Numbers are rounded to tens; <10 stands for fewer than ten patients, whose codes are not listed."


def _table(title: str, headings: Sequence[str], rows: Iterable[Sequence[object]], numbers: int = 0) -> str:
    table = list(rows)
    return f"{title}\n{columns(headings, table, numbers)}" if table else f"{title}\nnone"


def _institutions(pairs: Iterable[tuple[str, Mapping[str, Any]]]) -> Iterator[tuple[object, ...]]:
    for institution, catalogue in pairs:
        yield institution, catalogue["counted"][:10], _set_aside(catalogue["quality"]), _number(catalogue["patients"])


def _set_aside(quality: Sequence[Mapping[str, Any]]) -> str:
    """Return the share of what came that was set aside, where every source tells it."""
    shares = [(one["thousandths"], one["received"]) for one in quality if "thousandths" in one]
    received = sum(count for _, count in shares)
    if not received:
        return "-"
    thousandths = sum(share * count for share, count in shares) // received
    return f"{thousandths // 10}.{thousandths % 10} %"


def _types(pairs: Iterable[tuple[str, Mapping[str, Any]]]) -> Iterator[tuple[object, ...]]:
    for institution, catalogue in pairs:
        for one in catalogue["types"]:
            patients = _number(one["patients"]) if "patients" in one else "-"
            yield institution, one["type"], _years(one), patients, _number(one["records"])


def _years(counted: Mapping[str, Any]) -> str:
    """Return the first and last year that are told by themselves."""
    years = sorted(name for one in counted.get("years", ()) for name in one["years"] if len(one["years"]) == 1)
    dated = [one for one in years if one != "undated"]
    if not dated:
        return "-"
    return dated[0] if len(dated) == 1 else f"{dated[0]} to {dated[-1]}"


def _codes(pairs: Iterable[tuple[str, Mapping[str, Any]]]) -> Iterator[tuple[str, str, str, str, int, int]]:
    for institution, catalogue in pairs:
        for one in catalogue["codes"]:
            system = _NAMES.get(one["system"], one["system"].rpartition("/")[2])
            yield one["code"], system, institution, one["display"], one["patients"], one["records"]


def _named(row: tuple[str, str, str, str, int, int]) -> tuple[object, ...]:
    code, system, institution, name, patients, records = row
    return code, system, institution, f"{_number(patients):>8}", f"{_number(records):>7}", name


def _views(pairs: Iterable[tuple[str, Mapping[str, Any]]]) -> Iterator[tuple[object, ...]]:
    views = {one["name"]: one for _, catalogue in pairs for one in catalogue["views"]}
    for name, one in sorted(views.items()):
        yield name, one["resource"], len(one["columns"]), one["title"]


def _number(told: int | str) -> str:
    return told if isinstance(told, str) else f"{told:,}"


def _say_view(found: Sequence[Published], name: str) -> None:
    views = {one["name"]: one for each in found for one in each.catalogue["views"]}
    if name not in views:
        fail(f"no view {name!r} is published; there are {', '.join(sorted(views)) or 'none'}")
    view = views[name]
    say(f"{name}: {view['title']}\n{view['description']}\nOne row a {view['resource']} or more.\n")
    for one in view["columns"]:
        words = [one["type"] + (" list" if one["collection"] else ""), one["role"], one["hierarchy"]]
        say(f"{one['name']} ({', '.join(filter(None, words))})\n  {one['description'] or one['path']}")


# --- publishing ------------------------------------------------------------------------------------------------------


@app.command("publish")
def publish(
    institution: Annotated[
        list[str] | None, typer.Argument(help="Whose; without it, of every institution with a keystore here.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Count the vault anew, sign the catalogue, and show it to the region in place of the one before."""
    from sharing.catalogue import publish as show
    from sharing.catalogue import refresh

    done: list[dict[str, Any]] = []
    with sentences():
        at = site()
        names = [at.region.institution(one).id for one in institution or ()]
        names = names or [one.id for one in at.region.institutions if at.home.keys(one.id).is_dir()]
        for name in names:
            if sys.stderr.isatty() and not as_json:
                print(f"counting {name} …", file=sys.stderr)  # noqa: T201  (seconds for each 100,000 records)
            counted = refresh(at.vault(name))
            digest = show(at.exchange, counted, at.node(name).sign_catalogue)
            done.append({"institution": name, "digest": digest, "codes": len(counted["codes"])})
    if as_json:
        print_json(done)
        return
    for one in done:
        say(f"{one['institution']}: published with {one['codes']} codes, SM3 {one['digest'][:16]}…")
    if not done:
        fail("no institution's keystore is here, so nothing can be counted; see XINGLIN_HOME")
