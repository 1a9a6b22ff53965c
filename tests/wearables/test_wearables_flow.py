"""A nursing home's day through the whole house: published, landed, sealed, set aside and counted, on a real mongod."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from pymongo import MongoClient

from connectors.wearables.mqtt import MqttListener
from console.region.founding import found
from dags.steps import ingest
from dags.steps.listen import listener
from dags.steps.site import Site
from schemas.home import Home
from simulators.broker import Broker
from simulators.sent import Sent
from simulators.wearables import NursingHome, Phones

SECONDS = 30.0


@pytest.fixture
def at(
    tmp_path: Path, mongo_uri: str, mongo: MongoClient[dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Site]:
    """A founded home whose sources are in ``sources`` beside it; its databases are gone afterwards."""
    home = Home(tmp_path / "home")
    (tmp_path / "sources").mkdir()
    for name, value in (
        ("XINGLIN_HOME", home.path),
        ("XINGLIN_SOURCES", tmp_path / "sources"),
        ("MONGODB_URI", mongo_uri),
    ):
        monkeypatch.setenv(name, str(value))
    found(home)
    site = Site(home)
    _clear(mongo)
    yield site
    site.close()
    _clear(mongo)


def _clear(mongo: MongoClient[dict[str, object]]) -> None:
    for name in mongo.list_database_names():
        if name.startswith(("xinglin_", "ledger_")):
            mongo.drop_database(name)


def source(at: Site, id_: str, kind: str, settings: str) -> None:
    (at.home.sources / f"{id_}.yaml").write_text(
        f"{{id: {id_}, institution: hospital-east, kind: {kind}, enabled: true, time_zone: Asia/Shanghai, "
        f"record_bytes: 65536, failure_threshold: 0.9, settings: {settings}}}"
    )


def work(at: Site, id_: str) -> dict[str, int]:
    ingest.pull(id_, at)
    batches = ingest.plan(id_, "run-1", at)
    for batch in batches:
        ingest.process(id_, batch, at)
    return ingest.reconcile(id_, batches, at)


def set_aside(at: Site, id_: str) -> Counter[str]:
    names = [one for one in at.client.list_database_names() if "hospital" in one and "east" in one]
    return Counter(one["code"] for name in names for one in at.client[name]["quarantine"].find({"source": id_}))


def listened(at: Site, id_: str, broker: Broker, home: NursingHome, messages: int) -> tuple[MqttListener, Sent]:
    """What is published has been landed and acknowledged by a listener as the region runs it."""
    served, published = listener(at.source(id_), at), threading.Event()
    assert isinstance(served, MqttListener)
    deadline = time.monotonic() + SECONDS

    async def serve() -> None:
        await served.start()
        while not (published.is_set() and broker.delivered == broker.published) and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        await served.stop(grace_seconds=5)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert broker.await_subscriber(f"xinglin-{id_}", SECONDS)
    sent = home.publish("127.0.0.1", broker.port, messages)
    published.set()
    thread.join(SECONDS)
    return served, sent


def test_published_is_landed_and_what_landed_is_sealed_or_set_aside_by_name(at: Site) -> None:
    home = NursingHome(9, record_bytes=65_536)
    with Broker() as broker:
        settings = f"{{host: 127.0.0.1, port: {broker.port}, topics: [sunset/+/vitals]}}"
        source(at, "sunset-devices", "wearables.mqtt", settings)
        served, sent = listened(at, "sunset-devices", broker, home, 40)
    assert served.counts.acknowledged == sent.answers["PUBACK"]
    totals = at.vault("hospital-east").summary().sources["sunset-devices"]
    assert totals.received + sum(totals.refused.values()) == sent.answers["PUBACK"]
    work(at, "sunset-devices")
    totals = at.vault("hospital-east").summary().sources["sunset-devices"]
    assert (totals.sealed, totals.duplicate, totals.quarantined) == (sent.sealed, sent.repeats, sent.set_aside.total())
    assert dict(totals.refused) == dict(sent.refused)
    assert set_aside(at, "sunset-devices") == sent.set_aside


def test_phones_files_are_sealed_once_although_every_export_repeats_the_days_before(at: Site, tmp_path: Path) -> None:
    folder, phones = tmp_path / "phones", Phones(9)
    source(at, "sunset-phones", "wearables.files", f"{{folder: {folder}, user: folder, quiet_seconds: 0}}")
    sent = phones.drop(folder, residents=2)
    work(at, "sunset-phones")
    sent += phones.drop(folder, residents=2, day=1)
    work(at, "sunset-phones")
    totals = at.vault("hospital-east").summary().sources["sunset-phones"]
    assert (totals.sealed, totals.duplicate, totals.quarantined) == (sent.sealed, sent.repeats, sent.set_aside.total())
    assert totals.received == sent.received
