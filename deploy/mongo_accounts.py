"""Joins the members of the region's MongoDB and gives every institution an account that reaches its own part.

``mongo_accounts.py HOST:PORT HOST:PORT HOST:PORT`` runs beside the first member, which it reaches on 127.0.0.1:
MongoDB takes its first account from there alone. It may run again at any time: roles and passwords become what
region.yaml and the accounts' file say.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import AutoReconnect, OperationFailure

from schemas.region import load_region

REPLICA_SET = "xinglin"
EXCHANGE = "xinglin_exchange"
OBSERVER = "observer"  # who has no key: Airflow's own part
ENVELOPES = "records"  # of another institution: sealed bytes, which validators read back by sampling
# What an institution's worker keeps in the replica's database where the node alone writes the chain.
BESIDE_THE_CHAIN = ("checkpoints", "summaries", "summaries_gone", "summaries_meta", "summaries_wanted")
WAIT_SECONDS = 60.0
# Error codes of MongoDB 6 and 7.
UNAUTHORISED, AUTHENTICATION_FAILED, ALREADY_INITIATED, NODE_NOT_FOUND = 13, 18, 23, 74
ROLE_EXISTS, USER_EXISTS = 51002, 51003

Client = MongoClient[dict[str, Any]]


def establish(members: Sequence[str], institutions: Sequence[str], accounts: Mapping[str, str]) -> None:
    """The members are one replica set; root, observer and every institution can log in, each to its own part.

    Args:
        members: ``host:port`` of each, as the others reach it; the first runs where this runs.
        institutions: Ids of ``region.yaml``.
        accounts: Password by account: ``root``, ``observer`` and the institutions; ``node-<institution>`` where its
            node is a process of its own, which then alone writes the chain; ``chain-<institution>`` for what shows it.

    Raises:
        KeyError: An account has no password.
        PyMongoError: A member does not answer within a minute.
    """
    with Client("127.0.0.1", int(members[0].rpartition(":")[2]), directConnection=True) as local:
        join(local, members)
        with Client(list(members), replicaSet=REPLICA_SET, username="root", password=accounts["root"]) as root:
            if not knows(root):
                create_root(local, accounts["root"])
            put(root, OBSERVER, accounts[OBSERVER], observes())
            for institution in institutions:
                apart = node_of(institution) in accounts
                put(root, institution, accounts[institution], own_part(institution, institutions, apart=apart))
                if apart:
                    put(root, node_of(institution), accounts[node_of(institution)], signs(institution, institutions))
                if chain_of(institution) in accounts:
                    put(root, chain_of(institution), accounts[chain_of(institution)], shows(institution))


def join(local: Client, members: Sequence[str]) -> None:
    """The replica set is initiated; the first member is preferred as primary, so that it can take root's account."""
    wanted = [{"_id": n, "host": host, "priority": 2 if n == 0 else 1} for n, host in enumerate(members)]
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            local.admin.command("replSetInitiate", {"_id": REPLICA_SET, "members": wanted})
        except OperationFailure as error:
            if error.code in (ALREADY_INITIATED, UNAUTHORISED):  # unauthorised: it has accounts, so it is initiated
                return
            if error.code != NODE_NOT_FOUND or time.monotonic() > deadline:
                raise
            time.sleep(0.2)  # another member does not listen yet
        else:
            return


def knows(root: Client) -> bool:
    """Whether root can log in."""
    try:
        root.admin.command("ping")
    except OperationFailure as error:
        if error.code != AUTHENTICATION_FAILED:
            raise
        return False
    return True


def create_root(local: Client, password: str) -> None:
    """Root exists; made through the loopback, which MongoDB allows as long as there is no account."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not local.admin.command("hello").get("isWritablePrimary"):
        if time.monotonic() > deadline:
            raise AutoReconnect(f"the first member is not primary after {WAIT_SECONDS:.0f} s; is another preferred?")
        time.sleep(0.2)
    local.admin.command("createUser", "root", pwd=password, roles=["root"])


def put(root: Client, name: str, password: str, role: Mapping[str, Any]) -> None:
    """The account has this password and this role, and no other."""
    again(root, "Role", f"part-{name}", ROLE_EXISTS, **role)
    again(root, "User", name, USER_EXISTS, pwd=password, roles=[f"part-{name}"])


def again(root: Client, kind: str, name: str, exists: int, **content: Any) -> None:
    """A role or user is created, or made equal where it was there."""
    try:
        root.admin.command(f"create{kind}", name, **content)
    except OperationFailure as error:
        if error.code != exists:
            raise
        root.admin.command(f"update{kind}", name, **content)


def node_of(institution: str) -> str:
    """Return the account of an institution's node process."""
    return f"node-{institution}"


