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

from console import serving
from console.exits import REFUSED, UNREADABLE, USAGE, fail, print_json, sentences
from console.records import site, vaults
from console.screen import columns, quiet_libraries, say
from console.summaries import summaries

if TYPE_CHECKING:
    from ledger.chain.replica import Replica
    from ledger.chain.storage_check import StorageReport
    from ledger.proofs.checkpoint import Note

app = typer.Typer(help="The consortium's chain: blocks, who confirmed them, proofs.", no_args_is_help=True)
app.command("summaries")(summaries)
app.command("tiles")(serving.tiles)
app.command("anchor")(serving.anchor)
Json = Annotated[bool, typer.Option("--json", help="JSON for programs.")]
Whose = Annotated[str | None, typer.Option("--replica", metavar="INSTITUTION", help="Whose replica to read.")]


def replicas(whose: str | None = None) -> dict[str, Replica]:
    """Return the replicas of this machine's institutions, or the one asked for."""
    from ledger.chain.replica import Replica

    at = site()
    names = [at.region.institution(whose).id] if whose else [one.id for one in at.region.institutions]
    stand = set(at.client.list_database_names())
    return {one: Replica(at.client[f"ledger_{one}"], at.genesis) for one in names if f"ledger_{one}" in stand}


def _some(whose: str | None) -> dict[str, Replica]:
    found = replicas(whose)
    if not found:
        fail("no replica here yet; the first block of `notarise` makes them")
    return found


def longest(whose: str | None = None) -> Replica:
    """Return the replica of this machine that is furthest, or the one asked for; none ends the command."""
    return max(_some(whose).values(), key=lambda one: one.view.head.height)


@app.command("status")
def status(as_json: Json = False) -> None:
    """Show every replica's head; exit 1 where two of one height differ."""
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
    split = len({row["height"] for row in rows}) < len({(row["height"], row["block"], row["state"]) for row in rows})
    if as_json:
        print_json(rows)
    else:
        _print_heads(rows)
    if split:
        fail("replicas of one height differ: one was changed. `xinglin ledger verify` names it")


def _print_heads(rows: list[dict[str, Any]]) -> None:
    if not rows:
        say("no replica here yet; the first block of `notarise` makes them")
        return
    table = [(row["institution"], row["block"][:12], row["state"][:12], row["time"], row["height"]) for row in rows]
    say(columns(("institution", "block", "state", "time", "height"), table, numbers=1))
    if behind := [row["institution"] for row in rows if row["height"] < max(one["height"] for one in rows)]:
        say(f"behind: {', '.join(behind)}; the next block brings them up")


@app.command("show")
def show(
    height: Annotated[int, typer.Argument(min=1, help="Height of the block.")],
    whose: Whose = None,
    as_json: Json = False,
) -> None:
    """Show one block: who built it, who confirmed it, whose batches and messages it holds."""
    with sentences():
        replica = longest(whose)
        try:
            facts = block_facts(replica, height)
        except KeyError:
            fail(f"no block {height}; the head is {replica.view.head.height}")
    if as_json:
        print_json(facts)
        return
    say(
        f"block {height}  {facts['block_id']}\n"
        f"built by {facts['builder']} at {facts['time']}\n"
        f"confirmed by {', '.join(facts['confirmed_by'])} ({facts['weight']} of {facts['of']} votes)\n"
    )
    batches = [(one["institution"], one["tx_id"][:16], one["seq"], one["entries"]) for one in facts["batches"]]
    messages = [(one["institution"], one["tx_id"][:16], one["type"]) for one in facts["messages"]]
    if batches:
        say(columns(("institution", "transaction", "batch", "entries"), batches, numbers=2))
    if messages:
        say(columns(("institution", "transaction", "message"), messages))
    if facts["evidence"]:
        say(f"{facts['evidence']} proofs of double signing; `xinglin credit --why INSTITUTION` tells of whom")


