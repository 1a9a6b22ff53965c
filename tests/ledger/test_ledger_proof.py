"""Proof files: each part is needed, nothing else is believed, and no bytes do more than raise ProofError."""

from __future__ import annotations

import copy
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from region_simulation import AUDITOR, RegionSimulation

from ledger.agreement.certificate import COMMIT, PREPARE, Ballot, QuorumCertificate
from ledger.chain.header import Header
from ledger.chain.leaves import Leaves, RecordLeaf
from ledger.chain.validators import ValidatorSet
from ledger.errors import ProofError
from ledger.proofs.proof import MAX_FILE, load_anchor, verify_proof
from shangmi import sm3

pytestmark = pytest.mark.mongo
ROOT = Path(__file__).parents[2]
Document = dict[str, Any]


@pytest.fixture(scope="module")
def grown(settled: RegionSimulation) -> RegionSimulation:
    """Seven blocks; the record proved stands in the third, among seventeen."""
    settled.grow(1, count=17)
    settled.grow(4, count=1)
    return settled


@pytest.fixture(scope="module")
def record(grown: RegionSimulation) -> RecordLeaf:
    final = grown.node(AUDITOR).replica.final(3)
    assert final is not None
    return RecordLeaf.decode(Leaves.decode(final.bodies[0]).record(11))


@pytest.fixture(scope="module")
def proof(grown: RegionSimulation, record: RecordLeaf) -> Document:
    return grown.node(AUDITOR).prove(record.rid, 1)


@pytest.fixture(scope="module")
def anchor(grown: RegionSimulation) -> bytes:
    return grown.genesis.anchor()


def packed(document: object) -> bytes:
    return json.dumps(document).encode()


def test_a_proof_shows_who_published_what_when_and_who_confirmed_it(
    grown: RegionSimulation, proof: Document, anchor: bytes, record: RecordLeaf
) -> None:
    institution = next(name for name, where in grown.envelopes if where == record.locator.decode())
    envelope = grown.envelopes[institution, record.locator.decode()]
    verdict = verify_proof(packed(proof), anchor, envelope)
    assert (verdict.institution, verdict.rid, verdict.version) == (institution, record.rid.hex(), 1)
    assert (verdict.height, verdict.head_height, verdict.status, verdict.envelope) == (3, 7, "active", True)
    assert set(verdict.signers) == set(grown.voters) and verdict.region == "杏林示范区"
    assert verify_proof(packed(proof), anchor).envelope is False


def test_every_record_of_every_block_is_proved_by_every_node(grown: RegionSimulation, anchor: bytes) -> None:
    for height in range(1, 8):
        final = grown.node(AUDITOR).replica.final(height)
        assert final is not None
        leaves = Leaves.decode(final.bodies[0])
        for index in range(0, len(leaves), 5):
            leaf = RecordLeaf.decode(leaves.record(index))
            made = grown.node("nursing-home").prove(leaf.rid, leaf.version)
            assert verify_proof(packed(made), anchor).height == height
            assert len(packed(made)) < 6_000


def test_what_the_chain_does_not_hold_is_not_proved(grown: RegionSimulation, record: RecordLeaf) -> None:
    for rid, version, who in ((bytes(16), 1, None), (record.rid, 2, None), (record.rid, 1, AUDITOR)):
        with pytest.raises(KeyError):
            grown.node(AUDITOR).prove(rid, version, who)


def test_another_envelope_is_refused(proof: Document, anchor: bytes) -> None:
    for envelope in (b"", b"another envelope", bytes(40)):
        with pytest.raises(ProofError, match="envelope"):
            verify_proof(packed(proof), anchor, envelope)


def test_a_changed_digit_anywhere_is_refused(proof: Document, anchor: bytes) -> None:
    data = packed(proof)
    rng = random.Random(3)
    digits = [place for place, one in enumerate(data) if one in b"0123456789abcdef"]
    for place in rng.sample(digits, 500):
        changed = bytearray(data)
        changed[place] = rng.choice([one for one in b"0123456789abcdefAF," if one != data[place]])
        with pytest.raises(ProofError):
            verify_proof(bytes(changed), anchor)


def changed(document: Document, path: str, value: object) -> bytes:
    made = copy.deepcopy(document)
    *way, last = path.split("/")
    here = made
    for one in way:
        here = here[one]
    if value is ...:
        del here[last]
    else:
        here[last] = value
    return packed(made)


