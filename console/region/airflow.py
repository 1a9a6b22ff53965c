"""Airflow on this machine: its home, its four processes, and the REST interface that the console asks."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from console.region.errors import RegionError
from console.region.nodes import node_urls
from console.region.processes import Process, running, start, write
from schemas.home import REPOSITORY, Home

PROCESSES: Mapping[str, tuple[str, ...]] = {
    # Logs are read from the shared folder; the log servers would listen on every interface.
    "scheduler": ("console.region.scheduler", "--skip-serve-logs"),
    "triggerer": ("airflow", "triggerer", "--skip-serve-logs"),
    "dag-processor": ("airflow", "dag-processor"),
    "api-server": ("airflow", "api-server"),
}
USER = "admin"
START_SECONDS = 120.0
#: Longer than the interface itself waits for its database (`console.region.sqlite`).
ANSWER_SECONDS = 60.0


class PatientTransport(httpx.HTTPTransport):
    """Asks again on 5xx and on silence: Airflow's SQLite is locked by many writers while everything starts."""

    tries = 20
    pause_seconds = 0.5

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Return the first answer below 500, or the last one.

        Raises:
            httpx.ReadTimeout: No answer came to a POST, which may have been heard, or to none of the tries.
        """
        for _ in range(self.tries):
            try:
                answer = super().handle_request(request)
            except httpx.ReadTimeout:
                if request.method == "POST":
                    raise
                continue
            if answer.status_code < 500:
                return answer
            answer.close()
            time.sleep(self.pause_seconds)
        return super().handle_request(request)


@dataclass(frozen=True, slots=True)
class Airflow:
    """Airflow under ``home/airflow``, its interface on one loopback port."""

    home: Home
    port: int

    @property
    def folder(self) -> Path:
        """AIRFLOW_HOME."""
        return self.home.path / "airflow"

    @property
    def address(self) -> str:
        """Where a person opens the interface."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def password(self) -> str:
        """The interface's password, made at the first start and kept in a file only this user reads."""
        return str(json.loads(self._passwords.read_text(encoding="utf-8"))[USER])

    @property
    def _passwords(self) -> Path:
        return self.folder / "passwords.json"

    def environment(self) -> dict[str, str]:
        """Return the environment of every Airflow process: this home, loopback only, nothing sent outside.

        The database's address, which may hold a password, is not in it unless it was given in the environment.
        """
        own = {
            "AIRFLOW_HOME": str(self.folder),
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": "8",
            "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "dags"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPOSITORY / "plugins"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(self._passwords),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.address}/execution/",
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(self.port),
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API__EXPOSE_CONFIG": "False",
            "AIRFLOW__API_AUTH__JWT_SECRET": self._secret("jwt"),
            "AIRFLOW__API__SECRET_KEY": self._secret("api"),
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "30",
            # After a power cut the tasks of the dead scheduler are taken up again within a minute, not five.
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "15",
            "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "10",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "40",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "5",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO",
            "AIRFLOW__LOGGING__NAMESPACE_LEVELS": "great_expectations=WARNING",
            "XINGLIN_HOME": str(self.home.path),
            "XINGLIN_REGION": str(self.home.region),
            "XINGLIN_SOURCES": str(self.home.sources),
            "PYTHONUNBUFFERED": "1",
        }
        if "XINGLIN_NODE_URLS" not in os.environ:  # whom the page about the ledger asks
            own["XINGLIN_NODE_URLS"] = ",".join(f"{name}={url}" for name, url in node_urls(self.home).items())
        if "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN" not in os.environ:
            own["AIRFLOW__DATABASE__SQL_ALCHEMY_CONNECT_ARGS"] = "console.region.sqlite.CONNECT"
            own["AIRFLOW__DATABASE__SQL_ALCHEMY_CONNECT_ARGS_ASYNC"] = "console.region.sqlite.CONNECT"
        return {**os.environ, **own}

    def start(self) -> None:
        """The database is migrated and the four processes run and answer.

        Raises:
            RegionError: A process ends, or the interface does not answer within two minutes.
        """
        self.prepare()
        for name, arguments in PROCESSES.items():
            if running(name, self.folder) is None:
                start(name, [sys.executable, "-m", *arguments], self.folder, self.environment())
        self._await_health()

    def prepare(self) -> None:
        """The home, the interface's password and the metadata database are there.

        Raises:
            RegionError: The database cannot be brought to this Airflow's version.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self._passwords.exists():
            write(self._passwords, json.dumps({USER: secrets.token_urlsafe(12)}).encode(), mode=0o600)
        self._migrate()

    def stop(self) -> None:
        """None of the four processes runs."""
        for name in reversed(tuple(PROCESSES)):
            if (process := running(name, self.folder)) is not None:
                process.stop()

    def process(self, name: str) -> Process | None:
        """Return one of the four processes, or None where it does not run."""
        return running(name, self.folder)

    def client(self) -> httpx.Client:
        """Return an authorised client of the REST interface."""
        with self._patient() as client:
            answer = client.post("/auth/token", json={"username": USER, "password": self.password})
        answer.raise_for_status()
        authorised = self._patient()
        authorised.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        return authorised

    def _patient(self) -> httpx.Client:
        return httpx.Client(base_url=self.address, timeout=ANSWER_SECONDS, transport=PatientTransport())

    def _secret(self, name: str) -> str:
        path = self.folder / f"{name}.secret"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path, secrets.token_hex(32).encode(), mode=0o600)
        return path.read_text(encoding="ascii")

    def _migrate(self) -> None:
        """The metadata database is at this Airflow's version; a marker spares the six seconds next time."""
        import importlib.metadata

        version = importlib.metadata.version("apache-airflow-core")
        marker = self.folder / "migrated"
        if marker.exists() and marker.read_text(encoding="ascii") == version:
            return
        done = subprocess.run(
            [sys.executable, "-m", "airflow", "db", "migrate"],
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            (self.folder / "migrate.log").write_text(done.stdout + done.stderr, encoding="utf-8")
            raise RegionError(f"Airflow's database cannot be prepared; see {self.folder / 'migrate.log'}")
        marker.write_text(version, encoding="ascii")

    def _await_health(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            for name in PROCESSES:
                if running(name, self.folder) is None:
                    raise RegionError(f"Airflow's {name} ended while starting; see {self.folder / name}.log")
            if _healthy(self._health()):
                return
            time.sleep(0.3)
        raise RegionError(f"Airflow does not answer at {self.address} after {START_SECONDS:.0f} s; see {self.folder}")

    def _health(self) -> dict[str, Any]:
        try:
            answer = httpx.get(f"{self.address}/api/v2/monitor/health", timeout=5)
            return dict(answer.json())
        except (httpx.HTTPError, ValueError):
            return {}


def _healthy(report: Mapping[str, Any]) -> bool:
    parts = ("metadatabase", "scheduler", "triggerer", "dag_processor")
    return all((report.get(part) or {}).get("status") == "healthy" for part in parts)
