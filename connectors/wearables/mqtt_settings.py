"""What an MQTT listener may be told: which broker, which topics, who it is, whom it trusts, how much it holds."""

from __future__ import annotations

import os
import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from connectors.settings import secret
from schemas.errors import ConfigurationError
from schemas.source import Source

_MEDIA: Final = ("omh", "wearable-api", "fit", "apple-health")
_VERSIONS: Final = ("5", "3.1.1")
_CLIENT: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class MqttSettings:
    """Settings of an MQTT listener.

    Attributes:
        host: The broker's name or address.
        topics: Topic filters to subscribe to, with QoS 1; + and # as MQTT has them.
        port: Its TCP port; 1883 without TLS, 8883 with it, where none is given.
        version: MQTT version: 5 or 3.1.1.
        client_id: Name of the session that the broker keeps for this source; nobody else may use it. The default is
            made of the source's id.
        media: What the payloads are: omh, wearable-api, fit or apple-health.
        user_level: Which level of the topic, from 1, is the user's id; none where the payload says it.
        username: User name at the broker; none to give none.
        password_secret: Name of the secret that holds the password.
        tls: Whether the connection is encrypted.
        ca: PEM file of who signed the broker's certificate; none for those that this machine trusts.
        certificate: PEM file of this client's certificate chain; none to show none.
        key_secret: Name of the secret that holds the certificate's private key, PEM.
        session_days: Days for which the broker keeps what this source missed (MQTT 5; for 3.1.1 the broker's own).
        keepalive_seconds: Seconds after which a silent connection is tested.
        in_flight: Messages that the broker sends before the first of them is acknowledged (MQTT 5).
        memory_bytes: Bytes of messages held before the connection is left waiting.
        retry_seconds: Longest pause between two tries to connect or to land.
    """

    host: str
    topics: tuple[str, ...]
    port: int | None = None
    version: str = "5"
    client_id: str | None = None
    media: str = "omh"
    user_level: int | None = None
    username: str | None = None
    password_secret: str | None = None
    tls: bool = False
    ca: str | None = None
    certificate: str | None = None
    key_secret: str | None = None
    session_days: float = 7.0
    keepalive_seconds: int = 60
    in_flight: int = 200
    memory_bytes: int = 64 * 1024 * 1024
    retry_seconds: float = 60.0

    def __post_init__(self) -> None:
        if not self.host:
            raise ValueError("host is empty; write the broker's name or address")
        if not self.topics or not all(map(is_filter, self.topics)):
            raise ValueError("topics must be one or more MQTT topic filters, such as home/+/vitals")
        if self.port is not None and not 1 <= self.port <= 65535:
            raise ValueError("port must be from 1 to 65535")
        if self.version not in _VERSIONS:
            raise ValueError('version must be "5" or "3.1.1", in quotation marks')
        if self.client_id is not None and not _CLIENT.fullmatch(self.client_id):
            raise ValueError("client_id must be 1 to 64 letters, digits, - and _")
        if self.media not in _MEDIA:
            raise ValueError(f"media must be one of {', '.join(_MEDIA)}")
        if self.user_level is not None and not 1 <= self.user_level <= 64:
            raise ValueError("user_level must be from 1 to 64")
        if self.password_secret is not None and self.username is None:
            raise ValueError("password_secret needs username")
        if (self.certificate is None) != (self.key_secret is None):
            raise ValueError("certificate and key_secret go together; give both or none")
        if not self.tls and (self.ca or self.certificate):
            raise ValueError("ca and certificate need tls: true")
        if not 0 < self.session_days <= 365 or not 5 <= self.keepalive_seconds <= 3600:
            raise ValueError("session_days must be above 0 to 365, keepalive_seconds from 5 to 3600")
        if not 1 <= self.in_flight <= 65535 or not self.memory_bytes >= 1024 or not 0 < self.retry_seconds <= 3600:
            raise ValueError("in_flight, memory_bytes or retry_seconds is out of range")

    @property
    def address(self) -> tuple[str, int]:
        """The broker's name and port."""
        return self.host, self.port or (8883 if self.tls else 1883)


def session_of(source: Source, settings: MqttSettings) -> str:
    """Return the name of a source's session at the broker."""
    return settings.client_id or f"xinglin-{source.id}"


def is_filter(topic: str) -> bool:
    """Whether a text is a topic filter (MQTT 5, 4.7.1): # only as the last level, + and # alone in theirs."""
    levels = topic.split("/")
    alone = all(one in ("+", "#") or not set("+#\0") & set(one) for one in levels)
    return bool(topic) and alone and "#" not in levels[:-1] and len(topic.encode()) <= 65535


def matches(filter_: str, topic: str) -> bool:
    """Whether a topic is one of a filter's (MQTT 5, 4.7.1); of a shared one (``$share/group/…``) the filter behind."""
    wanted, levels = filter_.split("/"), topic.split("/")
    if wanted[0] == "$share":
        wanted = wanted[2:]
    for at, one in enumerate(wanted):
        if one == "#":
            return True
        if at >= len(levels) or one not in ("+", levels[at]):
            return False
    return len(wanted) == len(levels)


def tls_context(source: Source, settings: MqttSettings, home: Path) -> ssl.SSLContext | None:
    """Return how the connection is encrypted, or None where it is not.

    Raises:
        ConfigurationError: A file or secret cannot be read, or certificate and key do not belong together.
    """
    if not settings.tls:
        return None
    try:
        context = ssl.create_default_context(cafile=str(home / settings.ca) if settings.ca else None)
        if settings.certificate and settings.key_secret:
            key = secret(home, source, settings.key_secret).encode()
            _load_pair(context, home / settings.certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"sources/{source.id}.yaml: settings: ca, certificate or key_secret cannot be read "
            f"({type(error).__name__}); give PEM that belongs together"
        ) from None
    return context


def _load_pair(context: ssl.SSLContext, certificate: Path, key: bytes) -> None:
    """Load a certificate and its key; the key, which ``ssl`` reads from files only, passes through memory, not disk."""
    descriptor = os.memfd_create("key", os.MFD_CLOEXEC)
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as stream:
            stream.write(key + b"\n")
        context.load_cert_chain(certificate, f"/proc/self/fd/{descriptor}", password=lambda: b"")
    finally:
        os.close(descriptor)
