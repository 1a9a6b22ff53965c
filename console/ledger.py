"""`xinglin ledger`: the chain as this machine's replicas hold it, and proofs that need neither."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.table import Table

from console.exits import UNREADABLE, fail, print_json, sentences

if TYPE_CHECKING:
    from ledger.replica import Replica

app = typer.Typer(help="The consortium's chain: blocks, who confirmed them, proofs.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="JSON for programs.")]
Whose = Annotated[str | None, typer.Option("--replica", metavar="INSTITUTION", help="Whose replica to read.")]


def replicas(whose: str | None = None) -> dict[str, Replica]:
    """Return the replicas of this machine's institutions, or the one asked for."""
    from dags.steps.site import site
    from ledger.replica import Replica

    at = site()
    names = [at.region.institution(whose).id] if whose else [one.id for one in at.region.institutions]
    stand = set(at.client.list_database_names())
    return {one: Replica(at.client[f"ledger_{one}"], at.genesis) for one in names if f"ledger_{one}" in stand}


def _one(whose: str | None) -> Replica:
    found = replicas(whose)
    if not found:
        fail("no replica here yet; `xinglin up` starts the region")
    return max(found.values(), key=lambda one: one.view.head.height)


@app.command("status")
def status(as_json: Json = False) -> None:
    """Show every replica's head; all should be equal."""
    with sentences():
        heads = {name: replica.view.head for name, replica in replicas().items()}
    rows: list[dict[str, Any]] = [
        {
            "institution": name,
            "height": head.height,
            "block": head.block_id.hex() if head.height else "",
            "state": head.state_root.hex(),
            "time": _time(head.timestamp_ms),
        }
        for name, head in heads.items()
    ]
    if as_json:
        print_json(rows)
        return
    table = Table("institution", "height", "block", "state", "time")
    for row in rows:
        table.add_row(row["institution"], str(row["height"]), row["block"][:16], row["state"][:16], row["time"])
    Console().print(table)


@app.command("show")
def show(
    height: Annotated[int, typer.Argument(min=1, help="Height of the block.")],
    whose: Whose = None,
    as_json: Json = False,
) -> None:
    """Show one block: who built it, who confirmed it, whose batches it holds."""
    with sentences():
        replica = _one(whose)
        try:
            facts = block_facts(replica, height)
        except KeyError:
            fail(f"no block {height}; the head is {replica.view.head.height}")
    if as_json:
        print_json(facts)
        return
    console = Console()
    console.print(
        f"block {height}  {facts['block_id']}\nbuilt by {facts['builder']} at {facts['time']}", highlight=False
    )
    console.print(f"confirmed by {', '.join(facts['confirmed_by'])} ({facts['weight']} of {facts['of']} votes)")
    table = Table("batch", "institution", "number", "entries", "transaction")
    for index, one in enumerate(facts["batches"]):
        table.add_row(str(index), one["institution"], str(one["seq"]), str(one["entries"]), one["tx_id"][:16])
    console.print(table)


def block_facts(replica: Replica, height: int) -> dict[str, Any]:
    """Return what a person asks of a block; KeyError where there is none."""
    from ledger.batch import SubmitBatch
    from ledger.block import Block
    from ledger.certificate import QuorumCertificate

    encoded, qc = replica.block(height)
    block, genesis = Block.decode(encoded), replica.genesis
    voters = genesis.validators.voters
    signers = [voters[index] for index in QuorumCertificate.decode(qc).signers]
    batches = [SubmitBatch.decode(one) for one in block.transactions]
    return {
        "height": height,
        "block_id": block.header.block_id.hex(),
        "builder": genesis.institution(block.header.builder_id),
        "time": _time(block.header.timestamp_ms),
        "confirmed_by": [genesis.institution(one.id) for one in signers],
        "weight": sum(one.weight for one in signers),
        "of": sum(one.weight for one in voters),
        "entries": sum(one.count for one in batches),
        "batches": [
            {"institution": genesis.institution(one.submitter), "seq": one.seq, "entries": one.count,
             "tx_id": one.tx_id.hex()}
            for one in batches
        ],
    }  # fmt: skip


