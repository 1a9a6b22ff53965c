"""One machine's part of the region, opened: its database, vaults, ledger nodes and sources."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import cache, cached_property
from typing import Any, TypeVar

from pymongo import MongoClient

from ledger.chain.genesis import Genesis
from ledger.chain.replica import Replica
from ledger.exchange import MongoExchange
from ledger.messages.summary_board import MongoBoard
from ledger.messages.summary_store import SummaryStore
from ledger.notary import Notary
from ledger.opening import load_genesis, open_node, open_region_key, open_summaries, replica_database
from schemas.home import Home
from schemas.region import Region, load_region
from schemas.source import Source, load_source, load_sources
from vault.keystore import FileKeystore
from vault.store import Vault

Opened = TypeVar("Opened")


class Site:
    """What the steps of this machine work with; everything is opened at its first use, and kept until ``close``."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self._opened: dict[str, Any] = {}
        self._closing = ExitStack()

    def _once(self, name: str, open_: Callable[[], Opened]) -> Opened:
        if name not in self._opened:
            self._opened[name] = open_()
        found: Opened = self._opened[name]
        return found

    def close(self) -> None:
        """Nodes let go of vote stores, connections to the database end; what is used after that is opened anew."""
        self._opened.clear()
        self._closing.close()

    @property
    def client(self) -> MongoClient[dict[str, Any]]:
        """The database, with datetimes that have a zone."""
        return self._once("client", self._client)

    def _client(self) -> MongoClient[dict[str, Any]]:
        client = MongoClient[dict[str, Any]](self.home.mongodb_uri(), tz_aware=True, appname="xinglin")
        self._closing.callback(client.close)
        return client

    @cached_property
    def region(self) -> Region:
        """The region's file, checked."""
        return load_region(self.home.region)

    @cached_property
    def genesis(self) -> Genesis:
        """The chain's genesis."""
        return load_genesis(self.home)

    @property
    def exchange(self) -> MongoExchange:
        """Where nodes leave each other signed bytes; trusted by nobody."""
        return self._once("exchange", lambda: MongoExchange(self.client["xinglin_exchange"]))

    @property
    def board(self) -> MongoBoard:
        """Where institutions leave each other sealed summaries; trusted by nobody."""
        return self._once("board", lambda: MongoBoard(self.client["xinglin_exchange"]))

    def sources(self) -> tuple[Source, ...]:
        """Every onboarded source, in order of id."""
        return load_sources(self.home.sources)

    def source(self, id_: str) -> Source:
        """Return one source.

        Raises:
            ConfigurationError: There is no such file, or it breaks its schema.
        """
        return load_source(self.home.sources / f"{id_}.yaml")

    def keystore(self, institution: str) -> FileKeystore:
        """Open an institution's keystore with its password."""
        return FileKeystore.open(self.home.keys(institution), self.home.password(institution))

    def vault(self, institution: str) -> Vault:
        """Open an institution's vault."""
        return self._once(f"vault {institution}", lambda: self._vault(institution))

    def _vault(self, institution: str) -> Vault:
        database, keystore = self.client[f"xinglin_{institution}"], self.keystore(institution)
        key = keystore.signing_key if self.home.node_socket is None else self.node(institution)
        secret = open_region_key(self.home, self.genesis, institution, key)
        return Vault(database, keystore, institution, self.genesis.chain_id, region_key=secret)

    def node(self, institution: str) -> Notary:
        """Reach an institution's node: behind its socket, or opened here, with its key where the keystore is here."""
        return self._once(f"node {institution}", lambda: self._node(institution))

    def _node(self, institution: str) -> Notary:
        node = open_node(self.home, institution, self.client)
        self._closing.callback(node.close)
        return node

    def summaries(self, institution: str) -> SummaryStore:
        """Open an institution's copy of everybody's sealed summaries, where this machine reaches its database."""
        return self._once(f"summaries {institution}", lambda: open_summaries(self.home, institution, self.client))

    def replica(self, institution: str) -> Replica:
        """Open an institution's replica for reading, where this machine reaches its database."""
        return self._once(
            f"replica {institution}",
            lambda: Replica(replica_database(self.home, institution, self.client), self.genesis),
        )


@cache
def site() -> Site:
    """Return this process's site, under ``XINGLIN_HOME``."""
    return Site(Home.from_environment())
