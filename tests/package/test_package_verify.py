"""Datasets are verified from an anchor alone; whatever differs from what the chain allowed is refused."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from package_world import (
    ASKER,
    ETHICS,
    HOLDER,
    OTHER,
    REGULATOR,
    DatasetRegion,
    Delivered,
    dataset_region,
    deliver,
    request_file,
)

from ledger.proofs.anchor import Anchor, load_anchor
from schemas.sharing import Ethics
from shangmi import PrivateKey, sm3
from sharing.errors import Malformed, NotForThisKey, Tampered
from sharing.package import Table, verify
from sharing.package.container import Package
from sharing.package.sealing import SealedReader
from sharing.reader import open_dataset
from sharing.request import request_digest

pytestmark = pytest.mark.mongo
ROOT = Path(__file__).parents[2]


class World(NamedTuple):
    """A region with two datasets of one holder, and its anchor."""

    region: DatasetRegion
    research: Delivered
    supervised: Delivered
    anchor: bytes


@pytest.fixture(scope="module")
def world(mongo: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("region")
    with dataset_region(mongo, folder) as region:
        first, second = region.published(HOLDER, 30, 20)
        research, supervision = request_file(region), request_file(region, REGULATOR)
        one = region.allowed(ASKER, request_digest(research))
        two = region.allowed(REGULATOR, request_digest(supervision))
        region.grow(1)
        yield World(
            region,
            deliver(region, folder / "research.xld", one.tx_id, research, [*first[:25], *second[3:]]),
            deliver(region, folder / "audit.xld", two.tx_id, supervision, second),
            region.genesis.anchor(),
        )


def test_a_dataset_is_verified_without_any_key(world: World) -> None:
    found = verify(world.research.finished.path, world.anchor)
    assert found.package == world.research.finished.package and found.manifest.holder == HOLDER
    assert (found.allowed.records, found.request.title) == (42, "血糖控制与年龄 glucose by age")
    text = " ".join(found.proved)
    for words in ("东城医院 (hospital-east) signed", "西城医院 (hospital-west) asked", "for research",
                  "by research.dataset",
                  "nursing-home refused, lab-centre approved, health-commission approved",
                  "Source records: 42. Each stands in one of 2 batches that hospital-east published"):  # fmt: skip
        assert words in text
    assert len(found.not_proved) == 4 and "digest" in found.not_proved[1]
    assert verify(world.supervised.finished.path, load_anchor(world.anchor)).allowed.voices == ()


def test_its_recipient_opens_tables_reports_and_files(world: World, tmp_path: Path) -> None:
    key = world.region.keys[ASKER]
    with open_dataset(world.research.finished.path, key, world.anchor) as dataset:
        assert dataset.verified is not None and dataset.tables == ("laboratory_results", "patients")
        frame = dataset.pandas("laboratory_results", ["patient", "value"])
        assert frame.shape == (80, 2) and frame["value"].between(4, 12).all()
        assert dataset.arrow("patients").count_rows() == 40
        assert "patient" in str(dataset.dictionary["laboratory_results"])
        assert dataset.file("fhir/Patient.ndjson").read(20) == b'{"resourceType": "Pa'
        with pytest.raises(Malformed, match="there are laboratory_results, patients"):
            dataset.arrow("nothing")
        with pytest.raises(Malformed, match="no column name; it has id, sex"):
            dataset.pandas("patients", ["name"])
        for name in ("fhir/Patient.ndjson", "nothing.json"):
            with pytest.raises(Malformed):
                dataset.report(name)
    pem = tmp_path / "key.pem"
    pem.write_bytes(key.to_pem(b"secret"))
    with open_dataset(str(world.research.finished.path), str(pem), password="secret") as dataset:
        assert dataset.verified is None and len(dataset.pandas("patients")) == 40
    with open_dataset(world.research.finished.path, world.region.node(ASKER).decrypt) as dataset:
        assert dataset.tables


def test_tables_are_read_by_no_other_thread_that_could_outlive_the_interpreter(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads, read = set(), SealedReader.readinto

    def recorded(self: SealedReader, buffer: Any) -> int:
        threads.add(threading.get_ident())
        return read(self, buffer)

    monkeypatch.setattr(SealedReader, "readinto", recorded)
    with open_dataset(world.research.finished.path, world.region.keys[ASKER], world.anchor) as dataset:
        turned = list(reversed(dataset.schema("laboratory_results").names))
        assert list(dataset.pandas("laboratory_results", turned).columns) == turned
        assert sum(one.num_rows for one in dataset.batches("patients")) == 40
    assert threads == {threading.get_ident()}


def test_another_key_or_password_opens_nothing(world: World, tmp_path: Path) -> None:
    path, pem = world.research.finished.path, tmp_path / "key.pem"
    pem.write_bytes(world.region.keys[ASKER].to_pem(b"secret"))
    for wrong in (PrivateKey.generate(), world.region.keys[HOLDER], world.region.node(OTHER).decrypt):
        with pytest.raises(NotForThisKey, match="another key"):
            open_dataset(path, wrong)
    for password in ("wrong", "", None, b"secret "):
        with pytest.raises((NotForThisKey, Malformed)):
            open_dataset(path, pem, password=password)
    pem.write_bytes(b"no key")
    with pytest.raises(Malformed, match="key file"):
        open_dataset(path, pem, password="secret")
    with pytest.raises(FileNotFoundError):
        open_dataset(path, tmp_path / "none.pem", password="secret")


#: What only a region needs, and what nobody may open here.
REGION_ONLY = (
    "airflow", "pymongo", "bson", "gridfs", "fastapi", "starlette", "uvicorn", "httpx", "cedarpy", "sqlalchemy",
    "great_expectations", "pydicom", "pynetdicom", "paho", "psycopg", "hl7apy", "fhir", "zstandard", "pydantic",
    "pymysql", "jwt", "fitdecode", "jinja2", "presidio_analyzer", "duckdb",
)  # fmt: skip
PROGRAM = """
import socket, sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in {blocked!r}: raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
def refuse(*_, **__): raise AssertionError('the network was asked')
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
import sharing.views
from sharing.package import verify
from sharing.reader import open_dataset
package, key, anchor = sys.argv[1:4]
with open_dataset(package, key, anchor, password="secret") as dataset:
    print(len(dataset.pandas("laboratory_results")), dataset.arrow("patients").count_rows(), dataset.verified.region)
