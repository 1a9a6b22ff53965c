"""Stage 1, pull: speak a source's protocol, hand over raw records."""

from connectors.contract import Page, PullConnector
from connectors.errors import ConnectorError, Retry, Stop
from connectors.registry import listens_at, mode, open_connector, open_listener

__all__ = [
    "ConnectorError",
    "Page",
    "PullConnector",
    "Retry",
    "Stop",
    "listens_at",
    "mode",
    "open_connector",
    "open_listener",
]