def chain_of(institution: str) -> str:
    """Return the account of what shows an institution's chain over HTTP."""
    return f"chain-{institution}"


def own_part(institution: str, institutions: Iterable[str], *, apart: bool = False) -> dict[str, Any]:
    """Return the role of an institution: its vault and replica, the exchange, the envelopes of the others.

    Args:
        institution: Its id.
        institutions: Everybody's.
        apart: Its node has an account of its own: this one reads the replica, and writes what lies beside the chain.
    """
    grants = [
        grant(EXCHANGE, "", "createCollection", "createIndex"),
        grant(EXCHANGE, "chunks", "find", "insert", "update"),  # kept for ever; readers check each digest
        grant(EXCHANGE, "topics", "find", "insert", "update", "remove"),
        *(grant(EXCHANGE, one, "find", "insert", "remove") for one in ("shelf.files", "shelf.chunks")),  # packages
        grant(EXCHANGE, "answers", "find", "insert", "update", "remove"),  # single records, until they are received
        # Sealed summaries lie apart, so that an erasure can remove them.
        grant(EXCHANGE, "summaries", "find", "insert", "update", "remove"),
        grant(EXCHANGE, "summaries_asked", "find", "insert", "update", "remove"),
    ]
    grants += [grant(f"xinglin_{other}", ENVELOPES, "find") for other in institutions if other != institution]
    own = [{"role": "readWrite", "db": f"xinglin_{institution}"}]
    own.append({"role": "read" if apart else "readWrite", "db": f"ledger_{institution}"})
    if apart:
        actions = ("find", "insert", "update", "remove", "createCollection", "createIndex")
        grants += [grant(f"ledger_{institution}", one, *actions) for one in BESIDE_THE_CHAIN]
    return {"privileges": grants, "roles": own}


def signs(institution: str, institutions: Iterable[str]) -> dict[str, Any]:
    """Return the role of a node: it writes its replica, reads the exchange and everybody's envelopes."""
    grants = [grant(f"xinglin_{one}", ENVELOPES, "find") for one in institutions]
    return {
        "privileges": [*grants, grant(EXCHANGE, "", "find", "createIndex")],
        "roles": [{"role": "readWrite", "db": f"ledger_{institution}"}],
    }


def shows(institution: str) -> dict[str, Any]:
    """Return the role of what shows a chain: it reads one replica and the exchange."""
    return {
        "privileges": [grant(EXCHANGE, "", "find", "createIndex")],
        "roles": [{"role": "read", "db": f"ledger_{institution}"}],
    }


def observes() -> dict[str, Any]:
    """Return the role of Airflow's triggerer: it reads the exchange, follows the chain in a replica of its own."""
    return {
        "privileges": [grant(EXCHANGE, "", "find", "createIndex")],  # it asks for the index that is there
        "roles": [{"role": "readWrite", "db": f"ledger_{OBSERVER}"}],
    }


def grant(database: str, collection: str, *actions: str) -> dict[str, Any]:
    """Return one privilege in MongoDB's form; an empty collection means all of the database."""
    return {"resource": {"db": database, "collection": collection}, "actions": list(actions)}


if __name__ == "__main__":
    region = load_region(Path(os.environ["XINGLIN_REGION"]))
    passwords = json.loads(Path(os.environ["XINGLIN_MONGO_ACCOUNTS_FILE"]).read_text(encoding="utf-8"))
    establish(sys.argv[1:], [one.id for one in region.institutions], passwords)
    sys.stdout.write(f"{REPLICA_SET}: {len(sys.argv) - 1} members, {len(passwords)} accounts\n")
