"""The same DAGs under CeleryExecutor: a broker of accounts, seven workers and one for tasks that need no key.

It needs Debian's redis-server: ``make test-services`` installs it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from deploy.couriers import CeleryCourier
from deploy.rehearsal import Rehearsal, rehearsed

pytestmark = [pytest.mark.services, pytest.mark.region, pytest.mark.airflow]
PATIENCE = 900.0
SUBMITTER = "hospital-district"
VALIDATOR = "nursing-home"


@pytest.fixture(scope="module")
def region() -> Iterator[Rehearsal]:
    """The region, up."""
    with rehearsed(CeleryCourier, round_seconds=45, clock_drift_ms=600_000) as running:
        yield running


def until(happened: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < end, what
        time.sleep(0.5)


def height(region: Rehearsal, institution: str) -> int:
    return region.heads().get(institution, (0, ""))[0]


def test_blocks_go_on_while_a_validators_worker_is_away_and_it_catches_up(region: Rehearsal) -> None:
    for at in range(1, 5):
        region.offer(SUBMITTER, 3)
        if at == 3:
            region.kill_worker(VALIDATOR)
        there = [one for one in region.ids if at < 3 or one != VALIDATOR]
        until(lambda at=at, there=there: all(height(region, one) >= at for one in there), f"no block {at}")
    assert height(region, VALIDATOR) < 4
    region.restart_worker(VALIDATOR)
    until(lambda: len(set(region.heads().values())) == 1, "replicas are not equal")
    until(lambda: all(run["state"] in ("success", "failed") for run in region.runs()), "a run does not end")
    assert {run["state"] for run in region.runs()} == {"success"}, "who is away turns no run red"
