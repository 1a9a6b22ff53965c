"""Feeds afterwards: silence, doubling and new fields are told once; the past is read again behind what arrives."""

from __future__ import annotations

import http.server
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from onboarding_engineer import Engineer

from connectors.errors import Stop as ConnectorStop
from dags.steps import backfill, ingest, watch
from dags.steps.drift import Drift
from dags.steps.errors import Stop
from dags.steps.onboarding.differing import compare
from dags.steps.onboarding.enabling import write_source
from dags.steps.site import Site
from schemas.errors import ConfigurationError
from schemas.records import RawRecord
from schemas.source import Source
from vault.store import Vault

NOW = datetime(2026, 11, 23, 10, 30, tzinfo=UTC)
LAB = "pilot-lis"
A01 = (
    "MSH|^~\\&|HIS|EAST|ESB|DC|{when}||ADT^A08^ADT_A01|{id}|P|2.5|||||CHN|UNICODE UTF-8\r"
    "EVN|A08|{when}\rPID|1||77^^^EAST^MR||{name}^^^^^^L||19700101|M\rPV1|1|O\r"
)


@pytest.fixture
def source(at: Site) -> Source:
    document = {
        "id": LAB, "institution": "lab-centre", "kind": "his.hl7v2_files", "time_zone": "Asia/Shanghai",
        "settings": {"folder": "inbox", "quiet_seconds": 0},
    }  # fmt: skip
    (at.home.path / "inbox").mkdir()
    return write_source(at.home, document)


@pytest.fixture
def vault(at: Site, source: Source) -> Vault:
    return at.vault(source.institution)


def message(name: str, id_: str, when: str = "20261101080000+0800") -> bytes:
    return A01.format(name=name, id=id_, when=when).encode()


def drop(at: Site, name: str, content: bytes, changed: datetime) -> None:
    path = at.home.path / "inbox" / name
    path.write_bytes(content)
    os.utime(path, (changed.timestamp(), changed.timestamp()))


def lively(vault: Vault, days: int, per_hour: int = 10, until: datetime = NOW, quiet: timedelta = timedelta(0)) -> None:
    """Records came every hour from so many days ago until a while before now."""
    at = until - timedelta(days=days)
    while at <= until - quiet:
        vault.rhythm.note(LAB, per_hour, 0, at)
        at += timedelta(hours=1)


def problems(source: Source, vault: Vault, now: datetime = NOW) -> dict[str, str]:
    return watch.feed(source, vault, now).problems


def test_a_lively_feed_has_no_problem_and_its_usual_volume_is_known(source: Source, vault: Vault) -> None:
    lively(vault, 14)
    feed = watch.feed(source, vault, NOW)
    assert feed.problems == {}
    assert feed.usual is not None
    assert abs(feed.day - feed.usual) <= 10


def test_a_feed_that_falls_silent_against_its_own_rhythm_is_told(source: Source, vault: Vault) -> None:
    lively(vault, 20, quiet=timedelta(hours=3))
    assert "nothing came for 3 h; in the same hours of the last 2 weeks" in problems(source, vault)["silent"]


def test_a_feed_that_always_rests_at_night_is_not_silent_at_night(source: Source, vault: Vault) -> None:
    for day in range(1, 22):
        for hour in range(8):
            vault.rhythm.note(LAB, 10, 0, datetime(2026, 11, 1, hour, tzinfo=UTC) + timedelta(days=day))
    assert problems(source, vault, datetime(2026, 11, 22, 20, tzinfo=UTC)) == {}
    assert "silent" in problems(source, vault, datetime(2026, 11, 23, 4, tzinfo=UTC))


def test_a_new_source_is_not_called_silent_before_its_rhythm_is_known(source: Source, vault: Vault) -> None:
    lively(vault, 1, quiet=timedelta(hours=5))
    assert problems(source, vault) == {}
    assert problems(replace(source, silence_minutes=240), vault)["silent"].startswith("nothing came for 5 h; expected")
    assert problems(replace(source, silence_minutes=400), vault) == {}


