"""A region of several machines, rehearsed on this one: the control, and a worker for each institution, apart.

Every institution has a user (where root runs this), a home with its own keys and vote store, an account in a MongoDB
with access control that reaches its own databases, and a worker on its own queue. The control has Airflow's scheduler,
API server, triggerer and DAG processor, and no key. docs/region.md says how the same is set up for real; the end-to-end
tests and ``benchmarks/region_interval.py`` run this.
"""

from __future__ import annotations

import base64
import json
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import httpx
from pymongo import MongoClient

from console.region.airflow import USER
from console.region.errors import RegionError
from console.region.mongod import find_mongod
from console.region.processes import Process, running, start
from deploy.apart import apart, can_part
from deploy.couriers import COMMON, COMMON_QUEUE, Courier, EdgeCourier
from deploy.homes import NODE_USER, Homes, region_file
from deploy.mongo_accounts import REPLICA_SET, establish
from deploy.prepare import write
from schemas.home import REPOSITORY

READY_SECONDS: Final = 600.0
CONTROL: Final = {
    "api-server": ("airflow", "api-server"),
    "scheduler": ("airflow", "scheduler", "--skip-serve-logs"),
    "triggerer": ("airflow", "triggerer", "--skip-serve-logs"),
    "dag-processor": ("airflow", "dag-processor"),
}


class Rehearsal(Homes):
    """A founded region that can run; nothing does until ``up``."""

    def up(self) -> None:
        """MongoDB, the control and every worker run, and Airflow calls them healthy.

        Raises:
            RegionError: Something does not start; the message names its log.
        """
        self._start_mongod()
        self.courier.start()
        self._migrate()
        for name, arguments in CONTROL.items():
            command = [sys.executable, "-m", *arguments]
            start(name, command, self.folder / "run", self.control_environment())
        self._until(self._healthy, "Airflow's own parts", *CONTROL)
        for one in self.noded:
            self._start_node(one)
        begun = datetime.now(UTC)
        for one in self.workers:
            self.start_worker(one)
        self._until(
            lambda: all(self._is_in(one, begun) for one in self.workers), "workers", *map(_worker, self.workers)
        )

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

    def queues(self, name: str) -> list[str]:
        """Return the queues of a worker; the auditor's also takes tasks that need no key, where the courier lets it."""
        if name == COMMON:
            return [COMMON_QUEUE]
        both = self.courier.shares_default and self.region.institution(name).role == "auditor"
        return [f"node-{name}", *([COMMON_QUEUE] if both else [])]

    def start_worker(self, institution: str) -> Process:
        """A worker begins to take the tasks of its queue."""
        command = self.courier.command(institution, self.queues(institution), self.own(institution))
        (self.own(institution) / "worker.pid").unlink(missing_ok=True)
        return self._start_apart(institution, _worker(institution), command)

    def _start_node(self, institution: str) -> None:
        """An institution's node answers its worker, and nobody else, on its socket."""
        user = self.user(institution)
        command = [
            sys.executable, "-m", "console.main", "node", "run", "--institution", institution,
            "--socket", str(self.socket(institution)),
        ]  # fmt: skip
        if can_part():
            command += ["--group", str(user), "--worker", str(user)]
        prefixed = apart(NODE_USER, command, self.folder / "scratch", groups=[user])
        start(_node(institution), prefixed, self.folder / "run", self.node_environment(institution))
        self._until(self.socket(institution).exists, f"the node of {institution}", _node(institution))

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
            return self._is_in(institution, asked)

        self._until(is_in, f"the worker of {institution}")

    def _is_in(self, name: str, since: datetime) -> bool:
        return self.courier.lets_in(name, since, self.sql())

    def run_as(self, institution: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command as an institution's user, with its environment."""
        prefixed = apart(self.user(institution), command, self.folder / "scratch")
        environment = self.environment(institution)
        return subprocess.run(prefixed, env=environment, capture_output=True, text=True, check=False, timeout=120)

    def down(self) -> None:
        """Nothing of it runs."""
        for name in (*map(_worker, self.workers), *map(_node, self.noded), *reversed(CONTROL), "mongod"):
            if (process := running(name, self.folder / "run")) is not None:
                process.stop(kill=name not in CONTROL)
        self.courier.stop()

    # --- what can be seen of it ----------------------------------------------------------------------------------

    @cached_property
    def root(self) -> MongoClient[dict[str, Any]]:
        """MongoDB as its administrator, for looking at all replicas."""
        return MongoClient(self.uri("root"), tz_aware=True)

    @cached_property
    def client(self) -> httpx.Client:
        """Airflow's REST interface, authorised."""
        return self.airflow.client()

    def close(self) -> None:
        """Let go of what was opened for looking."""
        for name in ("root", "client"):
            if name in self.__dict__:
                self.__dict__[name].close()

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

    def _until(self, happened: Callable[[], bool], what: str, *names: str) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not happened():
            for name in names:
                if running(name, self.folder / "run") is None:
                    said = (self.folder / "run" / f"{name}.log").read_text(encoding="utf-8", errors="replace")
                    raise RegionError(f"{name} ended while starting: {said[-2_000:]}")
            if time.monotonic() > deadline:
                raise RegionError(f"not there after {READY_SECONDS:.0f} s: {what}; see {self.folder / 'run'}")
            time.sleep(0.5)


def _worker(institution: str) -> str:
    return f"worker-{institution}"


def _node(institution: str) -> str:
    return f"node-{institution}"


@contextmanager
def rehearsed(
    courier: type[Courier] = EdgeCourier,
    database: str | None = None,
    noded: Collection[str] = (),
    **parameters: int,
) -> Iterator[Rehearsal]:
    """Yield a region of seven institutions that runs; nothing of it is left afterwards."""
    with tempfile.TemporaryDirectory(prefix="xinglin-region-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o711)
        rehearsal = Rehearsal(folder / "region", region_file(folder, **parameters), courier, database, noded)
        try:
            rehearsal.up()
            yield rehearsal
        finally:
            rehearsal.down()
            rehearsal.close()