def block_facts(replica: Replica, height: int) -> dict[str, Any]:
    """Return what a person asks of a block; KeyError where there is none."""
    from ledger.agreement.certificate import QuorumCertificate
    from ledger.chain.batch import SubmitBatch
    from ledger.chain.block import Block
    from ledger.chain.transaction import Transaction
    from ledger.chain.transactions import open_transaction

    encoded, qc = replica.block(height)
    block, view = Block.decode(encoded), replica.view
    voters = view.voters_at(height).voters
    signers = [voters[index] for index in QuorumCertificate.decode(qc).signers]
    opened = [open_transaction(one) for one in block.transactions]
    batches = [one for one in opened if isinstance(one, SubmitBatch)]
    return {
        "height": height,
        "block_id": block.header.block_id.hex(),
        "builder": view.name(block.header.builder_id),
        "time": _time(block.header.timestamp_ms),
        "confirmed_by": [view.name(one.id) for one in signers],
        "weight": sum(one.weight for one in signers),
        "of": sum(one.weight for one in voters),
        "entries": sum(one.count for one in batches),
        "batches": [
            {"institution": view.name(one.submitter), "seq": one.seq, "entries": one.count,
             "tx_id": one.tx_id.hex()}
            for one in batches
        ],
        "messages": [
            {"institution": view.name(one.sender), "type": one.NAME, "tx_id": one.tx_id.hex()}
            for one in opened if isinstance(one, Transaction)
        ],
        "evidence": len(block.evidence),
    }  # fmt: skip


