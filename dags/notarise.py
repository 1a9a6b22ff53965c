"""One block a run: propose, validate, confirm, commit, apply; tasks made from the consortium's file.

Signed bytes travel through the exchange, which nobody trusts: tasks carry them, nodes judge them. What waits for others
waits in the triggerer. Nobody waits for a worker that is away: its tasks are skipped, and it catches up on its return.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import (
    DAG,
    Asset,
    AssetAny,
    AssetOrTimeSchedule,
    AssetWatcher,
    CronTriggerTimetable,
    chain,
    cross_downstream,
)
from airflow.sdk import TriggerRule as When

from dags.retries import unless
from ledger.operators.notarise import (
    ROUND,
    ApplyOperator,
    AwaitOperator,
    CloseOperator,
    ConfirmOperator,
    GivenUpOperator,
    NodeOperator,
    OpenOperator,
    ProposeOperator,
    TimeOutOperator,
    ValidateOperator,
)
from ledger.triggers.offered import OfferedTrigger
from schemas.home import Home
from schemas.region import Region, load_region

STOPS = ["ledger.errors.Refused", "ledger.errors.Halted", "schemas.errors.ConfigurationError"]
WAITS = ["proposed", "prepared", "commit"]
#: A vote, a freeze, a request or evidence is offered: no block of records has to come first.
OFFERED = Asset("xinglin://offered", watchers=[AssetWatcher(name="offered", trigger=OfferedTrigger())])


def build(region: Region) -> DAG:
    """Return the DAG that makes the region's blocks."""
    voters = [one.id for one in region.voters]
    producers = [one.id for one in region.institutions if one.role == "producer"]
    everyone = [one.id for one in region.institutions]
    steps = {"propose": producers, "validate": voters, "confirm": voters, "apply": everyone, "time_out": voters}
    tasks = {id_: [f"{step}_{id_}" for step, who in steps.items() if id_ in who] for id_ in everyone}
    seconds = region.parameters.round_seconds
    with DAG(
        dag_id="notarise",
        schedule=AssetOrTimeSchedule(
            timetable=CronTriggerTimetable("*/10 * * * *", timezone="UTC", run_immediately=timedelta()),
            assets=AssetAny(ROUND, OFFERED, *(Asset(f"xinglin://sealed/{id_}") for id_ in everyone)),
        ),
        catchup=False,
        max_active_runs=1,
        # Only a run whose triggerer or API server is gone lasts as long; patience grows eightfold at most.
        dagrun_timeout=timedelta(seconds=600 + 6 * 8 * seconds),
        default_args={
            "retries": 2,
            "priority_weight": 1_000,  # a block waits for all, a source's batch for nobody
            "retry_delay": timedelta(seconds=2),
            "retry_policy": unless(STOPS),
        },
        tags=["ledger"],
        doc_md="propose → validate → prepared → confirm → commit → apply. See docs/ledger.md and docs/region.md.",
    ) as dag:
        begin = OpenOperator(tasks=tasks, task_id="open")
        proposed = AwaitOperator(step="proposal", deadline=seconds, task_id="proposed", trigger_rule=When.ONE_DONE)
        prepared = AwaitOperator(step="prepare", deadline=seconds, task_id="prepared", trigger_rule=When.ONE_DONE)
        commit = AwaitOperator(step="commit", deadline=seconds, task_id="commit", trigger_rule=When.ONE_DONE)
        # Twice: a node that hears of the round only when it is to give it up lets the round's time pass first.
        over = GivenUpOperator(waits=WAITS, deadline=2 * seconds, task_id="given_up", trigger_rule=When.ONE_DONE)
        applied = [f"apply_{id_}" for id_ in everyone]
        close = CloseOperator(
            tasks=tasks, given_up="given_up", applied=applied, grace=seconds / 2, task_id="close",
            trigger_rule=When.ALL_DONE,
        )  # fmt: skip
        decided = EmptyOperator(task_id="decided", trigger_rule=When.ONE_SUCCESS)

        def each(kind: type[NodeOperator], step: str, **settings: object) -> list[NodeOperator]:
            return [kind(institution=id_, task_id=f"{step}_{id_}", **settings) for id_ in steps[step]]

        apply = each(ApplyOperator, "apply")
        time_out = each(TimeOutOperator, "time_out", waits=WAITS, trigger_rule=When.ONE_FAILED)
        chain(begin, each(ProposeOperator, "propose"), proposed, each(ValidateOperator, "validate"), prepared)
        chain(prepared, each(ConfirmOperator, "confirm"), commit, apply, decided)
        cross_downstream([proposed, prepared, commit], time_out)
        chain(time_out, over, decided)
        chain([proposed, prepared, commit, over], close)
    return dag


notarise = build(load_region(Home.from_environment().region))
