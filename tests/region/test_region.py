"""The region as a newcomer runs it: the real command, Airflow, mongod, listeners, simulators; twice, with accidents."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pymongo import MongoClient

from console.region.airflow import Airflow
from console.region.mongod import free_port
from console.region.processes import running
from schemas.home import REPOSITORY, Home

pytestmark = pytest.mark.region
MESSAGES = 60


class Command:
    """The `xinglin` command in a home of its own, with sources on free ports."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        sources = folder / "sources"
        sources.mkdir(parents=True)
        for path in (REPOSITORY / "sources").glob("*.yaml"):
            document = yaml.safe_load(path.read_text(encoding="utf-8"))
            settings = document["settings"]
            if "port" in settings:
                settings["port"] = free_port()
            for name in {"url", "base"} & settings.keys():
                settings[name] = re.sub(r"(127\.0\.0\.1):\d+", rf"\1:{free_port()}", settings[name])
            (sources / path.name).write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
        shutil.copytree(REPOSITORY / "sources" / "mappings", sources / "mappings")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("AIRFLOW", "MONGODB"))}
        self.environment = {
            **kept,
            "XINGLIN_HOME": str(self.home),
            "XINGLIN_SOURCES": str(sources),
            "XINGLIN_AIRFLOW_PORT": str(free_port()),
            "XINGLIN_MONGO_PORT": str(free_port()),
            "COLUMNS": "200",
        }

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "console.main", *arguments]
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False, timeout=420, cwd=REPOSITORY
        )


@pytest.fixture(scope="module")
def xinglin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """The command; whatever it started has ended afterwards."""
    command = Command(tmp_path_factory.mktemp("region"))
    yield command
    command("down")


@pytest.fixture(scope="module")
def first(xinglin: Command) -> str:
    """What the first demo prints."""
    done = xinglin("demo", "--messages", str(MESSAGES))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_first_demo_accounts_for_every_message_and_verifies_the_chain(first: str) -> None:
    assert "✓ account" in first
    assert "✓ chain: 8 replicas" in first
    assert "✓ sample" in first
    assert "✓ datasets: 2 packages verified" in first
    assert "Refused: the same, asked by insurer: not permitted" in first
    assert "✗" not in first
    assert re.search(r"confirmed by .* of 12 votes", first)
    assert re.search(r"Airflow +http://127\.0\.0\.1:\d+ +user admin +password \S+", first)


def test_the_page_about_the_ledger_shows_every_node_of_the_demo(first: str, xinglin: Command) -> None:
    home = Home(xinglin.home)
    airflow = Airflow(home, int((xinglin.home / "airflow.port").read_text(encoding="ascii")))
    with airflow.client() as client:
        page = client.get("/xinglin/ledger").text
    assert page.count("up to date") == 8 and "东城医院" in page and 'role="alert"' not in page


def identities(messages: int) -> set[str]:
    """Names and numbers of the people that the simulators sent."""
    from simulators.peers import SEED
    from simulators.people import patient

    people = [patient(SEED, number) for number in range(0, messages, 4)]
    return {text for one in people for text in (one.name, one.identity, one.phone) if len(text) > 2}


def test_no_patient_is_found_in_logs_databases_or_airflow(first: str, xinglin: Command) -> None:
    words = [word.encode(codec) for word in identities(MESSAGES) for codec in ("utf-8", "gb18030", "utf-16-le")]
    inbox = b"".join(path.read_bytes() for path in (xinglin.home / "inbox").rglob("*.hl7"))
    assert any(word in inbox for word in words), "the search must be able to find somebody"
    found = []
    for path in xinglin.home.rglob("*"):
        parts = path.relative_to(xinglin.home).parts
        if path.is_file() and "inbox" not in parts and parts[:2] != ("mongo", "data"):  # its pages are compressed
            content = path.read_bytes()
            found += [str(path.relative_to(xinglin.home)) for word in words if word in content]
    assert found == []
    assert not any(word in first.encode() for word in words)


def test_no_patient_is_found_in_any_document_of_mongodb(first: str, xinglin: Command) -> None:
    from bson.raw_bson import RawBSONDocument

    words = [word.encode(codec) for word in identities(MESSAGES) for codec in ("utf-8", "gb18030")]
    uri = (xinglin.home / "mongo" / "uri").read_text(encoding="ascii").strip()
    seen = 0
    with MongoClient[Any](uri, document_class=RawBSONDocument) as client:
        for name in client.list_database_names():
            for collection in client[name].list_collection_names():
                for document in client[name][collection].find():
                    seen += 1
                    assert not any(word in document.raw for word in words), f"{name}.{collection}"
    assert seen > 1_000


def test_a_second_day_survives_the_death_of_scheduler_and_mongod_and_loses_nothing(
    first: str, xinglin: Command
) -> None:
    """Everything of Airflow's scheduler, then mongod, gets SIGKILL while records are under way; `up` mends it."""

    def accidents() -> None:
        for name, folder, wait in (("scheduler", "airflow", 14.0), ("mongod", "mongo", 6.0)):
            time.sleep(wait)
            process = running(name, xinglin.home / folder)
            assert process is not None
            process.stop(kill=True)
            mended.append(xinglin("up"))

    mended: list[subprocess.CompletedProcess[str]] = []
    thread = threading.Thread(target=accidents)
    thread.start()
    done = xinglin("demo", "--messages", str(MESSAGES))
    thread.join()
    assert [one.returncode for one in mended] == [0, 0], [one.stderr for one in mended]
    assert done.returncode == 0, done.stdout + done.stderr
    assert "✓ account" in done.stdout
    assert "✗" not in done.stdout


def test_status_survives_a_restart(first: str, xinglin: Command) -> None:
    before = xinglin("status", "--json")
    assert xinglin("down").returncode == 0
    assert xinglin("up").returncode == 0
    assert xinglin("status", "--json").stdout == before.stdout
    assert xinglin("ledger", "verify").returncode == 0


def test_a_replica_that_was_changed_is_named_and_the_check_fails(first: str, xinglin: Command) -> None:
    uri = (xinglin.home / "mongo" / "uri").read_text(encoding="ascii").strip()
    with MongoClient[Any](uri) as client:
        blocks = client["ledger_nursing-home"]["blocks"]
        kept = blocks.find_one({"_id": 1})
        changed = bytearray(kept["block"])
        changed[len(changed) // 2] ^= 1
        blocks.update_one({"_id": 1}, {"$set": {"block": bytes(changed)}})
        try:
            refused = xinglin("ledger", "verify", "--replica", "nursing-home")
        finally:
            blocks.replace_one({"_id": 1}, kept)
    assert refused.returncode == 1
    assert "nursing-home" in refused.stdout
    assert xinglin("ledger", "verify", "--replica", "nursing-home").returncode == 0


def test_a_wrong_password_is_refused_and_nothing_is_written(first: str, xinglin: Command) -> None:
    kept = (xinglin.home / "keys" / "hospital-east" / "sm2.pem").read_bytes()
    xinglin.environment["XINGLIN_KEY_PASSWORD"] = "wrong"
    try:
        refused = xinglin("status")
    finally:
        del xinglin.environment["XINGLIN_KEY_PASSWORD"]
    assert refused.returncode == 1
    assert "password" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert (xinglin.home / "keys" / "hospital-east" / "sm2.pem").read_bytes() == kept