"""


def test_a_base_installation_verifies_and_opens_without_network_or_database(world: World, tmp_path: Path) -> None:
    pem, anchor = tmp_path / "key.pem", tmp_path / "anchor.json"
    pem.write_bytes(world.region.keys[ASKER].to_pem(b"secret"))
    anchor.write_bytes(world.anchor)
    arguments = [str(world.research.finished.path), str(pem), str(anchor)]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(blocked=REGION_ONLY), *arguments], capture_output=True, check=False,
        timeout=60, cwd=tmp_path, text=True,
        env={"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "plugins")]), "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "80 40 杏林示范区\n"


def refusal(world: World, path: Path, anchor: bytes | Anchor | None = None) -> str:
    """Why it is not what the chain allowed; the file and its folder stay as they were."""
    before = path.read_bytes(), sorted(path.parent.iterdir())
    with pytest.raises(Tampered) as error:
        verify(path, anchor or world.anchor)
    assert (path.read_bytes(), sorted(path.parent.iterdir())) == before
    return str(error.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"records": 41}, "another number"),
        ({"asked": bytes(32)}, "not the one that was allowed"),
        ({"policies": b"other rules"}, "not those that allowed"),
        ({"keep_until": date(2030, 1, 1)}, "date of deletion"),
        ({"profile": ("hipaa-safe-harbor", bytes(32))}, "profile"),
        ({"made_height": 1}, "before the request was allowed"),
        ({"tables": (Table("encounters", 0, (), ()),)}, "tables"),
    ],
)
def test_a_holder_that_lies_in_its_manifest_is_refused(
    world: World, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    one = world.research
    made = deliver(world.region, tmp_path / "d.xld", one.request, one.content, one.records, **changes)
    assert words in refusal(world, made.finished.path)


def test_a_request_file_that_was_not_the_allowed_one_is_refused(world: World, tmp_path: Path) -> None:
    one = world.research
    other = request_file(world.region, most=999)
    made = deliver(world.region, tmp_path / "d.xld", one.request, other, one.records)
    assert "not the one that was allowed" in refusal(world, made.finished.path)
    made = deliver(world.region, tmp_path / "d.xld", one.request, other, one.records, asked=request_digest(one.content))
    assert "not the one that was allowed" in refusal(world, made.finished.path)


@pytest.mark.parametrize("valid", [(date(2025, 1, 1), date(2026, 10, 30)), (date(2026, 11, 3), date(2027, 1, 1))])
def test_a_dataset_whose_ethics_approval_did_not_hold_when_it_was_allowed_is_refused(
    world: World, tmp_path: Path, valid: tuple[date, date]
) -> None:
    one, ethics = world.research, Ethics("区伦理委员会", "2026-7", valid, ETHICS)
    content = request_file(world.region, ethics=ethics)
    request = world.region.allowed(ASKER, request_digest(content))
    made = deliver(world.region, tmp_path / "d.xld", request.tx_id, content, one.records)
    assert "ethics approval" in refusal(world, made.finished.path)


def test_a_dataset_sealed_to_another_than_the_requester_is_refused(world: World, tmp_path: Path) -> None:
    one, stranger = world.research, PrivateKey.generate().public
    made = deliver(world.region, tmp_path / "d.xld", one.request, one.content, one.records, stranger)
    assert "recipient" in refusal(world, made.finished.path)


def test_evidence_of_another_request_or_of_other_records_is_refused(world: World, tmp_path: Path) -> None:
    one, two = world.research, world.supervised
    with Package(two.finished.path) as package:
        other = package.plain("evidence.bin")
    made = deliver(world.region, tmp_path / "d.xld", one.request, one.content, one.records, evidence=other)
    assert "evidence" in refusal(world, made.finished.path)
    with Package(one.finished.path) as package:
        whole = package.plain("evidence.bin")
    made = deliver(world.region, tmp_path / "d.xld", one.request, one.content, one.records[1:], evidence=whole)
    assert "another number" in refusal(world, made.finished.path)
    made = deliver(world.region, tmp_path / "d.xld", one.request, one.content, one.records, evidence=b"")
    assert "evidence" in refusal(world, made.finished.path)


def test_a_signature_by_a_key_that_the_chain_does_not_name_is_refused(world: World, tmp_path: Path) -> None:
    one, forger, node = world.research, PrivateKey.generate(), world.region.node(HOLDER)

    class Forging:
        """The holder's node, with another key."""

        replica, public = node.replica, forger.public

        def sign_manifest(self, request: bytes, digest: bytes) -> bytes:
            from ledger.messages.manifest_word import manifest_message

            return forger.sign(manifest_message(world.region.genesis.chain_id, node.id, request, digest))

    made = deliver(world.region, tmp_path / "d.xld", one.request, one.content, one.records, signer=Forging())
    assert "another key than the chain registers" in refusal(world, made.finished.path)


def test_another_chain_an_old_head_and_no_anchor_are_refused(world: World, mongo: Any, tmp_path: Path) -> None:
    path = world.research.finished.path
    with dataset_region(mongo, tmp_path) as other:
        assert "another chain" in refusal(world, path, other.genesis.anchor())
    head = world.region.node(HOLDER).replica.view.head
    trusted = load_anchor(world.anchor)
    with pytest.raises(Tampered, match="ask for a newer"):
        verify(path, replace(trusted, max_age_seconds=60), now_ms=head.timestamp_ms + 100_000)
    with pytest.raises(Tampered, match="auditor"):
        verify(path, replace(trusted, auditor=True), now_ms=head.timestamp_ms)
    for wrong in (b"", b"{}", world.anchor[:-20], path.read_bytes()[:1_000], b"x" * (2 << 20)):
        with pytest.raises(Malformed):
            verify(path, wrong)


def test_what_follows_the_package_is_asked_of_the_chain(world: World) -> None:
    assert sm3(world.research.finished.path.read_bytes()) == world.research.finished.package
