"""A region of several machines, rehearsed on this one: the control, and a worker for each institution, apart.

Every institution has a user (where root runs this), a home with its own keys and vote store, an account in a MongoDB
with access control that reaches its own databases, and an Edge worker on its own queue. The control has Airflow's
scheduler, API server, triggerer and DAG processor, and no key. docs/region.md says how the same is set up for real; the
end-to-end test and ``benchmarks/region_interval.py`` run this.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import httpx
import yaml
from pymongo import MongoClient

from console.region.airflow import USER, Airflow
from console.region.errors import RegionError
from console.region.mongod import find_mongod, free_port
from console.region.processes import Process, running, start
from deploy.apart import apart, can_part
from deploy.mongo_accounts import REPLICA_SET, establish
from deploy.prepare import accounts_of, found, hand_out, write
from ledger.genesis import Genesis
from schemas.home import REPOSITORY, Home
from schemas.region import Region, load_region

FIRST_USER: Final = 61101
READY_SECONDS: Final = 600.0
CONTROL: Final = {
    "api-server": ("airflow", "api-server"),
    "scheduler": ("airflow", "scheduler", "--skip-serve-logs"),
    "triggerer": ("airflow", "triggerer", "--skip-serve-logs"),
    "dag-processor": ("airflow", "dag-processor"),
}
#: Of this process's environment, what a process of another user needs.
HANDED_ON: Final = ("PATH", "TZ", "LANG")


@dataclass(frozen=True, slots=True)
class EdgeAirflow(Airflow):
    """The control's Airflow, which hands tasks to Edge workers."""

    def environment(self) -> dict[str, str]:
        """Return the environment of its processes."""
        return {
            **Airflow.environment(self),
            **edge(self.address),
            "AIRFLOW__CORE__PARALLELISM": "64",
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.3",
            "AIRFLOW__EDGE__API_ENABLED": "True",
            "AIRFLOW__DATABASE__EXTERNAL_DB_MANAGERS": "airflow.providers.edge3.models.db.EdgeDBManager",
        }


def edge(address: str) -> dict[str, str]:
    """Return what control and workers must agree on."""
    return {
        "AIRFLOW__CORE__EXECUTOR": "airflow.providers.edge3.executors.EdgeExecutor",
        "AIRFLOW__EDGE__API_URL": f"{address}/edge_worker/v1/rpcapi",
        "AIRFLOW__EDGE__JOB_POLL_INTERVAL": "1",
        "AIRFLOW__EDGE__HEARTBEAT_INTERVAL": "5",
        "AIRFLOW__EDGE__PUSH_LOGS": "False",
    }


