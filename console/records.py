"""`xinglin batches` and `xinglin quarantine`: what happened to records, in the sender's terms."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from console.exits import fail, print_json, sentences
from schemas.reasons import sentence

if TYPE_CHECKING:
    from dags.steps.site import Site
    from vault.quarantine import SetAside
    from vault.store import Vault

quarantine = typer.Typer(help="What was set aside, why, and how to send it through again.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="JSON for programs.")]
SourceOption = Annotated[str | None, typer.Option("--source", help="Only of this source.")]


def site() -> Site:
    """Return this process's site; the database's driver is loaded only now."""
    from dags.steps.site import site as opened

    return opened()


def vaults(at: Site, source: str | None = None) -> Iterator[tuple[str, Vault]]:
    """Yield the institutions that own a source and have their keystore on this machine, with their vaults."""
    owners = {at.source(source).institution} if source else {one.institution for one in at.sources()}
    for institution in sorted(owners):
        if at.home.keys(institution).is_dir():
            yield institution, at.vault(institution)


def batches(
    source: SourceOption = None,
    limit: Annotated[int, typer.Option(help="Newest batches of each institution.")] = 20,
    reopen: Annotated[str | None, typer.Option(metavar="BATCH", help="Take up a stopped batch again.")] = None,
    as_json: Json = False,
) -> None:
    """List batches with their counts, newest first."""
    with sentences():
        at = site()
        if reopen is not None:
            at.vault(at.source(reopen.rpartition("-")[0]).institution).batches.reopen(reopen)
        rows = [one for _, vault in vaults(at, source) for one in vault.batches.list(source, limit=limit)]
    if as_json:
        print_json([asdict(one) for one in rows])
        return
    columns = ("received", "sealed", "duplicate", "quarantined", "filtered", "resources", "unchanged")
    table = Table("batch", "state", *columns, "why")
    for one in rows:
        counts = one.counts.as_dict()
        table.add_row(one.id, one.state, *(str(counts[name]) for name in columns), one.reason)
    Console().print(table)


@quarantine.command("list")
def list_(
    source: SourceOption = None,
    code: Annotated[str | None, typer.Option(help="Only with this reason code.")] = None,
    limit: Annotated[int, typer.Option(help="Oldest of each institution.")] = 100,
    as_json: Json = False,
) -> None:
    """List what lies in quarantine, oldest first."""
    with sentences():
        rows = [one for _, vault in vaults(site(), source) for one in vault.quarantine.list(code, source, limit=limit)]
    if as_json:
        print_json([asdict(one) for one in rows])
        return
    table = Table("record", "source", "reason", "where", "what is wrong and what to do")
    for one in rows:
        table.add_row(one.id, one.source, one.code, one.where, one.message)
    Console().print(table)


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
    Console().print(
        f"{item.id} of {item.source}, received {item.received_at:%Y-%m-%d %H:%M %Z}, {item.size} bytes, "
        f"set aside {item.times} time(s)\n{item.code}: {sentence(item.code)}\nat {item.where or '-'}: {item.message}\n"
        + ("Mend the mapping or the sender, then: " if item.readable else "It cannot be read; have it sent again. ")
        + (f"xinglin quarantine replay {item.id}" if item.readable else ""),
        highlight=False,
        markup=False,
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
        fail("replay what? give ids, --code or --source", code=2)
    with sentences():
        done = sum(vault.quarantine.replay(records or None, code, source) for _, vault in vaults(site(), source))
    if as_json:
        print_json({"replayed": done})
    else:
        Console().print(f"{done} record(s) wait for their source's next run")
    if not done:
        raise typer.Exit(1)


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
