"""Airflow stores triggers and tells XCom: what crosses there is plain, and reads back as it was."""

from __future__ import annotations

import json
from importlib import import_module

import pytest
from airflow.triggers.base import BaseTrigger, TaskFailedEvent, TaskSuccessEvent

from ledger.agreement.place import Place
from ledger.operators.notarise import place_of
from ledger.triggers.absence import ClosingTrigger, PresenceTrigger
from ledger.triggers.observing import ended
from ledger.triggers.offered import AllowedTrigger, OfferedTrigger
from ledger.triggers.quorum import PLACE, QuorumTrigger

pytestmark = pytest.mark.airflow
TASKS = {"hospital-east": ["propose_hospital-east", "apply_hospital-east"], "nursing-home": ["apply_nursing-home"]}


@pytest.mark.parametrize(
    "trigger",
    [
        QuorumTrigger("proposal", 20),
        QuorumTrigger("timeout", 20, 7, 2),
        PresenceTrigger(["nursing-home", "hospital-east"]),
        OfferedTrigger(),
        AllowedTrigger(),
        ClosingTrigger(TASKS, "given_up", ["apply_nursing-home"], 10.0),
        ClosingTrigger(TASKS, "given_up", [], 10.0, dag_id="notarise", run_id="manual"),
    ],
)
def test_a_trigger_is_made_again_from_plain_values(trigger: BaseTrigger) -> None:
    path, kwargs = trigger.serialize()
    module, _, name = path.rpartition(".")
    again = getattr(import_module(module), name)(**json.loads(json.dumps(kwargs)))
    assert type(again) is type(trigger)
    assert again.serialize() == trigger.serialize()


def test_a_place_reads_the_same_from_a_task_and_from_the_triggerer() -> None:
    told = Place(5, 1).plain()
    assert place_of(told) == place_of(json.dumps(told)) == (5, 1)


def test_an_event_that_ends_a_task_also_says_how_for_who_resumes_it() -> None:
    event = ended(TaskFailedEvent(xcoms={PLACE: dict(Place(5, 1).plain())}), height=5, round=1)
    assert event.payload == {"outcome": "failed", "height": 5, "round": 1}
    assert event.xcoms == {PLACE: {"height": 5, "round": 1}}
    assert ended(TaskSuccessEvent()).payload == {"outcome": "success"}


def test_only_a_task_that_no_worker_took_counts_as_waiting_for_one() -> None:
    trigger = ClosingTrigger(TASKS, "given_up", [], 10.0)
    done = {"propose_hospital-east": "success", "apply_hospital-east": "upstream_failed"}
    assert trigger.unfinished({**done, "apply_nursing-home": "failed"}) == set()
    for state, waits in (
        ("queued", True),
        ("scheduled", False),
        (None, False),
        ("running", False),
        ("deferred", False),
    ):
        states = {**done, "apply_nursing-home": state}
        assert trigger.unfinished(states) == {"apply_nursing-home"}
        assert trigger.waits_for_workers(states) is waits
