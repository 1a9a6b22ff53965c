"""Every response to a query is counted by who asked, whatever the association's own thread does meanwhile."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from datetime import date

import pytest
from pacs_world import DAY, dimse

from simulators.pacs import Pacs


@pytest.fixture
def hasty() -> Iterator[None]:
    """Threads take turns so often, and others have so much to do, that every gap between two steps is met."""
    before, stop = sys.getswitchinterval(), threading.Event()

    def busy() -> None:
        while not stop.is_set():
            sum(range(200))

    others = [threading.Thread(target=busy) for _ in range(3)]
    sys.setswitchinterval(1e-6)
    for one in others:
        one.start()
    yield
    stop.set()
    for one in others:
        one.join()
    sys.setswitchinterval(before)


def test_no_response_to_a_query_is_lost_between_two_threads(pacs: Pacs, hasty: None) -> None:
    pacs.fill([DAY], 6)
    session = dimse(pacs).session()
    day = DAY if isinstance(DAY, date) else date.fromisoformat(DAY)
    assert {len(session.studies(day)) for _ in range(150)} == {6}
    session.close()
