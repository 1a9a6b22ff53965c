"""One DAG a holder: its part of every approved dataset, one after the other, on its own worker with its own key.

Ids and answers pass between tasks; records leave the task that opens them in a sealed package alone. A large export
takes hours, so no holder waits for another's, and no single record waits here: `answer_requests` answers those.
"""

from __future__ import annotations

from airflow.sdk import DAG, task

from dags.allowed import SETTINGS, soon
from ledger.discretion import discreet
from schemas.home import Home
from schemas.region import load_region
from schemas.sharing import HOLDERS


def build(institution: str) -> DAG:
    """Return the DAG in which an institution exports."""
    with DAG(
        dag_id=f"share_datasets_{institution}",
        schedule=soon("7-59/10 * * * *"),
        catchup=False,
        max_active_runs=1,
        default_args={**SETTINGS, "queue": f"node-{institution}"},
        tags=["share"],
        doc_md="due → export. See docs/sharing.md.",
    ) as dag:
        export.override(max_active_tis_per_dag=1).partial(institution=institution).expand(request=due(institution))
    return dag


@task
@discreet()
def due(institution: str) -> list[str]:
    """Return the ids of the allowed datasets that wait for this institution's part."""
    from dags.steps import share

    return share.due(institution)


@task
@discreet()
def export(institution: str, request: str) -> str:
    """A holder's part of a dataset is made and its answer offered to the next block; returns which answer."""
    from dags.steps import share

    return share.share(institution, request)


for one in load_region(Home.from_environment().region).institutions:
    if one.class_ in HOLDERS:
        globals()[f"share_datasets_{one.id}"] = build(one.id)
