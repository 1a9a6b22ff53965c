"""Fills the folder that docker-compose.yaml takes everything of a region from: accounts, keys, genesis.

``python deploy/prepare.py STATE``, as root, so that every file gets the user that its service runs as. Run it again
after a change of region.yaml: what is there stays as it is, what is missing is made. ``STATE/passwords.json`` is the
source of every account.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from console.region.region import pools
from ledger.agreement.votes import VoteStore
from ledger.chain.genesis import Genesis
from ledger.contracts.policy import default_policies
from ledger.messages.key_grants import make_region_grant
from ledger.opening import KEY_FILE, VOTES_FILE
from schemas.region import Region, load_region
from schemas.source import load_sources
from shangmi import PublicKey
from vault.keystore import PUBLIC_FILE, FileKeystore

REPOSITORY = Path(__file__).parents[1]
MEMBERS = "mongo-1:27017,mongo-2:27017,mongo-3:27017"
COMMON, COMMON_QUEUE = "common", "default"  # account and queue of tasks that wait for others and need no key
HOMES, NODE_HOMES, SOCKETS = "nodes", "node-homes", "sockets"  # an institution's worker's, its node's, between them
RESERVED = {
    "airflow",
    "broker",
    COMMON,
    "default",
    "mongo",
    "mongo-init",
    "observer",
    "postgres",
    "root",
    "worker-default",
}
MONGODB = "/?replicaSet=xinglin&authSource=admin"
STATE = re.compile(r"^\$\{XINGLIN_STATE:\?[^}]*\}/(?P<folder>[^:]+):(?P<target>[^:]+)$")  # writable mounts only

# What kombu's Redis transport and Celery's result backend send for a worker without remote control; seen by MONITOR.
COMMANDS = (
    *("ping", "hello", "auth", "client|setname", "select"),
    *("multi", "exec", "discard", "watch", "unwatch", "eval", "evalsha", "script|load"),
    *("get", "set", "setex", "del", "expire", "llen", "lpush", "rpush", "brpop"),
    *("zadd", "zrem", "zrange", "zrangebyscore", "zrevrangebyscore"),
    *("hset", "hget", "hdel", "sadd", "srem", "smembers"),
    *("publish", "subscribe", "unsubscribe", "psubscribe", "punsubscribe"),
)


def region_accounts(region: Region) -> dict[str, dict[str, str]]:
    """Return fresh passwords for everything of a region, by kind and account."""
    nodes = [one.id for one in region.institutions]
    return {
        "postgres": {"airflow": password()},
        "broker": {name: password() for name in ("airflow", COMMON, *nodes)},
        "mongo": {name: password() for name in ("root", "observer", *nodes)},
        "mongo-apart": {one: password() for name in nodes for one in apart_of(name)},
        "keystore": {name: password() for name in nodes},
        "interface": {"admin": password(), "viewer": password()},
        "shared": {
            "mongo-keyfile": base64.b64encode(secrets.token_bytes(96)).decode(),
            "fernet-key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "jwt-secret": password(64),
            "secret-key": password(),
        },
    }


def apart_of(institution: str) -> tuple[str, str]:
    """Return the accounts of an institution's node and of what shows its chain; deploy/mongo_accounts.py has both."""
    return f"node-{institution}", f"chain-{institution}"


def password(length: int = 32) -> str:
    """Return ``length`` random bytes as hex: safe in addresses, access lists and files."""
    return secrets.token_hex(length)


def secret_files(accounts: Mapping[str, Mapping[str, str]], region: Region) -> Iterator[tuple[str, str]]:
    """Yield path below the state folder and content of every secret a service reads."""
    shared, postgres = accounts["shared"], accounts["postgres"]["airflow"]
    yield "secrets/postgres/password", postgres
    yield "secrets/broker/users.acl", "\n".join(broker_accounts(accounts["broker"])) + "\n"
    yield "secrets/mongo/keyfile", shared["mongo-keyfile"]
    yield "secrets/mongo-init/accounts.json", json.dumps({**accounts["mongo"], **accounts["mongo-apart"]})
    yield "secrets/airflow/sql-alchemy-conn", f"postgresql+psycopg2://airflow:{postgres}@postgres/airflow"
    yield "secrets/airflow/fernet-key", shared["fernet-key"]
    yield "secrets/airflow/jwt-secret", shared["jwt-secret"]
    yield "api-server/passwords.json", json.dumps(accounts["interface"])
    nodes = [(one.id, one.id) for one in region.institutions]
    for name, folder in (("airflow", "airflow"), (COMMON, "worker-default"), *nodes):
        yield f"secrets/{folder}/broker-url", f"redis://{name}:{accounts['broker'][name]}@broker:6379/0"
        yield f"secrets/{folder}/secret-key", shared["secret-key"]  # with which the interface asks workers for logs
    for name, folder in (("observer", "airflow"), *nodes):
        yield f"secrets/{folder}/mongodb-uri", f"mongodb://{name}:{accounts['mongo'][name]}@{MEMBERS}{MONGODB}"
    for name, word in accounts["mongo-apart"].items():
        yield f"secrets/{name}/mongodb-uri", f"mongodb://{name}:{word}@{MEMBERS}{MONGODB}"
    for one in region.institutions:
        for folder in (one.id, apart_of(one.id)[0]):
            yield f"secrets/{folder}/key-password", accounts["keystore"][one.id]