def test_a_feed_that_doubles_is_told_with_its_repeats(source: Source, vault: Vault) -> None:
    lively(vault, 10)
    vault.rhythm.note(LAB, 0, 200, NOW)
    assert problems(source, vault) == {}  # a busy day is no doubled one
    vault.rhythm.note(LAB, 0, 120, NOW)
    assert "320 of them repeats; usual are 250" in problems(source, vault)["doubled"]


def test_trouble_is_told_once_lasts_and_ends(source: Source, vault: Vault, at: Site) -> None:
    lively(vault, 20, quiet=timedelta(hours=3))
    first = watch.look([LAB], "run-1", at, NOW)
    assert [one.code for one in first.began] == ["silent"]
    assert watch.look([LAB], "run-1", at, NOW).began == first.began  # the same run, taken up after a crash
    again = watch.look([LAB], "run-2", at, NOW)
    assert (again.began, [one.code for one in again.lasts]) == ((), ["silent"])
    vault.rhythm.note(LAB, 5, 0, NOW)
    assert watch.look([LAB], "run-3", at, NOW).ended == ("silent",)
    assert vault.alerts.list() == []


def test_a_source_that_cannot_be_looked_at_makes_no_other_news_old(source: Source, vault: Vault, at: Site) -> None:
    lively(vault, 20, quiet=timedelta(hours=3))
    with pytest.raises(ConfigurationError):
        watch.look([LAB, "no-such-source"], "run-1", at, NOW)
    assert vault.alerts.list() == []
    assert [(one.source, one.code) for one in watch.look([LAB], "run-2", at, NOW).began] == [(LAB, "silent")]


def test_a_feeds_hours_are_counted_where_records_become_durable(source: Source, vault: Vault) -> None:
    raws = [RawRecord(LAB, str(number), b"x%d" % number, "hl7v2", NOW) for number in range(3)]
    vault.landing.put_many(raws)
    vault.landing.put_many(raws[:2])
    (hour,) = vault.rhythm.hours(LAB, NOW)
    assert (hour.new, hour.repeats, hour.last) == (3, 2, NOW)


