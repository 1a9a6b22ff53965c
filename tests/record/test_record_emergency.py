"""Breaking the glass: allowed without a statement, told at once, reviewed; and the same through the command line."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from record_world import NAME, OWNER, READER, REGULATOR, World, said, xinglin

from dags.steps.records import alarm, desk, overdue_reviews
from dags.steps.watch import told
from ledger.chain.state import EMERGENCY
from ledger.encoding import ZERO_DIGEST
from ledger.messages.review import Emergency, emergency
from ledger.proofs.proof import verify_proof
from sharing.errors import Refused
from sharing.record.emergencies import find, open_accesses, review
from sharing.record.opening import open_record


def silent(world: World) -> int:
    """A patient who never said anything."""
    at = world.fresh()
    world.consent(at, withdraw=True)
    return at


def broken(world: World) -> bytes:
    """An emergency access that the chain allowed; its patient's statement permits, and nobody asked for it."""
    return world.ask(world.fresh(), "emergency", patient=ZERO_DIGEST)


def close(world: World, tx_id: bytes) -> None:
    review(desk(REGULATOR, world.at), tx_id, "danger-confirmed")
    world.block()


def test_an_emergency_is_answered_and_its_custodian_told_once_until_it_is_reviewed(world: World) -> None:
    tx_id = broken(world)
    news = alarm(OWNER, "run 1", world.at)
    assert [one.code for one in news.began] == [tx_id.hex()]
    line = told(news.began)
    assert f"{READER} (for a doctor) was allowed record {OWNER}/" in line and "xinglin record review" in line
    assert NAME not in line
    assert alarm(OWNER, "run 1", world.at).began == news.began  # the same run, taken up again
    later = alarm(OWNER, "run 2", world.at)
    assert (later.began, len(later.lasts)) == ((), 1)
    assert alarm(READER, "run 1", world.at).began == ()
    world.delivered(tx_id)
    assert open_record(world.desk(), tx_id).body["resourceType"] == "DiagnosticReport"
    close(world, tx_id)
    assert alarm(OWNER, "run 3", world.at).ended == (tx_id.hex(),)


def test_who_may_not_review_signs_nothing_and_who_may_closes_it(world: World) -> None:
    tx_id = broken(world)
    for stranger in (READER, "hospital-district"):
        with pytest.raises(Refused, match="reviewed by the record's holder or a regulator"):
            review(desk(stranger, world.at), tx_id, "treatment-confirmed")
    assert world.block() is None
    review(desk(OWNER, world.at), tx_id, "no-treatment")
    review(desk(OWNER, world.at), tx_id, "no-treatment")  # said twice, signed once
    world.block()
    with pytest.raises(Refused, match="reviewed it already"):
        review(desk(OWNER, world.at), tx_id, "unexplained")
    assert list(open_accesses(world.now())) == []
    review(desk(REGULATOR, world.at), tx_id, "treatment-confirmed")
    world.block()
    found = emergency(world.now(), tx_id)
    assert found is not None and found.verdict is not None
    assert [one.justified for one in found.reviews] == [False, True] and found.verdict.final


def test_an_overdue_review_is_what_the_auditor_looks_for_by_night(world: World) -> None:
    tx_id = broken(world)
    assert overdue_reviews(REGULATOR, world.at) == []
    state = world.now()
    stored = state.get(EMERGENCY, tx_id)
    assert stored is not None
    found = Emergency.decode(stored)
    state.height = found.due + 1
    [late] = open_accesses(state)
    assert late.overdue and late.request == tx_id
    close(world, tx_id)


def test_an_emergency_is_found_by_the_beginning_of_its_id(world: World) -> None:
    tx_id = broken(world)
    assert find(world.now(), tx_id.hex()[:8].upper()) == tx_id
    for given in (tx_id.hex()[:5], "f" * 64, "0" * 16, ""):
        with pytest.raises(Refused, match="open emergency accesses begin"):
            find(world.now(), given)
    close(world, tx_id)
    assert find(world.now(), tx_id.hex()) == tx_id  # whoever reviews again names it whole


# --- as people do it ---------------------------------------------------------------------------------------------


