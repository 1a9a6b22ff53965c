"""`xinglin dataset`: what was delivered is fetched, checked by anybody, and opened by who asked for it."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from console.exits import REFUSED, UNREADABLE, USAGE, fail, print_json, sentences
from console.motions import Institution, acting, offer
from console.records import site
from console.request_files import Password, password_of
from console.screen import columns, quiet_libraries, say

if TYPE_CHECKING:
    from sharing.package.receiving import Announced
    from sharing.package.verifying import Verified
    from sharing.reader import Dataset

app = typer.Typer(help="Datasets that were delivered: fetch, verify, open.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="JSON for programs.")]
Package = Annotated[Path, typer.Argument(metavar="FILE", help="The package, NAME.xld.", show_default=False)]
Anchor = Annotated[Path, typer.Option(help="Trust anchor, got from somebody you trust, not with the dataset.")]


@contextmanager
def unpacking() -> Iterator[None]:
    """Turn what a package or key can have wrong with it into one sentence; nothing of a region is needed here."""
    from sharing.errors import Malformed, SharingError

    try:
        with quiet_libraries():
            yield
    except Malformed as error:
        fail(str(error), UNREADABLE)
    except SharingError as error:
        fail(str(error), REFUSED)
    except OSError as error:
        fail(f"{error.filename or 'the disk'}: {error.strerror or type(error).__name__}", UNREADABLE)


@contextmanager
def bar(total: int) -> Iterator[Callable[[int], None]]:
    """Yield what takes bytes that were read; a bar goes along where a person watches."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task("reading", total=total)
        yield lambda count: bars.update(task, advance=count)


# --- fetch -----------------------------------------------------------------------------------------------------------


@app.command("fetch")
def fetch(
    request: Annotated[str, typer.Argument(help="First digits of its transaction or digest, or its request file.")],
    holder: Annotated[str | None, typer.Option(help="Only this holder's part.")] = None,
    out: Annotated[Path, typer.Option(help="Folder to put the packages in.")] = Path(),
    confirm: Annotated[
        bool, typer.Option(help="Tell the chain that it arrived; the holder takes it from the shelf then.")
    ] = True,
    institution: Institution = None,
    as_json: Json = False,
) -> None:
    """Fetch what holders delivered on a request: exactly the bytes that the chain names, or nothing.

    Exit 1 where a holder has not answered, or answered that there is none; what others delivered is fetched first.
    """
    from console.ledger import longest
    from console.request_files import resolve
    from sharing.package.receiving import announced

    with sentences(), quiet_libraries():
        replica = longest()
        answers = announced(replica.view, resolve(request, replica))
        if holder is not None:
            answers = [one for one in answers if one.holder == holder]
            if not answers:
                fail(f"{holder} is not asked by this request")
        out.mkdir(parents=True, exist_ok=True)
        who = _requester(institution) if confirm else None
        found = [_fetched(one, out, who) for one in answers]
    if as_json:
        print_json(found)
    else:
        say(columns(("holder", "package", "state", "records", "bytes"), map(_row, found), numbers=2))
        if any(one["file"] for one in found):
            say("`xinglin dataset verify FILE --anchor ANCHOR` checks it; `xinglin dataset open FILE` opens it.")
    if not all(one["file"] for one in found):
        raise typer.Exit(REFUSED)


def _requester(given: str | None) -> str | None:
    """Return who confirms: the institution given, or the only one here; None where that says nothing."""
    at = site()
    here = [one.id for one in at.region.institutions if at.home.keys(one.id).is_dir()]
    return acting(given) if given or len(here) == 1 else None


def _fetched(answer: Announced, out: Path, who: str | None) -> dict[str, Any]:
    from ledger.errors import Refused as NotTaken
    from ledger.messages.delivery import Received
    from sharing.errors import NotYet, Refused
    from sharing.package.receiving import fetch as fetch_package
    from sharing.package.shelf import Shelf

    facts: dict[str, Any] = {"holder": answer.holder, "file": None, "records": 0, "size": 0, "confirmed": False}
    path = out / f"{answer.request.hex()[:16]}-{answer.holder}.xld"
    try:
        delivery = answer.given
        with bar(delivery.size) as seen:
            fetch_package(Shelf(site().client["xinglin_exchange"]), answer, path, seen)
    except (NotYet, Refused) as error:
        return facts | {"state": str(error)}
    facts |= {"file": str(path), "records": delivery.records, "size": delivery.size, "state": "fetched"}
    if delivery.received:
        return facts | {"confirmed": True, "state": f"fetched; confirmed in block {delivery.received}"}
    if who is not None:
        fields = {"request": answer.request, "holder": answer.party, "package": delivery.package}
        try:
            offer(Received, who, fields)
        except NotTaken as error:
            return facts | {"state": f"fetched; not confirmed: {error}"}
        return facts | {"confirmed": True, "state": "fetched, confirmed in the next block"}
    return facts


def _row(one: dict[str, Any]) -> tuple[object, ...]:
    return one["holder"], one["file"] or "", one["state"], one["records"], one["size"]


# --- verify ----------------------------------------------------------------------------------------------------------


