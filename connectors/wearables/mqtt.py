"""MQTT 3.1.1 and 5: a subscriber whose messages are acknowledged only once they are durable.

The broker keeps a session for the source and, with QoS 1, every message until it is acknowledged. PUBACK goes out
after landing, in the order of arrival (MQTT 5, 4.6). Killed in between, the broker sends the message again, and it
lands once. While nothing can be landed, nothing is acknowledged and landing is tried again; the broker keeps the rest.

MQTT has no answer but yes: what is no JSON or no right measurement is landed all the same and set aside when it is
normalised. Only what is over the source's limit is refused here, counted by name and acknowledged, so that it does not
come again for ever. Messages that were published with QoS 0 come without any promise; they are landed as they come.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from connectors.contract import Finding, utc_now
from connectors.landing import GROUP_BYTES, GROUP_RECORDS, GroupLanding, LandMany
from connectors.listening import Inspect, Refused
from connectors.settings import read_settings, secret
from connectors.wearables.mqtt_settings import MqttSettings, matches, session_of, tls_context
from schemas.attribution import attributed
from schemas.errors import ConfigurationError
from schemas.records import RawRecord
from schemas.source import Source

log = logging.getLogger(__name__)

#: With one more record, which is at most as large, it is still one write: a group lands whole or waits whole.
_GROUP_BYTES: Final = GROUP_BYTES // 2
_FIRST_PAUSE: Final = 0.2
_CONNECT_SECONDS: Final = 10.0


@dataclass(slots=True)
class MqttCounts:
    """What a listener has done since it started.

    Attributes:
        landed: Messages that became durable and were new.
        repeats: Messages that were durable already.
        refused: Messages that were acknowledged and not kept, by reason.
        failed: Tries to land that failed; each was tried again.
        acknowledged: PUBACKs sent.
        connected: Times that the broker took the connection.
        turned_away: Times that it refused it, by reason.
    """

    landed: int = 0
    repeats: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    acknowledged: int = 0
    connected: int = 0
    turned_away: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class _Arrived:
    """One message.

    Attributes:
        record: What is to be landed; None for one that is refused.
        size: Bytes held for it.
        mid: Its packet id; 0 where the broker awaits no acknowledgement.
        session: The connection that it came over: its packet id means nothing on another one.
        settled: Whether it is durable, or its refusal told.
    """

    record: RawRecord | None
    size: int
    mid: int
    session: int
    settled: bool = False


class MqttListener:
    """Subscribes for one source.

    Args:
        source: The source's checked file.
        home: Folder that relative paths in its settings start from.
        land_many: Makes records durable; see :data:`connectors.landing.LandMany`.
        inspect: Not asked: MQTT has no way to tell a sender.
        refused: Told the reason of each message refused and not kept.
        now: The clock.

    Raises:
        ConfigurationError: The settings cannot be used.
    """

    def __init__(
        self,
        source: Source,
        home: Path,
        land_many: LandMany,
        inspect: Inspect,  # noqa: ARG002  (one signature for all listeners)
        refused: Refused,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self.source = source
        self.settings = read_settings(source, MqttSettings)
        self.counts = MqttCounts()
        self._home = home
        self._landing = GroupLanding(land_many)
        self._refused = refused
        self._now = now
        self._tls = tls_context(source, self.settings, home)
        self._client = _client(source, self.settings, home, self._tls, session_of(source, self.settings))
        self._client.on_connect = self._connected
        self._client.on_connect_fail = self._unreachable
        self._client.on_subscribe = self._subscribed
        self._client.on_disconnect = self._disconnected
        self._client.on_message = self._message
        self._loop: asyncio.AbstractEventLoop | None = None
        self._arrived: asyncio.Queue[_Arrived | None] = asyncio.Queue()
        self._settling: asyncio.Task[None] | None = None
        self._room = threading.Condition()
        self._held = self._session = 0
        self._stopping = False
        #: Set while the broker has taken the subscription.
        self.subscribed = threading.Event()

    async def start(self) -> None:
        """Connect and subscribe, now and again for as long as it takes; returns at once."""
        self._loop = asyncio.get_running_loop()
        self._settling = asyncio.create_task(self._settle())
        longest = max(1, round(self.settings.retry_seconds))
        self._client.reconnect_delay_set(_FIRST_PAUSE, longest)  # type: ignore[arg-type]  # fractions work
        self._client.connect_async(
            *self.settings.address,
            keepalive=self.settings.keepalive_seconds,
            **_session(self.settings),
        )
        self._client.loop_start()
        log.info("%s: subscribing to %d topic filters", self.source.id, len(self.settings.topics))

    async def stop(self, grace_seconds: float = 30.0) -> None:
        """Take no more; land and acknowledge what is in hand. The broker keeps the session and what comes meanwhile."""
        self._stopping = True
        with self._room:
            self._room.notify_all()
        if self._settling is None:
            return
        await self._arrived.put(None)
        await asyncio.wait([self._settling], timeout=grace_seconds)
        self._settling.cancel()
        self._client.disconnect()
        await asyncio.to_thread(self._client.loop_stop)
        await self._landing.close()
        counts = self.counts
        log.info("%s: stopped; %d landed, %d repeats", self.source.id, counts.landed, counts.repeats)

    def check(self) -> tuple[Finding, ...]:
        """Return whether the broker takes this source's credentials and topics; the session is not touched."""
        return check(self.source, self._home)

    # The network thread calls what follows.

    def _connected(self, client: paho.Client, _data: Any, _flags: Any, code: ReasonCode, _properties: Any) -> None:
        if code.is_failure:
            self.counts.turned_away[str(code)] += 1
            if self.counts.turned_away[str(code)] == 1:
                log.error("%s: the broker refuses the connection: %s", self.source.id, code)
            return
        with self._room:
            self._session += 1
        self.counts.connected += 1
        client.subscribe(_filters(self.settings))

    def _unreachable(self, _client: Any, _data: Any) -> None:
        self.counts.turned_away["unreachable"] += 1
        if self.counts.turned_away["unreachable"] == 1:
            log.warning("%s: the broker cannot be reached or not trusted; trying again", self.source.id)

    def _subscribed(self, _client: Any, _data: Any, _mid: int, codes: list[ReasonCode], _properties: Any) -> None:
        refused = [str(code) for code in codes if code.is_failure]
        if refused:
            log.error("%s: the broker refuses %d topic filters: %s", self.source.id, len(refused), refused[0])
        if len(refused) < len(codes):
            self.subscribed.set()

    def _disconnected(self, _client: Any, _data: Any, _flags: Any, code: ReasonCode, _properties: Any) -> None:
        self.subscribed.clear()
        with self._room:
            self._session += 1  # packet ids of this connection are worth nothing from here on
        if not self._stopping:
            log.warning("%s: the connection to the broker is lost (%s); trying again", self.source.id, code)

    def _message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        """Hand a message over; wait here where too much is held, so that the broker waits too."""
        if self._stopping or self._loop is None:
            return  # not acknowledged: it comes again
        one = self._taken(message)
        with self._room:
            self._room.wait_for(lambda: self._stopping or not self._held or self._held < self.settings.memory_bytes)
            if self._stopping:
                return
            self._held += one.size
        self._loop.call_soon_threadsafe(self._arrived.put_nowait, one)

    def _taken(self, message: paho.MQTTMessage) -> _Arrived:
        mid = message.mid if message.qos else 0
        payload, topic = bytes(message.payload), message.topic
        if len(payload) > self.source.record_bytes:
            return _Arrived(None, 0, mid, self._session)
        level = self.settings.user_level
        levels = topic.split("/")
        user = levels[level - 1] if level is not None and level <= len(levels) else ""
        shape = next((one for one in self.settings.topics if matches(one, topic)), "another topic of the session")
        # The same payload on another topic is another device's.
        native = hashlib.sha256(topic.encode()).hexdigest()[:32]
        record = RawRecord(
            self.source.id, native, attributed(user, payload), self.settings.media, self._now(), f"mqtt {shape}"
        )
        return _Arrived(record, len(record.content), mid, self._session)

    # The event loop calls what follows.

    async def _settle(self) -> None:
        """Every message is durable or refused before it is acknowledged, and both in the order in which they came."""
        ended = False
        while not ended:
            group, ended = await self._gathered()
            await self._durable(group)
            for one in group:
                self._acknowledge(one)

    async def _gathered(self) -> tuple[list[_Arrived], bool]:
        """Return what has arrived by now, as much as one write takes, and whether no more will come."""
        group: list[_Arrived] = []
        size, one = 0, await self._arrived.get()
        while one is not None:
            group.append(one)
            size += one.size
            if len(group) == GROUP_RECORDS or size >= _GROUP_BYTES or self._arrived.empty():
                return group, False
            one = self._arrived.get_nowait()
        return group, True

    def _acknowledge(self, one: _Arrived) -> None:
        with self._room:
            self._held -= one.size
            self._room.notify_all()
            # Under the lock: no other connection begins between the look and the acknowledgement.
            if one.mid and one.session == self._session:
                self._client.ack(one.mid, 1)
                self.counts.acknowledged += 1

    async def _durable(self, group: list[_Arrived]) -> None:
        pause = _FIRST_PAUSE
        while True:
            try:
                await self._try(group)
            except Exception as error:  # noqa: BLE001 - whatever landing raises, the messages must not be acknowledged
                self.counts.failed += 1
                log.warning("%s: messages could not be landed (%s); tried again", self.source.id, type(error).__name__)
                await asyncio.sleep(pause)
                pause = min(2 * pause, self.settings.retry_seconds)
            else:
                return

    async def _try(self, group: list[_Arrived]) -> None:
        """What of the group is not settled yet, is; where one cannot, it and those behind it wait together."""
        open_ = [one for one in group if not one.settled]
        landing = [(one, self._landing.land(one.record)) for one in open_ if one.record is not None]
        told = await asyncio.gather(*(future for _, future in landing), return_exceptions=True)
        for (one, _), new in zip(landing, told, strict=True):
            if isinstance(new, BaseException):
                raise new
            one.settled = True
            self.counts.landed += new
            self.counts.repeats += not new
        for one in open_:
            if one.record is None:
                await self._landing.call(self._refused, "oversize")
                one.settled = True
                self.counts.refused["oversize"] += 1


