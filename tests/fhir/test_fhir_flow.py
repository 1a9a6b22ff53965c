"""A FHIR server through the whole house: as many are sealed or set aside as the server holds, to the record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from founded import founded_site

from dags.steps import ingest
from dags.steps.errors import Stop
from dags.steps.site import Site
from schemas.home import Home
from simulators.fhir_server import Access, FhirServer, Moods

SOURCE = "east-fhir"
FILE = """
id: east-fhir
title: 东院 FHIR
institution: hospital-east
kind: his.fhir_rest
enabled: true
time_zone: Asia/Shanghai
settings: {{base: "{base}", mode: {mode}, deletions: true, auth: bearer, token_secret: east-token, count: 25,
  backoff_seconds: 0, types: [Organization, Practitioner, Patient, Encounter, Condition, Observation]}}
"""

pytestmark = pytest.mark.mongo


@pytest.fixture
def at(tmp_path: Path, mongo_uri: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A founded site whose only source of this kind is added by the test."""
    monkeypatch.setenv("XINGLIN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MONGODB_URI", mongo_uri)
    monkeypatch.setenv("XINGLIN_SOURCES", str(tmp_path / "sources"))
    monkeypatch.setenv("XINGLIN_SECRET_EAST_TOKEN", "right")
    (tmp_path / "sources").mkdir()
    with founded_site(Home.from_environment()) as opened:
        yield opened


def add(at: Site, server: FhirServer, mode: str) -> None:
    """The server is a source of the site."""
    text = FILE.format(base=server.base, mode=mode)
    (at.home.sources / f"{SOURCE}.yaml").write_text(text, encoding="utf-8")


def run(at: Site, number: int = 1) -> dict[str, int]:
    """What one run of the DAG does."""
    ingest.pull(SOURCE, at)
    batches = ingest.plan(SOURCE, f"run-{number}", at)
    for batch in batches:
        ingest.process(SOURCE, batch, at)
    return ingest.reconcile(SOURCE, batches, at)


@pytest.mark.parametrize("mode", ["search", "bulk"])
def test_what_the_server_holds_is_sealed_or_set_aside_by_name_and_a_deletion_is_told(at: Site, mode: str) -> None:
    moods = Moods(throttle_every=7, fail_every=11, cut_after=4_000)
    with FhirServer(patients=41, moods=moods, access=Access("bearer", password="right")) as server:
        add(at, server, mode)
        counts = run(at)
        sent = server.holds()
        assert counts["received"] == sent.received == len(server.current([]))
        assert (counts["sealed"], counts["quarantined"]) == (sent.sealed, sent.set_aside.total())
        vault = at.vault("hospital-east")
        reasons = Counter(one.code for one in vault.quarantine.list(source=SOURCE))
        assert reasons == sent.set_aside

        server.delete("Observation", "o-3-0")
        server.put({"resourceType": "Patient", "id": "p-new", "active": True})
        again = run(at, 2)
    assert again["quarantined"] == 0
    assert again["sealed"] == 2
    assert again["received"] == again["sealed"] + again["duplicate"]


def test_wrong_credentials_land_nothing_and_move_no_cursor(at: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XINGLIN_SECRET_EAST_TOKEN", "wrong")
    with FhirServer(patients=2, access=Access("bearer", password="right")) as server:
        add(at, server, "search")
        with pytest.raises(Exception, match="refuses the credentials") as caught:
            ingest.pull(SOURCE, at)
        assert not isinstance(caught.value, Stop) or "right" not in str(caught.value)
    vault = at.vault("hospital-east")
    assert vault.cursors.get(SOURCE) in (None, {})
    assert vault.summary().sources.get(SOURCE) is None or vault.summary().sources[SOURCE].received == 0
