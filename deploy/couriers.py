"""How a rehearsed region's tasks reach its workers: Airflow's Edge workers, or Celery's with a broker of accounts."""

from __future__ import annotations

import shutil
import sys
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

from console.region.errors import RegionError
from console.region.mongod import free_port
from console.region.processes import Process, running, start
from deploy.prepare import COMMON, COMMON_QUEUE, broker_accounts, write

START_SECONDS = 60.0


class Courier(ABC):
    """One of Airflow's executors, with what it needs beside Airflow.

    Args:
        folder: Of the region; processes leave their ids and logs in ``run/``.
        address: The API server's.
        accounts: Passwords of the broker's accounts.
    """

    #: Who takes the tasks that need no key: the auditor's worker beside its own, or one that is nobody's.
    shares_default: ClassVar[bool]

    def __init__(self, folder: Path, address: str, accounts: Mapping[str, str]) -> None:
        self.folder, self.address, self.accounts = folder, address, accounts

    def start(self) -> None:  # noqa: B027  (not every executor needs a process of its own)
        """What carries tasks runs."""

    def stop(self) -> None:  # noqa: B027
        """It has ended."""

    @abstractmethod
    def control(self) -> dict[str, str]:
        """Return what the control's environment has for it."""

    @abstractmethod
    def worker(self, name: str) -> dict[str, str]:
        """Return what one worker's environment has for it."""

    @abstractmethod
    def lets_in(self, name: str, since: datetime, database: str) -> bool:
        """Say whether a worker started since then has been let in; ``database`` is Airflow's SQLAlchemy address."""

    @abstractmethod
    def command(self, name: str, queues: list[str], own: Path) -> list[str]:
        """Return the command of a worker, with a folder of its own."""


class EdgeCourier(Courier):
    """EdgeExecutor: workers ask the API server for tasks."""

    shares_default = True

    def control(self) -> dict[str, str]:
        """Return what the control's environment has for it."""
        return {
            **self.worker("control"),
            "AIRFLOW__EDGE__API_ENABLED": "True",
            "AIRFLOW__DATABASE__EXTERNAL_DB_MANAGERS": "airflow.providers.edge3.models.db.EdgeDBManager",
        }

    def worker(self, name: str) -> dict[str, str]:  # noqa: ARG002  (all Edge workers are told the same)
        """Return what one worker's environment has for it."""
        return {
            "AIRFLOW__CORE__EXECUTOR": "airflow.providers.edge3.executors.EdgeExecutor",
            "AIRFLOW__EDGE__API_URL": f"{self.address}/edge_worker/v1/rpcapi",
            "AIRFLOW__EDGE__JOB_POLL_INTERVAL": "1",
            "AIRFLOW__EDGE__HEARTBEAT_INTERVAL": "5",
            "AIRFLOW__EDGE__PUSH_LOGS": "False",
        }

    def lets_in(self, name: str, since: datetime, database: str) -> bool:
        """Say whether Airflow heard of the worker; it refuses a name until it has missed whoever bore it before."""
        import sqlalchemy

        query = sqlalchemy.text(
            "SELECT last_update FROM edge_worker WHERE worker_name = :name AND state IN ('idle', 'running')"
        )
        engine = sqlalchemy.create_engine(database, poolclass=sqlalchemy.NullPool)
        with engine.connect() as connection:
            typed = query.columns(last_update=sqlalchemy.DateTime(timezone=True))
            heard = connection.execute(typed, {"name": name}).scalar()
        return heard is not None and (heard if heard.tzinfo else heard.replace(tzinfo=UTC)) > since

    def command(self, name: str, queues: list[str], own: Path) -> list[str]:
        """Return the command of a worker, with a folder of its own."""
        return [
            sys.executable, "-m", "console.region.worker", "edge", "worker", "--queues", ",".join(queues),
            "--concurrency", "2", "--edge-hostname", name, "--pid", str(own / "worker.pid"),
        ]  # fmt: skip


class CeleryCourier(Courier):
    """CeleryExecutor: a broker that lets each worker's account reach its own queue, as in ``docker-compose.yaml``."""

    shares_default = False

    def __init__(self, folder: Path, address: str, accounts: Mapping[str, str]) -> None:
        super().__init__(folder, address, accounts)
        self.port = free_port()
        self.begun = Counter[str]()

    def start(self) -> None:
        """The broker runs."""
        program = shutil.which("redis-server") or shutil.which("valkey-server")
        if program is None:
            raise RegionError("no broker: put redis-server or valkey-server on PATH (Debian's package redis-server)")
        own = self.folder / "broker"
        own.mkdir(mode=0o700)
        write(own / "users.acl", ("\n".join(broker_accounts(self.accounts)) + "\n").encode(), 0o600)
        arguments = ["--aclfile", str(own / "users.acl"), "--port", str(self.port), "--bind", "127.0.0.1"]
        process = start("broker", [program, *arguments, "--dir", str(own), "--save", ""], self.folder / "run")
        self._await(process)

    def _await(self, process: Process) -> None:
        import redis

        deadline = time.monotonic() + START_SECONDS
        with redis.Redis.from_url(self._url("airflow")) as broker:
            while True:
                try:
                    broker.ping()
                    return
                except redis.ConnectionError:
                    if not process.alive() or time.monotonic() > deadline:
                        raise RegionError(f"the broker does not answer; see {self.folder / 'run'}") from None
                    time.sleep(0.1)

    def stop(self) -> None:
        """The broker has ended."""
        if (process := running("broker", self.folder / "run")) is not None:
            process.stop()

    def _url(self, account: str) -> str:
        return f"redis://{account}:{self.accounts[account]}@127.0.0.1:{self.port}/0"

    def control(self) -> dict[str, str]:
        """Return what the control's environment has for it."""
        return self._environment("airflow")

    def worker(self, name: str) -> dict[str, str]:
        """Return what one worker's environment has for it; deploy/entrypoint.sh sets the same keys."""
        options = "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__UNACKED"
        return {
            **self._environment(name),
            f"{options}_KEY": f"unacked:{name}",
            f"{options}_INDEX_KEY": f"unacked_index:{name}",
            f"{options}_MUTEX_KEY": f"unacked_mutex:{name}",
        }

    def _environment(self, account: str) -> dict[str, str]:
        return {
            "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
            "AIRFLOW__CELERY__BROKER_URL": self._url(account),
            "AIRFLOW__CELERY__RESULT_BACKEND": self._url(account),
            "AIRFLOW__CELERY__WORKER_ENABLE_REMOTE_CONTROL": "False",
            "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__SEP": ":",
            "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": "21600",
        }

    def lets_in(self, name: str, since: datetime, database: str) -> bool:  # noqa: ARG002
        """Say whether the worker has said that it is ready as often as it was begun; the broker lets it in at once."""
        log = self.folder / "run" / f"worker-{name}.log"
        return log.exists() and log.read_text(errors="replace").count(" ready.") >= self.begun[name]

    def command(self, name: str, queues: list[str], own: Path) -> list[str]:
        """Return the command of a worker, with a folder of its own."""
        self.begun[name] += 1
        # Told a --celery-hostname, Airflow would ask all workers who they are, which no account may.
        return [
            sys.executable, "-m", "console.region.worker", "celery", "worker", "--queues", ",".join(queues),
            "--concurrency", "2", "--pid", str(own / "worker.pid"), "--without-gossip", "--without-mingle",
            "--skip-serve-logs",
        ]  # fmt: skip


__all__ = ["COMMON", "COMMON_QUEUE", "CeleryCourier", "Courier", "EdgeCourier"]
