"""An archive on loopback and a bulk store in memory."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from pacs_world import Kept

from simulators.pacs import Pacs


@pytest.fixture
def pacs() -> Iterator[Pacs]:
    """A running archive with nothing in it."""
    with Pacs() as running:
        yield running


@pytest.fixture
def kept() -> Kept:
    """A bulk store that keeps everything and counts."""
    return Kept()


@pytest.fixture
def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
