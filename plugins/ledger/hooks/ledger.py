"""The hook that opens an institution's node, and the exchange its bytes go through."""

from __future__ import annotations

import logging
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

from ledger.discretion import account
from schemas.home import Home

if TYPE_CHECKING:
    from pymongo import MongoClient

    from ledger.carrier import Carrier
    from ledger.exchange import MongoExchange


log = logging.getLogger(__name__)


class LedgerHook(BaseHook):
    """Opens nodes of the institutions whose keystore is under ``XINGLIN_HOME``.

    Address and secrets come from the worker's environment and mounted files (see ``schemas.home``), never from
    Airflow's database: a DAG's author must not be able to read or redirect them.
    """

    conn_type = "xinglin_ledger"
    hook_name = "Xinglin ledger"

    def __init__(self) -> None:
        super().__init__()
        self.home = Home.from_environment()

    @cached_property
    def client(self) -> MongoClient[dict[str, Any]]:
        """The database of this worker's replica and of the exchange."""
        from pymongo import MongoClient

        return MongoClient(self.home.mongodb_uri(), tz_aware=True, appname="xinglin-ledger")

    @cached_property
    def exchange(self) -> MongoExchange:
        """Where nodes leave each other signed bytes."""
        from ledger.exchange import MongoExchange

        return MongoExchange(self.client["xinglin_exchange"])

    def carrier(self, institution: str) -> Carrier:
        """Return what carries bytes between an institution's node and the exchange."""
        from ledger.carrier import Carrier
        from ledger.opening import open_node

        return Carrier(open_node(self.home, institution, self.client), self.exchange)

    def follow_summaries(self, institution: str) -> None:
        """The institution's sealed summaries are what the chain says by now, or will be after the next block."""
        from pymongo.errors import PyMongoError

        from ledger.errors import LedgerError
        from ledger.opening import open_summaries

        try:
            done = open_summaries(self.home, institution, self.client).follow()
        except (LedgerError, PyMongoError) as error:  # a block stands without them, and they are asked for again
            log.warning(
                "summaries of %s: not followed now (%s); again after the next block", institution, account(error)
            )
            return
        log.info("summaries of %s: %d came, %d purged, %d missing", institution, done.stored, done.purged, done.missing)

    def close(self) -> None:
        """Let go of the database, where it was asked for."""
        if "client" in self.__dict__:
            self.client.close()

    def get_conn(self) -> MongoClient[dict[str, Any]]:
        """Return the database client."""
        return self.client