def broker_accounts(passwords: Mapping[str, str]) -> Iterator[str]:
    """Yield the broker's access list: Airflow reaches everything, an institution its own queue and its results.

    Results lie under the id of a task, which only its worker and the scheduler know. Listing keys is no command here.
    """
    yield "user default off"
    for name, word in passwords.items():
        digest = hashlib.sha256(word.encode()).hexdigest()
        if name == "airflow":
            yield f"user airflow on #{digest} ~* &* +@all -@admin"
            continue
        queue = COMMON_QUEUE if name == COMMON else f"node-{name}"
        keys = [queue, f"{queue}:*", f"unacked:{name}", f"unacked_index:{name}", f"unacked_mutex:{name}"]
        keys += [f"_kombu.binding.{queue}", f"_kombu.binding_permanent.{queue}", "_kombu.binding_deadlines"]
        allowed = [*(f"~{key}" for key in (*keys, "celery-task-meta-*")), "&/0.celeryev/*", "&celery-task-meta-*"]
        yield " ".join([f"user {name} on #{digest} resetchannels", *allowed, "-@all", *(f"+{one}" for one in COMMANDS)])


def owners(compose: Path) -> dict[str, tuple[int, int]]:
    """Return user and group of every folder that a service reads as a secret or writes, by path below the state.

    The group of a node's socket is the one that its service has besides its own: its worker's.
    """
    services: dict[str, dict[str, Any]] = yaml.safe_load(compose.read_text(encoding="utf-8"))["services"]
    found: dict[str, tuple[int, int]] = {}
    for service in services.values():
        user = int(str(service["user"]).partition(":")[0])
        found |= {f"secrets/{one['source']}": (user, user) for one in service.get("secrets", ())}
        for mount in filter(None, (STATE.match(one) for one in service.get("volumes", ()))):
            group = int(service["group_add"][0]) if mount["folder"].startswith(f"{SOCKETS}/") else user
            found[mount["folder"]] = user, group
    return found


def found(state: Path, region: Region) -> Genesis:
    """Return the chain's genesis; before there is one, every institution of this host gets keystore and vote store.

    An institution whose ``public_key`` stands in ``region.yaml`` keeps its key elsewhere.

    Raises:
        typer.Exit: A chain of another genesis lives here; nothing was written.
    """
    standing = state / "region" / "genesis.bin"
    if standing.exists():
        return same(Genesis.load(standing.read_bytes()), region)
    keys: dict[str, PublicKey] = {}
    for one in region.institutions:
        if not one.public_key:
            keys[one.id] = keystore(state, one.id)
    return Genesis.from_region(region, keys, default_policies())


def same(standing: Genesis, region: Region) -> Genesis:
    """Return the standing genesis if the region still is what it was made from, else stop."""
    keys = {standing.institution(one.id): PublicKey.from_bytes(one.public_key) for one in standing.validators.members}
    described = {one.id for one in region.institutions}
    if described == set(keys) and Genesis.from_region(region, keys, standing.policies).encode() == standing.encode():
        return standing
    typer.echo("region.yaml changed, but a chain made from the earlier one lives here; put it back", err=True)
    raise typer.Exit(1)


def keystore(state: Path, institution: str) -> PublicKey:
    """Return the public key of an institution's keystore in its home, made now where there is none."""
    folder = state / "nodes" / institution / "keys" / institution
    word = (state / "secrets" / institution / "key-password").read_bytes()
    if (folder / KEY_FILE).exists():
        return FileKeystore.open(folder, word).public_key
    key = FileKeystore.create(folder, word).public_key
    VoteStore.create(folder / VOTES_FILE, key).close()
    return key


