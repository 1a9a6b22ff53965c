"""One block a run: propose, validate, confirm, commit, apply; tasks made from the consortium's file.

Signed bytes travel through the exchange, which nobody trusts: tasks carry them, nodes judge them. A validator that is
away delays nothing: every step goes on as soon as more than two thirds of the votes are there.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Asset, AssetAny, AssetOrTimeSchedule, CronTriggerTimetable, ExceptionRetryPolicy, chain
from airflow.sdk import RetryAction as Action
from airflow.sdk import RetryRule as Rule
from airflow.sdk import TriggerRule as When

from ledger.operators.notarise import (
    ApplyOperator,
    AwaitQuorumOperator,
    ConfirmOperator,
    ProposeOperator,
    TimeOutOperator,
    ValidateOperator,
)
from schemas.home import Home
from schemas.region import Region, load_region

STOPS = ["ledger.errors.Refused", "ledger.errors.Halted", "schemas.errors.ConfigurationError"]


def build(region: Region) -> DAG:
    """Return the DAG that makes the region's blocks."""
    voters = [one.id for one in region.voters]
    producers = [one.id for one in region.institutions if one.role == "producer"]
    everyone = [one.id for one in region.institutions]
    with DAG(
        dag_id="notarise",
        schedule=AssetOrTimeSchedule(
            timetable=CronTriggerTimetable("*/10 * * * *", timezone="UTC", run_immediately=timedelta()),
            assets=AssetAny(*(Asset(f"xinglin://sealed/{id_}") for id_ in everyone)),
        ),
        catchup=False,
        max_active_runs=1,
        dagrun_timeout=timedelta(seconds=60 + 6 * region.parameters.round_seconds),
        default_args={
            "retries": 2,
            "retry_delay": timedelta(seconds=2),
            "retry_policy": ExceptionRetryPolicy(rules=[Rule(exception=list(STOPS), action=Action.FAIL)]),
        },
        tags=["ledger"],
        doc_md="propose → validate → prepared → confirm → commit → apply. See docs/ledger.md.",
    ) as dag:
        deadline = region.parameters.round_seconds
        prepared = AwaitQuorumOperator(
            step="prepare", deadline=deadline, task_id="prepared", trigger_rule=When.ONE_SUCCESS
        )
        commit = AwaitQuorumOperator(step="commit", deadline=deadline, task_id="commit", trigger_rule=When.ONE_SUCCESS)
        proposals = [ProposeOperator(institution=id_, task_id=f"propose_{id_}") for id_ in producers]
        for id_ in voters:
            validate = ValidateOperator(institution=id_, task_id=f"validate_{id_}", trigger_rule=When.ONE_SUCCESS)
            chain(proposals, validate, prepared, ConfirmOperator(institution=id_, task_id=f"confirm_{id_}"), commit)
        chain(commit, [ApplyOperator(institution=id_, task_id=f"apply_{id_}") for id_ in everyone])
        proposers = [one.task_id for one in proposals]
        for id_ in voters:
            out = TimeOutOperator(
                institution=id_, proposers=proposers, task_id=f"time_out_{id_}", trigger_rule=When.ONE_FAILED
            )
            chain([prepared, commit], out)
    return dag


notarise = build(load_region(Home.from_environment().region))