class Rehearsal:
    """One region in a folder; nothing runs until ``up``.

    Args:
        folder: An empty folder that every user may pass through.
        region_file: Its institutions and parameters; nobody's ``public_key`` stands in it.
        database: SQLAlchemy address of Airflow's database; without it Airflow uses SQLite.
    """

    def __init__(self, folder: Path, region_file: Path, database: str | None = None) -> None:
        self.folder = folder
        self.shared = folder / "region"
        self.database = database
        self.shared.mkdir(parents=True)
        shutil.copyfile(region_file, self.shared / "region.yaml")
        (self.shared / "sources").mkdir()
        self.region: Region = load_region(self.shared / "region.yaml")
        self.ids = [one.id for one in self.region.institutions]
        self.accounts = accounts_of(folder, self.region)
        self.mongo_port, port = free_port(), free_port()
        self.airflow = EdgeAirflow(Home(self._home("control")), port)
        self.genesis = self._found()

    # --- who has what --------------------------------------------------------------------------------------------

    def _home(self, name: str) -> Path:
        return self.folder / "nodes" / name

    def own(self, institution: str) -> Path:
        """Return the folder that only this institution's user reads: keys, secrets, Airflow's home."""
        return self._home(institution)

    def user(self, institution: str) -> int:
        """Return the number of an institution's user."""
        return FIRST_USER + self.ids.index(institution)

    def uri(self, account: str) -> str:
        """Return the address of MongoDB for one account."""
        word = self.accounts["mongo"][account]
        return f"mongodb://{account}:{word}@127.0.0.1:{self.mongo_port}/?replicaSet={REPLICA_SET}&authSource=admin"

    def _found(self) -> Genesis:
        for one in self.ids:
            write(self.folder / "secrets" / one / "key-password", self.accounts["keystore"][one].encode(), 0o400)
            self.own(one).mkdir(parents=True)
        self._home("control").mkdir()
        genesis = found(self.folder, self.region)
        hand_out(self.folder, genesis)
        for one in self.ids:
            shutil.move(self.folder / "secrets" / one / "key-password", self.own(one) / "key-password")
            write(self.own(one) / "mongodb-uri", self.uri(one).encode(), 0o400)
            self._give(one)
        write(self._home("control") / "mongodb-uri", self.uri("observer").encode(), 0o400)
        for closed in (self._home("control"), self.folder / "secrets", self.folder / "mongo", self.folder / "run"):
            closed.mkdir(exist_ok=True)
            closed.chmod(0o700)
        return genesis

    def _give(self, institution: str) -> None:
        own = self.own(institution)
        own.chmod(0o700)
        if can_part():
            for path in (own, *own.rglob("*")):
                os.chown(path, self.user(institution), self.user(institution), follow_symlinks=False)

    def environment(self, institution: str) -> dict[str, str]:
        """Return the whole environment of an institution's processes; docs/region.md has the same names."""
        own, control = self.own(institution), self.airflow.environment()
        agreed = (
            "AIRFLOW__API_AUTH__JWT_SECRET", "AIRFLOW__CORE__EXECUTION_API_SERVER_URL",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC",
        )  # fmt: skip
        return {
            **{name: value for name, value in os.environ.items() if name in HANDED_ON},
            **{name: control[name] for name in agreed},
            **edge(self.airflow.address),
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
            "XINGLIN_KEY_PASSWORD_FILE": str(own / "key-password"),
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
            "MONGODB_URI_FILE": str(self._home("control") / "mongodb-uri"),
            "XINGLIN_REGION": str(self.shared / "region.yaml"),
            "XINGLIN_SOURCES": str(self.shared / "sources"),
        }

    # --- what runs -----------------------------------------------------------------------------------------------

    def up(self) -> None:
        """MongoDB, the control and every worker run, and Airflow calls them healthy.

        Raises:
            RegionError: Something does not start; the message names its log.
        """
        self._start_mongod()
        self._migrate()
        for name, arguments in CONTROL.items():
            command = [sys.executable, "-m", *arguments]
            start(name, command, self.folder / "run", self.control_environment())
        self._until(self._healthy, "Airflow's own parts", *CONTROL)
        for one in self.ids:
            self.start_worker(one)
        self._until(lambda: set(self.ids) <= self.workers(), "all workers", *map(_worker, self.ids))

    def _start_mongod(self) -> None:
        folder = self.folder / "mongo"
        (folder / "data").mkdir(parents=True)
        write(folder / "keyfile", base64.b64encode(secrets.token_bytes(96)), 0o400)
        arguments = [
            str(find_mongod()), "--replSet", REPLICA_SET, "--keyFile", str(folder / "keyfile"), "--bind_ip",
            "127.0.0.1", "--port", str(self.mongo_port), "--dbpath", str(folder / "data"), "--wiredTigerCacheSizeGB",
            "0.5", "--oplogSize", "256", "--nounixsocket", "--setParameter", "diagnosticDataCollectionEnabled=false",
        ]  # fmt: skip
        start("mongod", arguments, self.folder / "run")
        establish([f"127.0.0.1:{self.mongo_port}"], self.ids, self.accounts["mongo"])

    def _migrate(self) -> None:
        self.airflow.folder.mkdir(parents=True)
        write(self.airflow.folder / "passwords.json", json.dumps({USER: secrets.token_urlsafe(12)}).encode(), 0o600)
        command = [sys.executable, "-m", "airflow", "db", "migrate"]
        done = subprocess.run(command, env=self.control_environment(), capture_output=True, text=True, check=False)
        if done.returncode:
            raise RegionError(f"Airflow's database cannot be prepared: {(done.stdout + done.stderr)[-2_000:]}")

    def start_worker(self, institution: str) -> Process:
        """An institution's worker begins to take the tasks of its queue; the auditor's also those that need no key."""
        queues = [f"node-{institution}"]
        if self.region.institution(institution).role == "auditor":
            queues.append("default")
        command = [
            sys.executable, "-m", "console.region.worker", "edge", "worker", "--queues", ",".join(queues),
            "--concurrency", "2", "--edge-hostname", institution, "--pid", str(self.own(institution) / "worker.pid"),
        ]  # fmt: skip
        (self.own(institution) / "worker.pid").unlink(missing_ok=True)
        return self._start_apart(institution, _worker(institution), command)

    def _start_apart(self, institution: str, name: str, command: Sequence[str]) -> Process:
        prefixed = apart(self.user(institution), command, self.folder / "scratch")
        return start(name, prefixed, self.folder / "run", self.environment(institution))

    def kill_worker(self, institution: str) -> None:
        """An institution's worker, and the tasks it had in hand, are gone by SIGKILL."""
        process = running(_worker(institution), self.folder / "run")
        if process is None:
            raise RegionError(f"no worker of {institution} runs")
        process.stop(kill=True)

    def restart_worker(self, institution: str) -> None:
        """An institution's worker is back; Airflow lets it in once it has missed the one that was killed.

        Raises:
            RegionError: It was not let in within some minutes.
        """
        asked = datetime.now(UTC)

        def is_in() -> bool:
            if running(_worker(institution), self.folder / "run") is None:
                self.start_worker(institution)
            return self._last_heard(institution) > asked

        self._until(is_in, f"the worker of {institution}")

    def run_as(self, institution: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command as an institution's user, with its environment."""
        prefixed = apart(self.user(institution), command, self.folder / "scratch")
        environment = self.environment(institution)
        return subprocess.run(prefixed, env=environment, capture_output=True, text=True, check=False, timeout=120)

    def down(self) -> None:
        """Nothing of it runs."""
        for name in (*map(_worker, self.ids), *reversed(CONTROL), "mongod"):
            if (process := running(name, self.folder / "run")) is not None:
                process.stop(kill=name not in CONTROL)

    # --- what can be seen of it ----------------------------------------------------------------------------------

    @cached_property
    def root(self) -> MongoClient[dict[str, Any]]:
        """MongoDB as its administrator, for looking at all replicas."""
        return MongoClient(self.uri("root"), tz_aware=True)

    @cached_property
    def client(self) -> httpx.Client:
        """Airflow's REST interface, authorised."""
        return self.airflow.client()

    def workers(self) -> set[str]:
        """Return the workers that Airflow believes to be there."""
        return {name for name, state, _ in self._edge_workers() if state in ("idle", "running", "starting")}

    def _last_heard(self, institution: str) -> datetime:
        """Return when a worker that is let in was last heard of."""
        never = datetime.min.replace(tzinfo=UTC)
        heard = {name: at for name, state, at in self._edge_workers() if state in ("idle", "running")}
        return max((at for name, at in heard.items() if name == institution), default=never)

    def _edge_workers(self) -> list[tuple[str, str, datetime]]:
        import sqlalchemy

        query = sqlalchemy.text("SELECT worker_name, state, last_update FROM edge_worker")
        with self._engine.connect() as connection:
            rows = connection.execute(query.columns(last_update=sqlalchemy.DateTime(timezone=True))).all()
        return [(name, str(state), at if at.tzinfo else at.replace(tzinfo=UTC)) for name, state, at in rows]

    @cached_property
    def _engine(self) -> Any:
        import sqlalchemy

        return sqlalchemy.create_engine(self._sql())

    def close(self) -> None:
        """Let go of what was opened for looking."""
        for name in ("root", "client"):
            if name in self.__dict__:
                self.__dict__[name].close()
        if "_engine" in self.__dict__:
            self._engine.dispose()

    def _sql(self) -> str:
        return self.database or f"sqlite:///{self.airflow.folder / 'airflow.db'}"

    def heads(self) -> dict[str, tuple[int, str]]:
        """Return height and block id, hex, of the head of every institution's replica."""
        found = {one: self.root[f"ledger_{one}"]["meta"].find_one({"_id": "head"}) for one in self.ids}
        return {one: (int(head["height"]), bytes(head["block_id"]).hex()) for one, head in found.items() if head}

    def runs(self) -> list[dict[str, Any]]:
        """Return the runs of ``notarise`` as Airflow's interface tells them, oldest first."""
        found = self.client.get("/api/v2/dags/notarise/dagRuns", params={"limit": 1000, "order_by": "run_after"})
        return list(found.json()["dag_runs"])

    def offer(self, institution: str, count: int) -> datetime:
        """An institution has sealed so many invented records and offers them; returns when its batch stood there.

        Raises:
            RegionError: It could not; the message ends with what it said.
        """
        done = self.run_as(institution, sys.executable, str(REPOSITORY / "deploy" / "offer.py"), str(count))
        if done.returncode:
            raise RegionError(f"{institution} offers nothing: {done.stderr[-2_000:]}")
        self.seal(institution)
        return datetime.fromisoformat(done.stdout.split()[-1])

    def seal(self, institution: str) -> None:
        """Tell Airflow that an institution sealed something, as its ``submit`` task does."""
        found = self.client.get("/api/v2/assets", params={"uri_pattern": f"xinglin://sealed/{institution}"}).json()
        asset = next(one for one in found["assets"] if one["uri"] == f"xinglin://sealed/{institution}")
        self.client.post("/api/v2/assets/events", json={"asset_id": asset["id"]}).raise_for_status()

    def _healthy(self) -> bool:
        try:
            report = httpx.get(f"{self.airflow.address}/api/v2/monitor/health", timeout=10).json()
        except (httpx.HTTPError, ValueError):
            return False
        parts = ("metadatabase", "scheduler", "triggerer", "dag_processor")
        return all((report.get(part) or {}).get("status") == "healthy" for part in parts)

    def _until(self, happened: Any, what: str, *names: str) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not happened():
            for name in names:
                if running(name, self.folder / "run") is None:
                    raise RegionError(f"{name} ended while starting; see {self.folder / 'run' / name}.log")
            if time.monotonic() > deadline:
                raise RegionError(f"not there after {READY_SECONDS:.0f} s: {what}; see {self.folder / 'run'}")
            time.sleep(0.5)


def _worker(institution: str) -> str:
    return f"worker-{institution}"


def region_file(folder: Path, **parameters: int) -> Path:
    """Write the repository's region with a seventh institution and other parameters, and return where it is."""
    document = yaml.safe_load((REPOSITORY / "region.yaml").read_text(encoding="utf-8"))
    document["parameters"] |= parameters
    document["institutions"].insert(
        4, {"id": "hospital-north", "name": "北城医院", "class": "B", "role": "validator", "weight": 2}
    )
    path = folder / "seven.yaml"
    path.write_text(yaml.safe_dump(document, allow_unicode=True, sort_keys=False), encoding="utf-8")
    return path


@contextmanager
def rehearsed(database: str | None = None, **parameters: int) -> Iterator[Rehearsal]:
    """Yield a region of seven institutions that runs; nothing of it is left afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="xinglin-region-"))
    folder.chmod(0o711)
    rehearsal = Rehearsal(folder / "region", region_file(folder, **parameters), database)
    try:
        rehearsal.up()
        yield rehearsal
    finally:
        rehearsal.down()
        rehearsal.close()
        shutil.rmtree(folder, ignore_errors=True)
