"""Who is away, as far as Airflow knows: an institution is away while the task that catches it up waits for its worker.

Whoever is away gets no tasks until then. Otherwise each block would queue more of them for a worker that is not there:
they take the executor's slots, and every run would wait for them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from airflow.triggers.base import BaseTrigger, TaskSuccessEvent, TriggerEvent

from ledger.triggers.observing import ended, look

POLL_SECONDS = 1.0
#: State of a task that Airflow has handed over and no worker has taken. One that is not even handed over is Airflow's.
QUEUED = "queued"
DONE = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})
Tasks = Mapping[str, Sequence[str]]


def catch_up_dag(institution: str) -> str:
    """Return the id of the DAG that catches an institution up."""
    return f"catch_up_{institution}"


async def away(institutions: Sequence[str]) -> list[str]:
    """Return those of these institutions whose task that catches them up still waits, or runs."""
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    def unfinished(institution: str) -> int:
        return int(RuntimeTaskInstance.get_dr_count(dag_id=catch_up_dag(institution), states=["queued", "running"]))

    return [one for one in institutions if await asyncio.to_thread(unfinished, one)]


class PresenceTrigger(BaseTrigger):
    """Ends its task where everybody is there; resumes it with ``away`` where some are not and the others are enough.

    Where those who are there are no quorum, nobody is passed over: without some of the absent there is no block.

    Args:
        institutions: All of the region.
    """

    def __init__(self, institutions: Sequence[str]) -> None:
        super().__init__()
        self.institutions = list(institutions)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return how Airflow makes it again."""
        return "ledger.triggers.absence.PresenceTrigger", {"institutions": self.institutions}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look once."""
        gone = await away(self.institutions)
        here = [one for one in self.institutions if one not in gone]
        enough = bool(gone) and await look(lambda seen: seen.is_quorum(here), otherwise=False)
        if enough:
            yield TriggerEvent({"away": gone})
        else:
            yield ended(TaskSuccessEvent())


class ClosingTrigger(BaseTrigger):
    """Ends its task once no institution's task is unfinished; resumes it where some never begin, or a round follows.

    Args:
        tasks: Ids of the run's tasks, by institution.
        given_up: Id of the task that succeeds where the round was given up.
        applied: Ids of the tasks of which one succeeds where the block is final.
        grace: Seconds without any change after which a task that no worker has begun will not be waited for.
        dag_id: DAG of the run; without it, of the task that this trigger belongs to.
        run_id: The run.
    """

    def __init__(
        self,
        tasks: Tasks,
        given_up: str,
        applied: Sequence[str],
        grace: float,
        dag_id: str | None = None,
        run_id: str | None = None,
    ) -> None:
        super().__init__()
        self.applied = list(applied)
        self.dag_id, self.run_id = dag_id, run_id
        self.tasks = {one: list(ids) for one, ids in tasks.items()}
        self.given_up = given_up
        self.grace = grace

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return how Airflow makes it again."""
        kwargs = {
            "tasks": self.tasks, "given_up": self.given_up, "applied": self.applied, "grace": self.grace,
            "dag_id": self.dag_id, "run_id": self.run_id,
        }  # fmt: skip
        return "ledger.triggers.absence.ClosingTrigger", kwargs

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look every second."""
        states, since = await self._states(), time.monotonic()
        while self.unfinished(states) and not (
            self.waits_for_workers(states) and time.monotonic() - since > self.grace
        ):
            await asyncio.sleep(POLL_SECONDS)
            before, states = states, await self._states()
            since = since if states == before else time.monotonic()
        left = self.unfinished(states)
        absent = [one for one, ids in self.tasks.items() if left.intersection(ids)]
        known = await away(absent)
        again = states.get(self.given_up) == "success" or await self._more(states)
        if left or again:
            new = [one for one in absent if one not in known]
            yield TriggerEvent({"left": sorted(left), "absent": new, "again": again})
        else:
            yield ended(TaskSuccessEvent())

    async def _states(self) -> dict[str, str | None]:
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

        dag_id, run_id = self._run()
        ids = [self.given_up, *(id_ for ids in self.tasks.values() for id_ in ids)]
        found = await asyncio.to_thread(
            RuntimeTaskInstance.get_task_states, dag_id=dag_id, task_ids=ids, run_ids=[run_id]
        )
        return dict(found.get(run_id, {}))

    def _run(self) -> tuple[str, str]:
        if self.dag_id and self.run_id:
            return self.dag_id, self.run_id
        at = self.task_instance
        if at is None:
            raise RuntimeError("this trigger belongs to a task, or is told its run")
        return at.dag_id, at.run_id

    def unfinished(self, states: Mapping[str, str | None]) -> set[str]:
        """Return the institutions' tasks that have not ended."""
        return {id_ for ids in self.tasks.values() for id_ in ids if states.get(id_) not in DONE}

    def waits_for_workers(self, states: Mapping[str, str | None]) -> bool:
        """Say whether all that has not ended is with the executor, and no worker has taken it."""
        return all(states.get(id_) == QUEUED for id_ in self.unfinished(states))

    async def _more(self, states: Mapping[str, str | None]) -> bool:
        """Say whether a next block is due at once after this one: what waits did not fit, or came meanwhile."""
        if not any(states.get(one) == "success" for one in self.applied):
            return False
        return await look(lambda seen: seen.would_propose(seen.place()), otherwise=False)
