"""From a hospital's message to what another hospital reads without asking, and to what an erasure leaves of it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from founded import forget_site, opened_site
from typer.testing import CliRunner

from console.main import app
from console.region.founding import found
from dags.steps import ingest, publish, summaries
from dags.steps.site import Site
from ledger.carrier import Carrier, carry_block
from ledger.messages.erasure import Erase, portions
from ledger.messages.granted_keys import grant_topic
from ledger.messages.sealed_summary import SealedSummary
from schemas.home import Home
from simulators.lis import Laboratory

LAB = "lab-centre-lis"
OWNER, READER = "lab-centre", "hospital-west"


@pytest.fixture
def at(tmp_path: Path, mongo_uri: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("XINGLIN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MONGODB_URI", mongo_uri)
    home = Home.from_environment()
    found(home)
    (home.path / "inbox" / LAB).mkdir(parents=True)
    with opened_site(home) as opened:
        yield opened
    forget_site()


def publish_day(at: Site, day: int) -> None:
    folder = at.home.path / "inbox" / LAB
    Laboratory(1).drop(folder, 1, 4, trouble=False, day=day)
    for path in folder.iterdir():
        os.utime(path, (1_760_000_000, 1_760_000_000))
    ingest.pull(LAB, at)
    batches = ingest.plan(LAB, f"run-{day}", at)
    for batch in batches:
        ingest.process(LAB, batch, at)
    ingest.reconcile(LAB, batches, at)
    publish.submit(OWNER, at)
    block(at)


def key_ids(at: Site) -> set[bytes]:
    """Under which keys the owner's summaries are sealed."""
    found = at.client[f"xinglin_{OWNER}"]["records"].find({"summary": {"$exists": True}}, {"summary": 1})
    return {SealedSummary.read(bytes(one["summary"])).key_id for one in found}


def block(at: Site) -> None:
    assert carry_block([Carrier(at.node(one.id), at.exchange) for one in at.region.institutions]) is not None


def listed(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["ledger", "summaries", *arguments])
    assert done.exit_code == code, done.output
    return done.output


def test_reports_are_read_by_a_member_and_gone_after_their_erasure(at: Site) -> None:
    publish_day(at, 0)
    for name in (OWNER, READER):
        assert at.summaries(name).follow().missing == 0
    rows = json.loads(listed(READER, "--json"))
    assert rows and {row["institution"] for row in rows} == {OWNER}
    assert {row["resource_type"] for row in rows} <= {"DiagnosticReport", "Encounter", "Condition", "ChargeItem"}
    assert set(rows[0]) == {
        "institution", "record", "version", "height", "person", "patient", "resource_type", "date", "code_class",
        "conclusion", "total_fen",
    }  # fmt: skip
    assert listed(READER, "--of", READER, "--json") == "[]\n"
    assert json.loads(listed(READER, "--type", "DiagnosticReport", "--limit", "1", "--json")) == [
        next(row for row in rows if row["resource_type"] == "DiagnosticReport")
    ]
    assert OWNER in listed(READER)
    assert "no institution" in CliRunner().invoke(app, ["ledger", "summaries", "nobody"]).stderr
    nobody = CliRunner().invoke(app, ["ledger", "summaries", READER, "--person"], input="110105194912310021\n")
    assert nobody.exit_code == 1 and "no resident identity number" in nobody.stderr
    stranger = CliRunner().invoke(
        app, ["ledger", "summaries", READER, "--person", "--json"], input="11010519491231002X\n"
    )
    assert stranger.output == "[]\n"

    owners = {(bytes.fromhex(row["record"]), row["version"]) for row in rows}
    for part in portions(owners):
        node = at.node(OWNER)
        draft = Erase(**node.heading(), reason="directory", records=tuple(part))
        at.exchange.post_submission(node.sign(draft), b"")
    at.client[f"xinglin_{OWNER}"]["records"].update_many({}, {"$unset": {"summary": ""}})
    block(at)
    assert at.summaries(READER).follow().purged == len(rows)
    assert at.summaries("nursing-home").follow().stored == 0
    assert json.loads(listed(READER, "--json")) == []


def test_keys_change_with_the_epoch_and_are_granted_to_active_members_once(at: Site) -> None:
    publish_day(at, 0)
    vault = at.vault(OWNER)
    (first,) = key_ids(at)
    assert len(list(at.exchange.read(grant_topic(first)))) == 1
    publish_day(at, 1)  # sealed under the key that the first submission made for its epoch and members
    ids = key_ids(at)
    assert len(ids) == 2
    for key_id in ids:
        assert len(list(at.exchange.read(grant_topic(key_id)))) == 1
    before = vault.summaries.rotate("x")
    summaries.rotate(OWNER, at)
    after = vault.summaries.keys(ids)
    assert before is not None and before.number > max(one.number for one in after)
    assert at.summaries(READER).follow().missing == 0
    assert {row["height"] for row in json.loads(listed(READER, "--json"))} == {1, 2}


def test_a_home_without_the_regions_key_publishes_as_before_without_summaries(at: Site) -> None:
    at.home.region_grant.unlink()
    publish_day(at, 0)
    assert at.summaries(READER).follow().missing == len(at.summaries(READER)) == 0
    assert not at.vault(OWNER).summaries.made
