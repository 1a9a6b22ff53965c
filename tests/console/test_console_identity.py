"""`xinglin identity`: two patients share a number, somebody looks at both and decides."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from console_run import run_here
from founded import opened_site

from console.region.founding import found
from dags.steps import ingest
from schemas.home import Home

LAB = "lab-centre-lis"
MESSAGE = (
    "MSH|^~\\&|HIS|EAST|||20261120080000+0800||ADT^A08|M{n}|P|2.5\rEVN||20261120080000+0800\r"
    "PID|1||MR{n}^^^EAST^MR~{resident}^^^公安部&2.16.156.10011.1.3&ISO^NI~77^^^医保&1.2.156.1&ISO^HC||{name}||{born}|{sex}\r"
    "PV1|1|O\r"
)


@pytest.fixture
def environment(tmp_path: Path, mongo_uri: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """A region whose laboratory sent two people under one health card number."""
    given = {"XINGLIN_HOME": str(tmp_path), "MONGODB_URI": mongo_uri}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    home = Home(tmp_path)
    found(home)
    folder = tmp_path / "inbox" / LAB
    folder.mkdir(parents=True)
    people = (("11010519491231002X", "甄一", "19491231", "F"), ("330106198001010013", "甄二", "19800101", "M"))
    for n, (resident, name, born, sex) in enumerate(people):
        text = MESSAGE.format(n=n, resident=resident, name=name, born=born, sex=sex)
        (folder / f"{n}.hl7").write_bytes(text.encode())
        os.utime(folder / f"{n}.hl7", (1_760_000_000 + n, 1_760_000_000 + n))
    with opened_site(home) as at:
        ingest.pull(LAB, at)
        batches = ingest.plan(LAB, "run", at)
        for batch in batches:
            ingest.process(LAB, batch, at)
        ingest.reconcile(LAB, batches, at)
        yield given


def test_a_number_of_two_people_is_asked_shown_and_decided(environment: dict[str, str], empty: Path) -> None:
    (question,) = json.loads(run_here("identity", "list", "--json", **environment).output)
    assert question["reason"] == "shared-number"
    listed = run_here("identity", "list", **environment)
    assert question["id"] in listed.output.decode()
    assert "甄" not in listed.output.decode()
    shown = run_here("identity", "show", question["id"], **environment).output.decode()
    assert "甄一" in shown and "甄二" in shown
    assert run_here("identity", "decide", question["id"], "perhaps", **environment).code == 2
    assert json.loads(run_here("identity", "list", "--json", **environment).output) == [question]
    assert run_here("identity", "decide", question["id"], "different", **environment).code == 0
    assert run_here("identity", "list", **environment).output == b"no question waits\n"
    (kept,) = json.loads(run_here("identity", "list", "--all", "--json", **environment).output)
    assert kept["state"] == "different"


def test_a_question_that_is_none_is_named(environment: dict[str, str], empty: Path) -> None:
    for arguments in (("show", "0" * 32), ("decide", "0" * 32, "same")):
        done = run_here("identity", *arguments, **environment)
        assert done.code == 1
        assert "no question" in done.told
