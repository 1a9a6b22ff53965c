"""Every DAG file loads with no network, no database and no connection, fast, and says what runs where."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from connectors import mode
from schemas.region import load_region
from schemas.source import load_sources

ROOT = Path(__file__).parents[2]
#: Tasks of a block that need no institution's key; they begin in the triggerer, or are no task at all.
KEYLESS = {"open", "proposed", "prepared", "commit", "given_up", "close", "decided"}

#: Runs in a process of its own: sockets refuse, and Airflow's database does not exist.
LOAD = """
import json, runpy, socket, sys

def refuse(*arguments, **settings):
    raise AssertionError("a DAG file opened a socket while it was loaded")

socket.socket.connect = socket.socket.connect_ex = socket.create_connection = socket.getaddrinfo = refuse
from airflow.sdk import DAG
found = {}
for path in sys.argv[1:]:
    for value in runpy.run_path(path).values():
        if isinstance(value, DAG):
            found[value.dag_id] = {
                task.task_id: {
                    "queue": task.queue, "pool": task.pool, "upstream": sorted(task.upstream_task_ids),
                    "rule": task.trigger_rule.value, "templates": sorted(task.template_fields),
                    "given": [one for one in getattr(task, "op_args", ()) if isinstance(one, list)],
                }
                for task in value.tasks
            }
