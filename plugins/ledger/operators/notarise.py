"""Operators that carry bytes between an institution's node and the exchange, and nothing else.

Each runs on the queue of its institution, where its key is. What they return are heights, rounds and counts.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowSkipException

from ledger.discretion import discreet
from ledger.hooks.ledger import LedgerHook
from ledger.triggers.quorum import QuorumTrigger

if TYPE_CHECKING:
    from ledger.carrier import Carrier

#: What every producer tells of the round that stands, its turn or not: should the one whose turn it is not come.
PLACE = "place"
XCOM_RETURN_KEY = "return_value"


def newest(context: Context, task_ids: Iterable[str], key: str = XCOM_RETURN_KEY) -> tuple[int, int] | None:
    """Return the highest height and round that one of these tasks told in this run, or None where none told any."""
    found = context["ti"].xcom_pull(task_ids=list(task_ids), key=key) or []
    return max(((int(one["height"]), int(one["round"])) for one in found if one), default=None)


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
    """The scheduled producer's block stands in the exchange; every other producer's task is skipped."""

    def carry(self, carrier: Carrier, context: Context) -> dict[str, int]:
        """Tell the round that stands; propose, or skip where it is another's turn or nothing waits."""
        height, round_ = carrier.place()
        context["ti"].xcom_push(PLACE, {"height": height, "round": round_})
        proposed = carrier.propose()
        if proposed is None:
            raise AirflowSkipException("another producer's turn, or nothing waits")
        return proposed


class ValidateOperator(NodeOperator):
    """The institution verified the proposal itself, and its PREPARE stands in the exchange."""

    def carry(self, carrier: Carrier, context: Context) -> dict[str, int]:
        """Verify everything and vote."""
        return carrier.prepare()


class ConfirmOperator(NodeOperator):
    """The institution saw more than two thirds of the votes, and its COMMIT stands in the exchange."""

    def carry(self, carrier: Carrier, context: Context) -> dict[str, int]:
        """Lock on the certificate and vote."""
        return carrier.confirm()


class ApplyOperator(NodeOperator):
    """The institution's replica holds the final block."""

    def carry(self, carrier: Carrier, context: Context) -> dict[str, int]:
        """Verify the certificate, execute again, store; the goal is the height that ``commit`` saw."""
        return carrier.apply(int(context["ti"].xcom_pull(task_ids="commit")["height"]))


class TimeOutOperator(NodeOperator):
    """The institution gave the round up; the next producer may go on from the certificate of these votes.

    Args:
        proposers: Task ids of the producers: they say which round stood, also where the one whose turn it was failed.
    """

    def __init__(self, proposers: Sequence[str], **settings: Any) -> None:
        super().__init__(**settings)
        self.proposers = list(proposers)

    def carry(self, carrier: Carrier, context: Context) -> dict[str, int]:
        """Vote TIMEOUT of the round that this run was to propose in."""
        place = newest(context, self.proposers, PLACE)
        if place is None:
            raise AirflowSkipException("no producer's worker was there to say which round stands")
        return carrier.time_out(*place)


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
        place = newest(context, self.upstream_task_ids)
        if place is None:
            raise AirflowSkipException("no upstream task voted")
        height, round_ = place
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
