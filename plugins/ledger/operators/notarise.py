"""Operators that carry bytes between an institution's node and the exchange, and nothing else.

Each runs on the queue of its institution, where its key is. What they return are heights, rounds and counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowSkipException

from ledger.hooks.ledger import LedgerHook
from ledger.triggers.quorum import QuorumTrigger

if TYPE_CHECKING:
    from ledger.carrier import Carrier


def newest(context: Context, task_ids: Iterable[str]) -> tuple[int, int]:
    """Return the highest height and round that one of these tasks worked on in this run."""
    found = context["ti"].xcom_pull(task_ids=list(task_ids)) or []
    return max((int(one["height"]), int(one["round"])) for one in found if one)


class NodeOperator(BaseOperator):
    """One step of one institution's node.

    Args:
        institution: Whose node; the task runs on the queue ``node-<institution>``.
    """

    def __init__(self, institution: str, **settings: Any) -> None:
        super().__init__(queue=f"node-{institution}", **settings)
        self.institution = institution

    def execute(self, context: Context) -> dict[str, int]:
        """Run the step; returns height, round and counts."""
        return self.step(LedgerHook().carrier(self.institution))

    def step(self, carrier: Carrier) -> dict[str, int]:
        """Return what the node did; each operator has its own."""
        raise NotImplementedError


class ProposeOperator(NodeOperator):
    """The scheduled producer's block stands in the exchange; every other producer's task is skipped."""

    def step(self, carrier: Carrier) -> dict[str, int]:
        """Propose, or skip where it is another's turn or nothing waits."""
        proposed = carrier.propose()
        if proposed is None:
            raise AirflowSkipException("another producer's turn, or nothing waits")
        return proposed


class ValidateOperator(NodeOperator):
    """The institution verified the proposal itself, and its PREPARE stands in the exchange."""

    def step(self, carrier: Carrier) -> dict[str, int]:
        """Verify everything and vote."""
        return carrier.prepare()


class ConfirmOperator(NodeOperator):
    """The institution saw more than two thirds of the votes, and its COMMIT stands in the exchange."""

    def step(self, carrier: Carrier) -> dict[str, int]:
        """Lock on the certificate and vote."""
        return carrier.confirm()


class ApplyOperator(NodeOperator):
    """The institution's replica holds the final block."""

    def execute(self, context: Context) -> dict[str, int]:
        """Verify the certificate, execute again, store; the goal is the height that ``commit`` saw."""
        goal = context["ti"].xcom_pull(task_ids="commit")["height"]
        return LedgerHook().carrier(self.institution).apply(int(goal))


class TimeOutOperator(NodeOperator):
    """The institution gave the round up; the next producer may go on from the certificate of these votes.

    Args:
        proposers: Task ids of the producers: what was proposed says which round failed.
    """

    def __init__(self, proposers: Sequence[str], **settings: Any) -> None:
        super().__init__(**settings)
        self.proposers = list(proposers)

    def execute(self, context: Context) -> dict[str, int]:
        """Vote TIMEOUT of the round that this run proposed in."""
        height, round_ = newest(context, self.proposers)
        return LedgerHook().carrier(self.institution).time_out(height, round_)


class AwaitQuorumOperator(BaseOperator):
    """More than two thirds of the votes of one step are there; waits without holding a worker.

    Args:
        step: ``prepare`` or ``commit``.
        deadline: Seconds after which the round has failed.
    """

    def __init__(self, step: Literal["prepare", "commit"], deadline: int, **settings: Any) -> None:
        super().__init__(**settings)
        self.step = step
        self.deadline = deadline

    def execute(self, context: Context) -> dict[str, int]:
        """Defer until a certificate stands for the newest round that an upstream task voted in.

        Whether it is a valid one is for every node to judge; this task only waits.
        """
        height, round_ = newest(context, self.upstream_task_ids)
        self.defer(
            trigger=QuorumTrigger(self.step, height, round_, self.deadline),
            method_name="resume",
            timeout=timedelta(seconds=self.deadline + 30),
        )
        raise RuntimeError("defer always raises")

    def resume(self, context: Context, event: dict[str, Any]) -> dict[str, int]:
        """Return what the trigger saw, or fail the round."""
        from ledger.errors import Refused

        if event.get("late"):
            raise Refused("quorum", "6", f"no {self.step} quorum within {self.deadline} s; the round is given up")
        return {key: int(value) for key, value in event.items()}
