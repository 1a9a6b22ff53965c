"""Views keep in memory what they read and checked: that changes no answer, and hides no other head."""

from __future__ import annotations

import pytest
from region_simulation import AUDITOR, RegionSimulation

from ledger.chain import replica as replica_module
from ledger.chain.state import INSTITUTION, InstitutionState
from ledger.errors import Diverged

pytestmark = pytest.mark.mongo


def last_seq(view: replica_module.ReplicaView, institution: bytes) -> int:
    value = view.state(INSTITUTION, institution)
    assert value is not None
    return InstitutionState.decode(value).last_seq


def test_a_head_moved_by_another_process_is_seen_at_once(region: RegionSimulation) -> None:
    submitter = region.producer().id
    other = region.open(AUDITOR).replica
    before = other.view
    assert before is other.view and last_seq(before, submitter) == 0
    region.grow(1)
    after = other.view
    assert (after.head.height, last_seq(after, submitter)) == (1, 1)
    assert (before.head.height, last_seq(before, submitter)) == (0, 0)  # as it was returned


def test_a_wrong_stored_value_is_refused_and_not_kept(region: RegionSimulation) -> None:
    region.grow(1)
    values = region.mongo[region.database_name(AUDITOR)]["state_values"]
    stored = list(values.find())
    view = region.open(AUDITOR).replica.view
    values.update_many({}, {"$set": {"d": bytes(24)}})
    with pytest.raises(Diverged):
        last_seq(view, region.producer().id)
    for one in stored:
        values.replace_one({"_id": one["_id"]}, one)
    assert last_seq(view, region.producer().id) == 0


def test_what_is_kept_is_bounded(region: RegionSimulation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica_module, "_KEPT", 10)
    node = region.node(AUDITOR)
    region.grow(4)
    view = node.replica.view
    assert len(view._nodes) + len(view._values) < 100 and node.verify_chain().ok


def test_one_head_is_read_once(region: RegionSimulation) -> None:
    region.grow(1)
    view = region.open(AUDITOR).replica.view
    assert last_seq(view, region.producer().id) == 0
    region.mongo[region.database_name(AUDITOR)]["state_nodes"].delete_many({})
    assert last_seq(view, region.producer().id) == 0