def test_a_doctor_asks_waits_opens_and_has_a_proof(world: World, tmp_path: Path) -> None:
    at = world.fresh()
    done = json.loads(
        said("record", "request", "--ref", world.reference(at), "--reader", "doctor",
             "--institution", READER, "--json")
    )  # fmt: skip
    id_ = done["request"]
    assert not done["emergency"]
    mine = ("--institution", READER)
    opening = ("record", "open", id_[:12], "-o", tmp_path / "report.json", *mine)
    early = xinglin(*opening)
    assert (early.code, early.told) == (1, "xinglin: no final block holds the request yet; look again after the next "
                                           "block\n")  # fmt: skip
    world.block()
    assert " delivered, " in said("record", "answer", "--institution", OWNER)
    world.block()
    assert " shown" in said("record", "answer", "--institution", OWNER)
    rows = json.loads(said("record", "list", *mine, "--json"))
    [row] = [one for one in rows if one["request"] == id_]
    assert (row["stage"], row["holder"], row["purpose"], row["reader"]) == ("delivered", OWNER, "care", "doctor")
    assert id_[:16] in said("record", "list", *mine)
    proof, envelope = tmp_path / "proof.json", tmp_path / "envelope.bin"
    assert said(*opening, "--proof", proof, "--envelope", envelope) == ""
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["resourceType"] == "DiagnosticReport"
    assert stat.S_IMODE((tmp_path / "report.json").stat().st_mode) == 0o600
    verdict = verify_proof(proof.read_bytes(), world.at.home.anchor.read_bytes(), envelope.read_bytes())
    assert (verdict.institution, verdict.status, verdict.envelope) == (OWNER, "active", True)
    again = xinglin(*opening)
    assert again.code == 1 and "report.json exists; nothing was written" in again.told
    world.block()
    assert "received" in said("record", "list", *mine)


def test_a_refusal_names_the_rule_and_is_exit_1(world: World) -> None:
    at = silent(world)
    done = xinglin("record", "request", "--ref", world.reference(at), "--institution", READER)
    assert done.code == 1 and done.output == ""
    assert done.told.startswith("xinglin: never.denied: Nobody receives a record whose patient says no")
    assert f"once the patient permits it at {OWNER}" in done.told and "emergency" not in done.told.partition("once")[2]
    assert world.block() is None


def test_what_is_not_said_well_is_exit_2_and_nothing_is_signed(world: World) -> None:
    mine, ref = ("--institution", READER), ("--ref", world.reference())
    for arguments in (
        ("record", "request", "--ref", "nonsense", *mine),
        ("record", "request", *ref, "--purpose", "curiosity", *mine),
        ("record", "request", *ref, "--reader", "neighbour", *mine),
        ("record", "request", *ref, "--patient", "12", *mine),
        ("record", "request", *ref),
        ("record", "open", "abc", *mine),
        ("record", "open", "0" * 64, *mine),
        ("record", "review", "0" * 64, "--reason", "because", *mine),
        ("erase", *mine),
        ("erase", "--patient", "p0", "--record", "0" * 32, *mine),
        ("erase", "--patient", "p0", "--reason", "whim", *mine),
        ("erase", "--record", "nonsense", *mine),
    ):
        done = xinglin(*arguments)
        assert (done.code, done.output) == (2, ""), arguments
        assert done.told.strip()
    assert world.block() is None


def test_an_emergency_is_loud_and_reviewed_from_the_command_line(world: World) -> None:
    at = world.fresh()
    asking = ("record", "request", "--purpose", "emergency", "--reader", "doctor", "--institution", READER)
    text = said(*asking, "--ref", world.reference(at))
    assert text.startswith("Emergency: allowed without the patient's statement.")
    world.block()
    [row] = json.loads(said("record", "list", "--emergency", "--institution", REGULATOR, "--json"))
    assert (row["requester"], row["holder"], row["overdue"]) == (READER, OWNER, False)
    assert row["request"][:16] in said("record", "list", "--emergency", "--institution", OWNER)
    assert "1 emergency accesses wait for a review" in said("status")
    assert json.loads(said("status", "--json"))["emergencies"] == 1
    done = said("record", "review", row["request"][:16], "--reason", "no-treatment", "--institution", REGULATOR)
    assert f"subject {row['request']}" in done
    world.block()
    nothing = said("record", "list", "--emergency", "--institution", REGULATOR)
    assert nothing == "every emergency access was reviewed\n"
    assert "emergency" not in said("status")
