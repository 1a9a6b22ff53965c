"""What a node says waits: batches above their institution's last final one, whatever still lies in the exchange."""

from __future__ import annotations

import httpx
import pytest
from region_simulation import AUDITOR, RegionSimulation
from served_region import FREE, served

from ledger.serving.application import make_app
from ledger.serving.server import Listening, make_server, running

pytestmark = pytest.mark.mongo


def test_a_batch_that_is_final_waits_no_more(region: RegionSimulation) -> None:
    name = region.producer().institution
    submission = region.publish(name, 2)
    app = make_app(served(region, AUDITOR, lambda: [submission.tx]), FREE)
    with running(make_server(app, Listening(port=0), FREE)) as port:
        url = f"http://127.0.0.1:{port}/v1/pending"
        with httpx.Client(trust_env=False) as client:
            [waiting] = client.get(url).json()["batches"]
            assert (waiting["submitter"], waiting["seq"], waiting["entries"]) == (name, 1, 2)
            region.finish(region.proposal(submission))
            assert client.get(url).json() == {"batches": []}


def test_credit_is_told_for_every_ended_epoch_and_now(region: RegionSimulation) -> None:
    region.grow(1)
    found = region.node(AUDITOR).replica
    assert found.credit_by_epoch(10) == []
    app = make_app(served(region, AUDITOR), FREE)
    with running(make_server(app, Listening(port=0), FREE)) as port, httpx.Client(trust_env=False) as client:
        [now] = client.get(f"http://127.0.0.1:{port}/v1/credit").json()["epochs"]
    assert now == {"epoch": 0, "scores": dict.fromkeys(region.nodes, 600)}