PARTS = [
    "format", "chain_id", "record", "record/leaf", "batch", "batch/index", "batch/size", "batch/path", "tx", "tx/bytes",
    "tx/index", "tx/size", "tx/path", "block", "block/header", "history", "history/index", "history/size",
    "history/path", "head", "head/header", "head/commit_qc", "epochs", "status", "status/key", "status/proof",
]  # fmt: skip


@pytest.mark.parametrize("part", PARTS)
def test_no_part_may_be_missing_or_of_another_kind(proof: Document, anchor: bytes, part: str) -> None:
    for value in (..., 0, -1, True, 1 << 70, "", "00", "zz", [], [0], {}, None, [[]], {"x": 1}):
        if (part, value) in (("status", None), ("epochs", [])) or (part == "tx/path" and value == []):
            continue
        if part in ("tx/index",) and value == 0 and not isinstance(value, bool):
            continue
        with pytest.raises(ProofError):
            verify_proof(changed(proof, part, value), anchor)


def test_paths_too_long_too_short_or_of_another_leaf_are_refused(proof: Document, anchor: bytes) -> None:
    for part in ("batch", "history"):
        path = proof[part]["path"]
        for lie in (path[:-1], path[1:], [*path, path[0]], path[::-1], [path[0]] * len(path), path * 20):
            with pytest.raises(ProofError):
                verify_proof(changed(proof, f"{part}/path", lie), anchor)
        for index in (proof[part]["index"] + 1, proof[part]["index"] - 1):
            with pytest.raises(ProofError):
                verify_proof(changed(proof, f"{part}/index", index), anchor)


def test_the_state_status_is_optional_but_never_wrong(proof: Document, anchor: bytes, grown: RegionSimulation) -> None:
    assert verify_proof(changed(proof, "status", None), anchor).status is None
    tree = grown.node(AUDITOR).replica.view.tree
    proofs = (tree.prove(sm3(bytes([one]))).encode().hex() for one in range(99))
    other = next(one for one in proofs if one != proof["status"]["proof"])
    with pytest.raises(ProofError, match="status"):
        verify_proof(changed(proof, "status/proof", other), anchor)


def certified(region: RegionSimulation, header: Header, type_: int = COMMIT, who: int = 5) -> str:
    ballot = Ballot(type_, header.height, 1, header.epoch, header.block_id, 1 if type_ == COMMIT else 0, sm3(b"x"))
    names = region.voters
    message = ballot.signed_bytes(region.genesis.chain_id)
    signatures = tuple(region.keys[one].sign(message) for one in names[:who])
    return QuorumCertificate(ballot, len(names), tuple(range(who)), signatures).encode().hex()


def test_only_a_commit_certificate_of_a_quorum_is_a_receipt(
    grown: RegionSimulation, proof: Document, anchor: bytes
) -> None:
    head = Header.decode(bytes.fromhex(proof["head"]["header"]))
    assert verify_proof(changed(proof, "head/commit_qc", certified(grown, head)), anchor)
    with pytest.raises(ProofError, match="only a CommitQC"):
        verify_proof(changed(proof, "head/commit_qc", certified(grown, head, PREPARE)), anchor)
    with pytest.raises(ProofError, match="two thirds"):
        verify_proof(changed(proof, "head/commit_qc", certified(grown, head, who=2)), anchor)
    other = replace(head, height=6)
    with pytest.raises(ProofError, match="another block"):
        verify_proof(changed(proof, "head/commit_qc", certified(grown, other)), anchor)


def test_a_proof_of_another_chain_is_refused(grown: RegionSimulation, proof: Document, anchor: bytes) -> None:
    foreign = replace(grown.genesis, name="桃林示范区").anchor()
    with pytest.raises(ProofError, match="another chain"):
        verify_proof(packed(proof), foreign)
    chain_id = json.loads(foreign)["chain_id"]
    with pytest.raises(ProofError, match="another chain"):
        verify_proof(changed(proof, "chain_id", chain_id), foreign)


def test_a_head_older_than_the_anchor_allows_is_refused(grown: RegionSimulation, proof: Document) -> None:
    anchor = grown.genesis.anchor(max_age_seconds=3600)
    head = Header.decode(bytes.fromhex(proof["head"]["header"]))
    assert verify_proof(packed(proof), anchor, now_ms=head.timestamp_ms + 3_600_000)
    with pytest.raises(ProofError, match="ask for a newer proof"):
        verify_proof(packed(proof), anchor, now_ms=head.timestamp_ms + 3_602_000)
    with pytest.raises(ProofError, match="no present time"):
        verify_proof(packed(proof), anchor)


