"""`xinglin node serve` and `sync`, `xinglin ledger tiles` and `anchor`: a chain shown and got."""

from __future__ import annotations

import ssl
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from console.exits import USAGE, fail, print_json, sentences
from console.records import site
from console.screen import quiet_libraries, say
from schemas.region import Institution

if TYPE_CHECKING:
    from ledger.chain.replica import Replica
    from ledger.node import Node
    from ledger.proofs.checkpoint import Note
    from ledger.sync.peer import Network, Peer

Json = Annotated[bool, typer.Option("--json", help="JSON for programs.")]
Whose = Annotated[str | None, typer.Option("--institution", help="Whose replica; needed where there are several.")]
Ca = Annotated[Path | None, typer.Option("--ca", help="PEM file of the CA behind https addresses.")]


def _institution(given: str | None) -> Institution:
    """Return the institution named, or the only one whose replica is here."""
    at = site()
    if given:
        return at.region.institution(given)
    stand = set(at.client.list_database_names())
    here = [one for one in at.region.institutions if f"ledger_{one.id}" in stand]
    if len(here) != 1:
        fail(f"{len(here)} replicas are here; name one with --institution", USAGE)
    return here[0]


def serve(
    institution: Whose = None,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Port.")] = 8470,
    certificate: Annotated[Path | None, typer.Option("--tls-certificate", help="PEM file; else plain HTTP.")] = None,
    key: Annotated[Path | None, typer.Option("--tls-key", help="PEM file of the certificate's key.")] = None,
    client_ca: Annotated[Path | None, typer.Option(help="PEM file: answer only clients it certified.")] = None,
) -> None:
    """Show this institution's chain, proofs and checkpoints over HTTP, read-only, until SIGTERM."""
    from ledger.serving.application import make_app
    from ledger.serving.opening import open_served
    from ledger.serving.server import Listening, make_server

    if (certificate is None) != (key is None) or (client_ca is not None and certificate is None):
        fail("--tls-certificate and --tls-key go together, and --client-ca with both", USAGE)
    with sentences():
        at = site()
        name = _institution(institution).id
        served = open_served(at.home, name, at.client, at.exchange)
        where = Listening(host, port, certificate, key, client_ca)
        server = make_server(make_app(served), where)
        say(f"{name}: {'https' if certificate else 'http'}://{host}:{port}/openapi.json")
        with suppress(SystemExit):  # uvicorn ends the process where it cannot listen
            server.run()
    if not server.started:
        fail(f"could not listen at {host}:{port}; is it taken, or a file unreadable?")


def sync(
    peer: Annotated[list[str], typer.Option(help="INSTITUTION=URL of a node that serves; repeat for several.")],
    institution: Whose = None,
    fast: Annotated[
        bool, typer.Option("--fast", help="Begin an empty replica with the last epoch's certified state.")
    ] = False,
    ca: Ca = None,
    as_json: Json = False,
) -> None:
    """Catch this institution's replica up from other nodes over HTTP; no key is opened, nothing is believed."""
    from ledger.sync.catching_up import CatchUp
    from ledger.sync.fast_sync import fast_sync
    from ledger.sync.peer import network

    with sentences(), quiet_libraries():
        node = _observer(_institution(institution).id)
        with network(tls=_trust(ca)) as through:
            peers = _peers(peer, through)
            began = fast_sync(node.replica, peers, through) if fast and not node.height else None
            found = CatchUp(node, peers, through).run()
    if as_json:
        print_json(
            {"height": found.height, "applied": found.applied, "began_at": began, "dropped": found.dropped,
             "withheld": sorted(found.withheld)}
        )  # fmt: skip
        return
    say(f"height {found.height}, {found.applied} blocks applied" + (f" above the state of {began}" if began else ""))
    for name, why in found.dropped.items():
        say(f"{name} was dropped: {why}")
    if found.withheld:
        say(f"did not show what others had: {', '.join(sorted(found.withheld))}")


def _observer(institution: str) -> Node:
    """Return a node without a key on an institution's replica."""
    from ledger.node import Node
    from ledger.opening import StoredEnvelopes

    at = site()
    envelopes = StoredEnvelopes(at.client)
    return Node(at.genesis, institution, None, at.replica(institution), None, envelopes, lambda: 0)


def _peers(given: list[str], through: Network) -> list[Peer]:
    from ledger.sync.peer import Peer

    pairs = [one.partition("=") for one in given]
    if not all(name and url.startswith(("http://", "https://")) for name, _, url in pairs):
        fail("--peer: expected INSTITUTION=http://HOST:PORT", USAGE)
    return [Peer(site().region.institution(name).id, url, through) for name, _, url in pairs]


def _trust(ca: Path | None) -> ssl.SSLContext | None:
    return None if ca is None else ssl.create_default_context(cafile=str(ca))


def tiles(
    folder: Annotated[Path, typer.Argument(help="Folder for a web server or object store.", show_default=False)],
    institution: Whose = None,
    as_json: Json = False,
) -> None:
    """Write the history as immutable files from which anybody computes proofs; again later adds what is new."""
    from ledger.proofs.tile_folder import write_tiles

    with sentences():
        replica, note = _shown(institution)
        written = write_tiles(folder, replica, note)
    if as_json:
        print_json({"height": written.height, "files": written.files})
    else:
        say(f"{folder}: height {written.height}, {written.files} files written")


def _shown(institution: str | None) -> tuple[Replica, Note | None]:
    from ledger.serving.opening import open_served

    at = site()
    served = open_served(at.home, _institution(institution).id, at.client, at.exchange)
    return served.replica, next(iter(served.checkpoints.newest()), None)


def anchor(
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")],
    institution: Whose = None,
    max_age: Annotated[int | None, typer.Option(min=1, help="Seconds that a proof's head may be old.")] = None,
    anchor_age: Annotated[
        int | None, typer.Option(min=1, help="Seconds after which proofs need an auditor's fresh checkpoint.")
    ] = None,
    auditor: Annotated[bool, typer.Option("--auditor", help="Every proof needs an auditor's checkpoint.")] = False,
) -> None:
    """Write a trust anchor with today's voters, for somebody who checks proofs; hand it over yourself."""
    from ledger.proofs.anchor import Anchor

    with sentences():
        replica, _ = _shown(institution)
        view, genesis = replica.view, replica.genesis
        epoch = genesis.epoch(view.head.height)
        later = (epoch * genesis.parameters.epoch_blocks + 1, view.voters_at(view.head.height)) if epoch else None
        made = int(datetime.now(UTC).timestamp() * 1_000)
        output.write_bytes(Anchor(genesis, max_age, later, made, anchor_age, auditor).encode())
    say(f"{output}: trusts the voters from height {later[0] if later else 1} on")