def check(source: Source, home: Path) -> tuple[Finding, ...]:
    """Return whether the broker takes a source's credentials and topics, asked under a name of its own.

    The session of the listener, and what waits in it, is not touched.

    Raises:
        ConfigurationError: The settings cannot be used.
    """
    settings = read_settings(source, MqttSettings)
    tls = tls_context(source, settings, home)
    client = _client(source, settings, home, tls, f"{session_of(source, settings)}-check", persistent=False)
    answers: list[ReasonCode] = []
    granted: list[ReasonCode] = []
    done = threading.Event()

    def connected(_client: Any, _data: Any, _flags: Any, code: ReasonCode, _properties: Any) -> None:
        answers.append(code)
        if code.is_failure:
            done.set()
        else:
            client.subscribe(_filters(settings))

    def subscribed(_client: Any, _data: Any, _mid: int, codes: list[ReasonCode], _properties: Any) -> None:
        granted.extend(codes)
        done.set()

    def ended(_client: Any, _data: Any, _flags: Any, _code: ReasonCode, _properties: Any) -> None:
        done.set()  # with TLS 1.3 a certificate is refused after the handshake

    client.on_connect, client.on_subscribe, client.on_disconnect = connected, subscribed, ended
    client.connect_timeout = _CONNECT_SECONDS
    try:
        _reach(settings, tls)
        client.connect(*settings.address, keepalive=settings.keepalive_seconds, **_clean(settings))
        client.loop_start()
        done.wait(_CONNECT_SECONDS)
    except OSError as error:
        message = f"the broker cannot be reached or not trusted ({type(error).__name__}); see host, port, tls and ca"
        return (Finding("connection", False, message),)
    finally:
        client.disconnect()
        client.loop_stop()
    return _findings(settings, answers, granted)


