"""Operators that carry bytes between an institution's node and the exchange, and those that wait for others.

An institution's run on its queue, where its key is. What waits runs in the triggerer, and needs no key and no worker.
What they return are heights, rounds and counts.
"""

from __future__ import annotations

import json
import time
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from airflow.sdk import Asset, AssetAlias, BaseOperator, Context
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, DownstreamTasksSkipped
from airflow.triggers.base import BaseTrigger, StartTriggerArgs

from ledger.discretion import discreet
from ledger.errors import TooEarly
from ledger.hooks.ledger import LedgerHook
from ledger.triggers.absence import ClosingTrigger, PresenceTrigger
from ledger.triggers.quorum import PLACE, QuorumTrigger

if TYPE_CHECKING:
    from ledger.carrier import Carrier

#: A round was given up, or more waits than fitted: the next run follows at once.
ROUND = Asset("xinglin://round")
#: Between two looks of a node whose own time for a round is not over yet.
_LOOK_SECONDS = 1.0
_NEWS = AssetAlias("xinglin-notarise")


def away_asset(institution: str) -> Asset:
    """Return the asset that says that an institution's worker did not take its tasks."""
    return Asset(f"xinglin://away/{institution}")


def skipped(tasks: Sequence[str]) -> DownstreamTasksSkipped:
    """Return what ends a task well and skips others of its run that nobody has begun."""
    return DownstreamTasksSkipped(tasks=list(tasks))  # type: ignore[no-untyped-call]


class NodeOperator(BaseOperator):
    """One step of one institution's node.

    Args:
        institution: Whose node; the task runs on the queue ``node-<institution>``.
    """

    def __init__(self, institution: str, **settings: Any) -> None:
        super().__init__(queue=f"node-{institution}", **settings)
        self.institution = institution

    @discreet()
    def execute(self, context: Context) -> dict[str, int]:
        """Run the step; returns height, round and counts."""
        return self.carry(LedgerHook().carrier(self.institution), context)

    @abstractmethod
    def carry(self, carrier: Carrier, context: Context) -> dict[str, int]:
        """Return what the node did; each operator has its own."""


class ProposeOperator(NodeOperator):
    """The scheduled producer's block stands in the exchange; another producer's task does nothing, and says so."""

    def carry(self, carrier: Carrier, context: Context) -> dict[str, int]:
        """Propose where it is this producer's turn and something waits."""
        proposed = carrier.propose()
        return {"proposed": 0} if proposed is None else {"proposed": 1, **proposed}


class ValidateOperator(NodeOperator):
    """The institution verified the proposal itself, and its PREPARE stands in the exchange."""

    def carry(self, carrier: Carrier, context: Context) -> dict[str, int]:
        """Verify everything and vote."""
        return has_vote(carrier).prepare()


class ConfirmOperator(NodeOperator):
    """The institution saw more than two thirds of the votes, and its COMMIT stands in the exchange."""

    def carry(self, carrier: Carrier, context: Context) -> dict[str, int]:
        """Lock on the certificate and vote."""
        return has_vote(carrier).confirm()


class ApplyOperator(NodeOperator):
    """The institution's replica holds the final block."""

    def carry(self, carrier: Carrier, context: Context) -> dict[str, int]:
        """Verify the certificate, execute again, store; the goal is the height that ``commit`` saw."""
        applied = carrier.apply(place_of(context["ti"].xcom_pull(task_ids="commit"))[0])
        with closing(LedgerHook()) as hook:
            hook.follow_summaries(self.institution)
        return applied


class CatchUpOperator(NodeOperator):
    """The institution's replica holds every final block that the exchange shows."""

    def carry(self, carrier: Carrier, context: Context) -> dict[str, int]:
        """Verify and execute what came while it was away."""
        height, round_ = carrier.place()
        return {"height": height, "round": round_}


class TimeOutOperator(NodeOperator):
    """The institution gave the round up; the next producer may go on from the certificate of these votes.

    Args:
        waits: Ids of the tasks that wait for the round's steps; the one that failed says which round it was.
    """

    def __init__(self, waits: Sequence[str], **settings: Any) -> None:
        super().__init__(**settings)
        self.waits = list(waits)

    def carry(self, carrier: Carrier, context: Context) -> dict[str, int]:
        """Vote TIMEOUT of the round that was waited for in vain, once its time is over by the node's own clock.

        A node that hears of the round only now lets all of it pass, or as much as passes until others gave it up.
        """
        voter, place = has_vote(carrier), given_up(context, self.waits)
        while True:
            try:
                return voter.time_out(*place)
            except TooEarly as early:
                self.log.info("%s", early)
                time.sleep(min(early.milliseconds / 1_000, _LOOK_SECONDS))


def has_vote(carrier: Carrier) -> Carrier:
    """Return the carrier of an institution that votes in this epoch.

    Raises:
        AirflowSkipException: It does not: it is suspended, or not admitted yet.
    """
    if not carrier.node.is_voter:
        raise AirflowSkipException("no vote in this epoch")
    return carrier


def given_up(context: Context, waits: Iterable[str]) -> tuple[int, int]:
    """Return height and round that a wait of this run failed in.

    Raises:
        AirflowSkipException: None says so: its trigger was lost, and nobody knows which round it waited for.
    """
    found = [place_of(one) for one in context["ti"].xcom_pull(task_ids=list(waits), key=PLACE) or () if one]
    if not found:
        raise AirflowSkipException("no task that waited says which round it gave up")
    return max(found)