@app.command("verify")
def verify(
    whose: Whose = None,
    stored: Annotated[
        bool, typer.Option("--stored", help="Look for every record in its owner's store, too; no key is needed.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compute every hash, root, signature and leaf of the replicas again; exit 1 where anything is wrong."""
    from ledger.chain.chain_check import verify_chain

    with sentences(), quiet_libraries(), progress() as follow:
        found = _some(whose)
        reports = {name: verify_chain(one, follow(name)) for name, one in found.items()}
        stores = _stores(found, follow("stored")) if stored else {}
    if as_json:
        chains = {name: asdict(report) | {"ok": report.ok} for name, report in reports.items()}
        print_json({**chains, **({"stored": {name: asdict(one) for name, one in stores.items()}} if stored else {})})
    else:
        for name, report in reports.items():
            what = "holds" if report.fault is None else f"block {report.fault.height}: {report.fault.message}"
            counted = f"{report.blocks} blocks, {report.entries} entries, {report.signatures} signatures"
            say(f"{name:18} {counted}: {what}")
        for name, one in stores.items():
            say(f"{name:18} {one.entries} records looked for, {one.wrong} wrong")
            for fault in one.faults:
                say(f"  {fault}")
    if not all(report.ok for report in reports.values()) or any(one.wrong for one in stores.values()):
        raise typer.Exit(REFUSED)


def _stores(found: dict[str, Replica], follow: Callable[[int, int], None]) -> dict[str, StorageReport]:
    """Look at every store that this machine reaches, by the longest of these replicas."""
    from ledger.chain.storage_check import check_storage
    from ledger.opening import StoredEnvelopes

    replica = max(found.values(), key=lambda one: one.view.head.height)
    return check_storage(replica, StoredEnvelopes(site().client), _kept(), follow)


def _kept() -> list[str]:
    """Return whose records are kept where this machine reaches them."""
    at = site()
    stand = set(at.client.list_database_names())
    return [one.id for one in at.region.institutions if f"xinglin_{one.id}" in stand]


@app.command("prove")
def prove(
    record: Annotated[str, typer.Argument(help="Record id (32 hex digits), or FHIR Type/id of a record kept here.")],
    version: Annotated[int, typer.Option(min=1, help="Version of the record.")] = 1,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write; default stdout.")] = None,
    whose: Whose = None,
) -> None:
    """Write the proof file of one record, to be checked by anyone with `verify-proof`.

    Refused where the stored record is not the one that the chain knows. The newest checkpoint goes in with it.
    """
    from ledger.chain.storage_check import check_stored
    from ledger.opening import StoredEnvelopes
    from ledger.proofs.proving import prove as prove_record

    with sentences():
        replica, rid = longest(whose), _rid(record)
        try:
            proof = prove_record(replica, rid, version, note=_newest_checkpoint(replica))
        except KeyError as error:
            fail(str(error.args[0]))
        for institution in _kept():
            with suppress(KeyError):  # another institution's
                check_stored(replica, rid, version, institution, StoredEnvelopes(site().client))
    text = orjson.dumps(proof, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    if output is None:
        typer.echo(text, nl=False)
        return
    try:
        output.write_bytes(text)
    except OSError as error:
        fail(f"{output}: cannot be written: {error.strerror}")


@app.command("verify-proof")
def verify_proof(
    file: Annotated[Path, typer.Argument(help="Proof file.", show_default=False)],
    anchor: Annotated[Path, typer.Option(help="Trust anchor, got from somebody you trust, not with the proof.")],
    envelope: Annotated[Path | None, typer.Option(help="The sealed envelope, to check that it is the one.")] = None,
    as_json: Json = False,
) -> None:
    """Check a proof offline: no network, no database; exit 1 where it does not hold."""
    from ledger.errors import ProofError
    from ledger.proofs.proof import MAX_FILE
    from ledger.proofs.proof import verify_proof as check

    try:
        proof, trusted = _read(file, MAX_FILE + 1), _read(anchor, MAX_FILE + 1)
        sealed = None if envelope is None else envelope.read_bytes()
    except OSError as error:
        fail(f"{error.filename}: cannot be read: {error.strerror}", UNREADABLE)
    try:
        with quiet_libraries():
            verdict = check(proof, trusted, sealed, int(datetime.now(UTC).timestamp() * 1000))
    except ProofError as error:
        fail(str(error))
    if as_json:
        print_json(asdict(verdict))
        return
    say(
        f"holds: version {verdict.version} of record {verdict.rid} of {verdict.institution} stands in block "
        f"{verdict.height} of {verdict.region}, {_time(verdict.timestamp_ms)}; covered by block {verdict.head_height}, "
        f"confirmed by {', '.join(verdict.signers)}"
        + (f"; status {verdict.status}" if verdict.status else "")
        + (f" since block {verdict.erased_height}" if verdict.erased_height else "")
        + (f"; an auditor vouched for it, {_time(verdict.checkpoint_ms)}" if verdict.checkpoint_ms else "")
        + ("; the envelope is the one" if verdict.envelope else "")
    )


def _newest_checkpoint(replica: Replica) -> Note | None:
    """Return the newest checkpoint that is kept beside any replica here and that this one has, too."""
    from ledger.proofs.checkpoint import Checkpoint, freshest
    from ledger.proofs.checkpoints import Checkpoints

    at = site()
    kept = [note for name in replicas() for note in Checkpoints(at.client[f"ledger_{name}"], replica).newest()]
    head = replica.view.head.height
    mine = [one for one in kept if one.checkpoint.height <= head]
    return freshest([one for one in mine if Checkpoint.of(replica.header(one.checkpoint.height)) == one.checkpoint])


def _read(path: Path, limit: int) -> bytes:
    """Return a file's first bytes, enough to see that it is too large."""
    with path.open("rb") as file:
        return file.read(limit)


def _rid(record: str) -> bytes:
    if re.fullmatch(r"[0-9a-fA-F]{32}", record):
        return bytes.fromhex(record)
    type_, slash, id_ = record.partition("/")
    if not slash:
        fail(f"{record!r} is no record: expected 32 hex digits, or Type/id such as Patient/4f0c…", USAGE)
    from vault.errors import Unknown

    for _, vault in vaults(site()):
        with suppress(Unknown):
            vault.records.open(type_, id_)
            return vault.records.rid(type_, id_)
    fail(f"no {type_} with that id is kept here")


@contextmanager
def progress() -> Iterator[Callable[[str], Callable[[int, int], None]]]:
    """Yield what makes a bar for one named replica; nothing is drawn where no person watches."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:

        def follow(name: str) -> Callable[[int, int], None]:
            task = bars.add_task(name, total=None)
            return lambda done, total: bars.update(task, completed=done, total=total)

        yield follow


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")