@app.command("verify")
def verify(file: Package, anchor: Anchor, as_json: Json = False) -> None:
    """Check a dataset offline, without any key: who made it, who allowed it, what it was made from.

    Exit 1 where it does not hold, 3 where the file is no package.
    """
    from sharing.package.verifying import verify as check

    with unpacking(), bar(file.stat().st_size) as seen:
        found = check(file, anchor, now_ms=time.time_ns() // 1_000_000, seen=seen)
    if as_json:
        print_json(facts_of(found))
        return
    say("Holds. Proved:")
    for one in found.proved:
        say(f"  {one}")
    say("Not proved by the file:")
    for one in found.not_proved:
        say(f"  {one}")
    say(f"Package {found.package.hex()}: the chain tells whether it was delivered under this digest.")


def facts_of(found: Verified) -> dict[str, Any]:
    """Return what a verified dataset proves, for programs."""
    manifest, allowed = found.manifest, found.allowed
    return {
        "region": found.region, "package": found.package.hex(), "manifest": manifest.digest.hex(),
        "request": manifest.request.hex(), "title": found.request.title, "purpose": found.request.purpose,
        "holder": manifest.holder, "requester": found.request.requester, "recipient": manifest.recipient.hex(),
        "allowed": {"height": allowed.decided.height, "time_ms": allowed.decided.timestamp_ms,
                    "policies": list(allowed.verdict.policies)},
        "voices": [{"member": one.member, "approves": one.approves, "height": one.height} for one in allowed.voices],
        "records": allowed.records, "batches": allowed.batches, "persons": manifest.persons,
        "tables": {one.name: one.rows for one in manifest.tables},
        "excluded": [{"stage": one.stage, "reason": one.reason, "count": one.count} for one in manifest.excluded],
        "keep_until": manifest.keep_until.isoformat(), "consents": manifest.consents.hex(),
        "head": {"height": allowed.head.height, "time_ms": allowed.head.timestamp_ms},
        "confirmed_by": list(allowed.signers), "proved": list(found.proved), "not_proved": list(found.not_proved),
    }  # fmt: skip


# --- open ------------------------------------------------------------------------------------------------------------


@app.command("open")
def open_(
    file: Package,
    out: Annotated[Path, typer.Option(help="New folder for the files. They are plaintext!")],
    key: Annotated[
        Path | None, typer.Option(help="The recipient's key, a PEM file; without it the institution's node opens it.")
    ] = None,
    password_file: Password = None,
    anchor: Annotated[
        Path | None, typer.Option(help="Trust anchor; with it the dataset is verified before it is opened.")
    ] = None,
    table: Annotated[list[str] | None, typer.Option(help="Only this table; repeat for several.")] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Tables as CSV instead of Parquet.")] = False,
    institution: Institution = None,
    as_json: Json = False,
) -> None:
    """Write a dataset's files out, for programs that read files. From Python nothing needs to be written.

    Exit 1 where it is sealed to another key or was changed, 3 where a file cannot be read; nothing is written then.
    """
    from sharing.reader import open_dataset

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        fail(f"{out} is there already; name a new folder, so that nothing of before is taken for the dataset's", USAGE)
    password = None if key is None else password_of(password_file)
    with unpacking():
        unwrap = key if key is not None else _node(institution)
        with open_dataset(file, unwrap, anchor, password=password) as dataset:
            written = write_out(dataset, out, table, as_csv=csv)
            until = dataset.manifest.keep_until.isoformat()
    if as_json:
        print_json({"folder": str(out), "files": written, "verified": anchor is not None, "keep_until": until})
        return
    say(f"{len(written)} files in {out}, readable by you alone. They are plaintext: delete them by {until}.")
    if anchor is None:
        say("Who made it was not checked: no --anchor was given.")


def _node(institution: str | None) -> Callable[[bytes], bytes]:
    with sentences():
        return site().node(acting(institution)).decrypt


def write_out(dataset: Dataset, out: Path, tables: list[str] | None = None, *, as_csv: bool = False) -> list[str]:
    """The files of a dataset lie in a new folder that only this user reads, all of them or none; returns their names.

    Raises:
        Malformed: There is no such table.
        Tampered: Something was changed.
        OSError: The folder is there already and not empty, or the disk is full.
    """
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(mode=0o700, parents=True)
    try:
        written = [*_write_tables(dataset, part, tables, as_csv=as_csv), *_write_files(dataset, part, tables)]
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return written


def _write_tables(dataset: Dataset, part: Path, tables: list[str] | None, *, as_csv: bool) -> Iterator[str]:
    from pyarrow import csv, types
    from pyarrow import parquet as pq

    from sharing.errors import Refused

    for name in dict.fromkeys(tables or dataset.tables):
        schema, path = dataset.schema(name), part / f"{name}.{'csv' if as_csv else 'parquet'}"
        if as_csv and any(types.is_nested(one.type) for one in schema):
            raise Refused("csv", f"{name} has columns that hold lists, which CSV has not; take Parquet")
        with _private(path) as file, (csv.CSVWriter if as_csv else pq.ParquetWriter)(file, schema) as writer:
            for batch in dataset.batches(name):
                writer.write_batch(batch)
        yield path.name


def _write_files(dataset: Dataset, part: Path, tables: list[str] | None) -> Iterator[str]:
    """Copy what is no table: reports and dictionaries, and FHIR resources where all is wanted; not the proofs."""
    from sharing.package.names import EVIDENCE, POLICIES

    inside = {one for table in dataset.manifest.tables for one in table.sections} | {EVIDENCE, POLICIES}
    for section in dataset.manifest.sections:
        if section.name in inside or (tables and section.sealed):
            continue
        path = part / section.name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with dataset.file(section.name) as source, _private(path) as file:
            shutil.copyfileobj(source, file, 1 << 20)
        yield section.name


def _private(path: Path) -> Any:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
