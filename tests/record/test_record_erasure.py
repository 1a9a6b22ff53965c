"""Erasure: keys first, then the chain; killed anywhere, the same call finishes it; old proofs hold, nobody reads."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from killed import run_apart
from record_world import NAME, OWNER, READER, World, said, xinglin

from dags.steps.records import desk
from ledger.chain.transactions import open_transaction
from ledger.messages.erasure import Erase, RecordKey, erased
from ledger.proofs.proof import verify_proof
from ledger.proofs.proving import prove
from sharing.errors import NotYet, Refused
from sharing.record.erasing import Erased, erase_patient, erase_record
from sharing.record.opening import open_record
from vault.errors import Erased as KeyGone
from vault.store import Erasure

SCRIPT = Path(__file__).parent / "record_killed.py"


def patient_of(world: World, at: int) -> str:
    """The id of the Patient that a summary's report is about."""
    record = world.reference(at)
    body = world.at.vault(OWNER).records.open_located(f"{record.rid.hex()}.{record.version}")
    return str(body["subject"]["reference"]).removeprefix("Patient/")


def records_of(world: World, patient: str) -> list[RecordKey]:
    return world.at.vault(OWNER).records.versions(patient=patient)


def erase(world: World, patient: str) -> Erased:
    return erase_patient(desk(OWNER, world.at), world.at.vault(OWNER), patient)


def readable(world: World, record: RecordKey) -> bool:
    try:
        world.at.vault(OWNER).records.release(*record)
    except KeyGone:
        return False
    return True


def named(world: World) -> set[RecordKey]:
    """Records that an offered message says are erased."""
    offered = (open_transaction(tx) for tx, _ in world.at.exchange.submissions())
    return {record for one in offered if isinstance(one, Erase) for record in one.records}


def stands(world: World, record: RecordKey) -> bool:
    state = world.now(OWNER)
    return erased(state, desk(OWNER, world.at).id, *record)


def test_a_patient_is_unreadable_at_once_and_erased_on_the_chain_with_the_next_block(world: World) -> None:
    at = world.fresh()
    patient, record = patient_of(world, at), world.reference(at)
    waiting, before = world.ask(at), prove(world.at.replica(OWNER), record.rid, record.version)
    raw = world.at.client[f"xinglin_{OWNER}"]["landing"]
    first = erase(world, patient)
    assert first == Erased(first.vault, 3, 0, 3) and first.vault.existed and first.vault.landed == 1
    assert not any(readable(world, one) for one in records_of(world, patient))
    assert raw.count_documents({"key": {"$exists": False}}) == 1
    second = erase(world, patient)
    assert second == Erased(Erasure(False, 0, 0, 0), 3, 0, 3) and len(named(world)) == 3
    world.block()
    assert erase(world, patient).done and erase(world, patient).final == 3
    for reader in (READER, OWNER):
        world.at.summaries(reader).follow()
        key = world.at.keystore(reader).signing_key
        assert world.at.summaries(reader).find(world.at.exchange, key, OWNER, record.rid, record.version) is None
    anchor = world.at.home.anchor.read_bytes()
    assert verify_proof(orjson.dumps(before), anchor).status == "active"  # as of its own head, for ever
    after = prove(world.at.replica(OWNER), record.rid, record.version)
    verdict = verify_proof(orjson.dumps(after), anchor, world.at.vault(OWNER).records.envelope(
        f"{record.rid.hex()}.{record.version}"))  # fmt: skip
    assert (verdict.status, verdict.envelope) == ("erased", True)
    with pytest.raises(Refused, match=r"never\.erased"):
        world.ask(at)
    with pytest.raises(Refused, match=r"never\.erased"):
        world.ask(at, "emergency")
    world.answer()
    world.block()
    with pytest.raises(Refused, match="erased"):
        open_record(world.desk(), waiting)


def test_an_answer_that_was_not_fetched_is_taken_back_and_one_that_was_is_not(world: World) -> None:
    at, before = world.fresh(), world.shelf()
    tx_id = world.ask(at)
    world.delivered(tx_id)
    kept = open_record(world.desk(), tx_id)
    erase(world, patient_of(world, at))
    assert world.shelf() == before
    with pytest.raises(NotYet, match="does not lie on the shelf"):
        open_record(world.desk(), tx_id)
    world.block()
    with pytest.raises(Refused, match="nobody can read it again"):
        open_record(world.desk(), tx_id)
    world.answer()
    assert world.shelf() == before
    assert kept.body["resourceType"] == "DiagnosticReport"  # who opened it in time has it


def test_a_draft_is_gone_before_its_announcement_is_final(world: World) -> None:
    at, before = world.fresh(), world.shelf()
    tx_id = world.ask(at)
    world.answer()
    announced = world.at.exchange.submissions()
    erase(world, patient_of(world, at))
    for tx, leaves in world.at.exchange.submissions():
        world.at.exchange.retire_submission(tx, leaves)
    for tx, leaves in announced:  # a producer has it already, and has not heard of the erasure
        world.at.exchange.post_submission(tx, leaves)
    world.block()
    world.answer()
    found = world.delivery(tx_id)
    assert found is not None and found.answer == "delivered" and world.shelf() == before
    assert list(world.at.client[f"xinglin_{OWNER}"]["answers"].find()) == []
    with pytest.raises(NotYet, match="does not lie on the shelf"):
        open_record(world.desk(), tx_id)