heavy = sorted({"pandas", "great_expectations", "hl7apy", "fhir", "pyarrow", "pymongo"} & set(sys.modules))
print(json.dumps({"dags": found, "heavy": heavy}))
"""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All DAGs as a process without network, database and home sees them."""
    home = tmp_path_factory.mktemp("empty")
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith(("AIRFLOW", "MONGODB", "XINGLIN"))},
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/none/airflow.db",
        "XINGLIN_HOME": str(home / "nothing"),
    }
    files = sorted(str(path) for path in (ROOT / "dags").glob("*.py") if path.name != "__init__.py")
    done = subprocess.run(
        [sys.executable, "-c", LOAD, *files], env=environment, capture_output=True, text=True, check=False, cwd=home
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert not (home / "nothing").exists()
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def test_there_is_one_dag_for_every_enabled_source_and_one_each_that_notarises_and_watches(
    loaded: dict[str, Any],
) -> None:
    sources = load_sources(ROOT / "sources")
    assert {name for name in loaded["dags"] if name.startswith("ingest_")} == {f"ingest_{one.id}" for one in sources}
    asked = {f"backfill_{one.id}" for one in sources if mode(one) == "pull"}
    assert {name for name in loaded["dags"] if name.startswith("backfill_")} == asked
    region = load_region(ROOT / "region.yaml").institutions
    returning = {f"catch_up_{one.id}" for one in region}
    assert {name for name in loaded["dags"] if name.startswith("catch_up_")} == returning
    several = ("ingest_", "backfill_", "catch_up_", "share_datasets_")
    rest = {name for name in loaded["dags"] if not name.startswith(several)}
    watching = {"watch_sources", "compare_replicas", "watch_ledger", "audit_ledger"}
    assert rest == {"notarise", *watching, "answer_requests", "tell_region"}


def test_every_institution_watches_what_others_sign_where_its_node_is(loaded: dict[str, Any]) -> None:
    region = load_region(ROOT / "region.yaml").institutions
    watched = {name: task["queue"] for name, task in loaded["dags"]["watch_ledger"].items()}
    assert watched == {f"look_{one.id}": f"node-{one.id}" for one in region if one.role != "member"}
    assert set(loaded["dags"]["audit_ledger"]) == {"look_health-commission", "reviews_health-commission"}


def test_who_keeps_records_answers_for_them_and_hears_of_emergencies_where_its_node_is(loaded: dict[str, Any]) -> None:
    keepers = [one.id for one in load_region(ROOT / "region.yaml").institutions if one.class_ in "ABC"]
    tasks = {name: task["queue"] for name, task in loaded["dags"]["answer_requests"].items()}
    assert tasks == {f"{step}_{one}": f"node-{one}" for step in ("answer", "emergency") for one in keepers}
    sharing = {name.removeprefix("share_datasets_") for name in loaded["dags"] if name.startswith("share_datasets_")}
    assert sharing == set(keepers)
    for one in keepers:
        tasks = {name: task["queue"] for name, task in loaded["dags"][f"share_datasets_{one}"].items()}
        assert tasks == {"due": f"node-{one}", "export": f"node-{one}"}, "nobody waits for another's export"
    told = {name: task["queue"] for name, task in loaded["dags"]["tell_region"].items()}
    assert told == {f"{step}_{one}": f"node-{one}" for step in ("catalogue", "notices") for one in keepers}


def test_what_is_read_from_the_past_waits_in_a_pool_of_its_own(loaded: dict[str, Any]) -> None:
    tasks = loaded["dags"]["backfill_lab-centre-lis"]
    assert {task["pool"] for task in tasks.values()} == {"backfill"}
    assert {task["queue"] for task in tasks.values()} == {"node-lab-centre"}
    assert tasks["plan_past"]["upstream"] == ["pull_past"]
    assert tasks["submit"]["upstream"] == ["reconcile_past"]


def test_every_enabled_source_is_watched_where_its_vault_is_by_one_task_an_institution(loaded: dict[str, Any]) -> None:
    tasks = loaded["dags"]["watch_sources"]
    owned: dict[str, list[str]] = {}
    for one in load_sources(ROOT / "sources"):
        owned.setdefault(one.institution, []).append(one.id)
    assert {name: (task["queue"], task["given"]) for name, task in tasks.items()} == {
        f"look_{institution}": (f"node-{institution}", [ids]) for institution, ids in owned.items()
    }


def test_replicas_are_compared_where_they_are_and_nobody_waits_for_who_is_away(loaded: dict[str, Any]) -> None:
    tasks = loaded["dags"]["compare_replicas"]
    for one in load_region(ROOT / "region.yaml").institutions:
        for step, after in (("tell", []), ("prove", [f"tell_{one.id}", "told"]), ("keep", ["judge_health-commission"])):
            task = tasks[f"{step}_{one.id}"]
            assert (task["queue"], task["upstream"]) == (f"node-{one.id}", after)
    assert tasks["judge_health-commission"]["upstream"] == ["proved"]
    assert {tasks[one]["queue"] for one in ("told", "proved", "judge_health-commission")} == {"node-health-commission"}


def test_nothing_heavy_is_imported_while_dags_load(loaded: dict[str, Any]) -> None:
    assert loaded["heavy"] == []


def test_a_batch_is_reconciled_before_it_is_submitted(loaded: dict[str, Any]) -> None:
    tasks = loaded["dags"]["ingest_hospital-east-his"]
    assert set(tasks) == {
        "pull", "plan", "process", "reconcile", "submit",
    }  # fmt: skip
    assert tasks["plan"]["upstream"] == ["pull"]
    assert tasks["reconcile"]["upstream"] == ["plan", "process"]
    assert tasks["submit"]["upstream"] == ["reconcile"]


def test_every_task_of_an_institution_runs_on_its_own_queue(loaded: dict[str, Any]) -> None:
    ingest = loaded["dags"]["ingest_hospital-west-his"]
    assert {task["queue"] for task in ingest.values()} == {"node-hospital-west"}
    assert {task["pool"] for task in ingest.values()} == {"source-hospital-west-his"}
    notarise = loaded["dags"]["notarise"]
    for name, task in notarise.items():
        institution = name.partition("_")[2].removeprefix("out_")
        assert task["queue"] == ("default" if name in KEYLESS else f"node-{institution}")
    for one in load_region(ROOT / "region.yaml").institutions:
        assert loaded["dags"][f"catch_up_{one.id}"]["catch_up"]["queue"] == f"node-{one.id}"


def test_every_voter_validates_and_no_step_waits_for_all_of_them(loaded: dict[str, Any]) -> None:
    tasks = loaded["dags"]["notarise"]
    voters = ["hospital-district", "hospital-east", "hospital-west", "lab-centre", "nursing-home"]
    assert [name for name in sorted(tasks) if name.startswith("validate_")] == [f"validate_{one}" for one in voters]
    for step, after in (("proposed", "propose"), ("prepared", "validate"), ("commit", "confirm")):
        assert tasks[step]["rule"] == "one_done"
        assert {name.partition("_")[0] for name in tasks[step]["upstream"]} == {after}
    assert set(tasks["close"]["upstream"]) < KEYLESS, "what ends a run waits for no institution's worker"
    assert "apply_health-commission" in tasks
    assert "validate_health-commission" not in tasks


def test_no_task_renders_a_template(loaded: dict[str, Any]) -> None:
    """What Airflow renders it also stores and shows; ledger operators have nothing to render."""
    rendered = {name: task["templates"] for name, task in loaded["dags"]["notarise"].items() if task["templates"]}
    assert rendered == {}
