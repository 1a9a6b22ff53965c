"""What an MLLP listener may be told: where to listen, what one peer can take, whom it trusts."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import ConfigurationError
from schemas.source import Source


@dataclass(frozen=True, slots=True)
class MllpSettings:
    """Settings of a listener.

    Attributes:
        port: TCP port; 0 for any free one.
        host: Address to listen on.
        max_connections: Connections at a time; more are closed at once.
        idle_seconds: Silence between two messages after which a connection is closed.
        frame_seconds: Longest time from a message's first byte to its last.
        answer_seconds: Longest time for a peer to take its acknowledgement.
        memory_bytes: Bytes that all open messages may hold together; who goes beyond is closed and sends
            again.
        enhanced: Whether MSH-15 is followed (CA, CE, CR) where a sender fills it.
        certificate: PEM file of the certificate chain, absolute or in the home folder; None for no TLS.
        key: PEM file of its private key.
        client_ca: PEM file of who signs the clients' certificates; None to ask clients for none.
    """

    port: int
    host: str = "127.0.0.1"
    max_connections: int = 64
    idle_seconds: float = 300.0
    frame_seconds: float = 60.0
    answer_seconds: float = 30.0
    memory_bytes: int = 128 * 1024 * 1024
    enhanced: bool = False
    certificate: str | None = None
    key: str | None = None
    client_ca: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError("port must be from 0 to 65535")
        if not 1 <= self.max_connections <= 10_000:
            raise ValueError("max_connections must be from 1 to 10000")
        if min(self.idle_seconds, self.frame_seconds, self.answer_seconds) <= 0:
            raise ValueError("idle_seconds, frame_seconds and answer_seconds must be above 0")
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together; give both or none")
        if self.client_ca is not None and self.certificate is None:
            raise ValueError("client_ca needs certificate and key")


def tls_context(source: Source, settings: MllpSettings, home: Path) -> ssl.SSLContext | None:
    """Return how connections are encrypted, or None where the settings name no certificate.

    Raises:
        ConfigurationError: A file cannot be read, or certificate and key do not belong together.
    """
    if settings.certificate is None or settings.key is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(home / settings.certificate, home / settings.key)
        if settings.client_ca is not None:
            context.load_verify_locations(home / settings.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"sources/{source.id}.yaml: settings: certificate, key or client_ca cannot be read "
            f"({type(error).__name__}); give PEM files that belong together"
        ) from None
    return context
