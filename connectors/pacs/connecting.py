"""Associations with an archive: who calls whom, over TLS or not, and what a refusal means (PS3.8 section 9.3.4)."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Final

from pydicom.uid import AllTransferSyntaxes, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, AllStoragePresentationContexts, _config, build_context, build_role, evt
from pynetdicom.association import Association
from pynetdicom.events import EventHandlerType
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation, UserIdentityNegotiation
from pynetdicom.presentation import PresentationContext

from connectors.errors import Retry, Stop
from connectors.pacs.checkpoint import hold_firmly
from schemas.errors import ConfigurationError

# The library logs what it sends and receives, patients' names included, unless it is told not to.
_config.LOG_REQUEST_IDENTIFIERS = False
_config.LOG_RESPONSE_IDENTIFIERS = False
_config.LOG_HANDLER_LEVEL = "none"
logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)

UNCOMPRESSED: Final = (str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian))
#: Transfer syntaxes that objects are taken in: all but big endian, deflated, JPIP and live video.
_COMPRESSED: Final = tuple(
    str(one)
    for one in AllTransferSyntaxes
    if one.is_compressed and not one.is_deflated and ".4.204" not in one and ".2.7." not in one
)
TAKEN: Final = (*UNCOMPRESSED, *_COMPRESSED)
#: One association proposes at most 128 presentation contexts (PS3.8 table 9-13); the query needs one.
_MOST: Final = 127
#: Compressed syntaxes proposed first where not all fit.
_COMMON: Final = ("1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.5")
_PDU: Final = 64 * 1024
_PEM: Final = "tls: a certificate or key cannot be read; give PEM files without a password"
#: SOP classes that can be stored (PS3.4 annex B.5).
STORED: Final = tuple(str(one.abstract_syntax) for one in AllStoragePresentationContexts)


def at_once(event: evt.Event) -> None:
    """What is written goes out at once: a message is several writes, and each would wait for an acknowledgement."""
    wrapped = event.assoc.dul.socket
    if wrapped is not None and wrapped.socket is not None:
        wrapped.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


@dataclass(frozen=True, slots=True)
class Peer:
    """The archive and how to reach it.

    Attributes:
        host: Its name or address.
        port: Its port.
        called: Its AE title.
        calling: Ours.
        seconds: How long it may be silent.
        tls: How TLS is spoken, or None.
        user: User name sent along (PS3.7 D.3.3.7), or None.
        password: Its password; not shown.
    """

    host: str
    port: int
    called: str
    calling: str
    seconds: float
    tls: ssl.SSLContext | None = None
    user: str | None = None
    password: str = field(default="", repr=False)

    def entity(self) -> AE:
        """Return our side."""
        entity = AE(self.calling)
        entity.maximum_pdu_size = _PDU
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = self.seconds
        return entity

    def connect(
        self,
        contexts: Iterable[PresentationContext],
        roles: Iterable[SCP_SCU_RoleSelectionNegotiation] = (),
        handlers: Iterable[EventHandlerType] = (),
    ) -> Association:
        """Return an established association.

        Raises:
            Retry: The archive is not there, or has no room at the moment.
            Stop: It refuses us; the message says what to change.
        """
        negotiations: list[Any] = [*roles, *self._identity()]
        bound: list[EventHandlerType] = [(evt.EVT_CONN_OPEN, at_once), *handlers]
        association = self.entity().associate(
            self.host, self.port, list(contexts), self.called, _PDU, ext_neg=negotiations,
            tls_args=(self.tls, self.host) if self.tls else None, evt_handlers=bound,
        )  # fmt: skip
        if association.is_established:
            return hold_firmly(association)
        if association.is_rejected:
            raise self._rejected(association)
        secured = " TLS" if self.tls else ""
        raise Retry(
            f"no{secured} connection to the archive at {self.host}:{self.port}, or it hung up; see that it runs, that "
            "address and port are right, that nothing between blocks them" + (", and the certificates" * bool(self.tls))
        )

    def _identity(self) -> list[UserIdentityNegotiation]:
        if self.user is None:
            return []
        identity = UserIdentityNegotiation()
        identity.user_identity_type = 2
        identity.primary_field = self.user.encode()
        identity.secondary_field = self.password.encode()
        return [identity]

    def _rejected(self, association: Association) -> Retry | Stop:
        primitive = association.acceptor.primitive
        result, source, diagnostic = (
            (primitive.result, primitive.result_source, primitive.diagnostic) if primitive else (1, 1, 1)
        )
        if result == 2:
            return Retry("the archive has no room for another association at the moment")
        reasons = {
            (1, 3): f"it does not know our AE title {self.calling!r}; have it registered there, or correct calling_ae",
            (1, 7): f"its AE title is not {self.called!r}; correct called_ae",
        }
        why = reasons.get((source or 1, diagnostic or 1), "it gives no reason; have AE titles and rights checked there")
        return Stop(f"the archive refuses the association: {why}")


def storage_contexts(classes: Collection[str]) -> list[PresentationContext]:
    """Return contexts for objects of these SOP classes, as many of their transfer syntaxes as fit one association.

    Each compressed syntax has a context of its own, because an archive chooses one syntax a context and cannot send
    an object in another afterwards.
    """
    known = list(dict.fromkeys(classes)) or list(STORED[:120])
    known = known[:_MOST]
    contexts = [build_context(one, list(UNCOMPRESSED)) for one in known]
    order = dict.fromkeys((*_COMMON, *_COMPRESSED))
    pairs = chain.from_iterable(((one, syntax) for one in known) for syntax in order)
    for sop_class, syntax in pairs:
        if len(contexts) >= _MOST:
            break
        contexts.append(build_context(sop_class, syntax))
    return contexts


def storage_roles(contexts: Iterable[PresentationContext]) -> list[SCP_SCU_RoleSelectionNegotiation]:
    """Return the negotiation by which objects may be sent to us over our own association (PS3.7 D.3.3.4)."""
    classes = dict.fromkeys(str(one.abstract_syntax) for one in contexts)
    return [build_role(one, scp_role=True) for one in classes]


def client_tls(authority: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    """Return how TLS is spoken to the archive: its certificate must fit its name and be signed by ``authority``.

    Raises:
        ConfigurationError: A file cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=authority)
        if certificate is not None:
            context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError):
        raise ConfigurationError(_PEM) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def server_tls(authority: Path | None, certificate: Path, key: Path | None) -> ssl.SSLContext:
    """Return how TLS is spoken where the archive connects to us: with a certificate signed by ``authority``.

    Raises:
        ConfigurationError: A file cannot be used.
    """
    try:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority)
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError):
        raise ConfigurationError(_PEM) from None
    if authority is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
