"""`xinglin batches` and `xinglin quarantine`: what happened to records, in the sender's terms."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from console.exits import USAGE, fail, print_json, sentences
from console.screen import columns, say
from schemas.errors import ConfigurationError
from schemas.reasons import sentence

if TYPE_CHECKING:
    from dags.steps.site import Site
    from schemas.source import Source
    from vault.quarantine import SetAside
    from vault.results import Batch
    from vault.store import Vault

#: How long a person waits before the command says that the database is not there.
ANSWER_SECONDS: Final = 5.0

quarantine = typer.Typer(help="What was set aside, why, and how to send it through again.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="JSON for programs.")]
SourceOption = Annotated[str | None, typer.Option("--source", help="Only of this source.")]


def site() -> Site:
    """Return this process's site once its database answers; the driver is loaded only now.

    Raises:
        ConfigurationError: There is no region here, or the database's address is none.
        PyMongoError: The database does not answer in time.
    """
    import pymongo
    from pymongo.errors import ConfigurationError as NoAddress

    from dags.steps.site import site as opened

    at = opened()
    try:
        client = at.client
    except (ValueError, NoAddress):  # their text may hold the password
        raise ConfigurationError("MONGODB_URI is no address; expected mongodb://HOST:PORT/?replicaSet=NAME") from None
    at.genesis  # noqa: B018  (raises where no region was founded)
    with pymongo.timeout(ANSWER_SECONDS):
        client.admin.command("ping")
    return at


def vaults(at: Site, source: str | None = None) -> Iterator[tuple[str, Vault]]:
    """Yield the institutions that own a source and have their keystore on this machine, with their vaults.

    Raises:
        ConfigurationError: There is no such source.
    """
    owners = {source_of(at, source).institution} if source else {one.institution for one in onboarded(at)}
    for institution in sorted(owners):
        if at.home.keys(institution).is_dir():
            yield institution, at.vault(institution)


def onboarded(at: Site) -> list[Source]:
    """Return every source there is a file of, enabled or not, in order of id."""
    return [at.source(path.stem) for path in sorted(at.home.sources.glob("*.yaml"))]


def source_of(at: Site, name: str) -> Source:
    """Return the source of that name, enabled or not.

    Raises:
        ConfigurationError: There is none; the message names those there are.
    """
    found = {one.id: one for one in onboarded(at)}
    if name not in found:
        raise ConfigurationError(f"no source {name!r}; there are {', '.join(found)}")
    return found[name]


def batches(
    source: SourceOption = None,
    limit: Annotated[int, typer.Option(min=1, help="Newest batches of each institution.")] = 20,
    reopen: Annotated[str | None, typer.Option(metavar="BATCH", help="Take up a stopped batch again.")] = None,
    as_json: Json = False,
) -> None:
    """List batches with their counts, newest first."""
    with sentences():
        at = site()
        if reopen is not None:
            _reopen(at, reopen)
        rows = [one for _, vault in vaults(at, source) for one in vault.batches.list(source, limit=limit)]
    if as_json:
        print_json([asdict(one) for one in rows])
        return
    _print_batches(rows)


def _reopen(at: Site, batch: str) -> None:
    from vault.errors import Unknown

    for _, vault in vaults(at):
        with suppress(Unknown):
            return vault.batches.reopen(batch)
    raise Unknown(f"there is no batch {batch}; see `xinglin batches`")


def _print_batches(rows: list[Batch]) -> None:
    if not rows:
        say("no batch yet; the sources' DAGs make them")
        return
    headings = ("batch", "state", "received", "sealed", "repeats", "set aside", "filtered")
    counts = ("received", "sealed", "duplicate", "quarantined", "filtered")
    table = [(one.id, one.state, *(one.counts.as_dict()[name] for name in counts)) for one in rows]
    say(columns(headings, table, len(counts)))
    for one in rows:
        if one.state == "stopped":
            say(f"{one.id} stopped: {one.reason}")
        elif one.counts.waiting:
            say(f"{one.id}: {one.counts.waiting} records to process")


@quarantine.command("list")
def list_(
    source: SourceOption = None,
    code: Annotated[str | None, typer.Option(help="Only with this reason code.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Oldest of each institution.")] = 100,
    as_json: Json = False,
) -> None:
    """List what lies in quarantine, oldest first."""
    with sentences():
        rows = [one for _, vault in vaults(site(), source) for one in vault.quarantine.list(code, source, limit=limit)]
    if as_json:
        print_json([asdict(one) for one in rows])
        return
    for one in rows:
        where = f" at {one.where}" if one.where else ""
        say(f"{one.id}  {one.source}\n  {one.code}{where}: {one.message}")
    if not rows:
        say("nothing lies in quarantine under that" if source or code else "nothing lies in quarantine")


@quarantine.command("show")
def show(
    record: Annotated[str, typer.Argument(help="Id from `quarantine list`.")],
    content: Annotated[
        bool, typer.Option("--content", help="Write the sender's bytes to stdout: patient data!")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show why one record was set aside; with --content, the record itself."""
    with sentences():
        item, raw = _find(record)
    if content:
        sys.stdout.buffer.write(raw)
        return
    if as_json:
        print_json(asdict(item))
        return
    say(
        f"{item.id} of {item.source}, received {item.received_at:%Y-%m-%d %H:%M %Z}, {item.size} bytes, "
        f"set aside {item.times} time(s)\n{item.code}: {sentence(item.code)}\nat {item.where or '-'}: {item.message}\n"
        + ("Mend the mapping or the sender, then: " if item.readable else "It cannot be read; have it sent again. ")
        + (f"xinglin quarantine replay {item.id}" if item.readable else "")
    )


@quarantine.command("replay")
def replay(
    records: Annotated[list[str] | None, typer.Argument(help="Ids from `quarantine list`.")] = None,
    source: SourceOption = None,
    code: Annotated[str | None, typer.Option(help="All with this reason code.")] = None,
    as_json: Json = False,
) -> None:
    """Put records back in line under their own identity; the source's next run takes them up."""
    if not (records or source or code):
        fail("replay what? give ids, --code or --source", USAGE)
    with sentences():
        done = sum(vault.quarantine.replay(records or None, code, source) for _, vault in vaults(site(), source))
    if as_json:
        print_json({"replayed": done})
    elif done:
        say(f"{done} record{'s wait' if done > 1 else ' waits'} for the source's next run")
    if records and done < (given := len(set(records))):
        fail(f"{given - done} of {given} not replayed: not in quarantine, unreadable, or in a batch still open")
    if not done:
        fail("nothing to replay under that; see `xinglin quarantine list`")


def _find(record: str) -> tuple[SetAside, bytes]:
    from vault.errors import Unknown

    for _, vault in vaults(site()):
        try:
            item, raw = vault.quarantine.show(record)
        except Unknown:
            continue
        kept: Any = raw
        return item, bytes(kept.content if hasattr(kept, "content") else kept.head)
    raise Unknown(f"nothing in quarantine under {record}; see `xinglin quarantine list`")