def test_an_answer_that_was_made_but_not_announced_is_not_delivered_after_an_erasure(world: World) -> None:
    at = world.fresh()
    tx_id, before = world.ask(at), world.shelf()
    world.answer()
    late = world.at.exchange.submissions()
    for tx, leaves in late:
        world.at.exchange.retire_submission(tx, leaves)
    erase(world, patient_of(world, at))
    world.block()
    for tx, leaves in late:
        world.at.exchange.post_submission(tx, leaves)
    world.answer()
    world.block()
    world.answer()
    found = world.delivery(tx_id)
    assert found is not None and found.answer == "erased" and world.shelf() == before


def test_one_record_is_erased_and_the_patients_others_are_not(world: World) -> None:
    at = world.fresh()
    patient, record = patient_of(world, at), world.reference(at)
    here, vault = desk(OWNER, world.at), world.at.vault(OWNER)
    others = [one for one in records_of(world, patient) if one[0] != record.rid]
    assert len(others) == 2
    done = erase_record(here, vault, record.rid)
    assert replace(done, vault=Erasure(True, 1, 1)) == done and done.waiting == 1
    world.block()
    assert erase_record(here, vault, record.rid, 1).done
    assert all(readable(world, one) and not stands(world, one) for one in others)
    for wanted in ((record.rid, 2), (bytes(16), None)):
        with pytest.raises(Refused, match="no record is kept here"):
            erase_record(here, vault, *wanted)


def test_a_patient_nobody_knows_is_refused_and_nothing_is_offered(world: World) -> None:
    for stranger in ("nobody", ""):
        with pytest.raises(Refused, match="nothing was erased"):
            erase(world, stranger)
    assert world.block() is None


def test_killed_before_any_write_the_same_call_finishes_the_erasure(world: World) -> None:
    begun, returncode = 0, -signal.SIGKILL
    while returncode:
        begun += 1
        patient = patient_of(world, world.fresh())
        done = run_apart(SCRIPT, begun, patient)
        returncode = done.returncode
        assert returncode in (0, -signal.SIGKILL), done.stderr[-2_000:]
        # Whatever the crash left: what the chain is told of, nobody can read.
        assert not any(readable(world, one) for one in named(world))
        erase(world, patient)
        records = records_of(world, patient)
        assert len(records) == 3 and named(world) >= set(records)
        assert sum(isinstance(open_transaction(tx), Erase) for tx, _ in world.at.exchange.submissions()) <= 2
        world.block()
        assert erase(world, patient).done
        assert all(stands(world, one) and not readable(world, one) for one in records)
    assert begun > 8  # keys, records, raw messages, people; then the message is kept, stored and listed


def test_a_message_that_lapsed_is_signed_anew(world: World) -> None:
    at = world.fresh()
    patient = patient_of(world, at)
    erase(world, patient)
    sent = world.at.client[f"xinglin_{OWNER}"]["sent"]
    [stored] = [one for one in sent.find({"height": {"$exists": False}}) if one["_id"].startswith("erase/")]
    lapsed = replace(Erase.decode(bytes(stored["tx"])), expiry_height=1)
    sent.update_one({"_id": stored["_id"]}, {"$set": {"tx": lapsed.encode()}})
    for tx, leaves in world.at.exchange.submissions():
        world.at.exchange.retire_submission(tx, leaves)
    assert erase(world, patient).waiting == 3
    world.block()
    assert erase(world, patient).done


def test_erasing_takes_a_yes_and_says_how_far_it_is(world: World) -> None:
    at = world.fresh()
    patient, record = patient_of(world, at), world.reference(at)
    mine = ("--institution", OWNER)
    for what in (("--patient", patient), ("--record", record.rid.hex()), ("--record", str(record))):
        done = xinglin("erase", *what, *mine)
        count = 3 if what[0] == "--patient" else 1
        assert done.code == 2 and f"makes {count} sealed versions at {OWNER} unreadable for ever" in done.told
    assert world.block() is None and all(readable(world, one) for one in records_of(world, patient))
    said("erase", "--record", record, "--reason", "mistake", "--yes", *mine)
    text = said("erase", "--patient", patient, "--yes", *mine)
    assert text.startswith(f"3 sealed versions at {OWNER} are unreadable") and "3 wait for the next block" in text
    assert NAME not in text and patient not in text
    world.block()
    told = json.loads(said("erase", "--patient", patient, "--yes", "--json", *mine))
    assert told == {"records": 3, "erased_on_chain": 3, "waiting": 0, "done": True}
    assert "say erased" in said("erase", "--patient", patient, "--yes", *mine)
    nobody = xinglin("erase", "--patient", "nobody", "--yes", *mine)
    assert nobody.code == 1 and "nothing was erased" in nobody.told