class Receiver(http.server.BaseHTTPRequestHandler):
    """Whoever is told by HTTP."""

    told: list[dict[str, Any]]

    def do_POST(self) -> None:
        self.told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    told: list[dict[str, Any]] = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Mine", (Receiver,), {"told": told}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/alerts", told
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.airflow
def test_the_notifier_posts_what_began_and_a_sites_own_stands_beside_it(
    receiver: tuple[str, list[dict[str, Any]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk import BaseNotifier

    from dags.feed_alerts import FeedAlert, notifiers
    from ledger.provider_info import get_provider_info

    url, told = receiver
    (tmp_path / "address").write_text(f"{url}\n")
    monkeypatch.setenv("XINGLIN_ALERT_URL_FILE", str(tmp_path / "address"))
    monkeypatch.setenv("XINGLIN_NOTIFIERS", "dags.feed_alerts:FeedAlert")
    found = notifiers()
    assert len(found) == 2
    assert all(isinstance(one, BaseNotifier) for one in found)
    found[0]({"exception": ConnectorStop("pilot-lis silent: nothing came for 3 h"), "run_id": "r1"})
    assert told == [{"alert": "pilot-lis silent: nothing came for 3 h", "task": "", "run": "r1"}]
    assert get_provider_info()["notifications"] == [f"{FeedAlert.__module__}.{FeedAlert.__qualname__}"]


def raw(content: bytes) -> RawRecord:
    return RawRecord(LAB, "", content, "hl7v2", NOW)


def with_new_field(name: str) -> bytes:
    return message(name, "NEW").replace(b"|19700101|M\r", b"|19700101|M||2106-3\r")


def test_a_new_field_is_taken_in_and_told_where_the_source_evolves(source: Source, vault: Vault, at: Site) -> None:
    assert Drift(source, at, vault.shapes).look([raw(message("甲", "1"))]) == {}
    assert "shape" not in problems(source, vault, datetime.now(UTC))  # what a source begins with is no change
    assert Drift(source, at, vault.shapes).look([raw(with_new_field("乙"))]) == {}
    assert "1 fields came that never came before" in problems(source, vault, datetime.now(UTC))["shape"]
    stored = str(list(at.client["xinglin_lab-centre"]["shapes"].find()))
    assert "PID-10" not in stored


def test_records_with_a_new_field_are_set_aside_by_its_name_or_stop_the_batch(
    source: Source, vault: Vault, at: Site
) -> None:
    Drift(source, at, vault.shapes).look([raw(message("甲", "1"))])
    known = vault.shapes.known(LAB)
    records = [raw(message("丙", "2")), raw(with_new_field("乙"))]
    aside = Drift(replace(source, drift="set_aside"), at, vault.shapes).look(records)
    assert {position: (one.code, one.where) for position, one in aside.items()} == {1: ("drift", "PID-10")}
    with pytest.raises(Stop, match="1 records have fields that never came before: PID-10"):
        Drift(replace(source, drift="freeze"), at, vault.shapes).look(records)
    assert vault.shapes.known(LAB) == known


def run(at: Site) -> dict[str, int]:
    ingest.pull(LAB, at)
    batches = ingest.plan(LAB, "run", at)
    for batch in batches:
        ingest.process(LAB, batch, at)
    return ingest.reconcile(LAB, batches, at)


def test_a_frozen_source_stops_its_batch_and_goes_on_once_the_field_is_taken_in(
    source: Source, vault: Vault, at: Site
) -> None:
    drop(at, "a.hl7", message("甲", "1"), NOW)
    run(at)
    path = at.home.sources / f"{LAB}.yaml"
    path.write_text(path.read_text() + "drift: freeze\n")
    drop(at, "b.hl7", with_new_field("乙"), NOW)
    with pytest.raises(Stop, match="PID-10"):
        run(at)
    (stopped,) = vault.batches.list(LAB, "stopped")
    assert "PID-10" in stopped.reason
    assert problems(source, vault)["stopped"].startswith(f"batch {stopped.id} stands still")
    vault.shapes.learn(LAB, ["PID-10"], first=True)
    vault.batches.reopen(stopped.id)
    assert run(at)["sealed"] == 1


def newest_name(vault: Vault, at: Site) -> str:
    """The name of the one patient, as the vault has it now."""
    from normalise import convert

    made = convert("hl7v2", message("甲", "1"), at.source(LAB).context)
    (patient,) = (one for one in made.resources if one.type == "Patient")
    return str(vault.records.open("Patient", patient.id)["name"][0]["text"])


def test_the_past_fills_gaps_and_overwrites_nothing_newer(source: Source, vault: Vault, at: Site) -> None:
    past, now = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)
    drop(at, "new.hl7", message("今名", "2"), now)
    run(at)
    cursor = vault.cursors.get(LAB)
    drop(at, "old.hl7", message("旧名", "1", "20260301080000+0800"), past)
    counts = backfill.pull_past(LAB, "2026-02-01", "2026-04-01", at)
    assert counts == {"received": 1, "landed": 1, "duplicate": 0}
    assert ingest.plan(LAB, "live", at) == []  # what arrives by itself does not wait for the past
    batches = ingest.plan(LAB, "backfill", at, past=True)
    for batch in batches:
        ingest.process(LAB, batch, at)
    assert ingest.reconcile(LAB, batches, at, past=True)["sealed"] == 1
    assert newest_name(vault, at) == "今名"
    assert vault.cursors.get(LAB) == cursor
    assert backfill.pull_past(LAB, "2026-02-01", "2026-04-01", at)["duplicate"] == 1
    assert watch.feed(source, vault, now).day in (0, 1)  # the past is no rhythm


def test_what_the_past_set_aside_is_replayed_with_what_arrives(source: Source, vault: Vault, at: Site) -> None:
    bad = message("旧名", "1").replace(b"|19700101|", b"|21260101|")
    drop(at, "old.hl7", bad, datetime(2026, 3, 1, tzinfo=UTC))
    backfill.pull_past(LAB, "2026-02-01", "2026-04-01", at)
    for batch in (batches := ingest.plan(LAB, "backfill", at, past=True)):
        ingest.process(LAB, batch, at)
    ingest.reconcile(LAB, batches, at, past=True)
    assert vault.quarantine.replay(source=LAB) == 1
    assert ingest.plan(LAB, "backfill", at, past=True) == []
    assert len(ingest.plan(LAB, "live", at)) == 1


@pytest.mark.parametrize(("begin", "end"), [("2026-03-01", "2026-03-01"), ("2026-03-02", "2026-03-01"), ("soon", "x")])
def test_a_window_that_is_none_is_refused_and_nothing_lands(
    source: Source, vault: Vault, at: Site, begin: str, end: str
) -> None:
    drop(at, "old.hl7", message("旧名", "1"), datetime(2026, 3, 1, tzinfo=UTC))
    with pytest.raises(Stop):
        backfill.pull_past(LAB, begin, end, at)
    assert vault.summary().received == 0


def test_a_source_that_sends_by_itself_is_asked_at_its_sender(at: Site) -> None:
    write_source(at.home, {
        "id": "his-east", "institution": "hospital-east", "kind": "his.hl7v2_mllp", "time_zone": "Asia/Shanghai",
        "settings": {"port": 1},
    })  # fmt: skip
    with pytest.raises(Stop, match="ask its sender"):
        backfill.pull_past("his-east", "2026-02-01", "2026-04-01", at)


def test_a_changed_mapping_is_compared_element_by_element_without_values(
    source: Source, vault: Vault, at: Site, engineer: Engineer
) -> None:
    obx = "OBR|1|||WBC^白细胞^L\rOBX|1|NM|WBC^白细胞^L||6.1|10*9/L|||||F\r"
    oru = message("甲", "1").replace(b"ADT^A08^ADT_A01", b"ORU^R01").replace(b"EVN|A08|20261101080000+0800\r", b"")
    vault.landing.put_many([raw(oru + obx.encode()), raw(message("乙", "2"))])
    mappings = at.home.sources / "mappings"
    mappings.mkdir()
    (mappings / "codes.csv").write_text(
        "source_system,source_code,target_system,target_code,target_display,equivalence\n"
        f"{local_system(at)},WBC,http://loinc.org,6690-2,Leukocytes,equivalent\n",
        encoding="utf-8",
    )
    (mappings / "next.yaml").write_text("terminology: [codes.csv]\n", encoding="utf-8")
    told = json.loads(engineer.types("source", "diff", LAB, "--mapping", "next", "--json").output)
    assert (told["records"], told["same"]) == (2, 1)
    assert told["paths"]["Observation.code.coding.code"]["added"] == 1
    assert all(one["examples"] == [] for one in told["paths"].values())
    shown = engineer.types("source", "diff", LAB, "--mapping", "next", "--show-values").output
    assert "nothing → 6690-2" in shown
    assert "6690-2" not in engineer.types("source", "diff", LAB, "--mapping", "next").output
    assert vault.summary().versions == 0


def local_system(at: Site) -> str:
    """The system that an OBX's local code L has."""
    from normalise import convert

    obx = b"OBR|1|||WBC^x^L\rOBX|1|NM|WBC^x^L||6.1|10*9/L|||||F\r"
    oru = message("甲", "1").replace(b"ADT^A08^ADT_A01", b"ORU^R01").replace(b"EVN|A08|20261101080000+0800\r", b"")
    made = convert("hl7v2", oru + obx, at.source(LAB).context)
    (one,) = (resource.body for resource in made.resources if resource.type == "Observation")
    return str(one["code"]["coding"][0].get("system", ""))


def test_the_same_mapping_changes_nothing(source: Source, vault: Vault) -> None:
    found = compare([raw(message("甲", "1")), raw(b"junk")], source, source)
    assert (found.records, found.same, dict(found.paths), dict(found.refusals)) == (2, 2, {}, {})