@app.command("verify")
def verify(whose: Whose = None, as_json: Json = False) -> None:
    """Compute every hash, root, signature and leaf of the replicas again; exit 1 where anything is wrong."""
    from ledger.chain_check import verify_chain

    with sentences(), progress() as follow:
        reports = {name: verify_chain(one, follow(name)) for name, one in replicas(whose).items()}
    if as_json:
        print_json({name: asdict(report) | {"ok": report.ok} for name, report in reports.items()})
    else:
        for name, report in reports.items():
            found = "holds" if report.fault is None else f"block {report.fault.height}: {report.fault.message}"
            counted = f"{report.blocks} blocks, {report.entries} entries, {report.signatures} signatures"
            Console().print(f"{name:24} {counted}: {found}", highlight=False)
    if not reports or not all(report.ok for report in reports.values()):
        raise typer.Exit(1)


@app.command("prove")
def prove(
    record: Annotated[str, typer.Argument(help="Record id (32 hex digits), or FHIR Type/id of a record kept here.")],
    version: Annotated[int, typer.Option(min=1, help="Version of the record.")] = 1,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write; default stdout.")] = None,
    whose: Whose = None,
) -> None:
    """Write the proof file of one record, to be checked by anyone with `verify-proof`."""
    from ledger.proving import prove as prove_record

    with sentences():
        try:
            proof = prove_record(_one(whose), _rid(record), version)
        except KeyError as error:
            fail(str(error.args[0]))
    text = orjson.dumps(proof, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    if output is None:
        typer.echo(text, nl=False)
    else:
        output.write_bytes(text)


@app.command("verify-proof")
def verify_proof(
    file: Annotated[Path, typer.Argument(help="Proof file.", show_default=False)],
    anchor: Annotated[Path, typer.Option(help="Trust anchor, got from somebody you trust, not with the proof.")],
    envelope: Annotated[Path | None, typer.Option(help="The sealed envelope, to check that it is the one.")] = None,
    as_json: Json = False,
) -> None:
    """Check a proof offline: no network, no database; exit 1 where it does not hold."""
    from ledger.errors import ProofError
    from ledger.proof import verify_proof as check

    try:
        proof, trusted = file.read_bytes(), anchor.read_bytes()
        sealed = None if envelope is None else envelope.read_bytes()
    except OSError as error:
        fail(f"{error.filename}: cannot be read: {error.strerror}", UNREADABLE)
    try:
        verdict = check(proof, trusted, sealed, int(datetime.now(UTC).timestamp() * 1000))
    except ProofError as error:
        fail(str(error))
    if as_json:
        print_json(asdict(verdict))
        return
    Console().print(
        f"holds: version {verdict.version} of record {verdict.rid} of {verdict.institution} stands in block "
        f"{verdict.height} of {verdict.region}, {_time(verdict.timestamp_ms)}; covered by block {verdict.head_height}, "
        f"confirmed by {', '.join(verdict.signers)}"
        + (f"; status {verdict.status}" if verdict.status else "")
        + ("; the envelope is the one" if verdict.envelope else ""),
        highlight=False,
    )


def _rid(record: str) -> bytes:
    if re.fullmatch(r"[0-9a-f]{32}", record):
        return bytes.fromhex(record)
    type_, slash, id_ = record.partition("/")
    if not slash:
        fail(f"{record!r} is no record: expected 32 hex digits, or Type/id such as Patient/4f0c…", code=2)
    from console.records import site, vaults
    from vault.errors import VaultError

    for _, vault in vaults(site()):
        with suppress(VaultError):
            vault.records.open(type_, id_)
            return vault.records.rid(type_, id_)
    fail(f"no {type_} with that id is kept here")


@contextmanager
def progress() -> Iterator[Callable[[str], Callable[[int, int], None]]]:
    """Yield what makes a bar for one named replica; nothing is drawn where no person watches."""
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:

        def follow(name: str) -> Callable[[int, int], None]:
            task = bars.add_task(name, total=None)
            return lambda done, total: bars.update(task, completed=done, total=total)

        yield follow


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")
