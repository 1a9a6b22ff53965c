"""A vote store is lost: the node refuses, the others go on, and `xinglin node recover` is a way back."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dags.steps import ingest, publish
from dags.steps.site import Site
from ledger.carrier import Carrier, carry_block
from ledger.errors import Halted
from ledger.opening import VOTES_FILE
from simulators.lis import Laboratory

LAB = "lab-centre-lis"
LOSER = "nursing-home"
ROOT = Path(__file__).parents[2]


def make_block(at: Site, day: int, *away: str) -> int | None:
    """Pull one day's files and make a block of them without those who are away."""
    folder = at.home.path / "inbox" / LAB
    Laboratory(1).drop(folder, 1, 3, trouble=False, day=day)
    for path in folder.iterdir():
        os.utime(path, (1_760_000_000, 1_760_000_000))
    ingest.pull(LAB, at)
    batches = ingest.plan(LAB, f"run-{day}", at)
    for batch in batches:
        ingest.process(LAB, batch, at)
    ingest.reconcile(LAB, batches, at)
    publish.submit("lab-centre", at)
    here = [one.id for one in at.region.institutions if one.id not in away]
    return carry_block([Carrier(at.node(one), at.exchange) for one in here])


def recover() -> subprocess.CompletedProcess[str]:
    """Run what docs/ledger.md says."""
    command = [sys.executable, "-m", "console.main", "node", "recover", "--institution", LOSER]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_a_lost_vote_store_comes_back_only_where_the_key_cannot_have_signed(at: Site) -> None:
    make_block(at, 0)
    votes = at.home.keys(LOSER) / VOTES_FILE
    votes.unlink()
    without = Site(at.home)
    with pytest.raises(Halted, match="no vote state beside the key"):
        without.node(LOSER)
    assert make_block(without, 1, LOSER) == 2
    early = recover()
    assert early.returncode == 1
    assert early.stderr == "xinglin: wait: final is 2, the key may have signed 3; nothing was changed\n"
    assert early.stderr in (ROOT / "docs" / "ledger.md").read_text(encoding="utf-8")
    assert not votes.exists()
    assert make_block(without, 2, LOSER) == 3
    assert make_block(without, 3, LOSER) == 4
    assert recover().returncode == 0
    back = Site(at.home)
    assert back.node(LOSER).height == 4
    assert make_block(back, 4) == 5
    assert back.node(LOSER).verify_chain().ok
    again = recover()
    assert again.returncode == 1 and "nothing to recover" in again.stderr
    without.close()
    back.close()
