"""The MQTT listener against real brokers: acknowledged only when durable, through kills, restarts and hostile payloads.

Each test runs against the embedded broker, and against Mosquitto where services are tested.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from mosquitto import Mosquitto
from paho.mqtt.enums import CallbackAPIVersion
from wearables_world import Store, source_of

from connectors.conformance_listening import assert_listening_conforms
from connectors.registry import listens_at, open_listener
from connectors.wearables.mqtt import MqttListener
from connectors.wearables.mqtt_settings import is_filter, matches
from connectors.wearables.mqtt_trial import trial
from schemas.attribution import attribution
from schemas.errors import ConfigurationError
from simulators.broker import Broker, Session
from simulators.wearables import NursingHome

ROOT = Path(__file__).parents[2]
USERS = {"xinglin": "sunset", "device": "bed"}
TOPIC = "sunset/room01/vitals"
SECONDS = 20.0


class Embedded:
    """The broker of the simulators, with the same handles as Mosquitto."""

    def __init__(self, folder: Path, users: dict[str, str] | None = None) -> None:
        self._users = users
        self._sessions: dict[str, Session] = {}
        self.broker: Any = None
        self.port = 0

    def start(self) -> None:
        self.broker = Broker(self.port, self._users, sessions=self._sessions)
        self.broker.start()
        self.port = self.broker.port

    def stop(self) -> None:
        self.broker.stop()


BROKERS = [
    pytest.param(Embedded, id="embedded"),
    pytest.param(Mosquitto, id="mosquitto", marks=pytest.mark.services),
]


@pytest.fixture(params=BROKERS)
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    folder = tmp_path / "broker"
    folder.mkdir()
    served = request.param(folder, USERS)
    served.start()
    yield served
    served.stop()


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XINGLIN_SECRET_BROKER", USERS["xinglin"])


def eventually(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


class Served:
    """A listener in a thread of its own."""

    def __init__(self, port: int, store: Store, record_bytes: int = 4_096, **settings: Any) -> None:
        self.refused: list[str] = []
        given = {"host": "127.0.0.1", "port": port, "topics": ["sunset/+/vitals"], "username": "xinglin",
                 "password_secret": "BROKER", "retry_seconds": 0.3, **settings}  # fmt: skip
        source = source_of("wearables.mqtt", record_bytes, **given)
        opened = open_listener(source, Path("/"), store.land_many, lambda _: None, self.refused.append)
        assert isinstance(opened, MqttListener)
        self.listener = opened

    async def _serve(self) -> None:
        await self.listener.start()
        await self._stopped.wait()
        await self.listener.stop(grace_seconds=2)

    def __enter__(self) -> Served:
        self._loop, self._stopped = asyncio.new_event_loop(), asyncio.Event()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._serve()), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(SECONDS)
        self._loop.close()

    def subscribed(self) -> Served:
        assert self.listener.subscribed.wait(SECONDS), self.listener.counts
        return self


@contextlib.contextmanager
def publisher(port: int) -> Iterator[paho.Client]:
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv311)
    client.username_pw_set("device", USERS["device"])
    client.max_queued_messages_set(0)
    client.reconnect_delay_set(0.1, 0.3)  # type: ignore[arg-type]
    client.connect("127.0.0.1", port)
    client.loop_start()
    yield client
    client.disconnect()
    client.loop_stop()


def publish(port: int, payloads: Iterable[bytes], topic: str = TOPIC) -> int:
    """Publish with QoS 1; return how many once the broker has all of them."""
    with publisher(port) as client:
        sent = [client.publish(topic, payload, qos=1) for payload in payloads]
        for one in sent:
            one.wait_for_publish(SECONDS)
        assert all(one.is_published() for one in sent)
        return len(sent)


def numbered(count: int, begin: int = 0) -> list[bytes]:
    return [b'{"n": %d}' % at for at in range(begin, begin + count)]


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_every_message_lands_once_and_is_acknowledged(broker: Any, version: str) -> None:
    store = Store()
    with Served(broker.port, store, version=version) as served:
        served.subscribed()
        sent = publish(broker.port, [*numbered(100), *numbered(20)])
        counts = served.listener.counts
        eventually(lambda: counts.acknowledged == sent, f"{counts}")
    assert (counts.landed, counts.repeats) == (100, 20)
    assert [one.content for one in store.records] == numbered(100)


def test_nothing_is_acknowledged_while_nothing_can_be_stored(broker: Any) -> None:
    store = Store()
    store.broken = True
    with Served(broker.port, store) as served:
        served.subscribed()
        publish(broker.port, numbered(10))
        counts = served.listener.counts
        eventually(lambda: counts.failed > 0, "a try to land")
        assert (counts.acknowledged, store.records) == (0, [])
        store.broken = False
        eventually(lambda: counts.acknowledged == 10, f"{counts}")
    assert [one.content for one in store.records] == numbered(10)


def test_hostile_payloads_do_not_jam_the_session(broker: Any) -> None:
    store = Store()
    hostile = [b"", b"\xff\xfe not text", b'{"n": ', b"x" * 5_000, b"\x00" * 4_096]
    with Served(broker.port, store) as served:
        served.subscribed()
        sent = publish(broker.port, [*hostile, *numbered(3)])
        counts = served.listener.counts
        eventually(lambda: counts.acknowledged == sent, f"{counts}")
        assert served.refused == ["oversize"]
    assert counts.landed + counts.repeats + counts.refused.total() == sent
    assert [one.content for one in store.records][-3:] == numbered(3)


def test_what_comes_while_the_listener_is_away_waits_at_the_broker(broker: Any) -> None:
    store = Store()
    with Served(broker.port, store) as served:
        served.subscribed()
    publish(broker.port, numbered(30))
    assert store.records == []
    with Served(broker.port, store):
        eventually(lambda: len(store.records) == 30, "what waited")


def test_broker_restarted_in_mid_flight_loses_and_doubles_nothing(broker: Any) -> None:
    store, done = Store(), threading.Event()
    with Served(broker.port, store) as served, publisher(broker.port) as client:
        served.subscribed()
        first = [client.publish(TOPIC, one, qos=1) for one in numbered(150)]
        eventually(lambda: len(store.records) > 20, "some landed")
        broker.stop()
        more = [client.publish(TOPIC, one, qos=1) for one in numbered(50, 150)]
        broker.start()
        for one in [*first, *more]:
            one.wait_for_publish(SECONDS)
        eventually(lambda: len(store.records) == 200, f"{served.listener.counts}")
        done.set()
    counts = served.listener.counts
    assert sorted(one.content for one in store.records) == sorted(numbered(200))
    assert counts.landed == 200
    assert counts.connected >= 2


def test_message_of_an_older_connection_is_never_acknowledged_on_a_newer_one(tmp_path: Path) -> None:
    embedded, store = Embedded(tmp_path, USERS), Store()
    embedded.start()
    store.broken = True
    with Served(embedded.port, store) as served:
        served.subscribed()
        publish(embedded.port, numbered(5))
        eventually(lambda: served.listener.counts.failed > 0, "a try to land")
        embedded.stop()
        embedded.start()
        eventually(lambda: served.listener.counts.connected == 2, "a new connection")
        store.broken = False
        eventually(lambda: embedded.broker.delivered == 5, f"{served.listener.counts}")
    embedded.stop()
    assert len(store.records) == 5
    assert served.listener.counts.repeats == 5  # sent again by the broker, landed already


def test_broker_sends_no_more_than_the_listener_takes(tmp_path: Path) -> None:
    embedded, store = Embedded(tmp_path, USERS), Store()
    embedded.start()
    store.broken = True
    with Served(embedded.port, store, in_flight=7, client_id="bounded") as served:
        served.subscribed()
        publish(embedded.port, numbered(50))
        eventually(lambda: served.listener.counts.failed > 0, "a try to land")
        session = embedded.broker.sessions["bounded"]
        assert (len(session.sent), len(session.waiting)) == (7, 43)
        store.broken = False
        eventually(lambda: len(store.records) == 50, f"{served.listener.counts}")
    embedded.stop()


def test_memory_is_bounded_by_letting_the_connection_wait(broker: Any) -> None:
    store = Store()
    store.broken = True
    payloads = [b"%04d" % at + b" " * 900 for at in range(60)]
    with Served(broker.port, store, memory_bytes=2_048, record_bytes=2_048) as served:
        served.subscribed()
        publish(broker.port, payloads)
        listener = served.listener
        eventually(lambda: listener.counts.failed >= 3, "three tries to land")
        assert 2_048 <= listener._held <= 2_048 + 904
        store.broken = False
        eventually(lambda: listener.counts.acknowledged == 60, f"{listener.counts}")
    assert [one.content for one in store.records] == payloads  # what could not be landed at first is not overtaken
    assert listener.counts.landed == 60
    assert listener._held == 0


def test_wrong_password_lands_nothing_and_check_says_so(broker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store()
    good = Served(broker.port, store)
    assert all(one.ok for one in good.listener.check())
    monkeypatch.setenv("XINGLIN_SECRET_BROKER", "wrong-password")
    with Served(broker.port, store) as served:
        eventually(lambda: served.listener.counts.turned_away.total() > 0, "a refusal")
        findings = served.listener.check()
    assert [(one.aspect, one.ok) for one in findings] == [("connection", True), ("rights", False)]
    assert not any("wrong-password" in one.message for one in findings)
    assert store.records == []


def test_broker_that_is_not_there_is_told_by_check_and_waited_for(tmp_path: Path) -> None:
    embedded, store = Embedded(tmp_path, USERS), Store()
    embedded.start()
    embedded.stop()
    with Served(embedded.port, store) as served:
        assert [(one.aspect, one.ok) for one in served.listener.check()] == [("connection", False)]
        eventually(lambda: served.listener.counts.turned_away["unreachable"] > 0, "a try")
        embedded.start()
        served.subscribed()
        publish(embedded.port, numbered(1))
        eventually(lambda: len(store.records) == 1, "the message")
    embedded.stop()


def test_topic_gives_the_user_and_positions_hold_nothing_of_it(broker: Any) -> None:
    store = Store()
    with Served(broker.port, store, user_level=2) as served:
        served.subscribed()
        publish(broker.port, [b"{}"], "sunset/resident-7/vitals")
        publish(broker.port, [b"{}"], "sunset/resident-8/vitals")
        eventually(lambda: len(store.records) == 2, f"{served.listener.counts}")
    assert {attribution(one.content) for one in store.records} == {("resident-7", b"{}"), ("resident-8", b"{}")}
    assert {one.position for one in store.records} == {"mqtt sunset/+/vitals"}
    assert not any("resident" in one.native_id for one in store.records)


def test_same_payload_of_two_devices_is_two_records(broker: Any) -> None:
    store = Store()
    with Served(broker.port, store) as served:
        served.subscribed()
        for room in ("room01", "room02", "room02"):
            publish(broker.port, [b'{"v": 1}'], f"sunset/{room}/vitals")
        eventually(lambda: served.listener.counts.acknowledged == 3, f"{served.listener.counts}")
    assert len(store.records) == 2


def test_simulated_home_is_accounted_for_to_the_message(broker: Any) -> None:
    store, home = Store(), NursingHome(5, record_bytes=4_096)
    with Served(broker.port, store) as served:
        served.subscribed()
        sent = home.publish("127.0.0.1", broker.port, 60, username="device", password=USERS["device"])
        sent += home.publish("127.0.0.1", broker.port, 60, day=1, username="device", password=USERS["device"])
        counts = served.listener.counts
        eventually(lambda: counts.acknowledged == sent.answers["PUBACK"], f"{counts}")
    assert counts.landed + counts.repeats == sent.received
    assert counts.repeats == sent.repeats
    assert counts.refused == sent.refused == Counter({"oversize": 2})


#: A listener as a process of its own: keeps what lands in a file, and waits for a line before it goes on.
SERVER = """
import asyncio, os, sys
from pathlib import Path
from connectors.listening import serve
from connectors.registry import open_listener
from schemas.source import load_source

