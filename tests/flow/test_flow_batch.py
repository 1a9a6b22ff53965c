"""One batch through the whole house: what goes in is what comes out, once, and the chain can prove it."""

from __future__ import annotations

import os
from pathlib import Path

import orjson
import pytest

from dags.steps import ingest, publish
from dags.steps.errors import Stop
from dags.steps.site import Site
from ledger.carrier import Carrier, carry_block
from ledger.proofs.proof import verify_proof
from ledger.proofs.proving import prove
from schemas.records import Normalised, SourceContext
from simulators.lis import Laboratory
from vault.errors import BatchClosed

LAB = "lab-centre-lis"


def drop(at: Site, *, day: int = 0, trouble: bool = True, files: int = 2, messages: int = 5) -> None:
    """Drop a day's files, old enough to be taken."""
    folder = at.home.path / "inbox" / LAB
    Laboratory(1).drop(folder, files, messages, trouble=trouble, day=day)
    for path in folder.iterdir():
        os.utime(path, (1_760_000_000, 1_760_000_000))


def run(at: Site, number: int = 1) -> dict[str, int]:
    """What one run of the DAG does, task by task."""
    ingest.pull(LAB, at)
    batches = ingest.plan(LAB, f"run-{number}", at)
    for batch in batches:
        ingest.process(LAB, batch, at)
    counts = ingest.reconcile(LAB, batches, at)
    publish.submit("lab-centre", at)
    return counts


def carriers(at: Site) -> list[Carrier]:
    """One for every institution of the region."""
    return [Carrier(at.node(one.id), at.exchange) for one in at.region.institutions]


def test_every_message_is_sealed_or_set_aside_and_every_resource_is_confirmed(at: Site) -> None:
    drop(at)
    counts = run(at)
    assert carry_block(carriers(at)) == 1
    assert publish.settle("lab-centre", at) == {"final": 1, "lapsed": 0}
    summary = at.vault("lab-centre").summary()
    totals = summary.sources[LAB]
    assert counts["received"] == counts["sealed"] + counts["duplicate"] + counts["quarantined"]
    assert totals.received == totals.sealed + totals.duplicate + totals.quarantined
    assert totals.pending == totals.batched == 0
    assert summary.submissions == {"final": summary.versions}
    for carrier in carriers(at):
        report = carrier.node.verify_chain()
        assert report.ok
        assert report.entries == summary.versions


def test_the_same_files_twice_and_the_same_run_twice_seal_nothing_new(at: Site) -> None:
    drop(at)
    run(at)
    carry_block(carriers(at))
    before = at.vault("lab-centre").summary()
    for path in list((at.home.path / "inbox" / LAB).iterdir()):
        path.rename(path.with_name(f"again-{path.name}"))
    run(at, 2)
    run(at, 2)
    after = at.vault("lab-centre").summary()
    assert after.versions == before.versions
    assert after.sources[LAB].sealed == before.sources[LAB].sealed
    assert after.sources[LAB].received == 2 * before.sources[LAB].received
    assert after.quarantined == before.quarantined
    assert carry_block(carriers(at)) is None


def test_a_stored_record_is_proved_offline_and_a_changed_envelope_is_refused(at: Site) -> None:
    from ledger.errors import ProofError

    drop(at, trouble=False)
    run(at)
    carry_block(carriers(at))
    vault, anchor = at.vault("lab-centre"), at.home.anchor.read_bytes()
    found = vault.records.sample(1)[0]
    proof = orjson.dumps(prove(at.node("nursing-home").replica, found.rid, found.version))
    envelope = vault.records.envelope(found.locator)
    verdict = verify_proof(proof, anchor, envelope)
    assert (verdict.institution, verdict.height, verdict.envelope) == ("lab-centre", 1, True)
    with pytest.raises(ProofError):
        verify_proof(proof, anchor, bytes([envelope[0] ^ 1]) + envelope[1:])


def test_a_batch_over_its_failure_threshold_stops_and_is_taken_up_again_after_the_fix(
    at: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "sources"
    folder.mkdir()
    text = (at.home.sources / f"{LAB}.yaml").read_text(encoding="utf-8")
    (folder / f"{LAB}.yaml").write_text(text + "failure_minimum: 1\nfailure_threshold: 0.01\n", encoding="utf-8")
    monkeypatch.setenv("XINGLIN_SOURCES", str(folder))
    drop(at)
    ingest.pull(LAB, at)
    batches = ingest.plan(LAB, "run", at)
    with pytest.raises(Stop, match=r"records set aside.*--reopen"):
        ingest.process(LAB, batches[0], at)
    vault = at.vault("lab-centre")
    assert vault.summary().versions == 0
    assert vault.cursors.get(LAB) is None
    with pytest.raises(BatchClosed):
        ingest.reconcile(LAB, batches, at)
    assert publish.submit("lab-centre", at)["entries"] == 0

    (folder / f"{LAB}.yaml").write_text(text, encoding="utf-8")
    vault.batches.reopen(batches[0])
    counts = run(at, 2)
    assert counts["sealed"] > 0
    assert vault.cursors.get(LAB) is not None


def test_a_record_set_aside_is_replayed_under_its_own_identity(at: Site) -> None:
    drop(at)
    run(at)
    vault = at.vault("lab-centre")
    item = vault.quarantine.list(code="unknown_event")[0]
    before = vault.summary().sources[LAB]
    assert vault.quarantine.replay([item.id]) == 1
    run(at, 2)
    after = vault.summary().sources[LAB]
    assert [one.id for one in vault.quarantine.list(code="unknown_event")] == [item.id]
    assert vault.quarantine.list(code="unknown_event")[0].times == 2
    assert after.quarantined == before.quarantined


def test_a_message_that_meets_a_fault_of_ours_is_set_aside_without_its_text_and_the_others_go_on(
    at: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    converted = ingest.convert

    def faulty(media: str, content: bytes, context: SourceContext) -> Normalised:
        if content == first:
            raise KeyError(content.decode())
        return converted(media, content, context)

    drop(at, trouble=False, files=1)
    ingest.pull(LAB, at)
    batch = ingest.plan(LAB, "run", at)[0]
    vault = at.vault("lab-centre")
    first = next(iter(vault.batches.records(batch))).raw.content
    monkeypatch.setattr(ingest, "convert", faulty)
    counts = ingest.process(LAB, batch, at)
    item = vault.quarantine.list()[0]
    assert (counts["sealed"], counts["quarantined"], item.code) == (4, 1, "internal")
    assert "PID" not in item.message + caplog.text
    monkeypatch.undo()
    ingest.reconcile(LAB, [batch], at)
    vault.quarantine.replay(code="internal")
    run(at, 2)
    assert vault.quarantine.list() == []
    assert vault.summary().sources[LAB].sealed == 5
