"""An institution's node as this process reaches it: behind its socket, or opened here from the institution's home."""

from __future__ import annotations

import time
from typing import Any, Final

from pymongo import MongoClient
from pymongo.database import Database

from ledger.agreement.own_signatures import certificates_of
from ledger.agreement.votes import VoteStore
from ledger.chain.genesis import Genesis
from ledger.chain.replica import Replica
from ledger.errors import Halted, Refused
from ledger.messages.key_grants import Decrypts, region_key
from ledger.messages.summary_board import MongoBoard
from ledger.messages.summary_store import StoredSummaries, SummaryStore
from ledger.node import Node
from ledger.notary import Notary
from schemas.errors import ConfigurationError
from schemas.home import Home
from shangmi import PrivateKey, ShangmiError

VOTES_FILE: Final = "votes.sqlite"
#: Final blocks whose certificates are looked at for signatures that the vote store does not know, on opening.
_LOOKED_AT: Final = 4
KEY_FILE: Final = "sm2.pem"


class StoredEnvelopes:
    """Reads envelopes where their owners keep them; they are ciphertext, so no key is needed."""

    def __init__(self, client: MongoClient[dict[str, Any]]) -> None:
        self._client = client

    def fetch(self, institution: str, locator: str) -> bytes | None:
        """Return the envelope an institution keeps under a locator, or None."""
        found = self._client[f"xinglin_{institution}"]["records"].find_one({"_id": locator}, {"envelope": 1})
        return None if found is None else bytes(found["envelope"])


def open_node(home: Home, institution: str, client: MongoClient[dict[str, Any]]) -> Notary:
    """Return an institution's node: the process behind its socket where one is configured, else one in this process.

    Args:
        home: Names the socket, or holds the keystore.
        institution: Whose node.
        client: The database; a node behind a socket has its own.

    Raises:
        ConfigurationError: There is no genesis here, or no password for the keystore.
        Halted: The password does not open the key, or the vote store beside it is missing.
    """
    if home.node_socket is not None:
        from ledger.remote.client import RemoteNode

        return RemoteNode(home.node_socket, institution, load_genesis(home).chain_id)
    return open_here(home, institution, client)


def open_here(home: Home, institution: str, client: MongoClient[dict[str, Any]]) -> Node:
    """Return an institution's node in this process: with its key where that is here, else one that only observes.

    Raises:
        ConfigurationError: There is no genesis here, or no password for the keystore.
        Halted: The password does not open the key, or the vote store beside it is missing.
    """
    genesis = load_genesis(home)
    replica = Replica(replica_database(home, institution, client), genesis)
    folder = home.keys(institution)
    key = votes = None
    if (folder / KEY_FILE).exists():
        key = signing_key(home, institution)
        votes = VoteStore(folder / VOTES_FILE)
    node = Node(genesis, institution, key, replica, votes, StoredEnvelopes(client), _now)
    node.observe(certificates_of(replica, _LOOKED_AT))
    return node


def load_genesis(home: Home) -> Genesis:
    """Return the chain's genesis.

    Raises:
        ConfigurationError: This machine has none yet.
    """
    try:
        return Genesis.load(home.genesis.read_bytes())
    except FileNotFoundError:
        raise ConfigurationError("no genesis here; `xinglin up` makes one, a region hands one out") from None


def open_summaries(home: Home, institution: str, client: MongoClient[dict[str, Any]]) -> SummaryStore:
    """Return an institution's copy of everybody's sealed summaries, in the database of its replica.

    Raises:
        ConfigurationError: There is no genesis here.
        Halted: The database holds another chain.
    """
    database = replica_database(home, institution, client)
    return SummaryStore(
        database,
        Replica(database, load_genesis(home)),
        institution,
        MongoBoard(client["xinglin_exchange"]),
        StoredSummaries(client, institution),
    )


def open_region_key(home: Home, genesis: Genesis, institution: str, key: Decrypts) -> bytes | None:
    """Return the region's key for pseudonyms; None where this home was given none, and then makes no summaries.

    Raises:
        Halted: The file is another chain's, or damaged.
    """
    if not home.region_grant.exists():
        return None
    try:
        return region_key(home.region_grant.read_bytes(), genesis.chain_id, institution, key)
    except Refused as error:
        raise Halted(f"{home.region_grant.name}: {error}; get it again from who founded the region") from None


def replica_database(home: Home, institution: str, client: MongoClient[dict[str, Any]]) -> Database[dict[str, Any]]:
    """Return the database of an institution's replica: through the node's own account where it has one."""
    uri = home.node_mongodb_uri()
    own = client if uri is None else MongoClient[dict[str, Any]](uri, tz_aware=True, appname="xinglin-node")
    return own[f"ledger_{institution}"]


def signing_key(home: Home, institution: str) -> PrivateKey:
    """Return an institution's key; Halted where the password does not open it."""
    try:
        return PrivateKey.from_pem((home.keys(institution) / KEY_FILE).read_bytes(), home.password(institution))
    except ShangmiError as error:
        raise Halted(f"the key of {institution} cannot be opened: {error}") from None


def _now() -> int:
    return time.time_ns() // 1_000_000