store = Path(sys.argv[2])

def land_many(records):
    kept = store.read_text().split() if store.exists() else []
    new = [one.content.hex() not in kept for one in records]
    with store.open("a") as stream:
        stream.writelines(one.content.hex() + "\\n" for one, fresh in zip(records, new) if fresh)
        stream.flush()
        os.fsync(stream.fileno())
    print("landed", len(records), flush=True)
    if sys.stdin.readline().strip() == "die":
        os.kill(os.getpid(), 9)
    return new

listener = open_listener(load_source(Path(sys.argv[1])), Path("."), land_many, lambda _: None, print)
asyncio.run(serve([listener], lambda: print("ready", flush=True)))
print("stopped", listener.counts.acknowledged, flush=True)
"""


@contextlib.contextmanager
def process(folder: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    script, source = folder / "server.py", folder / "home-devices.yaml"
    script.write_text(SERVER)
    source.write_text(
        "{id: home-devices, institution: sunset-home, kind: wearables.mqtt, time_zone: Asia/Shanghai, settings: "
        f"{{host: 127.0.0.1, port: {port}, topics: ['sunset/+/vitals'], username: xinglin, password_secret: BROKER}}}}"
    )
    with subprocess.Popen(
        [sys.executable, str(script), str(source), str(folder / "store")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as started:  # fmt: skip
        yield started
        started.kill()


def said(one: subprocess.Popen[str]) -> str:
    assert one.stdout is not None
    return one.stdout.readline().strip()


def tell(one: subprocess.Popen[str], word: str) -> None:
    assert one.stdin is not None
    one.stdin.write(f"{word}\n")
    one.stdin.flush()


def test_listener_killed_between_landing_and_acknowledgement_loses_and_doubles_nothing(
    broker: Any, tmp_path: Path
) -> None:
    store, kept = tmp_path / "store", Store()
    with Served(broker.port, kept, client_id="xinglin-home-devices") as served:
        served.subscribed()  # the session is there before anything is published
    publish(broker.port, numbered(25))
    with process(tmp_path, broker.port) as first:
        assert said(first) == "ready"
        assert said(first).startswith("landed")
        tell(first, "die")
        first.wait(SECONDS)
        assert first.returncode == -signal.SIGKILL
    before = len(store.read_text().split())
    assert before > 0
    with process(tmp_path, broker.port) as again:
        assert said(again) == "ready"
        landed = 0
        while landed < 25:
            word, count = said(again).split()
            assert word == "landed"
            landed += int(count)
            tell(again, "go on")
        again.send_signal(signal.SIGTERM)
        for line in iter(lambda: said(again), ""):
            last = line
        assert last == "stopped 25"
    assert sorted(store.read_text().split()) == sorted(one.hex() for one in numbered(25))


def test_conforms_to_the_suite_of_sources_that_send() -> None:
    source = source_of("wearables.mqtt", host="mqtt.home.example", topics=["sunset/+/vitals"], user_level=2)
    with trial(source, Path("/")) as shown:
        assert_listening_conforms(shown)


def test_listener_of_a_broker_has_no_address_of_its_own() -> None:
    assert listens_at(source_of("wearables.mqtt", host="h", topics=["a"], port=1883)) is None
    assert listens_at(source_of("his.hl7v2_mllp", port=2575)) == ("127.0.0.1", 2575)


@pytest.mark.parametrize(
    "settings",
    [
        {"topics": ["a/#/b"]},
        {"topics": ["a+/b"]},
        {"topics": []},
        {"version": "4"},
        {"media": "hl7v2"},
        {"password_secret": "X"},
        {"certificate": "a.pem"},
        {"ca": "ca.pem"},
        {"client_id": "a b"},
        {"in_flight": 0},
        {"host": ""},
        {"unknown": 1},
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any]) -> None:
    source = source_of("wearables.mqtt", **{"host": "h", "topics": ["a"], **settings})
    with pytest.raises(ConfigurationError, match=r"home-devices\.yaml"):
        open_listener(source, Path("/"), Store().land_many, lambda _: None, print)


def test_filters_match_as_mqtt_has_it() -> None:
    assert all(map(is_filter, ["a", "a/+/b", "a/#", "#", "+", "$share/g/a/+"]))
    assert not any(map(is_filter, ["", "a/#/b", "a#", "+a"]))
    assert matches("a/#", "a") and matches("a/+/c", "a/b/c") and matches("$share/g/a/+", "a/b")
    assert not matches("a/+", "a/b/c") and not matches("a/b", "a") and not matches("a", "a/b")
