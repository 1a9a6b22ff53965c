"""MQTT over TLS: the broker's certificate is checked, the client's key comes from a secret."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
from certificates import issue
from wearables_world import Store, source_of

from connectors.registry import open_listener
from connectors.wearables.mqtt import MqttListener
from schemas.errors import ConfigurationError
from simulators.broker import Broker


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, the broker's certificate and a client's."""
    return issue(tmp_path_factory.mktemp("tls"), "broker", "client")


def served(folder: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(folder / "authority.pem"))
    context.load_cert_chain(folder / "broker.pem", folder / "broker.key")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def opened(folder: Path, port: int, **settings: object) -> MqttListener:
    given = {"host": "localhost", "port": port, "topics": ["a"], "tls": True, **settings}
    made = open_listener(source_of("wearables.mqtt", **given), folder, Store().land_many, lambda _: None, print)
    assert isinstance(made, MqttListener)
    return made


def test_client_with_its_certificate_is_taken_and_others_are_not(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XINGLIN_SECRET_CLIENT_KEY", (folder / "client.key").read_text())
    own = {"ca": "authority.pem", "certificate": "client.pem", "key_secret": "client-key"}
    with Broker(tls=served(folder)) as broker:
        assert all(one.ok for one in opened(folder, broker.port, **own).check())
        assert not all(one.ok for one in opened(folder, broker.port, ca="authority.pem").check())
        assert not all(one.ok for one in opened(folder, broker.port, **{**own, "ca": None}).check())
        listener = opened(folder, broker.port, **own)

        async def subscribe() -> bool:
            await listener.start()
            found = await asyncio.to_thread(listener.subscribed.wait, 10)
            await listener.stop()
            return found

        assert asyncio.run(subscribe())


def test_key_that_does_not_belong_to_the_certificate_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XINGLIN_SECRET_CLIENT_KEY", (folder / "broker.key").read_text())
    with pytest.raises(ConfigurationError, match="belongs together"):
        opened(folder, 1, certificate="client.pem", key_secret="client-key")
    monkeypatch.setenv("XINGLIN_SECRET_CLIENT_KEY", "no key")
    with pytest.raises(ConfigurationError, match="belongs together"):
        opened(folder, 1, certificate="client.pem", key_secret="client-key")