def test_a_changed_voter_set_is_followed_only_through_its_certificate(
    grown: RegionSimulation, proof: Document, anchor: bytes
) -> None:
    """Epoch steps: the set of genesis certifies the header that names the next set, which certifies the head."""
    old = grown.genesis.validators
    new = ValidatorSet(one if one.role != "validator" else replace(one, weight=one.weight + 1) for one in old.members)
    head = Header.decode(bytes.fromhex(proof["head"]["header"]))
    last = replace(head, height=6, next_validators_hash=new.hash)
    moved = replace(head, validators_hash=new.hash, next_validators_hash=new.hash)
    step = {
        "header_last": last.encode().hex(),
        "commit_qc": certified(grown, last),
        "next_validators": new.encode().hex(),
    }
    good = {**proof, "epochs": [step], "head": {"header": moved.encode().hex(), "commit_qc": certified(grown, moved)}}
    assert verify_proof(packed(good), anchor).head_height == 7
    unsigned = {**step, "commit_qc": certified(grown, last, who=2)}
    other_set = {**step, "next_validators": old.encode().hex()}
    for steps in ([], [unsigned], [other_set], [step, step], [{**step, "extra": ""}], [None], None):
        with pytest.raises(ProofError):
            verify_proof(packed({**good, "epochs": steps}), anchor)


BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda _: b"",
    "no JSON": lambda data: data[:-1],
    "more after it": lambda data: data + b"{}",
    "a list": lambda data: b"[" + data + b"]",
    "a doubled key": lambda data: b'{"format": "xinglin-proof/v1", ' + data[1:],
    "an unknown key": lambda data: b'{"note": 1, ' + data[1:],
    "a fraction": lambda data: data.replace(b'"epochs": []', b'"epochs": [1.5]'),
    "not a number": lambda data: data.replace(b'"epochs": []', b'"epochs": NaN'),
    "another encoding": lambda data: data.decode().encode("utf-16"),
    "a BOM": lambda data: b"\xef\xbb\xbf" + data,
    "not UTF-8": lambda data: data.replace(b"epochs", b"epoch\xff"),
    "a deep nest": lambda data: data.replace(b'"epochs": []', b'"epochs": ' + b"[" * 200_000 + b"]" * 200_000),
    "a huge number": lambda data: data.replace(b'"epochs": []', b'"epochs": ' + b"9" * 100_000),
    "too large": lambda data: data + b" " * MAX_FILE,
    "a lone surrogate": lambda data: data.replace(b'"epochs"', b'"\\ud800"'),
    "upper-case hex": lambda data: data.upper(),
}


@pytest.mark.parametrize("what", BROKEN)
def test_anything_but_one_strict_document_is_refused(proof: Document, anchor: bytes, what: str) -> None:
    with pytest.raises(ProofError):
        verify_proof(BROKEN[what](packed(proof)), anchor)


def test_an_anchor_is_as_strict(anchor: bytes) -> None:
    document = json.loads(anchor)
    assert load_anchor(anchor).genesis.anchor() == anchor
    lies = [
        anchor[:-3],
        anchor + b"1",
        b"[" * 100_000,
        packed({**document, "format": "xinglin-proof/v1"}),
        packed({**document, "chain_id": "00" * 32}),
        packed({**document, "genesis": document["genesis"][:-2]}),
        packed({**document, "genesis": None}),
        packed({**document, "max_age_seconds": 1.5}),
        packed({**document, "max_age_seconds": True}),
        packed({**document, "max_age_seconds": -1}),
        packed({**document, "unknown": 1}),
        packed({key: document[key] for key in ("format", "chain_id", "genesis")}),
    ]
    for lie in lies:
        with pytest.raises(ProofError):
            load_anchor(lie)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=90).map(bytes.hex),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(PARTS) | st.text(), inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_file_raises_anything_but_proof_error(proof: Document, anchor: bytes, data: st.DataObject) -> None:
    part = data.draw(st.sampled_from(PARTS))
    value = data.draw(json_values)
    for file in (changed(proof, part, value), packed(value), data.draw(st.binary(max_size=200))):
        try:
            verify_proof(file, anchor)
        except ProofError:
            continue
        assert value in (None, [], 0) or json.loads(file) == proof


def test_the_verifier_needs_neither_database_nor_airflow_nor_yaml() -> None:
    heavy = ["pymongo", "bson", "airflow", "yaml", "jsonschema", "pandas", "sqlite3"]
    script = f"import ledger.proofs.proof, sys; sys.exit(sum(one in sys.modules for one in {heavy}))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "plugins")])}
    assert subprocess.run([sys.executable, "-c", script], env=environment, check=False).returncode == 0
