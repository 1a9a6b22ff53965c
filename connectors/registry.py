"""Which class speaks which kind of source; it is imported only when such a source is opened."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal

from connectors.contract import BulkStore, DigestFactory, PullConnector
from schemas.errors import ConfigurationError
from schemas.source import Source

if TYPE_CHECKING:
    from connectors.landing import LandMany
    from connectors.listening import Inspect, Listener

PULL: Final[Mapping[str, str]] = MappingProxyType(
    {
        "his.hl7v2_files": "connectors.his.hl7v2_files:FilesConnector",
        "his.fhir_rest": "connectors.his.fhir_rest:FhirConnector",
        "his.cda_documents": "connectors.his.cda_documents:DocumentsConnector",
        "wearables.files": "connectors.wearables.files:WearableFilesConnector",
        "pacs.dimse": "connectors.pacs.dimse:DimseConnector",
        "pacs.dicomweb": "connectors.pacs.dicomweb:DicomwebConnector",
        "his.sql_tables": "connectors.his.sql_tables:TablesConnector",
    }
)
LISTEN: Final[Mapping[str, str]] = MappingProxyType(
    {
        "his.hl7v2_mllp": "connectors.his.hl7v2_mllp:Listener",
        "wearables.mqtt": "connectors.wearables.mqtt:MqttListener",
    }
)
#: Kinds whose senders connect to a port of ours; other listeners connect to the sender's server.
SERVED: Final = frozenset({"his.hl7v2_mllp"})


def mode(source: Source) -> Literal["pull", "listen"]:
    """Return whether the source is asked (``pull``) or sends by itself (``listen``).

    Raises:
        ConfigurationError: No connector speaks its kind.
    """
    if source.kind in PULL:
        return "pull"
    if source.kind in LISTEN:
        return "listen"
    kinds = ", ".join(sorted({**PULL, **LISTEN}))
    raise ConfigurationError(f"sources/{source.id}.yaml: kind {source.kind!r} is not known; there are {kinds}")


def listens_at(source: Source) -> tuple[str, int] | None:
    """Return the address that a source's senders connect to, or None where nobody connects to us."""
    if source.kind not in SERVED:
        return None
    return str(source.settings.get("host", "127.0.0.1")), int(source.settings["port"])


def open_listener(
    source: Source, home: Path, land_many: LandMany, inspect: Inspect, refused: Callable[[str], None]
) -> Listener:
    """Return the listener for ``source``; it listens once started.

    Args:
        source: The source's checked file.
        home: Folder that relative paths in its settings start from.
        land_many: Makes records durable, in order, and returns for each whether it was new. Called in a
            thread, one call at a time. What it raises leaves its records unacknowledged.
        inspect: Looks at a message before it is acknowledged; what it returns is told to the sender.
        refused: Told the reason of each message refused and not kept.

    Raises:
        ConfigurationError: Nothing of its kind listens, or its settings cannot be used.
    """
    if mode(source) != "listen":
        raise ConfigurationError(
            f"sources/{source.id}.yaml: kind {source.kind!r} does not send by itself; pull it instead"
        )
    listener: Listener = _load(LISTEN[source.kind])(source, home, land_many, inspect, refused)
    return listener


def _load(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


def open_connector(
    source: Source, home: Path, digest: DigestFactory = hashlib.sha256, bulk: BulkStore | None = None
) -> PullConnector:
    """Return the connector that pulls ``source``; nothing is opened before its first page is asked for.

    Args:
        source: The source's checked file.
        home: Folder that relative paths in its settings start from.
        digest: Starts the digest of what is unreadable.
        bulk: Where large parts of records go.

    Raises:
        ConfigurationError: No connector pulls its kind, or its settings cannot be used.
    """
    if mode(source) != "pull":
        raise ConfigurationError(
            f"sources/{source.id}.yaml: kind {source.kind!r} sends by itself; listen to it instead of pulling"
        )
    connector: type[PullConnector] = _load(PULL[source.kind])
    return connector(source, home, digest, bulk=bulk)
