"""The commands that look at a region: status, batches, quarantine, ledger; with one block, and with nothing there."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from bson import Binary
from console_run import Done, Xinglin, run_apart, run_here
from founded import opened_site

from console.region.founding import found
from console.region.mongod import free_port
from dags.steps import ingest, publish
from dags.steps.site import Site
from ledger.carrier import Carrier, carry_block
from schemas.home import Home
from simulators.lis import Laboratory

LAB = "lab-centre-lis"
BATCH = f"{LAB}-000001"
COMMANDS = (
    ("status",), ("batches",), ("quarantine", "list"), ("quarantine", "show", "x"), ("quarantine", "replay", "x"),
    ("ledger", "status"), ("ledger", "show", "1"), ("ledger", "verify"), ("ledger", "prove", "0" * 32),
    ("ledger", "prove", "Patient/x"),
)  # fmt: skip
WITH_JSON = (
    ("status",), ("batches",), ("quarantine", "list"), ("ledger", "status"), ("ledger", "show", "1"),
    ("ledger", "verify"), ("ledger", "verify", "--replica", "nursing-home"),
)  # fmt: skip


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory, mongo_uri: str) -> Iterator[Site]:
    """A region with one day's files pulled, sealed, set aside, and one block."""
    home = Home(tmp_path_factory.mktemp("region"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XINGLIN_HOME", str(home.path))
        patch.setenv("MONGODB_URI", mongo_uri)
        found(home)
        folder = home.path / "inbox" / LAB
        folder.mkdir(parents=True)
        Laboratory(1).drop(folder, 1, 4, day=0)
        for path in folder.iterdir():
            os.utime(path, (1_760_000_000, 1_760_000_000))
        with opened_site(home) as at:
            ingest.pull(LAB, at)
            batches = ingest.plan(LAB, "run", at)
            for batch in batches:
                ingest.process(LAB, batch, at)
            ingest.reconcile(LAB, batches, at)
            publish.submit("lab-centre", at)
            carry_block([Carrier(at.node(one.id), at.exchange) for one in at.region.institutions])
            publish.settle("lab-centre", at)
            yield at


@pytest.fixture
def here(at: Site, mongo_uri: str, empty: Path) -> Xinglin:
    """The command in the region."""

    def run(*arguments: object, stdin: bytes = b"", **environment: str) -> Done:
        return run_here(
            *arguments, stdin=stdin, **{"XINGLIN_HOME": str(at.home.path), "MONGODB_URI": mongo_uri, **environment}
        )

    return run


def text(done: Done) -> str:
    """Return what a command that went well wrote."""
    assert (done.code, done.told) == (0, "")
    return str(done.output, "utf-8")


def test_status_tells_each_source_and_the_chain(here: Xinglin, at: Site) -> None:
    totals = at.vault("lab-centre").summary().sources[LAB]
    said = text(here("status"))
    assert re.search(rf"^{LAB} +{totals.received} +{totals.sealed} +", said, re.MULTILINE)
    assert "lab-centre: " in said
    assert "0 wait for a block" in said
    assert "chain: block 1 on 8 replicas" in said


@pytest.mark.parametrize("command", WITH_JSON, ids=" ".join)
def test_what_a_program_reads_is_json_and_nothing_else(here: Xinglin, command: tuple[str, ...]) -> None:
    assert json.loads(text(here(*command, "--json")))


@pytest.mark.parametrize("command", WITH_JSON, ids=" ".join)
def test_what_a_person_reads_fits_eighty_columns(here: Xinglin, command: tuple[str, ...]) -> None:
    tables = [
        line for line in text(here(*command)).splitlines() if ": " not in line and not line.startswith("confirmed")
    ]
    assert max(map(len, tables), default=0) <= 80


def test_batches_are_listed_whole_with_their_counts(here: Xinglin, at: Site) -> None:
    (batch,) = at.vault("lab-centre").batches.list()
    assert re.search(rf"^{BATCH} +reconciled +{batch.counts.received} ", text(here("batches")), re.MULTILINE)
    (told,) = json.loads(text(here("batches", "--json", "--source", LAB)))
    assert told["counts"]["received"] == batch.counts.received
    assert text(here("batches", "--source", "hospital-east-his")).startswith("no batch yet")


def test_what_is_set_aside_is_listed_with_whole_ids_and_shown(here: Xinglin, at: Site) -> None:
    items = at.vault("lab-centre").quarantine.list()
    said = text(here("quarantine", "list"))
    assert all(f"{item.id}  {LAB}\n  {item.code}" in said for item in items)
    for item in items[:2]:
        assert item.code in text(here("quarantine", "show", item.id))
        assert json.loads(text(here("quarantine", "show", item.id, "--json")))["id"] == item.id
    (only,) = json.loads(text(here("quarantine", "list", "--code", "charset", "--json")))
    assert only["code"] == "charset"
    assert here("quarantine", "show", only["id"], "--content").output.startswith(b"MSH|")
    assert text(here("quarantine", "list", "--code", "no-such-code")) == "nothing lies in quarantine under that\n"


def test_a_record_is_put_back_in_line_once(here: Xinglin, at: Site) -> None:
    item = at.vault("lab-centre").quarantine.list(code="version")[0]
    done = here("quarantine", "replay", item.id, "no-such-id")
    assert (done.code, done.output) == (1, b"1 record waits for the source's next run\n")
    assert done.told == ("xinglin: 1 of 2 not replayed: not in quarantine, unreadable, or in a batch still open\n")
    assert at.vault("lab-centre").summary().sources[LAB].pending == 1
    again = here("quarantine", "replay", "--code", "version", "--json")
    assert (again.code, json.loads(again.output)) == (1, {"replayed": 0})
    assert here("quarantine", "replay").code == 2


def test_a_block_is_shown_with_its_builder_and_who_confirmed_it(here: Xinglin, at: Site) -> None:
    said = text(here("ledger", "show", 1))
    facts = json.loads(text(here("ledger", "show", 1, "--json", "--replica", "nursing-home")))
    assert facts["weight"] * 3 > facts["of"] * 2
    assert f"built by {facts['builder']} at " in said
    assert facts["block_id"] in said
    assert f"confirmed by {', '.join(facts['confirmed_by'])} ({facts['weight']} of {facts['of']} votes)" in said
    assert facts["entries"] == at.vault("lab-centre").summary().versions
    missing = here("ledger", "show", 2)
    assert (missing.code, missing.told) == (1, "xinglin: no block 2; the head is 1\n")


def test_a_record_is_proved_by_id_and_by_name_and_verified_with_its_envelope(
    here: Xinglin, at: Site, tmp_path: Path
) -> None:
    vault = at.vault("lab-centre")
    record = next(one for one in vault.records.sample(1))
    name = f"{record.resource_type}/{vault.records.open_located(record.locator)['id']}"
    proof, envelope = tmp_path / "proof.json", tmp_path / "envelope"
    envelope.write_bytes(vault.records.envelope(record.locator))
    by_id = here("ledger", "prove", record.rid.hex().upper(), "--version", record.version)
    assert text(here("ledger", "prove", name, "--version", record.version, "-o", proof)) == ""
    assert proof.read_bytes() == by_id.output
    check = ("ledger", "verify-proof", proof, "--anchor", at.home.anchor)
    assert "in block 1 of " in text(run_here(*check))
    assert text(run_here(*check, "--envelope", envelope)).endswith("the envelope is the one\n")
    envelope.write_bytes(envelope.read_bytes()[::-1])
    assert run_here(*check, "--envelope", envelope).code == 1


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("ledger", "prove", "0" * 32), 1, "no final block up to height 1 holds version 1 of this record"),
        (("ledger", "prove", "Patient/nobody"), 1, "no Patient with that id is kept here"),
        (("ledger", "prove", "nonsense"), 2, "'nonsense' is no record"),
        (("ledger", "show", "1", "--replica", "nobody"), 1, "region.yaml has no institution 'nobody'"),
        (("batches", "--source", "nobody"), 1, "no source 'nobody'; there are hospital-district-fhir, "),
        (("quarantine", "list", "--source", "nobody"), 1, "no source 'nobody'; there are hospital-district-fhir, "),
        (("listen", "nobody"), 1, "no source 'nobody'; there are hospital-district-fhir, "),
        (("batches", "--reopen", "nothing"), 1, "there is no batch nothing"),
        (("batches", "--reopen", BATCH), 1, f"batch {BATCH} is reconciled; expected stopped"),
        (("quarantine", "show", "nothing"), 1, "nothing in quarantine under nothing"),
    ],
)
def test_what_is_not_there_is_told_in_a_sentence(
    here: Xinglin, arguments: tuple[str, ...], code: int, sentence: str
) -> None:
    done = here(*arguments)
    assert (done.code, done.output) == (code, b"")
    assert done.told.startswith(f"xinglin: {sentence}")
    assert done.told.count("\n") == 1