def _reach(settings: MqttSettings, tls: ssl.SSLContext | None) -> None:
    """Raise OSError where the broker is not there or not trusted, before paho meets it and leaves a socket open."""
    with socket.create_connection(settings.address, _CONNECT_SECONDS) as plain:
        if tls is not None:
            with tls.wrap_socket(plain, server_hostname=settings.host):
                pass


def _findings(settings: MqttSettings, answers: list[ReasonCode], granted: list[ReasonCode]) -> tuple[Finding, ...]:
    if not answers:
        return (Finding("connection", False, "the broker does not answer as MQTT has it; see port, version and tls"),)
    if answers[0].is_failure:
        message = f"the broker refuses the connection: {answers[0]}; see username, password_secret and certificate"
        return (Finding("connection", True, "the broker answers"), Finding("rights", False, message))
    refused = sum(code.is_failure for code in granted)
    if refused or not granted:
        message = (
            f"the broker refuses {refused or 'all'} of {len(settings.topics)} topic filters; let this user read them"
        )
        return (Finding("connection", True, "the broker takes the connection"), Finding("rights", False, message))
    return (
        Finding("connection", True, "the broker takes the connection"),
        Finding("rights", True, f"it grants all {len(granted)} topic filters"),
        Finding("clock", True, "MQTT tells no time; samples bring their own"),
    )


def _client(
    source: Source,
    settings: MqttSettings,
    home: Path,
    tls: ssl.SSLContext | None,
    name: str,
    *,
    persistent: bool = True,
) -> paho.Client:
    five = settings.version == "5"
    client = paho.Client(
        CallbackAPIVersion.VERSION2,
        client_id=name,
        protocol=paho.MQTTv5 if five else paho.MQTTv311,
        clean_session=None if five else not persistent,
        manual_ack=True,
    )
    if settings.username is not None:
        password = secret(home, source, settings.password_secret) if settings.password_secret else None
        try:
            client.username_pw_set(settings.username, password)
        except ValueError:
            raise ConfigurationError(f"sources/{source.id}.yaml: settings: username or password is too long") from None
    if tls is not None:
        client.tls_set_context(tls)
    client.connect_timeout = _CONNECT_SECONDS
    return client


def _session(settings: MqttSettings) -> dict[str, Any]:
    """Return how to connect so that the broker keeps the session."""
    if settings.version != "5":
        return {}
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = round(settings.session_days * 86_400)
    properties.ReceiveMaximum = settings.in_flight
    return {"clean_start": False, "properties": properties}


def _clean(settings: MqttSettings) -> dict[str, Any]:
    return {"clean_start": True} if settings.version == "5" else {}


def _filters(settings: MqttSettings) -> list[tuple[str, Any]]:
    if settings.version != "5":
        return [(topic, 1) for topic in settings.topics]
    # What is retained comes once, with the first subscription, not at every reconnection.
    options = SubscribeOptions(qos=1, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB)
    return [(topic, options) for topic in settings.topics]