def part(state: Path, institution: str) -> None:
    """Signing key and vote store lie in the home of the institution's node alone; its worker has the public half.

    Raises:
        typer.Exit: The node has another key already; nothing was moved.
    """
    worker, node = (state / homes / institution / "keys" / institution for homes in (HOMES, NODE_HOMES))
    if not (worker / KEY_FILE).exists():
        return
    if (node / KEY_FILE).exists():
        typer.echo(f"{institution}: a signing key lies with the worker and with the node; take one away", err=True)
        raise typer.Exit(1)
    word = (state / "secrets" / institution / "key-password").read_bytes()
    write(worker / PUBLIC_FILE, FileKeystore.open(worker, word).public_key.bytes.hex().encode(), 0o600)
    node.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in sorted(worker.glob(f"{VOTES_FILE}*")):  # with what SQLite keeps beside it
        path.rename(node / path.name)
    (worker / KEY_FILE).rename(node / KEY_FILE)  # at last: as long as it is here, a next run goes on


def write(path: Path, content: bytes, mode: int) -> None:
    """The file has this content and, from its first byte on, this mode; no link that a service left is followed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
    draft.rename(path)


def accounts_of(state: Path, region: Region) -> dict[str, dict[str, str]]:
    """Return the region's accounts: those of an earlier run, with fresh ones for what is new."""
    path = state / "passwords.json"
    before: dict[str, dict[str, str]] = json.loads(path.read_bytes()) if path.exists() else {}
    accounts = {kind: fresh | before.get(kind, {}) for kind, fresh in region_accounts(region).items()}
    write(path, json.dumps(accounts, indent=1).encode(), 0o600)
    return accounts


def hand_out(state: Path, genesis: Genesis) -> None:
    """Every node's home and the region's folder hold genesis, anchor, and the region's key wrapped to each member."""
    standing = state / "region" / "region.keys"
    keys = (
        standing.read_bytes() if standing.exists() else make_region_grant(genesis.chain_id, genesis.validators.members)
    )
    write(standing, keys, 0o644)  # before anybody has it: there is one such key for ever
    homes = [one for name in (HOMES, NODE_HOMES) for one in sorted((state / name).glob("*"))]
    for folder in (*homes, state / "region"):  # the region's last: it marks a chain
        write(folder / "region.keys", keys, 0o644)
        write(folder / "anchor.json", genesis.anchor(), 0o644)
        write(folder / "genesis.bin", genesis.encode(), 0o644)


def give(state: Path, compose: Path) -> None:
    """Every folder and what is in it belongs to its service's user, who alone may read it.

    A node's socket is its node's business; the folder around it lets the worker through.
    """
    for folder, (user, group) in owners(compose).items():
        (state / folder).mkdir(parents=True, exist_ok=True)
        inside = () if user != group else (state / folder).rglob("*")
        for path in (state / folder, *inside):
            os.chown(path, user, group, follow_symlinks=False)
        (state / folder).chmod(0o700 if user == group else 0o750)


def prepare(
    state: Annotated[Path, typer.Argument(help="Folder that XINGLIN_STATE will name.")],
    region_file: Annotated[Path, typer.Option("--region", help="The region's file.")] = REPOSITORY / "region.yaml",
    sources: Annotated[Path, typer.Option(help="Folder of source files.")] = REPOSITORY / "deploy" / "sources",
    compose: Annotated[Path, typer.Option(help="Says which user owns what.")] = REPOSITORY / "docker-compose.yaml",
) -> None:
    """Everything that docker-compose.yaml mounts lies in STATE; what was there is unchanged."""
    os.umask(0o022)
    region = load_region(region_file)
    names = {one.id for one in region.institutions}
    if taken := sorted(RESERVED.union(*map(apart_of, names)) & names):
        raise typer.BadParameter(f"an institution cannot be called {taken[0]}: an account has that name")
    shared = state / "region"
    if (shared / "genesis.bin").exists():
        found(state, region)  # refuses before anything is written
    (shared / "sources").mkdir(parents=True, exist_ok=True)
    state.chmod(0o711)
    for path, content in secret_files(accounts_of(state, region), region):
        write(state / path, content.encode(), 0o400 if path.startswith("secrets/") else 0o600)
    for one in region.institutions:
        for folder in (HOMES, NODE_HOMES, SOCKETS):
            (state / folder / one.id).mkdir(parents=True, exist_ok=True)
    hand_out(state, found(state, region))
    for one in region.institutions:
        part(state, one.id)
    shutil.copyfile(region_file, shared / "region.yaml")
    shutil.copytree(sources, shared / "sources", dirs_exist_ok=True)
    named = {pool.pop("name"): pool for pool in pools(load_sources(sources))}
    write(shared / "pools.json", json.dumps(named, indent=1).encode(), 0o644)
    if os.geteuid() == 0:
        give(state, compose)
    else:
        typer.echo(
            "not root: every file is yours, and the services' users cannot read it; see deploy/README.md", err=True
        )
    typer.echo(
        f"{state}: {len(region.institutions)} institutions. Next: XINGLIN_STATE={state} docker compose up --detach"
    )


if __name__ == "__main__":
    typer.run(prepare)