def place_of(told: str | Mapping[str, int]) -> tuple[int, int]:
    """Return height and round as a wait told them; what the triggerer tells arrives as JSON in a string."""
    found = json.loads(told) if isinstance(told, str) else told
    return int(found["height"]), int(found["round"])


class TriggeredOperator(BaseOperator):
    """A task that begins in the triggerer, and mostly ends there: it costs no worker's start.

    Args:
        trigger: What it waits for.
    """

    start_from_trigger = True

    def __init__(self, trigger: BaseTrigger, **settings: Any) -> None:
        super().__init__(**settings)
        self._trigger = trigger
        path, kwargs = trigger.serialize()
        self.start_trigger_args = StartTriggerArgs(trigger_cls=path, next_method="resume", trigger_kwargs=kwargs)

    def execute(self, context: Context) -> NoReturn:
        """Wait as the triggerer does; only ``dag.test()`` comes here."""
        self.defer(trigger=self.trigger_of(context), method_name="resume")

    def trigger_of(self, context: Context) -> BaseTrigger:
        """Return the trigger of a run."""
        return self._trigger

    def resume(self, context: Context, event: dict[str, Any]) -> dict[str, int] | None:
        """Return what the trigger saw, or end as it would have ended the task."""
        place: dict[str, int] = {name: int(event[name]) for name in ("height", "round") if name in event}
        if event.get("outcome") == "skipped":
            raise AirflowSkipException("nothing waits to be confirmed")
        if event.get("outcome") == "failed":
            context["ti"].xcom_push(PLACE, place)
            raise AirflowFailException("no quorum in time; the round is given up (section 6)")
        return place or None


class AwaitOperator(TriggeredOperator):
    """A step of the open round stands in the exchange: a signed proposal, or a certificate of more than two thirds.

    Args:
        step: ``proposal``, ``prepare`` or ``commit``.
        deadline: Seconds after which the round has failed.
    """

    def __init__(self, step: Literal["proposal", "prepare", "commit"], deadline: int, **settings: Any) -> None:
        # A round that is over is not waited for again.
        super().__init__(trigger=QuorumTrigger(step, deadline), **{**settings, "retries": 0})


class OpenOperator(TriggeredOperator):
    """Whoever is known to be away has no tasks in this run.

    Args:
        tasks: Ids of the run's tasks, by institution.
    """

    def __init__(self, tasks: Mapping[str, Sequence[str]], **settings: Any) -> None:
        super().__init__(trigger=PresenceTrigger(sorted(tasks)), **settings)
        self.tasks = {one: list(ids) for one, ids in tasks.items()}

    def resume(self, context: Context, event: dict[str, Any]) -> dict[str, int] | None:
        """Skip the tasks of those who are away."""
        if gone := event.get("away"):
            self.log.info("away: %s", ", ".join(gone))
            raise skipped([task for one in gone for task in self.tasks[one]])
        return None


class CloseOperator(TriggeredOperator):
    """No task of the run waits for a worker that is away; who was is recorded, and caught up on its return.

    Args:
        tasks: Ids of the run's tasks, by institution.
        given_up: Id of the task that succeeds where the round was given up.
        applied: Ids of the tasks of which one succeeds where the block is final.
        grace: Seconds that a worker has to begin a task, while nothing else moves.
    """

    def __init__(
        self, tasks: Mapping[str, Sequence[str]], given_up: str, applied: Sequence[str], grace: float, **settings: Any
    ) -> None:
        super().__init__(trigger=ClosingTrigger(tasks, given_up, applied, grace), outlets=[_NEWS], **settings)
        self._closes = tasks, given_up, applied, grace

    def trigger_of(self, context: Context) -> BaseTrigger:
        """Return a trigger that is told its run, since in ``dag.test()`` it belongs to no task."""
        run = context["dag_run"]
        return ClosingTrigger(*self._closes, dag_id=run.dag_id, run_id=run.run_id)

    def resume(self, context: Context, event: dict[str, Any]) -> dict[str, int] | None:
        """Skip what nobody began, have the absent caught up, and go on with the next round or block."""
        news = context["outlet_events"][_NEWS]
        for one in event.get("absent", ()):
            self.log.warning("%s did not take its tasks; it is away until it has caught up", one)
            news.add(away_asset(one))
        if event.get("again"):
            news.add(ROUND)
        if left := event.get("left"):
            raise skipped(left)
        return None


class GivenUpOperator(BaseOperator):
    """More than two thirds gave the round up: the next one is open.

    Args:
        waits: Ids of the tasks that wait for the round's steps.
        deadline: Seconds after which the region stands still, and the run fails.
    """

    def __init__(self, waits: Sequence[str], deadline: int, **settings: Any) -> None:
        super().__init__(**settings)
        self.waits, self.deadline = list(waits), deadline

    def execute(self, context: Context) -> NoReturn:
        """Wait for the timeout certificate of the round that the failed task names."""
        height, round_ = given_up(context, self.waits)
        self.defer(trigger=QuorumTrigger("timeout", self.deadline, height, round_), method_name="resume")

    resume = TriggeredOperator.resume
