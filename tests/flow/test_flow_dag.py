"""The DAGs themselves, run by Airflow's own `dag.test()` in one process, on real nodes and a real mongod."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_flow_rounds import offer

from console.region.airflow import Airflow
from dags.steps.site import Site
from ledger.carrier import Carrier
from schemas.home import Home
from simulators.lis import Laboratory

LAB = "lab-centre-lis"
ROOT = Path(__file__).parents[2]
RUN = """
import runpy, sys
found = runpy.run_path(sys.argv[1])
run = found[sys.argv[2]].test()
print("state", run.state)
for task in run.get_task_instances():
    print("task", task.task_id, task.state)
"""

pytestmark = pytest.mark.airflow


def dag_test(airflow: Airflow, file: str, dag: str, state: str = "success") -> str:
    """Return what `dag.test()` printed; the run must have ended in this state."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(ROOT / "dags" / file), dag],
        env=airflow.environment(), capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-3000:]
    assert f"state {state}" in output, output[-3000:]
    return output


def test_ingest_and_notarise_run_whole_in_one_process(home: Home, at: Site) -> None:
    folder = home.path / "inbox" / LAB
    sent = Laboratory(1).drop(folder, 1, 4)
    for path in folder.iterdir():
        os.utime(path, (1_760_000_000, 1_760_000_000))
    airflow = Airflow(home, 1)
    airflow.prepare()
    dag_test(airflow, "ingest_sources.py", f"ingest_{LAB}")
    totals = at.vault("lab-centre").summary().sources[LAB]
    assert (totals.sealed, totals.quarantined) == (sent.sealed, sent.set_aside.total())
    output = dag_test(airflow, "notarise.py", "notarise")
    assert {at.node(one.id).height for one in at.region.institutions} == {1}
    names = [path.name for path in folder.iterdir() if not path.name.startswith("LIS")]
    assert names
    assert not any(name.split("_")[0] in output for name in names), "a patient's name is in the tasks' output"


def test_a_producer_that_fails_costs_one_round_and_the_next_producer_goes_on(home: Home, at: Site) -> None:
    """Its key cannot be opened, in the round that is its turn and in the next: both runs end well without it."""
    offer(at, "hospital-west")
    producer = at.node("hospital-west").producer()
    password = home.keys(producer) / "password"
    kept = password.read_bytes()
    password.write_bytes(b"wrong")
    airflow = Airflow(home, 1)
    airflow.prepare()
    output = dag_test(airflow, "notarise.py", "notarise")
    assert f"task propose_{producer} failed" in output
    assert "task given_up success" in output
    voters = {one.id for one in at.region.voters}
    assert all(f"task time_out_{one} success" in output for one in voters - {producer})
    assert Carrier(at.node("hospital-west"), at.exchange).place() == (1, 1)
    output = dag_test(airflow, "notarise.py", "notarise")
    assert "task decided success" in output
    others = {one.id for one in at.region.institutions} - {producer}
    assert all(f"task apply_{one} success" in output for one in others)
    assert {at.node(one).height for one in others} == {1}
    password.write_bytes(kept)
    assert Carrier(at.node(producer), at.exchange).place() == (2, 0)
    assert at.node(producer).height == 1
