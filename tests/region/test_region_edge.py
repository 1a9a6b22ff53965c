"""A region of seven institutions, each with a user, home, key, account and Edge worker of its own; two are killed.

It takes some minutes; alone: ``pytest tests/region/test_region_edge.py``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator

import pytest
from needed import needs

from deploy.apart import can_part
from deploy.rehearsal import Rehearsal, rehearsed
from ledger.chain.chain_check import verify_chain
from ledger.chain.replica import Replica
from ledger.chain.validators import institution_id

pytestmark = [pytest.mark.region, pytest.mark.airflow, pytest.mark.mongo]
BLOCKS = 20
#: Nothing here is a matter of speed; this only ends a test that hangs.
PATIENCE = 900.0
SUBMITTER = "hospital-district"
VALIDATOR = "nursing-home"
#: Its node is a process of its own: its worker has no key.
NODED = "hospital-north"


@pytest.fixture(scope="module")
def region() -> Iterator[Rehearsal]:
    """The region, up; its rounds last longer than a busy machine takes for a step."""
    with rehearsed(noded=[NODED], round_seconds=45, clock_drift_ms=600_000) as running:
        yield running


def until(happened: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < end, what
        time.sleep(0.5)


def height(region: Rehearsal, institution: str) -> int:
    return region.heads().get(institution, (0, ""))[0]


def grow(region: Rehearsal, goal: int, away: Collection[str] = ()) -> None:
    """Blocks are made until everybody who is there holds the one of this height."""
    there = [one for one in region.ids if one not in away]
    while (now := height(region, SUBMITTER)) < goal:
        region.offer(SUBMITTER, 3)
        until(lambda now=now: height(region, SUBMITTER) > now, f"no block {now + 1}")
    until(lambda: all(height(region, one) >= goal for one in there), f"somebody has no block {goal}")


def producer(region: Rehearsal, at: int) -> str:
    """Whose turn it is at a height, by genesis."""
    wanted = region.genesis.validators.producer(at, 0).id
    return next(one for one in region.ids if institution_id(one) == wanted)


@needs(can_part(), "only root can give institutions users of their own")
def test_an_institution_reads_its_own_home_only(region: Rehearsal) -> None:
    for name in ("key-password", f"keys/{VALIDATOR}/sm2.pem", "mongodb-uri"):
        assert region.run_as(VALIDATOR, "cat", str(region.own(VALIDATOR) / name)).returncode == 0
        other = region.run_as(SUBMITTER, "cat", str(region.own(VALIDATOR) / name))
        assert (other.returncode, other.stdout) == (1, "")
    for folder in ("nodes/control", "mongo", "run", "secrets"):
        assert region.run_as(SUBMITTER, "ls", str(region.folder / folder)).returncode != 0
    assert region.run_as(SUBMITTER, "cat", str(region.folder / "passwords.json")).returncode != 0
    node = region.node_home(NODED)
    for name in ("key-password", f"keys/{NODED}/sm2.pem", f"keys/{NODED}/votes.sqlite"):
        assert (node / name).is_file()
        assert region.run_as(NODED, "cat", str(node / name)).returncode != 0, "a worker's code must not read the key"
    assert not list(region.own(NODED).rglob("*.pem"))
    assert region.run_as(SUBMITTER, "id", "-u").stdout.strip() == str(region.user(SUBMITTER))


def test_twenty_blocks_with_two_workers_killed_end_with_equal_replicas(region: Rehearsal) -> None:
    """Later than the others, since it changes what they look at: the whole story of the region, in order."""
    grow(region, 4)
    victim = producer(region, 5)
    region.offer(SUBMITTER, 3)
    region.kill_worker(victim)
    grow(region, 9, away=[victim])
    region.offer(SUBMITTER, 3)
    region.kill_worker(VALIDATOR)
    grow(region, 14, away=[victim, VALIDATOR])
    behind = height(region, victim)
    assert behind < 14
    region.restart_worker(victim)
    until(lambda: height(region, victim) >= 14, "the producer does not catch up by itself")
    grow(region, BLOCKS, away=[VALIDATOR])
    assert height(region, VALIDATOR) < BLOCKS
    region.restart_worker(VALIDATOR)
    until(lambda: len(set(region.heads().values())) == 1, "replicas are not equal")
    assert region.heads().keys() == set(region.ids)
    assert height(region, VALIDATOR) >= BLOCKS
    for one in region.ids:
        report = verify_chain(Replica(region.root[f"ledger_{one}"], region.genesis))
        assert report.ok, report.fault
    until(lambda: all(run["state"] in ("success", "failed") for run in region.runs()), "a run does not end")
    assert {run["state"] for run in region.runs()} == {"success"}, "who is away turns no run red"
