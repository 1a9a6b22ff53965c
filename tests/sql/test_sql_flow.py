"""A hospital's database through the whole flow: expected = sealed + duplicate + quarantined, killed or not."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
import yaml
from founded import founded_site
from killed import run_apart
from sql_killed import SOURCE, run

from dags.steps import ingest
from dags.steps.site import Site
from schemas.home import REPOSITORY, Home
from simulators.hisdb import HisDatabase, settings
from simulators.sent import Sent

HIS = HisDatabase(7, patients=6)
WORKER = Path(__file__).with_name("sql_killed.py")


@pytest.fixture
def at(tmp_path: Path, mongo_uri: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A founded home with one source, the simulated database."""
    sources = tmp_path / "sources"
    shutil.copytree(REPOSITORY / "sources" / "mappings", sources / "mappings")
    source = {
        "id": SOURCE, "institution": "hospital-east", "kind": "his.sql_tables", "time_zone": "Asia/Shanghai",
        "charset": "gb18030", "enabled": True, "mapping": "zh-his", "settings": settings("his.db"),
    }  # fmt: skip
    (sources / f"{SOURCE}.yaml").write_text(yaml.safe_dump(source), "utf-8")
    monkeypatch.setenv("XINGLIN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XINGLIN_SOURCES", str(sources))
    monkeypatch.setenv("MONGODB_URI", mongo_uri)
    with founded_site(Home.from_environment()) as opened:
        yield opened


def grow(at: Site, day: int) -> Sent:
    return HIS.grow(at.home.path / "his.db", day)


def assert_account(at: Site, sent: Sent) -> None:
    """Everything the database ever held is sealed or set aside, once; and every cent of it."""
    vault = at.vault("hospital-east")
    summary = vault.summary()
    totals = summary.sources[SOURCE]
    assert totals.sealed == sent.sealed
    assert Counter(summary.quarantined) == sent.set_aside
    assert totals.pending == totals.batched == 0
    assert totals.received == totals.sealed + totals.duplicate + totals.quarantined
    charges = [
        vault.records.open_located(one.locator)
        for one in vault.records.find(resource_type="ChargeItem", limit=10_000)
    ]  # fmt: skip
    standing = [Decimal(repr(one["priceOverride"]["value"])) for one in charges if one["status"] == "billed"]
    assert sum(standing) == HIS.charges(at.home.path / "his.db")


def test_day_by_day_everything_the_database_counts_is_sealed_or_set_aside(at: Site) -> None:
    sent = Sent()
    for day in range(3):
        sent += grow(at, day)
        counts = run(at)
        assert counts["received"] == counts["sealed"] + counts["duplicate"] + counts["quarantined"]
        assert_account(at, sent)
    before = at.vault("hospital-east").summary()
    run(at)
    after = at.vault("hospital-east").summary()
    assert after.versions == before.versions
    assert after.sources[SOURCE].sealed == before.sources[SOURCE].sealed


def test_a_deleted_bill_stays_sealed_as_entered_in_error(at: Site) -> None:
    grow(at, 0)
    run(at)
    grow(at, 1)
    run(at)
    vault = at.vault("hospital-east")
    found_ = vault.records.find(resource_type="ChargeItem", limit=10_000)
    gone = [body for one in found_ if (body := vault.records.open_located(one.locator))["status"] == "entered-in-error"]
    assert [one["identifier"][0]["value"] for one in gone] == ["B0000011"]
    assert gone[0]["subject"]["reference"].startswith("Patient/")


def test_a_source_that_gives_fewer_rows_than_it_counts_keeps_its_cursor(at: Site) -> None:
    """Nothing of a pull that stops in the middle moves the cursor; the next one reads the same rows again."""
    grow(at, 0)
    file = at.home.path / "his.db"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Exception, match=SOURCE):
        ingest.pull(SOURCE, at)
    assert at.vault("hospital-east").cursors.get(SOURCE) is None
    file.write_bytes(whole)
    run(at)
    assert_account(at, HIS.grow(at.home.path / "other.db", 0))


def test_a_pull_killed_again_and_again_ends_as_if_it_had_never_been(at: Site) -> None:
    sent, deaths, step = grow(at, 0), 0, 12
    while (done := work(step)).returncode == -signal.SIGKILL:
        deaths += 1
        step += 14
    assert done.returncode == 0, done.stderr
    assert deaths >= 2
    run(at)
    assert_account(at, sent)


def work(kill_at: int) -> subprocess.CompletedProcess[str]:
    """One pull in a process of its own."""
    return run_apart(WORKER, kill_at)
