"""What a task that fails puts into its log: what it was and where, never what it was working on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pymongo.errors import BulkWriteError, DuplicateKeyError

from dags.steps import ingest
from dags.steps.site import Site
from ledger.discretion import Withheld, discreet
from schemas.home import Home
from simulators.lis import Laboratory
from vault.errors import Unknown

LAB = "lab-centre-lis"
ROOT = Path(__file__).parents[2]
TASK = """
import runpy, sys
runpy.run_path(sys.argv[1])["pull"].function(sys.argv[2])
"""


def run_pull(home: Home, **environment: str) -> str:
    """What the DAG's task `pull` writes when it fails, traceback and all."""
    done = subprocess.run(
        [sys.executable, "-c", TASK, str(ROOT / "dags" / "ingest_sources.py"), LAB],
        env={**os.environ, "AIRFLOW_HOME": str(home.path / "airflow"), **environment},
        capture_output=True, text=True, check=False, cwd=ROOT, timeout=120,
    )  # fmt: skip
    assert done.returncode
    return done.stdout + done.stderr


def test_a_failing_insert_puts_no_document_into_the_log(home: Home, at: Site) -> None:
    Laboratory(1).drop(home.path / "inbox" / LAB, 1, 4)
    assert at.vault("lab-centre").summary().versions == 0
    at.client["xinglin_lab-centre"].command("collMod", "landing", validator={"never": 1})
    with pytest.raises(BulkWriteError) as failed:
        ingest.pull(LAB, at)
    assert "'body'" in str(failed.value), "the driver's text must hold a document, or this test shows nothing"
    written = run_pull(home)
    assert "Withheld: pymongo.errors.BulkWriteError 65 at vault.landing:" in written
    assert "'body'" not in written
    assert "During handling" not in written and "direct cause" not in written
    assert at.vault("lab-centre").summary().sources == {}


def test_an_address_that_cannot_be_read_keeps_its_password(home: Home, at: Site) -> None:
    written = run_pull(home, MONGODB_URI="mongodb://user:geheim/w@127.0.0.1:1/")
    assert "Withheld" in written
    assert "geheim" not in written


def test_a_key_that_stands_already_is_not_repeated(at: Site) -> None:
    collection = at.client["xinglin_lab-centre"]["keys"]
    collection.insert_one({"_id": "张三丰"})
    with pytest.raises(DuplicateKeyError, match="张三丰"):
        collection.insert_one({"_id": "张三丰"})
    with pytest.raises(Withheld) as told, discreet():
        collection.insert_one({"_id": "张三丰"})
    assert "张三丰" not in str(told.value)
    assert "DuplicateKeyError 11000" in str(told.value)


def test_our_own_errors_keep_their_words_and_lose_what_they_came_from() -> None:
    with pytest.raises(Unknown, match="nothing landed") as told, discreet():
        try:
            int("张三丰")
        except ValueError as error:
            raise Unknown("nothing landed under 7") from error
    assert told.value.__cause__ is None
    assert told.value.__suppress_context__
