"""An archive on loopback and a bulk store in memory."""

from __future__ import annotations

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