def test_proof_that_cannot_be_written_is_told_in_a_sentence(here: Xinglin, at: Site, empty: Path) -> None:
    record = at.vault("lab-centre").records.sample(1)[0]
    done = here("ledger", "prove", record.rid.hex(), "--version", record.version, "-o", empty / "no" / "such")
    assert (done.code, done.output) == (1, b"")
    assert done.told == f"xinglin: {empty}/no/such: cannot be written: No such file or directory\n"


@pytest.mark.parametrize("loss", ["changed", "gone"])
def test_a_stored_record_that_is_not_the_signed_one_is_named_and_not_proved(
    here: Xinglin, at: Site, tmp_path: Path, loss: str
) -> None:
    records = at.client["xinglin_lab-centre"]["records"]
    document = records.find_one({"latest": True})
    assert document is not None
    assert here("ledger", "verify", "--stored").code == 0
    out, rid = tmp_path / "proof.json", document["rid"].hex()
    try:
        if loss == "changed":
            envelope = bytearray(document["envelope"])
            envelope[40] ^= 1
            records.update_one({"_id": document["_id"]}, {"$set": {"envelope": Binary(bytes(envelope))}})
        else:
            records.delete_one({"_id": document["_id"]})
        assert here("ledger", "verify").code == 0  # the chain itself holds
        done = here("ledger", "verify", "--stored")
        assert (done.code, done.output.decode().count(document["_id"])) == (1, 1)
        assert json.loads(here("ledger", "verify", "--stored", "--json").output)["stored"]["lab-centre"]["wrong"] == 1
        refused = here("ledger", "prove", rid, "-o", out)
        assert refused.code == 1
        assert document["_id"] in refused.told
        assert not out.exists()
    finally:
        records.replace_one({"_id": document["_id"]}, document, upsert=True)
    assert here("ledger", "verify", "--stored").code == 0
    assert here("ledger", "prove", rid, "-o", out).code == 0


