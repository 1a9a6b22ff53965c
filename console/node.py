"""`xinglin node`: an institution's node as a process of its own, beside its key."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from console import serving
from console.exits import REFUSED, USAGE, fail, print_json, sentences
from console.screen import quiet_libraries, say
from schemas.home import Home

if TYPE_CHECKING:
    from ledger.agreement.recovery import Recovery

app = typer.Typer(help="An institution's node beside its key; see docs/node.md.", no_args_is_help=True)
app.command("serve")(serving.serve)
app.command("sync")(serving.sync)
Institution = Annotated[
    str | None, typer.Option(help="Whose node; default $XINGLIN_NODE, or the only one whose keys are here.")
]
Socket = Annotated[
    Path | None, typer.Option(help="Where it listens; default $XINGLIN_NODE_SOCKET, or node/node.sock in the home.")
]


def _institution(home: Home, given: str | None) -> str:
    if name := given or os.environ.get("XINGLIN_NODE"):
        return name
    folder = home.path / "keys"
    here = sorted(one.name for one in folder.iterdir() if one.is_dir()) if folder.is_dir() else []
    if len(here) != 1:
        fail(f"{len(here)} institutions have keys here; name one with --institution", USAGE)
    return here[0]


def _socket(home: Home, given: Path | None) -> Path:
    return given or home.node_socket or home.path / "node" / "node.sock"


@app.command("run")
def run(
    institution: Institution = None,
    socket: Socket = None,
    user: Annotated[str | None, typer.Option(help="Started as root: the user to become. A node never is root.")] = None,
    group: Annotated[str | None, typer.Option(help="Group whose members reach the socket.")] = None,
    worker: Annotated[
        list[str] | None, typer.Option(help="User whose tasks may ask; repeat for several.", show_default=False)
    ] = None,
    operator: Annotated[
        list[str] | None,
        typer.Option(help="User who may ask for what a person decides on: governance, findings.", show_default=False),
    ] = None,
) -> None:
    """Answer on the socket until SIGTERM; refuses to begin where others can read the key."""
    import logging

    from ledger.remote.process import Settings
    from ledger.remote.process import run as run_node

    home = Home.from_environment()
    with sentences(), quiet_libraries():
        logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
        settings = Settings(
            institution=_institution(home, institution),
            socket=_socket(home, socket).absolute(),
            user=user,
            group=group,
            workers=tuple(worker or ()),
            operators=tuple(operator or ()),
        )
        run_node(home, settings)


@app.command("status")
def status(
    institution: Institution = None,
    socket: Socket = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON for programs.")] = False,
) -> None:
    """Ask the node at the socket how high its chain is; exit 1 where it does not answer."""
    from ledger.opening import load_genesis
    from ledger.remote.client import RemoteNode

    home = Home.from_environment()
    with sentences():
        name = _institution(home, institution)
        node = RemoteNode(_socket(home, socket), name, load_genesis(home).chain_id, patience=0.0, seconds=30.0)
        height, voter, halted = node.status()
    if as_json:
        print_json({"institution": name, "height": height, "voter": voter, "halted": halted})
    else:
        say(f"{name}: height {height}, {'a voter' if voter else 'without a vote'}" + (f"; {halted}" if halted else ""))
    if halted:
        raise typer.Exit(REFUSED)


@app.command("recover")
def recover(
    institution: Institution = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON for programs.")] = False,
) -> None:
    """Begin a new vote store for a key whose own is lost, once the key cannot have signed above what is final.

    Run it with the node stopped, again after each block until it says that it is done (exit 0; 1 means: wait).
    """
    home = Home.from_environment()
    with sentences(), quiet_libraries():
        name = _institution(home, institution)
        found = _recover(home, name)
    if as_json:
        print_json({"institution": name, "final": found.final, "signed": found.signed, "done": found.done})
    elif found.done:
        say(f"{name}: a new vote store begins above height {found.final}; start the node")
    if not found.done:
        if as_json:
            raise typer.Exit(REFUSED)
        fail(f"wait: final is {found.final}, the key may have signed {found.signed}; nothing was changed")


def _recover(home: Home, institution: str) -> Recovery:
    from pymongo import MongoClient

    from ledger.agreement.recovery import recover as recover_votes
    from ledger.chain.replica import Replica
    from ledger.exchange import MongoExchange
    from ledger.node import Node
    from ledger.opening import VOTES_FILE, StoredEnvelopes, load_genesis, replica_database, signing_key
    from ledger.remote.process import only_process

    keys = home.keys(institution)
    key, genesis = signing_key(home, institution).public, load_genesis(home)
    client: MongoClient[dict[str, Any]] = MongoClient(home.mongodb_uri(), tz_aware=True, appname="xinglin")
    with only_process(keys), client:
        replica = Replica(replica_database(home, institution, client), genesis)
        observer = Node(genesis, institution, None, replica, None, StoredEnvelopes(client), lambda: 0)
        return recover_votes(keys / VOTES_FILE, key, observer, MongoExchange(client["xinglin_exchange"]))


@app.command("public-key")
def public_key(institution: Institution = None) -> None:
    """Print the public half of the signing key here: what `sm2.pub` holds where the node is a process of its own."""
    from ledger.opening import signing_key

    home = Home.from_environment()
    with sentences():
        typer.echo(signing_key(home, _institution(home, institution)).public.bytes.hex())
