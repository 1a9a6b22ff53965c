"""Who has what in a rehearsed region: users, homes, keys, accounts and environments; nothing of it runs.

docs/region.md has the same names for a region of several machines.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Final

import yaml

from console.region.airflow import Airflow
from console.region.mongod import free_port
from deploy.apart import can_part
from deploy.couriers import COMMON, Courier, EdgeCourier
from deploy.mongo_accounts import REPLICA_SET
from deploy.prepare import accounts_of, found, hand_out, write
from ledger.chain.genesis import Genesis
from schemas.home import REPOSITORY, Home
from schemas.region import Region, load_region

FIRST_USER: Final = 61101
NODE_USER: Final = 61199
#: Of this process's environment, what a process of another user needs.
HANDED_ON: Final = ("PATH", "PYTHONPATH", "TZ", "LANG")


class Homes:
    """The folder of a region, founded: each institution has its own part, which only its user may look into.

    Args:
        folder: An empty folder that every user may pass through.
        region_file: Its institutions and parameters; nobody's ``public_key`` stands in it.
        courier: How tasks reach the workers.
        database: SQLAlchemy address of Airflow's database; without it Airflow uses SQLite.
        noded: Institutions whose node is a process of its own: another user, who alone has the key.
    """

    def __init__(
        self,
        folder: Path,
        region_file: Path,
        courier: type[Courier] = EdgeCourier,
        database: str | None = None,
        noded: Collection[str] = (),
    ) -> None:
        self.folder = folder
        self.noded = tuple(noded)
        self.shared = folder / "region"
        self.database = database
        self.shared.mkdir(parents=True)
        shutil.copyfile(region_file, self.shared / "region.yaml")
        (self.shared / "sources").mkdir()
        self.region: Region = load_region(self.shared / "region.yaml")
        self.ids = [one.id for one in self.region.institutions]
        self.accounts = accounts_of(folder, self.region)
        self.mongo_port, port = free_port(), free_port()
        self.airflow = Airflow(Home(self._home("control")), port)
        self.courier = courier(folder, self.airflow.address, self.accounts["broker"])
        self.genesis = self._found()

    def _home(self, name: str) -> Path:
        return self.folder / "nodes" / name

    def own(self, institution: str) -> Path:
        """Return the folder that only this institution's user reads: keys, secrets, Airflow's home."""
        return self._home(institution)

    def user(self, institution: str) -> int:
        """Return the number of an institution's user."""
        return FIRST_USER + self.workers.index(institution)

    def uri(self, account: str) -> str:
        """Return the address of MongoDB for one account."""
        word = self.accounts["mongo"][account]
        return f"mongodb://{account}:{word}@127.0.0.1:{self.mongo_port}/?replicaSet={REPLICA_SET}&authSource=admin"

    def _found(self) -> Genesis:
        for one in self.ids:
            write(self.folder / "secrets" / one / "key-password", self.accounts["keystore"][one].encode(), 0o400)
            self.own(one).mkdir(parents=True)
        self._home("control").mkdir()
        if COMMON in self.workers:
            self.own(COMMON).mkdir()
            self._give(COMMON)
        genesis = found(self.folder, self.region)
        hand_out(self.folder, genesis)
        for one in self.ids:
            shutil.move(self.folder / "secrets" / one / "key-password", self.own(one) / "key-password")
            write(self.own(one) / "mongodb-uri", self.uri(one).encode(), 0o400)
            if one in self.noded:
                self._part_node(one)
            self._give(one)
        write(self._home("control") / "mongodb-uri", self.uri("observer").encode(), 0o400)
        for closed in (self._home("control"), self.folder / "secrets", self.folder / "mongo", self.folder / "run"):
            closed.mkdir(exist_ok=True)
            closed.chmod(0o700)
        return genesis

    def _part_node(self, institution: str) -> None:
        """Key, vote store and their password are in a folder of the node's user, with an address of the database."""
        own, node = self.own(institution), self.node_home(institution)
        node.mkdir(parents=True)
        for name in ("keys", "key-password"):
            shutil.move(own / name, node / name)
        for path in own.iterdir():
            shutil.copy(path, node / path.name)
        _give(node, NODE_USER)
        socket = self.socket(institution).parent
        socket.mkdir(parents=True)
        if can_part():
            os.chown(socket, NODE_USER, self.user(institution))
        socket.chmod(0o750)

    def node_home(self, institution: str) -> Path:
        """Return the folder that only a node process reads."""
        return self.folder / "node-homes" / institution

    def socket(self, institution: str) -> Path:
        """Return where an institution's node process listens."""
        return self.folder / "sockets" / institution / "node.sock"

    def _give(self, institution: str) -> None:
        _give(self.own(institution), self.user(institution))

    def environment(self, institution: str) -> dict[str, str]:
        """Return the whole environment of an institution's processes; docs/region.md has the same names."""
        own, control = self.own(institution), self.airflow.environment()
        agreed = (
            "AIRFLOW__API_AUTH__JWT_SECRET", "AIRFLOW__CORE__EXECUTION_API_SERVER_URL",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC",
        )  # fmt: skip
        key = {"XINGLIN_KEY_PASSWORD_FILE": str(own / "key-password")}
        if institution in self.noded:
            key = {"XINGLIN_NODE_SOCKET": str(self.socket(institution))}
        return {
            **{name: value for name, value in os.environ.items() if name in HANDED_ON},
            **{name: control[name] for name in agreed},
            **self.courier.worker(institution),
            **key,
            "HOME": str(own),
            "USER": institution,
            "HOSTNAME": institution,
            "AIRFLOW_HOME": str(own / "airflow"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "dags"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPOSITORY / "plugins"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "XINGLIN_HOME": str(own),
            "XINGLIN_REGION": str(self.shared / "region.yaml"),
            "XINGLIN_SOURCES": str(self.shared / "sources"),
            "XINGLIN_NODE": institution,
            "MONGODB_URI_FILE": str(own / "mongodb-uri"),
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def control_environment(self) -> dict[str, str]:
        """Return the environment of the control's processes: no key, and an account that reads the exchange."""
        given = {} if self.database is None else {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": self.database}
        return {
            **{name: value for name, value in self.airflow.environment().items() if not name.startswith("MONGODB")},
            **given,
            **self.courier.control(),
            "AIRFLOW__CORE__PARALLELISM": "64",
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.3",
            "MONGODB_URI_FILE": str(self._home("control") / "mongodb-uri"),
            "XINGLIN_REGION": str(self.shared / "region.yaml"),
            "XINGLIN_SOURCES": str(self.shared / "sources"),
        }

    @property
    def workers(self) -> tuple[str, ...]:
        """Who has a worker: every institution, and nobody for tasks that need no key where the auditor has not both."""
        return (*self.ids, *(() if self.courier.shares_default else (COMMON,)))

    def node_environment(self, institution: str) -> dict[str, str]:
        """Return the whole environment of an institution's node process."""
        home = self.node_home(institution)
        return {
            **{name: value for name, value in os.environ.items() if name in HANDED_ON},
            "XINGLIN_HOME": str(home),
            "XINGLIN_REGION": str(self.shared / "region.yaml"),
            "XINGLIN_KEY_PASSWORD_FILE": str(home / "key-password"),
            "MONGODB_URI_FILE": str(home / "mongodb-uri"),
        }

    def sql(self) -> str:
        """Return the SQLAlchemy address of Airflow's database."""
        return self.database or f"sqlite:///{self.airflow.folder / 'airflow.db'}"


def _give(folder: Path, user: int) -> None:
    """A folder and what is in it belongs to a user, who alone may look into it."""
    folder.chmod(0o700)
    if can_part():
        for path in (folder, *folder.rglob("*")):
            os.chown(path, user, user, follow_symlinks=False)


def region_file(folder: Path, **parameters: int) -> Path:
    """Write a region of seven, the repository's keepers of records and regulator and one more; return where it is."""
    document = yaml.safe_load((REPOSITORY / "region.yaml").read_text(encoding="utf-8"))
    document["parameters"] |= parameters
    document["institutions"] = [one for one in document["institutions"] if one["class"] != "P"]
    document["institutions"].insert(
        4, {"id": "hospital-north", "name": "北城医院", "class": "B", "role": "validator", "weight": 2}
    )
    path = folder / "seven.yaml"
    path.write_text(yaml.safe_dump(document, allow_unicode=True, sort_keys=False), encoding="utf-8")
    return path
