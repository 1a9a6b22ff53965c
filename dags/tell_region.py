"""Each night every institution tells the region what may be asked for, and calls back rows that patients took back.

By night and together: who sees one notice after one withdrawal could guess whom it is about.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, task

from dags.batch_tasks import ticks
from dags.feed_alerts import notifiers
from ledger.discretion import discreet
from schemas.home import Home
from schemas.region import Region, load_region
from schemas.sharing import HOLDERS


def build(region: Region) -> DAG:
    """Return the DAG in which a region's holders tell the others."""
    with DAG(
        dag_id="tell_region",
        schedule=ticks("40 2 * * *", "Asia/Shanghai"),
        catchup=False,
        max_active_runs=1,
        default_args={"retries": 2, "retry_delay": timedelta(minutes=5), "on_failure_callback": notifiers()},
        tags=["share"],
        doc_md="catalogue and notices, for each holder. See docs/sharing.md.",
    ) as dag:
        for one in region.institutions:
            if one.class_ in HOLDERS:
                for step in (catalogue, notices):
                    step.override(task_id=f"{step.function.__name__}_{one.id}", queue=f"node-{one.id}")(one.id)
    return dag


@task
@discreet()
def catalogue(institution: str) -> int:
    """What may be asked of this institution is counted, signed and shown; returns how many codes it names."""
    from dags.steps import share

    return share.publish_catalogue(institution)


@task
@discreet()
def notices(institution: str) -> int:
    """Holders of this institution's datasets are told of rows that must go; returns of how many datasets."""
    from dags.steps import share

    return share.raise_notices(institution)


tell_region = build(load_region(Home.from_environment().region))