def test_a_changed_replica_is_named_by_verify_and_the_others_hold(here: Xinglin, at: Site) -> None:
    assert text(here("ledger", "verify")).count(": holds\n") == 8
    blocks = at.client["ledger_nursing-home"]["blocks"]
    before = blocks.find_one({"_id": 1})
    assert before is not None
    key = max((name for name, value in before.items() if isinstance(value, bytes)), key=lambda name: len(before[name]))
    changed = bytes(before[key])
    blocks.update_one({"_id": 1}, {"$set": {key: Binary(changed[:-1] + bytes([changed[-1] ^ 1]))}})
    try:
        done = here("ledger", "verify")
        assert done.code == 1
        assert done.output.decode().count(": holds\n") == 7
        assert re.search(r"^nursing-home .+: block 1: ", done.output.decode(), re.MULTILINE)
        assert json.loads(here("ledger", "verify", "--json").output)["nursing-home"]["ok"] is False
    finally:
        blocks.replace_one({"_id": 1}, before)
    assert here("ledger", "verify").code == 0


def test_replicas_of_one_height_that_differ_are_told_by_status_and_verify(here: Xinglin, at: Site) -> None:
    meta = at.client["ledger_nursing-home"]["meta"]
    before = meta.find_one({"height": 1})
    assert before is not None
    head = bytes(before["header"])
    meta.update_one({"height": 1}, {"$set": {"header": Binary(head[:-1] + bytes([head[-1] ^ 1]))}})
    try:
        done = here("ledger", "status")
        assert done.code == 1
        assert (
            done.told == "xinglin: replicas of one height differ: one was changed. `xinglin ledger verify` names it\n"
        )
        assert here("ledger", "verify").code == 1
    finally:
        meta.replace_one({"height": 1}, before)
    assert here("ledger", "status").code == 0


def test_a_wrong_password_is_told_in_a_sentence(at: Site, mongo_uri: str, empty: Path) -> None:
    done = run_apart(
        "quarantine", "list", XINGLIN_HOME=str(at.home.path), MONGODB_URI=mongo_uri, XINGLIN_KEY_PASSWORD="not it"
    )
    assert (done.code, done.output) == (1, b"")
    assert done.told.startswith("xinglin: the password does not open the keystore")


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_where_nothing_is_up_one_sentence_says_so(xinglin: Xinglin, empty: Path, command: tuple[str, ...]) -> None:
    done = xinglin(*command)
    assert (done.code, done.output) == (1, b"")
    assert done.told == "xinglin: no database: set MONGODB_URI, or start the region with `xinglin up`\n"
    assert list(empty.iterdir()) == []


def test_where_no_region_was_founded_one_sentence_says_so(process: Xinglin, mongo_uri: str) -> None:
    done = process("batches", MONGODB_URI=mongo_uri)
    assert (done.code, done.output) == (1, b"")
    assert done.told == "xinglin: no genesis here; `xinglin up` makes one, a region hands one out\n"


def test_database_that_does_not_answer_is_told_soon_and_without_its_password(at: Site, process: Xinglin) -> None:
    uri = f"mongodb://someone:secret@127.0.0.1:{free_port()}/"
    done = process("status", MONGODB_URI=uri, XINGLIN_HOME=str(at.home.path))
    assert (done.code, done.output) == (1, b"")
    assert done.told.startswith("xinglin: the database does not answer (")
    assert "secret" not in done.told


@pytest.mark.parametrize("uri", ["http://host/", "mongodb://someone:secret@host:port/", "mongodb://a:sec@ret@host/"])
def test_address_that_is_none_is_told_without_its_password(process: Xinglin, uri: str) -> None:
    done = process("status", MONGODB_URI=uri)
    assert (done.code, done.output) == (1, b"")
    assert done.told == "xinglin: MONGODB_URI is no address; expected mongodb://HOST:PORT/?replicaSet=NAME\n"
